//! Workers of builds, driven as the scheduler does it. This program is the one that they are: so it is its own test
//! runner, which runs itself again as each user, and under the names of a worker and of a network process.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test runner of its own"
)]

#[path = "../support/mod.rs"]
mod support;

mod drive;
mod files;
mod mounts;
mod run;

use onggi::build::worker;
use onggi::container::network::process;
use onggi::sys::namespace;
use onggi::sys::process::flags;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    match std::env::args().next().as_deref() {
        Some(worker::WORKER_NAME) => return worker::main(std::env::args_os()).into(),
        Some(process::NETWORK_NAME) => return process::main(std::env::args_os()).into(),
        _ => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == drive::DRIVE) {
        return drive::main(&words[1..]);
    }
    if let [word, path] = &words[..]
        && word == "speak"
    {
        mounts::speak(path);
        return ExitCode::SUCCESS;
    }
    if words.first().is_some_and(|word| word == "speed") {
        run::speed();
        return ExitCode::SUCCESS;
    }
    // Networks of root's are in a namespace of this program's own, not in that of the host.
    if rustix::process::geteuid().is_root()
        && namespace::unshare(flags::NEW_NET).is_ok()
        && let Err(error) = namespace::bring_loopback_up()
    {
        eprintln!("bring the loopback interface up: {error}");
        return ExitCode::FAILURE;
    }
    let filters: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let mut failed = 0;
    let all = run::TESTS.iter().chain(mounts::TESTS).chain(files::TESTS);
    for (name, test) in all.filter(|(name, _)| is_wanted(name)) {
        let is_ok = std::panic::catch_unwind(test).is_ok();
        failed += u8::from(!is_ok);
        eprintln!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
    }
    failed.min(1).into()
}
