//! How the program is linked.

/// Released, it begins with the functions that start a container: where they lie among all the others, each page of memory
/// that one of them is on brings fifteen of others with it.
fn main() {
    println!("cargo::rerun-if-changed=src/order.ld");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{root}/src/order.ld");
    }
}
