//! Runs a program as the kernel would: the checks of bpf_check_classic and seccomp_check_filter first, then the
//! instructions these leave.

use seccompiler::sock_filter;

/// `struct seccomp_data`.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub number: u32,
    pub architecture: u32,
    pub arguments: [u64; 6],
}

impl Call {
    pub fn new(architecture: u32, number: u32) -> Self {
        Self {
            number,
            architecture,
            arguments: [0; 6],
        }
    }

    pub fn with(mut self, argument: usize, value: u64) -> Self {
        self.arguments[argument] = value;
        self
    }

    fn word(&self, offset: u32) -> u32 {
        let argument = |offset: u32| {
            let value = self.arguments[(offset as usize - 16) / 8];
            if offset & 4 == 0 {
                value as u32
            } else {
                (value >> 32) as u32
            }
        };
        match offset {
            0 => self.number,
            4 => self.architecture,
            16.. => argument(offset),
            _ => panic!("the instruction pointer is not used"),
        }
    }
}

/// What the kernel refuses to load.
pub fn check(program: &[sock_filter]) {
    assert!(
        !program.is_empty() && program.len() <= 4096,
        "{} instructions",
        program.len()
    );
    assert_eq!(
        program.last().unwrap().code,
        0x06,
        "the last instruction returns"
    );
    for (at, one) in program.iter().enumerate() {
        let left = (program.len() - at - 1) as u32;
        match one.code {
            0x20 => assert!(one.k < 64 && one.k & 3 == 0, "load of {}", one.k),
            0x05 => assert!(one.k < left, "jump out of the program at {at}"),
            0x15 | 0x25 | 0x35 => {
                assert!(
                    u32::from(one.jt.max(one.jf)) < left,
                    "jump out of the program at {at}"
                );
            }
            0x06 | 0x54 => {}
            code => panic!("unexpected instruction {code:#x} at {at}"),
        }
    }
}

/// The return value for `call`.
pub fn run(program: &[sock_filter], call: &Call) -> u32 {
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let one = &program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { one.jt } else { one.jf });
        match one.code {
            0x20 => accumulator = call.word(one.k),
            0x05 => at += one.k as usize,
            0x15 => branch(accumulator == one.k),
            0x25 => branch(accumulator > one.k),
            0x35 => branch(accumulator >= one.k),
            0x54 => accumulator &= one.k,
            0x06 => return one.k,
            code => panic!("unexpected instruction {code:#x}"),
        }
    }
}

/// Whether the kernel can tell beforehand that it always allows this number: the instructions of
/// seccomp_is_const_allow up to the verdict.
pub fn is_cached(program: &[sock_filter], call: &Call) -> bool {
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let one = &program[at];
        at += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { one.jt } else { one.jf });
        match one.code {
            0x20 if one.k < 8 => accumulator = call.word(one.k),
            0x05 => at += one.k as usize,
            0x15 => branch(accumulator == one.k),
            0x25 => branch(accumulator > one.k),
            0x35 => branch(accumulator >= one.k),
            0x54 => accumulator &= one.k,
            0x06 => return one.k == libc::SECCOMP_RET_ALLOW,
            _ => return false,
        }
    }
}
