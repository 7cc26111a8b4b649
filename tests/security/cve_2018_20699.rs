//! CVE-2018-20699: a large number makes the engine take memory or time for as many things. With 400 MiB of address
//! space such numbers are refused, or taken as what they are.

use crate::support::{ALPINE, Need, everyone_in_memory, requires};
use crate::unwalled;

const NUMBERS: [&[&str]; 20] = [
    &["--cpuset-cpus", "0-4294967295"],
    &["--cpuset-cpus", "0-18446744073709551615"],
    &["--cpuset-cpus", "0-2147483646,0-2147483646"],
    &["--cpuset-mems", "0-4294967295"],
    &["--cpuset-mems", "1,2-999999999"],
    &["--memory", "18446744073709551615"],
    &["--memory", "9223372036854775807g"],
    &["--shm-size", "9999999999999g"],
    &["--tmpfs", "/x:size=99999999999999999999g"],
    &["--tmpfs", "/x:nr_inodes=99999999999999999999"],
    &["--ulimit", "nofile=9223372036854775807"],
    &["--ulimit", "nofile=99999999999999999999"],
    &["--pids-limit", "99999999999999999999"],
    &["--cpus", "1e300"],
    &["--stop-timeout", "99999999999999999999"],
    &[
        "--log-opt",
        "max-file=4294967295",
        "--log-opt",
        "max-size=1",
    ],
    &["--log-opt", "max-size=9999999999g"],
    &["--user", "18446744073709551616"],
    &["--group-add", "4294967296"],
    &["--oom-score-adj", "9223372036854775808"],
];

#[test]
fn numbers_cost_nothing() {
    if !requires(&[Need::Program("prlimit")]) {
        return;
    }
    for store in everyone_in_memory() {
        for options in NUMBERS {
            let words = ["run", "--rm", "--limits", "best-effort"]
                .iter()
                .chain(options);
            let onggi = store.onggi(words.chain(&[ALPINE, "true"])).into_command();
            let mut bounded = store.command("prlimit");
            bounded.arg("--as=419430400").arg(onggi.get_program());
            let outcome = unwalled::run({
                bounded.args(onggi.get_args());
                bounded
            });
            let said = outcome.stderr_text();
            outcome.expect(outcome.exit_code().is_some(), "an end by itself");
            outcome.expect(
                !said.contains("memory allocation") && !said.contains("panicked"),
                "an answer",
            );
        }
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

/// What takes memory for each of them fails under that bound.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Program("prlimit")]) {
        return;
    }
    let mut keeps = std::process::Command::new("prlimit");
    keeps.args(["--as=419430400", "dd", "if=/dev/zero", "of=/dev/null"]);
    keeps.args(["bs=1G", "count=1"]);
    let outcome = unwalled::run(keeps);
    outcome.expect(!outcome.succeeded(), "no memory");
}
