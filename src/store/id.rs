//! Random ids.

use anyhow::{Context, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fmt::Write;

/// `digits` random hexadecimal digits (getrandom(2)); 64 for objects, as in Docker.
pub fn random_hex(digits: usize) -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom(&mut bytes[..], GetRandomFlags::empty()).context("getrandom")?;
    let mut text = String::with_capacity(64);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(digits);
    Ok(text)
}
