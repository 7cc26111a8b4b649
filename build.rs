//! How the program is linked.

use std::process::Command;

/// Released, it begins with the functions that start a container: where they lie among all the others, each page of memory
/// that one of them is on brings fifteen of others with it. The table of what is to be relocated, which is read at each
/// start, is packed: half a megabyte of memory less.
fn main() {
    println!("cargo::rerun-if-changed=src/order.ld");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/src/order.ld");
        if unpacks_relocations() {
            println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
        }
    }
}

/// Whether the C library that is linked in knows such a table: glibc since 2.36, here the one of this machine. Without that
/// the program would not start.
fn unpacks_relocations() -> bool {
    let [host, target] = ["HOST", "TARGET"].map(std::env::var);
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = |told: &str| {
        let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    };
    host == target && told.is_ok_and(|told| version(&told) >= Some((2, 36)))
}
