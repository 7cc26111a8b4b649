//! Calls by which a program takes its files out of the project whose size is limited (`--storage-opt size=`): the owner
//! of a file may give it to another one, and may have what is made in a directory belong to none, without any
//! capability (ioctl_xfs_fsgetxattr(2), ioctl_iflags(2), file_setattr(2)). In a user namespace other than the first the
//! kernel refuses that itself.
//!
//! What else these calls change, such as whether files are compressed, cannot be told apart: it is behind a pointer.

use super::syscall_table::Family;
use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompOperator, LinuxSyscall,
};

/// `FS_IOC_FSSETXATTR`, `FS_IOC_SETFLAGS`, and the latter for programs of 32 bits (linux/fs.h). The kernel looks at 32 bits.
const REQUESTS: [u64; 3] = [0x401c_5820, 0x4008_6602, 0x4004_6602];
const REQUEST: u64 = 0xffff_ffff;

/// All calls but these.
pub(super) fn policy(family: Family) -> LinuxSeccomp {
    let rule = |name: &str| {
        let mut rule = LinuxSyscall::default();
        rule.set_names(vec![name.to_owned()])
            .set_action(LinuxSeccompAction::ScmpActErrno);
        rule
    };
    let ioctl = |request| {
        let argument = LinuxSeccompArgBuilder::default()
            .index(1_usize)
            .value(REQUEST)
            .value_two(request)
            .op(LinuxSeccompOperator::ScmpCmpMaskedEq);
        let mut rule = rule("ioctl");
        rule.set_args(argument.build().ok().map(|argument| vec![argument]));
        rule
    };
    let mut policy = LinuxSeccomp::default();
    policy
        .set_default_action(LinuxSeccompAction::ScmpActAllow)
        .set_architectures(Some(family.architectures().to_vec()));
    let rules = REQUESTS.map(ioctl).into_iter();
    policy.set_syscalls(Some(rules.chain([rule("file_setattr")]).collect()));
    policy
}
