//! The five capability sets of the calling thread as bit masks: capset(2), capget(2), prctl(2),
//! capabilities(7). Names and Docker's rules are not known here.
//!
//! Bit n of a mask is capability number n. Every call takes about 0.1 µs, and none reads /proc.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: 64 bits in two words.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    process: libc::c_int,
}

/// One half (32 numbers) of the three sets.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// The three sets that [capset(2)](https://man7.org/linux/man-pages/man2/capset.2.html) changes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sets {
    /// What permission checks look at.
    pub effective: u64,
    /// What may be made effective.
    pub permitted: u64,
    /// What a file's inheritable set may keep across execve(2).
    pub inheritable: u64,
}

/// Reads the sets of the calling thread (capget(2)).
pub fn get() -> Result<Sets> {
    let mut header = Header {
        version: VERSION,
        process: 0,
    };
    let mut halves = [Half::default(); 2];
    // SAFETY: version 3 makes the kernel write exactly two halves; both pointers live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("capget");
    }
    let join =
        |half: fn(&Half) -> u32| u64::from(half(&halves[1])) << 32 | u64::from(half(&halves[0]));
    Ok(Sets {
        effective: join(|half| half.effective),
        permitted: join(|half| half.permitted),
        inheritable: join(|half| half.inheritable),
    })
}

/// Replaces the sets of the calling thread (capset(2)).
#[expect(
    clippy::cast_possible_truncation,
    reason = "each half takes its 32 bits"
)]
pub fn set(sets: Sets) -> Result<()> {
    let mut header = Header {
        version: VERSION,
        process: 0,
    };
    let half = |shift: u32| Half {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let halves = [half(0), half(32)];
    // SAFETY: version 3 makes the kernel read exactly two halves; both pointers live through the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error()).context("capset");
    }
    Ok(())
}

fn prctl(option: libc::c_int, second: u64, third: u64) -> io::Result<i32> {
    // SAFETY: the options used in this file take plain numbers, no pointers.
    let result = unsafe { libc::prctl(option, second, third, 0, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// The numbers the running kernel knows, as a mask: `PR_CAPBSET_READ` answers `EINVAL` above the last one.
pub fn known() -> u64 {
    let exists = |number: u64| prctl(libc::PR_CAPBSET_READ, number, 0).is_ok();
    // The numbers are dense, so the border is found by halving.
    let (mut below, mut above) = (0, 64);
    while above - below > 1 {
        let middle = u64::midpoint(below, above);
        if exists(middle) {
            below = middle;
        } else {
            above = middle;
        }
    }
    u64::MAX >> (63 - below)
}

/// The bounding set of the calling thread (`PR_CAPBSET_READ`).
pub fn bounding() -> u64 {
    // A number the kernel does not know is an error and thereby the end.
    (0..64)
        .map_while(|number| Some((number, prctl(libc::PR_CAPBSET_READ, number, 0).ok()?)))
        .filter(|&(_, present)| present == 1)
        .fold(0, |mask, (number, _)| mask | 1 << number)
}

/// Takes everything that is not in `keep` out of the bounding set (`PR_CAPBSET_DROP`); needs `CAP_SETPCAP`
/// unless nothing is left to take.
pub fn limit_bounding(keep: u64) -> Result<()> {
    for number in (0..64).filter(|number| keep >> number & 1 == 0) {
        match prctl(libc::PR_CAPBSET_DROP, number, 0) {
            Ok(_) => {}
            // The numbers are dense: the kernel knows none from here on.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            // What is already gone may be dropped by nobody without the capability, and need not be.
            Err(_) if bounding() & !keep == 0 => break,
            Err(error) => {
                return Err(error).with_context(|| format!("prctl PR_CAPBSET_DROP {number}"));
            }
        }
    }
    Ok(())
}

/// Makes the ambient set equal to `mask` (`PR_CAP_AMBIENT`); each must be permitted and inheritable.
pub fn set_ambient(mask: u64) -> Result<()> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as u64,
        0,
    )
    .context("prctl PR_CAP_AMBIENT_CLEAR_ALL")?;
    for number in (0..64).filter(|number| mask >> number & 1 == 1) {
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as u64,
            number,
        )
        .with_context(|| format!("prctl PR_CAP_AMBIENT_RAISE {number}"))?;
    }
    Ok(())
}

/// Lets the permitted set survive the change from user id 0 to another (`PR_SET_KEEPCAPS`), until execve(2).
pub fn keep_across_setuid() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0).context("prctl PR_SET_KEEPCAPS")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_reaches_the_last_number_of_the_kernel() {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        let last: u32 = last.trim().parse().unwrap();
        assert_eq!(known(), u64::MAX >> (63 - last));
    }

    #[test]
    fn the_sets_are_those_of_proc() {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let of = |key: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap();
            u64::from_str_radix(line.trim(), 16).unwrap()
        };
        let sets = get().unwrap();
        assert_eq!(sets.effective, of("CapEff:"));
        assert_eq!(sets.permitted, of("CapPrm:"));
        assert_eq!(sets.inheritable, of("CapInh:"));
        assert_eq!(bounding(), of("CapBnd:"));
    }
}
