//! How much memory an image takes on its way in and out: no more than 64 MB, whatever its size.

use crate::real::{Options, Registry};
use crate::somebody;
use crate::support::life::peak_memory;
use crate::support::{Call, Store};
use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

const MOST: u64 = 64 << 20;
/// A layer that nothing compresses, in bytes.
const SIZE: u64 = 128 << 20;

/// A tar of one file.
fn large(store: &Store) -> std::path::PathBuf {
    let path = store.file("large.tar", "");
    let mut builder = tar::Builder::new(File::options().write(true).open(&path).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(SIZE);
    header.set_mode(0o644);
    let noise = File::open("/dev/urandom").unwrap().take(SIZE);
    builder.append_data(&mut header, "noise", noise).unwrap();
    builder.into_inner().unwrap().flush().unwrap();
    path
}

/// Runs it to its end.
#[track_caller]
fn fits(call: Call) {
    let mut command = call.into_command();
    let words = format!("{command:?}");
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let most = peak_memory(&mut child);
    assert!(child.wait().unwrap().success(), "{words}");
    assert!((1..=MOST).contains(&most), "{most} bytes: {words}");
}

#[test]
fn a_large_layer_goes_and_comes_in_little_memory() {
    let (Some(registry), Some(store)) = (Registry::start(&Options::default()), somebody()) else {
        return;
    };
    let (name, file) = (registry.name("large:v1"), large(&store));
    fits(
        store
            .onggi(["import"])
            .args([file.to_str().unwrap(), &name]),
    );
    fits(store.onggi(["push", "-q", &name]));
    store.onggi(["rmi", "-f", &name]).run().code(0);
    fits(store.onggi(["pull", "-q", &name]));
    store.onggi(["system", "check", "--deep"]).run().code(0);
}
