//! Wrong command lines (docker run, "Exit status"): 125, a reason, nothing written.

use crate::support::{Call, everyone};

#[test]
fn what_is_no_command_or_flag_ends_with_125() {
    for store in everyone() {
        for words in [
            &["no-such-command"][..],
            &["run", "--no-such-flag", "x"],
            &["run"],
            &["ps", "--nonsense"],
        ] {
            let outcome = store.onggi(words).run();
            outcome.code(125).stdout("");
            outcome.expect(!outcome.stderr_text().is_empty(), "a reason");
        }
        assert!(store.snapshot().is_empty());
    }
}

#[test]
fn what_docker_has_and_we_do_not_says_so_in_one_line() {
    for store in everyone() {
        for words in [
            &["run", "--use-api-socket", "x"][..],
            &["checkpoint", "ls", "x"],
            &["swarm", "init"],
        ] {
            let outcome = store.onggi(words).run();
            outcome.code(125).stdout("");
            outcome.expect(outcome.stderr_text().lines().count() == 1, "one line");
        }
    }
}

#[test]
fn the_name_docker_answers_as_docker() {
    for store in everyone() {
        let docker = store.home().join("docker");
        std::os::unix::fs::symlink(crate::support::store::program(), &docker).unwrap();
        let outcome = Call::new(store.command(&docker)).args(["--version"]).run();
        outcome.code(0).expect(
            outcome.stdout_text().starts_with("Docker version "),
            "Docker's words",
        );
    }
}
