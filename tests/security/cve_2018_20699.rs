//! CVE-2018-20699: a large number makes the engine take memory or time for as many things. With 400 MiB of address
//! space, which everything that is started inherits, such numbers are refused by name, or taken as what they are.

use crate::support::{ALPINE, Need, Outcome, Store, everyone_in_memory, requires};
use crate::unwalled;

/// The first of the numbers, which without a check is one processor after the other.
const RANGE: &str = "0-4294967295";

/// Options and what the refusal says; nothing for a number that is taken.
const NUMBERS: [(&[&str], &str); 20] = [
    (&["--cpuset-cpus", RANGE], "for cpuset cpus"),
    (
        &["--cpuset-cpus", "0-18446744073709551615"],
        "for cpuset cpus",
    ),
    (
        &["--cpuset-cpus", "0-2147483646,0-2147483646"],
        "for cpuset cpus",
    ),
    (&["--cpuset-mems", RANGE], "for cpuset mems"),
    (&["--cpuset-mems", "1,2-999999999"], "for cpuset mems"),
    (
        &["--memory", "18446744073709551615"],
        "\"-m, --memory\" flag",
    ),
    (
        &["--memory", "9223372036854775807g"],
        "\"-m, --memory\" flag",
    ),
    (&["--shm-size", "9999999999999g"], "\"--shm-size\" flag"),
    (
        &["--tmpfs", "/x:size=99999999999999999999g"],
        "\"--tmpfs\" flag",
    ),
    (&["--tmpfs", "/x:nr_inodes=99999999999999999999"], "tmpfs"),
    (&["--ulimit", "nofile=9223372036854775807"], ""),
    (
        &["--ulimit", "nofile=99999999999999999999"],
        "\"--ulimit\" flag",
    ),
    (
        &["--pids-limit", "99999999999999999999"],
        "\"--pids-limit\" flag",
    ),
    (&["--cpus", "1e300"], "\"--cpus\" flag"),
    (
        &["--stop-timeout", "99999999999999999999"],
        "\"--stop-timeout\" flag",
    ),
    (
        &[
            "--log-opt",
            "max-file=4294967295",
            "--log-opt",
            "max-size=1",
        ],
        "max-file is 4294967295",
    ),
    (
        &["--log-opt", "max-size=9999999999g"],
        "invalid size: '9999999999g'",
    ),
    (
        &["--user", "18446744073709551616"],
        "unable to find user 18446744073709551616",
    ),
    (
        &["--group-add", "4294967296"],
        "unable to find group 4294967296",
    ),
    (
        &["--oom-score-adj", "9223372036854775808"],
        "\"--oom-score-adj\" flag",
    ),
];

/// Runs it with little memory.
fn bounded(store: &Store, program: &std::process::Command) -> Outcome {
    let mut bounded = store.command("prlimit");
    bounded.arg("--as=419430400").arg(program.get_program());
    bounded.args(program.get_args());
    unwalled::run(bounded)
}

#[test]
fn numbers_cost_nothing() {
    if !requires(&[Need::Program("prlimit")]) {
        return;
    }
    for store in everyone_in_memory() {
        for (options, refusal) in NUMBERS {
            let run = ["run", "--rm", "--limits", "best-effort"];
            let words = run.iter().chain(options).chain(&[ALPINE, "echo", "ran"]);
            let outcome = bounded(&store, &store.onggi(words).into_command());
            match refusal {
                "" => outcome.code(0).stdout("ran\n"),
                // Whoever was killed for its memory has not said that.
                refusal => outcome.code(125).stdout("").stderr_has(refusal),
            };
            let said = outcome.stderr_text();
            for end in ["memory allocation", "panicked", "was killed"] {
                outcome.expect(!said.contains(end), "an answer");
            }
        }
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

/// A program that takes such a range as one thing after the other comes to its end under that bound, which leaves
/// room enough for the processors of any machine.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Program("prlimit")]) {
        return;
    }
    for store in everyone_in_memory() {
        let expanded = |range: &str| {
            let mut shell = store.command("sh");
            shell.args(["-c", "set -- $(seq ${0%-*} ${0#*-}); echo $#", range]);
            bounded(&store, &shell)
        };
        expanded("0-8191").code(0).stdout("8192\n");
        let outcome = expanded(RANGE);
        outcome.expect(!outcome.succeeded(), "no memory").stdout("");
    }
}
