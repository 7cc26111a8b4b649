//! Policies as files.

use super::profile::parse_for;
use super::*;
use crate::error::{Kind, hint, kind};
use interpreter::run;

/// Docker's form: every field it knows, some it does not.
const PROFILE: &str = r#"{
    "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "comment": "unknown fields are passed over",
    "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null},
        {"architecture": "SCMP_ARCH_OF_TOMORROW", "subArchitectures": null}
    ],
    "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "includes": null, "excludes": {}},
        {"name": "write", "action": "SCMP_ACT_ALLOW", "args": []},
        {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
        {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
        {"names": ["set_tls"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm", "arm64"]}},
        {"names": ["mount", "bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["syslog"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYSLOG", "CAP_SYS_ADMIN"]}},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        {"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "5.0"}},
        {"names": ["acct"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}}
    ]
}"#;

fn names(capabilities: CapabilitySet, kernel: KernelVersion, family: Family) -> Vec<String> {
    let seccomp = parse_for(
        PROFILE,
        Circumstances {
            capabilities,
            kernel,
        },
        family,
    )
    .unwrap();
    seccomp
        .syscalls()
        .iter()
        .flatten()
        .flat_map(|call| call.names().clone())
        .collect()
}

#[test]
fn entries_depend_on_capabilities_kernel_and_architecture() {
    let new = KernelVersion(6, 1);
    let both = named("SYS_ADMIN SYSLOG");
    for (capabilities, kernel, family, expect) in [
        (
            CapabilitySet::EMPTY,
            new,
            Family::X86,
            "read write ptrace arch_prctl clone3",
        ),
        (
            CapabilitySet::EMPTY,
            new,
            Family::Arm,
            "read write ptrace set_tls clone3 acct",
        ),
        (
            CapabilitySet::EMPTY,
            KernelVersion(4, 7),
            Family::X86,
            "read write arch_prctl clone3 reboot",
        ),
        (
            named("SYSLOG"),
            new,
            Family::X86,
            "read write ptrace arch_prctl clone3",
        ),
        (
            named("SYS_ADMIN"),
            new,
            Family::X86,
            "read write ptrace arch_prctl mount bpf",
        ),
        (
            both,
            new,
            Family::X86,
            "read write ptrace arch_prctl mount bpf syslog",
        ),
    ] {
        assert_eq!(
            names(capabilities, kernel, family).join(" "),
            expect,
            "{capabilities:?} {kernel:?} {family:?}"
        );
    }
}

#[test]
fn the_map_gives_the_architectures() {
    let seccomp = parse_for(PROFILE, circumstances(CapabilitySet::EMPTY), Family::X86).unwrap();
    let program = program_for(&seccomp, Identity::Mapped, Family::X86);
    assert_eq!(run(&program, &Call::new(X86_64, 0)), ALLOWED);
    assert_eq!(run(&program, &Call::new(X86, 3)), ALLOWED);
    assert_eq!(
        run(&program, &Call::new(X86_64, syscall_table::X32_BIT)),
        KILLED
    );
    assert_eq!(run(&program, &Call::new(X86_64, 435)), denied(libc::ENOSYS));
}

#[test]
fn mistakes_are_named() {
    for (text, message) in [
        ("", "EOF while parsing a value at line 1 column 0"),
        (
            "7",
            "invalid type: integer `7`, expected struct Profile at line 1 column 1",
        ),
        ("{}", "`defaultAction` is missing"),
        (r#"{"defaultAction":"ALLOW"}"#, "unknown variant `ALLOW`"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["FAST"]}"#,
            "unknown variant `FAST`",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#,
            "unknown architecture `SCMP_ARCH_VAX`",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
            "archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
            "`architectures` and `archMap` exclude each other",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_LOG"}]}"#,
            "`name` and `names` exclude each other",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW",
            "syscalls":[{"name":"a","action":"SCMP_ACT_LOG","includes":{"minKernel":"new"}}]}"#,
            "`minKernel` is not a version such as 4.8: \"new\"",
        ),
    ] {
        let error = parse_policy(text, circumstances(CapabilitySet::EMPTY)).unwrap_err();
        let shown = error.to_string();
        assert!(shown.starts_with("seccomp policy: "), "{shown}");
        assert!(shown.contains(message), "{shown}: not {message}");
        assert!(kind(&error) == Some(Kind::BadInput), "{shown}");
    }
    let error = parse_policy("{}", circumstances(CapabilitySet::EMPTY)).unwrap_err();
    assert!(hint(&error).unwrap().contains("seccomp=unconfined"));
}

#[test]
fn an_agent_is_named_where_it_is_asked() {
    let agent = |fields: &str| {
        let text = format!(r#"{{"defaultAction":"SCMP_ACT_ALLOW",{fields}}}"#);
        let seccomp = parse_policy(&text, circumstances(CapabilitySet::EMPTY)).unwrap();
        compile(&seccomp, Identity::Mapped).map(|filter| (filter.agent().is_some(), filter.flags))
    };
    let asks = r#""syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]"#;
    let default = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // A listener that nobody is asked through is not made.
    assert_eq!(
        agent(r#""listenerPath":"/s","listenerMetadata":"m""#).unwrap(),
        (false, default)
    );
    assert_eq!(
        agent(&format!(r#""listenerPath":"/s",{asks}"#)).unwrap(),
        (true, default | listener)
    );
    let flags = r#""flags":["SECCOMP_FILTER_FLAG_TSYNC","SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]"#;
    assert_eq!(
        agent(&format!(r#""listenerPath":"/s",{flags},{asks}"#)).unwrap(),
        (
            true,
            listener
                | libc::SECCOMP_FILTER_FLAG_TSYNC
                | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH
                | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        )
    );
    for (path, message) in [
        (
            r#""listenerPath":"s","#,
            "`listenerPath` is not absolute: s",
        ),
        (
            r#""listenerPath":"","#,
            "SCMP_ACT_NOTIFY needs `listenerPath`",
        ),
        ("", "SCMP_ACT_NOTIFY needs `listenerPath`"),
    ] {
        let error = agent(&format!("{path}{asks}")).unwrap_err();
        assert_eq!(error.to_string(), format!("seccomp policy: {message}"));
    }
}

#[test]
fn releases_are_read_up_to_the_second_number() {
    for (release, expect) in [
        ("6.18.44-fc", Some(KernelVersion(6, 18))),
        ("4.8", Some(KernelVersion(4, 8))),
        ("5.10-amd64", Some(KernelVersion(5, 10))),
        ("6", None),
        ("six.1", None),
        ("", None),
    ] {
        assert_eq!(KernelVersion::parse(release), expect, "{release:?}");
    }
    assert!(KernelVersion(4, 10) > KernelVersion(4, 8));
    assert!(KernelVersion::running() >= KernelVersion(4, 8));
}
