//! A host of its own for a bench, as far as networks go, and the users whose figures are asked for.
#![allow(clippy::print_stdout, reason = "a bench says what it leaves out")]

use crate::measure::asked;
use crate::support::{self, Store, User, everyone_in_memory};
use onggi::sys::namespace::bring_loopback_up;
use std::os::unix::process::CommandExt;
use std::process::Command;

const USERS: [&str; 3] = ["root", "subuid", "single"];

/// Runs this program again in a network namespace of its own; `false` for those who may not.
pub fn enter() -> bool {
    if !support::host::is_root() {
        println!("left out: it needs root");
        return false;
    }
    if std::env::var_os("ONGGI_BENCH_HOST").is_some() {
        bring_loopback_up().unwrap();
        return true;
    }
    let mut inside = Command::new("unshare");
    inside.arg("--net").arg(std::env::current_exe().unwrap());
    let arguments = std::env::args_os().skip(1);
    let error = inside.args(arguments).env("ONGGI_BENCH_HOST", "1").exec();
    panic!("unshare: {error}");
}

/// Those that the command line names, or all. Run roots are in memory, as wherever there is systemd.
pub fn users() -> impl Iterator<Item = Store> {
    everyone_in_memory().filter(|store| {
        let name = match store.user {
            User::Root => USERS[0],
            User::Subuid => USERS[1],
            User::Single => USERS[2],
        };
        asked(name, &USERS)
    })
}
