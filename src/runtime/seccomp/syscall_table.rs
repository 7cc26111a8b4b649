//! System calls by name and number on the architectures this program runs on, and on those whose programs the
//! same kernel also runs: x86_64 with i386 and x32, aarch64 with 32-bit arm. seccomp(2), syscall(2).
//!
//! Numbers come from the `syscalls` crate; what it lacks (x32's own numbers, arm's private calls) is added here.

use oci_spec::runtime::Arch;
use syscalls::{aarch64, arm, x86, x86_64};

/// The bit that marks a call of the x32 ABI.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// One table of numbers, as the kernel tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// 64-bit x86; with x32's own numbers (512 to 547), which no x86_64 call has.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit arm.
    Aarch64,
    /// 32-bit arm, EABI.
    Arm,
}

/// The tables one kernel runs, its own first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// x86_64, x32, i386.
    X86,
    /// aarch64, arm.
    Arm,
}

impl Family {
    /// The one this program was built for.
    pub(super) const HOST: Self = if cfg!(target_arch = "aarch64") {
        Self::Arm
    } else {
        Self::X86
    };

    /// The kernel's own table and the compatible one.
    pub(super) const fn tables(self) -> [Table; 2] {
        match self {
            Self::X86 => [Table::X86_64, Table::X86],
            Self::Arm => [Table::Aarch64, Table::Arm],
        }
    }

    /// All architectures of the family, the kernel's own first.
    pub(super) const fn architectures(self) -> &'static [Arch] {
        match self {
            Self::X86 => &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
            Self::Arm => &[Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        }
    }
}

impl Table {
    /// `AUDIT_ARCH_*` of linux/audit.h, which `struct seccomp_data` carries.
    pub(super) const fn audit_architecture(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The architecture that must be listed in a policy for this table to be used.
    pub(super) const fn architecture(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// Whether arguments are 32 bits wide; the kernel then shows their upper halves as zero.
    pub(super) const fn is_narrow(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// Where a second block of numbers starts, after a gap that belongs to no one yet.
    pub(super) const fn second_block(self) -> u32 {
        match self {
            Self::X86_64 => 512,
            Self::Arm => ARM_PRIVATE,
            Self::X86 | Self::Aarch64 => u32::MAX,
        }
    }

    /// Every number with its name, in ascending order.
    pub(super) fn for_each(self, visit: impl FnMut(u32, &'static str)) {
        macro_rules! walk {
            ($module:ident, $more:expr) => {{
                let first = (0..=$module::Sysno::last().id())
                    .filter_map(|number| $module::Sysno::new(number as usize))
                    .map(|call| (call.id() as u32, call.name()));
                let more: &[(u32, &'static str)] = $more;
                first.chain(more.iter().copied()).for_each({
                    let mut visit = visit;
                    move |(number, name)| visit(number, name)
                });
            }};
        }
        match self {
            Self::X86_64 => walk!(x86_64, X32),
            Self::X86 => walk!(x86, &[]),
            Self::Aarch64 => walk!(aarch64, &[]),
            Self::Arm => walk!(arm, ARM),
        }
    }
}

/// Calls that x32 numbers differently from x86_64 because their structures hold pointers or longs
/// (arch/x86/entry/syscalls/syscall_64.tbl, ABI "x32").
pub(super) const X32: &[(u32, &str)] = &[
    (512, "rt_sigaction"),
    (513, "rt_sigreturn"),
    (514, "ioctl"),
    (515, "readv"),
    (516, "writev"),
    (517, "recvfrom"),
    (518, "sendmsg"),
    (519, "recvmsg"),
    (520, "execve"),
    (521, "ptrace"),
    (522, "rt_sigpending"),
    (523, "rt_sigtimedwait"),
    (524, "rt_sigqueueinfo"),
    (525, "sigaltstack"),
    (526, "timer_create"),
    (527, "mq_notify"),
    (528, "kexec_load"),
    (529, "waitid"),
    (530, "set_robust_list"),
    (531, "get_robust_list"),
    (532, "vmsplice"),
    (533, "move_pages"),
    (534, "preadv"),
    (535, "pwritev"),
    (536, "rt_tgsigqueueinfo"),
    (537, "recvmmsg"),
    (538, "sendmmsg"),
    (539, "process_vm_readv"),
    (540, "process_vm_writev"),
    (541, "setsockopt"),
    (542, "getsockopt"),
    (543, "io_setup"),
    (544, "io_submit"),
    (545, "execveat"),
    (546, "preadv2"),
    (547, "pwritev2"),
];

/// `__ARM_NR_BASE`: what only the arm kernel has.
const ARM_PRIVATE: u32 = 0x0f_0000;

/// arm's private calls (arch/arm/include/uapi/asm/unistd.h).
pub(super) const ARM: &[(u32, &str)] = &[
    (ARM_PRIVATE + 1, "breakpoint"),
    (ARM_PRIVATE + 2, "cacheflush"),
    (ARM_PRIVATE + 3, "usr26"),
    (ARM_PRIVATE + 4, "usr32"),
    (ARM_PRIVATE + 5, "set_tls"),
    (ARM_PRIVATE + 6, "get_tls"),
];
