//! Tests of the filters: against an interpreter of classic BPF, against seccompiler, and against the kernel.

mod docker;
mod interpreter;
mod kernel;
mod profile_file;
mod projects;
mod rules;

use super::*;
use crate::runtime::capabilities::{CapabilitySet, named};
use interpreter::Call;

const X86_64: u32 = 0xc000_003e;
const X86: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;
const ARM: u32 = 0x4000_0028;

const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const KILLED: u32 = libc::SECCOMP_RET_KILL_PROCESS;

const fn denied(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | errno as u32
}

fn circumstances(capabilities: CapabilitySet) -> Circumstances {
    Circumstances {
        capabilities,
        kernel: KernelVersion(6, 1),
    }
}

fn program_for(seccomp: &LinuxSeccomp, identity: Identity, family: Family) -> BpfProgram {
    compiler::compile(&Policy::from_oci(seccomp, identity, family).unwrap())
}

fn policy(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}
