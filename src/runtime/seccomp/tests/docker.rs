//! Docker's default policy: both ways to it, what it decides, and how long the program is.

use super::*;
use interpreter::{check, is_cached, run};
use std::collections::HashMap;

const SETS: [CapabilitySet; 4] = [
    CapabilitySet::EMPTY,
    CapabilitySet::DOCKER_DEFAULT,
    named("SYS_ADMIN SYS_PTRACE BPF"),
    CapabilitySet::ALL,
];

/// Verdicts by table and name, so that two policies can be compared whatever the order of their verdicts.
fn decisions(policy: &Policy) -> HashMap<(u32, u32), policy::Verdict> {
    let calls = policy.sections.iter().flat_map(|section| {
        let table = section.table.audit_architecture();
        section
            .calls
            .iter()
            .map(move |&(number, index)| ((table, number), index))
    });
    calls
        .map(|(key, index)| (key, policy.verdicts[index].clone()))
        .collect()
}

#[test]
fn the_table_and_the_oci_form_decide_alike() {
    for family in [Family::X86, Family::Arm] {
        for kernel in [KernelVersion(4, 4), KernelVersion(6, 1)] {
            for identity in [Identity::Mapped, Identity::Single] {
                for capabilities in SETS {
                    let circumstances = Circumstances {
                        capabilities,
                        kernel,
                    };
                    let direct = docker_default::policy(circumstances, identity, family);
                    let oci = docker_default::to_oci(circumstances, family);
                    let lowered = Policy::from_oci(&oci, identity, family).unwrap();
                    assert_eq!(
                        decisions(&direct),
                        decisions(&lowered),
                        "{family:?} {circumstances:?}"
                    );
                    assert_eq!(direct.default(), lowered.default());
                    let (direct, lowered) =
                        (compiler::compile(&direct), compiler::compile(&lowered));
                    check(&direct);
                    assert_eq!(direct.len(), lowered.len());
                }
            }
        }
    }
}

#[test]
fn the_oci_form_survives_json() {
    let oci = docker_default(circumstances(CapabilitySet::DOCKER_DEFAULT));
    let json = serde_json::to_string(&oci).unwrap();
    assert_eq!(policy(&json), oci);
    let again = parse_policy(&json, circumstances(CapabilitySet::DOCKER_DEFAULT)).unwrap();
    assert_eq!(
        program_for(&again, Identity::Mapped, Family::X86),
        program_for(&oci, Identity::Mapped, Family::X86)
    );
}

#[test]
fn what_docker_decides() {
    let x86 = compiler::compile(&docker_default::policy(
        circumstances(CapabilitySet::DOCKER_DEFAULT),
        Identity::Mapped,
        Family::X86,
    ));
    let expect = |architecture: u32, number: u32, first: u64, verdict: u32| {
        let call = Call::new(architecture, number).with(0, first);
        assert_eq!(run(&x86, &call), verdict, "{call:x?}");
    };
    let eperm = denied(libc::EPERM);
    let enosys = denied(libc::ENOSYS);
    // clone3, clone without and with a new user namespace.
    expect(X86_64, 435, 0, enosys);
    expect(X86_64, 56, libc::SIGCHLD as u64, ALLOWED);
    expect(X86_64, 56, libc::CLONE_NEWUSER as u64, eperm);
    // Address families: those that the kernel has given up, AF_ALG and AF_VSOCK, and what is not known yet.
    let refused = [12, 19, 20, 23, 25, 34, 37, 38, 40];
    for family in 0..64 {
        let known = family < 46 && !refused.contains(&family);
        let verdict = if known { ALLOWED } else { eperm };
        expect(X86_64, 41, family, verdict);
        expect(X86, 359, family, verdict);
    }
    expect(X86_64, 41, 1 << 32 | 1, eperm);
    for personality in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        expect(X86_64, 135, personality, ALLOWED);
    }
    expect(X86_64, 135, libc::ADDR_NO_RANDOMIZE as u64, eperm);
    // read, mount, unshare, chroot (a capability Docker gives), kexec_load, ptrace.
    for (number, verdict) in [
        (0, ALLOWED),
        (165, eperm),
        (272, eperm),
        (161, ALLOWED),
        (246, eperm),
        (101, ALLOWED),
    ] {
        expect(X86_64, number, 0, verdict);
    }
    // socketcall of i386 for a socket, whose family is behind a pointer, and for bind.
    expect(X86, 102, 1, ALLOWED);
    expect(X86, 102, 2, ALLOWED);
    // i386: read, mount; x32: read, its own ioctl, its own kexec_load.
    for (number, verdict) in [(3, ALLOWED), (21, eperm)] {
        expect(X86, number, 0, verdict);
    }
    for (number, verdict) in [(0, ALLOWED), (514, ALLOWED), (528, eperm), (165, eperm)] {
        expect(X86_64, syscall_table::X32_BIT | number, 0, verdict);
    }
    // Calls that do not exist yet, and architectures no rule knows.
    for number in [480, 511, 600, 0x3fff_ffff, u32::MAX] {
        expect(X86_64, number, 0, enosys);
    }
    expect(AARCH64, 63, 0, KILLED);
}

#[test]
fn capabilities_and_kernels_change_it() {
    let verdict = |capabilities: CapabilitySet, kernel: KernelVersion, number: u32| {
        let circumstances = Circumstances {
            capabilities,
            kernel,
        };
        let policy = docker_default::policy(circumstances, Identity::Mapped, Family::X86);
        run(&compiler::compile(&policy), &Call::new(X86_64, number))
    };
    let new = KernelVersion(6, 1);
    for (number, name) in [
        (165, "SYS_ADMIN"),
        (435, "SYS_ADMIN"),
        (321, "BPF"),
        (298, "PERFMON"),
        (103, "SYSLOG"),
        (161, "SYS_CHROOT"),
        (304, "DAC_READ_SEARCH"),
        (175, "SYS_MODULE"),
        (173, "SYS_RAWIO"),
        (227, "SYS_TIME"),
        (169, "SYS_BOOT"),
        (163, "SYS_PACCT"),
        (312, "SYS_PTRACE"),
        (153, "SYS_TTY_CONFIG"),
        (237, "SYS_NICE"),
    ] {
        let capability = CapabilitySet::parse(name).unwrap();
        assert_ne!(
            verdict(
                CapabilitySet::ALL
                    .difference(named("SYS_ADMIN"))
                    .difference(capability),
                new,
                number
            ),
            ALLOWED
        );
        assert_eq!(verdict(capability, new, number), ALLOWED, "{name}");
    }
    let ptrace = 101;
    assert_eq!(
        verdict(CapabilitySet::EMPTY, KernelVersion(4, 7), ptrace),
        denied(libc::EPERM)
    );
    assert_eq!(
        verdict(named("SYS_PTRACE"), KernelVersion(4, 7), ptrace),
        ALLOWED
    );
    assert_eq!(
        verdict(CapabilitySet::EMPTY, KernelVersion(4, 8), ptrace),
        ALLOWED
    );
}

#[test]
fn arm_has_its_private_calls() {
    let circumstances = circumstances(CapabilitySet::DOCKER_DEFAULT);
    let program = compiler::compile(&docker_default::policy(
        circumstances,
        Identity::Mapped,
        Family::Arm,
    ));
    let verdict = |architecture, number| run(&program, &Call::new(architecture, number));
    assert_eq!(verdict(ARM, 0x0f_0005), ALLOWED, "set_tls");
    assert_eq!(verdict(ARM, 0x0f_0003), denied(libc::EPERM), "usr26");
    assert_eq!(verdict(ARM, 0x0f_0007), denied(libc::ENOSYS));
    assert_eq!(verdict(ARM, 500), denied(libc::ENOSYS));
    assert_eq!(verdict(AARCH64, 63), ALLOWED, "read");
    assert_eq!(verdict(AARCH64, 40), denied(libc::EPERM), "mount");
    assert_eq!(verdict(X86_64, 0), KILLED);
}

#[test]
fn pretended_calls_succeed_and_nothing_else_changes() {
    let circumstances = circumstances(CapabilitySet::DOCKER_DEFAULT);
    let program = |identity| {
        compiler::compile(&docker_default::policy(
            circumstances,
            identity,
            Family::X86,
        ))
    };
    let (mapped, single) = (program(Identity::Mapped), program(Identity::Single));
    let pretended = denied(0);
    for (number, name) in [
        (92, "chown"),
        (260, "fchownat"),
        (105, "setuid"),
        (116, "setgroups"),
    ] {
        assert_eq!(run(&mapped, &Call::new(X86_64, number)), ALLOWED, "{name}");
        assert_eq!(
            run(&single, &Call::new(X86_64, number)),
            pretended,
            "{name}"
        );
    }
    // chown32 and setresuid32 of i386, chown of x32.
    for call in [
        Call::new(X86, 212),
        Call::new(X86, 208),
        Call::new(X86_64, syscall_table::X32_BIT | 92),
    ] {
        assert_eq!(run(&single, &call), pretended, "{call:x?}");
    }
    let modes = [
        (libc::S_IFCHR | 0o666, pretended),
        (libc::S_IFBLK | 0o660, pretended),
        (libc::S_IFIFO | 0o644, ALLOWED),
        (libc::S_IFREG | 0o644, ALLOWED),
        (libc::S_IFSOCK | 0o644, ALLOWED),
        (0o644, ALLOWED),
    ];
    for (mode, verdict) in modes {
        let mode = u64::from(mode);
        assert_eq!(
            run(&single, &Call::new(X86_64, 133).with(1, mode)),
            verdict,
            "mknod {mode:o}"
        );
        assert_eq!(
            run(&single, &Call::new(X86_64, 259).with(2, mode)),
            verdict,
            "mknodat {mode:o}"
        );
        assert_eq!(
            run(&single, &Call::new(X86, 14).with(1, mode)),
            verdict,
            "mknod of i386 {mode:o}"
        );
    }
    for number in 0..600 {
        let call = Call::new(X86_64, number);
        let (before, after) = (run(&mapped, &call), run(&single, &call));
        assert!(
            before == after || (before == ALLOWED && after == pretended),
            "{number}"
        );
    }
}

#[test]
fn without_a_policy_only_what_is_pretended_is_not_allowed() {
    let filter = no_op_filter().unwrap();
    check(filter.program());
    let seccomp = policy(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}"#,
    );
    let program = program_for(&seccomp, Identity::Single, Family::X86);
    for number in 0..600 {
        let expect =
            if [92, 93, 94, 105, 106, 113, 114, 116, 117, 119, 122, 123, 260].contains(&number) {
                denied(0)
            } else {
                ALLOWED
            };
        assert_eq!(
            run(&program, &Call::new(X86_64, number)),
            expect,
            "{number}"
        );
    }
}

#[test]
fn a_denied_call_is_not_pretended() {
    let seccomp = policy(
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["chown"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}"#,
    );
    let program = program_for(&seccomp, Identity::Single, Family::X86);
    assert_eq!(run(&program, &Call::new(X86_64, 92)), denied(libc::EACCES));
    assert_eq!(run(&program, &Call::new(X86_64, 94)), denied(0));
}

#[test]
fn the_program_stays_short_and_out_of_the_way() {
    for (capabilities, most) in [
        (CapabilitySet::DOCKER_DEFAULT, 320),
        (CapabilitySet::ALL, 320),
    ] {
        let policy =
            docker_default::policy(circumstances(capabilities), Identity::Mapped, Family::X86);
        let program = compiler::compile(&policy);
        assert!(program.len() <= most, "{} instructions", program.len());
        for number in [0, 1, 3, 9, 202, 257, 262] {
            assert!(
                is_cached(&program, &Call::new(X86_64, number)),
                "{number} runs the filter"
            );
        }
        assert!(
            !is_cached(&program, &Call::new(X86_64, 165)) || capabilities == CapabilitySet::ALL
        );
    }
}
