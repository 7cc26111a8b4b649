//! What keeps the files of a limited container in its project.

use super::*;
use interpreter::{check, run};

#[test]
fn no_call_leads_out_of_a_project() {
    for family in [Family::X86, Family::Arm] {
        let program = program_for(
            &crate::runtime::seccomp::projects::policy(family),
            Identity::Mapped,
            family,
        );
        check(&program);
        // ioctl(2) and file_setattr(2) of each architecture.
        let calls = match family {
            Family::X86 => [(X86_64, 16), (X86, 54)],
            Family::Arm => [(AARCH64, 29), (ARM, 54)],
        };
        for (architecture, ioctl) in calls {
            let decides =
                |number, request| run(&program, &Call::new(architecture, number).with(1, request));
            let eperm = denied(libc::EPERM);
            for request in [0x401c_5820, 0x4008_6602, 0x4004_6602] {
                assert_eq!(decides(ioctl, request), eperm);
                // The kernel takes the lower half.
                assert_eq!(decides(ioctl, request | 1 << 40), eperm);
            }
            assert_eq!(decides(469, 0), eperm);
            // TCGETS, FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS; read(2) of x86_64 and others.
            for request in [0x5401, 0x801c_581f, 0x8008_6601] {
                assert_eq!(decides(ioctl, request), ALLOWED);
            }
            assert_eq!(decides(0, 0x401c_5820), ALLOWED);
        }
    }
}
