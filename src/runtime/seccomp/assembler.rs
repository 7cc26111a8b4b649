//! Writes a classic BPF program from its last instruction to its first: linux/filter.h, seccomp(2).
//!
//! BPF jumps only forwards, so when a jump is written its targets already stand, and every distance is known.
//! A conditional jump reaches 255 instructions; what lies farther gets an unconditional jump (or, for a return,
//! a copy of it) within reach.
//!
//! Invariant: every instruction that is not a return is followed by one.

use seccompiler::{BpfProgram, sock_filter};

const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;

/// The comparison of a conditional jump, unsigned.
#[derive(Clone, Copy)]
pub(super) enum Compare {
    /// The accumulator is the constant.
    Equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as isize,
    /// The accumulator is greater than the constant.
    Greater = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as isize,
    /// The accumulator is at least the constant.
    AtLeast = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as isize,
}

/// Where a path continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// It ends with this seccomp return value.
    Return(u32),
    /// At the instruction with this index, counted from the end of the program.
    At(usize),
}

#[derive(Default)]
pub(super) struct Assembler {
    /// The program from its end.
    reversed: Vec<sock_filter>,
    /// The nearest return of each value.
    returns: Vec<(u32, usize)>,
}

impl Assembler {
    /// How far a conditional jump may look for its target: 255 less the instructions that making the other
    /// target reachable can put in between.
    const REACH: usize = 253;

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> usize {
        self.reversed.push(sock_filter { code, jt, jf, k });
        self.reversed.len() - 1
    }

    fn push_return(&mut self, value: u32) -> usize {
        let index = self.push(RETURN, 0, 0, value);
        match self.returns.iter_mut().find(|(known, _)| *known == value) {
            Some(entry) => entry.1 = index,
            None => self.returns.push((value, index)),
        }
        index
    }

    /// The distance a jump needs that is written next.
    fn distance(&self, index: usize) -> usize {
        self.reversed.len() - index - 1
    }

    /// The index of an instruction within reach that leads to `target`.
    fn within_reach(&mut self, target: Target) -> usize {
        match target {
            Target::Return(value) => {
                let nearest = self.returns.iter().find(|(known, _)| *known == value);
                match nearest {
                    Some(&(_, index)) if self.distance(index) <= Self::REACH => index,
                    _ => self.push_return(value),
                }
            }
            Target::At(index) if self.distance(index) <= Self::REACH => index,
            Target::At(index) => {
                let far = self.distance(index);
                self.push(JUMP, 0, 0, far as u32)
            }
        }
    }

    /// Makes `target` the instruction that follows the one written next.
    fn follow(&mut self, target: Target) {
        match target {
            Target::Return(value) => {
                self.push_return(value);
            }
            Target::At(index) if index + 1 == self.reversed.len() => {}
            Target::At(index) => {
                let distance = self.distance(index);
                self.push(JUMP, 0, 0, distance as u32);
            }
        }
    }

    /// Compares the accumulator with `value`.
    pub(super) fn branch(
        &mut self,
        compare: Compare,
        value: u32,
        yes: Target,
        no: Target,
    ) -> Target {
        if yes == no {
            return yes;
        }
        let (yes, no) = (self.within_reach(yes), self.within_reach(no));
        let (jt, jf) = (self.distance(yes), self.distance(no));
        Target::At(self.push(compare as u16, jt as u8, jf as u8, value))
    }

    /// Loads the 32-bit word at `offset` of `struct seccomp_data` into the accumulator.
    pub(super) fn load(&mut self, offset: u32, then: Target) -> Target {
        self.follow(then);
        Target::At(self.push(LOAD_WORD, 0, 0, offset))
    }

    /// Keeps the bits of `mask` in the accumulator.
    pub(super) fn and(&mut self, mask: u32, then: Target) -> Target {
        self.follow(then);
        Target::At(self.push(AND, 0, 0, mask))
    }

    /// The program that starts at `entry`.
    pub(super) fn finish(mut self, entry: Target) -> BpfProgram {
        self.follow(entry);
        self.reversed.reverse();
        self.reversed
    }
}
