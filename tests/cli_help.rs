//! What `--help` shows, frozen whole: a change of the command line is seen in review. And the grammar of options
//! from outside: Docker's, with Docker's words and exit codes.

use onggi::cli::command::{COMMANDS, GROUPS, Section};
use onggi::cli::{flag, help, runtime};
use std::process::{Command, Output};

fn onggi(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onggi"));
    command
        .env("ONGGI_ROOT", directory.path().join("data"))
        .env("ONGGI_RUNROOT", directory.path().join("run"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_of_everything() {
    let mut all = help::of_program("onggi", &flag::build_global(), help::WIDTH);
    for (noun, about) in GROUPS {
        all += &format!(
            "\n──── onggi {noun}\n{}",
            match *noun {
                runtime::NOUN => runtime::help("onggi runtime", about),
                noun => help::of_group(&format!("onggi {noun}"), noun, about, None),
            }
        );
    }
    for command in COMMANDS
        .iter()
        .filter(|command| command.section != Section::Hidden)
    {
        let spelling = command.spellings[0];
        all += &format!(
            "\n──── onggi {spelling}\n{}",
            help::of_command("onggi", command, spelling, help::WIDTH)
        );
    }
    insta::assert_snapshot!(all);
}

#[test]
fn help_is_data_where_it_was_asked_for_and_a_note_where_it_was_not() {
    for arguments in [
        &["--help"][..],
        &["help"],
        &["run", "--help"],
        &["help", "ps"],
        &["image", "--help"],
        &["ps", "-h"],
    ] {
        let outcome = onggi(arguments);
        assert_eq!(outcome.status.code(), Some(0), "{arguments:?}");
        assert!(
            text(&outcome.stdout).starts_with("Usage:  onggi"),
            "{arguments:?}"
        );
        assert_eq!(text(&outcome.stderr), "", "{arguments:?}");
    }
    for arguments in [&[][..], &["container"]] {
        let outcome = onggi(arguments);
        assert_eq!(
            (outcome.status.code(), text(&outcome.stdout).as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
        assert!(
            text(&outcome.stderr).starts_with("Usage:  onggi"),
            "{arguments:?}"
        );
    }
}

#[test]
fn mistakes_have_dockers_words() {
    for (arguments, first_line) in [
        (&["run", "--foo", "x"][..], "unknown flag: --foo"),
        (&["run", "-itZ", "x"], "unknown shorthand flag: 'Z' in -itZ"),
        (&["run", "--name"], "flag needs an argument: --name"),
        (&["run", "-e"], "flag needs an argument: 'e' in -e"),
        (
            &["pull", "--authfile", "", "alpine"],
            "invalid argument \"\" for \"--authfile\" flag: it is empty",
        ),
        (
            &["pull", "--tls-verify=maybe", "alpine"],
            "invalid argument \"maybe\" for \"--tls-verify\" flag: expected true or false",
        ),
        (&["run"], "onggi: 'onggi run' requires at least 1 argument"),
        (&["ps", "x"], "onggi: 'onggi ps' accepts no arguments"),
        (
            &["run", "--rm=maybe", "x"],
            "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            &["run", "-e", "=x", "x"],
            "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x",
        ),
        (
            &["run", "--ulimit", "foo", "x"],
            "invalid argument \"foo\" for \"--ulimit\" flag: invalid ulimit argument: foo",
        ),
        (&["frobnicate"], "onggi: unknown command: onggi frobnicate"),
        (
            &["container", "frobnicate"],
            "onggi: unknown command: onggi container frobnicate",
        ),
        (&["--foo"], "unknown flag: --foo"),
        (
            &["-l", "loud", "ps"],
            "invalid argument \"loud\" for \"-l, --log-level\" flag: unable to parse logging level: loud",
        ),
        (
            &["run", "-d", "-a", "stdout", "x"],
            "onggi: conflicting options: cannot specify both --attach and --detach",
        ),
        (
            &["run", "--publish", "x:80", "x"],
            "onggi: invalid hostPort: x",
        ),
        (&["run", "-p80:x", "x"], "onggi: invalid containerPort: x"),
        (
            &["run", "--ip", "x", "x"],
            "invalid argument \"x\" for \"--ip\" flag: failed to parse IP: \"x\"",
        ),
        (
            &["run", "--link", "a:b:c", "x"],
            "invalid argument \"a:b:c\" for \"--link\" flag: bad format for links: a:b:c",
        ),
        (
            &["run", "--network", "host", "--network", "web", "x"],
            "onggi: conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            &["run", "--cpu-count", "1", "x"],
            "onggi: --cpu-count is not supported: it exists on Windows only",
        ),
        (
            &["run", "--runtime", "runc", "x"],
            "onggi: --runtime runc is not supported yet: no other runtime can be used (see README, \"Not there yet\")",
        ),
        (
            &["buildx", "bake"],
            "onggi: 'onggi buildx' is not supported yet: the builder builds Dockerfiles one at a time, and keeps no history (see README, \"Not there yet\")",
        ),
        (
            &["buildx", "imagetools", "inspect", "x"],
            "onggi: 'onggi buildx imagetools' is not supported yet: `manifest inspect`, `manifest create` with `manifest push`, and \
             `image copy` do what it does (see README, \"Not there yet\")",
        ),
        (
            &["build", "--volume", "/a:/b", "."],
            "onggi: --volume is not supported: `RUN --mount=type=bind,from=NAME` shows what `--build-context NAME=DIRECTORY` \
             names, `type=cache` keeps files",
        ),
        (
            &["build", "--from", "x", "."],
            "onggi: --from is not supported: `--build-context NAME=docker-image://OTHER` takes the place of `FROM NAME`, \
             `--build-arg` that of `FROM $NAME`",
        ),
        (
            &["-H", "tcp://h:1", "ps"],
            "onggi: --host tcp://h:1 is not supported: there is no engine to speak to; containers run on this machine, \
             started by this program itself",
        ),
    ] {
        let outcome = onggi(arguments);
        let stderr = text(&outcome.stderr);
        assert_eq!(stderr.lines().next(), Some(first_line), "{arguments:?}");
        assert_eq!(
            (outcome.status.code(), outcome.stdout.len()),
            (Some(125), 0),
            "{arguments:?}: {stderr}"
        );
    }
}

/// Each of these is understood, so that the image is looked for and not found.
#[test]
fn the_grammar_is_that_of_pflag() {
    for arguments in [
        &["--rm=false", "--read-only=1", "no-such-image"][..],
        &["-i=false", "-teK=V", "no-such-image"],
        &["-e", "--weird", "no-such-image", "--rm", "-x"],
        &["-e=A=B", "--", "no-such-image", "--", "-x"],
        &["--name", "a", "--name", "b", "no-such-image"],
        &["--entrypoint", "", "--entrypoint=", "no-such-image", "sh"],
        &["--net", "none", "--dns-opt", "ndots:1", "no-such-image"],
        &[
            "--restart=no",
            "--isolation",
            "default",
            "-q",
            "--disable-content-trust=false",
            "no-such-image",
        ],
        &[
            "--stop-timeout",
            "-1",
            "--ulimit",
            "nofile=1:2",
            "no-such-image",
        ],
    ] {
        let outcome = onggi(&[&["create", "--pull=never"], arguments].concat());
        let stderr = text(&outcome.stderr);
        assert!(
            stderr.starts_with("onggi: No such image: no-such-image:latest"),
            "{arguments:?}: {stderr}"
        );
        assert_eq!(outcome.status.code(), Some(125), "{arguments:?}");
    }
}

#[test]
fn names_of_the_program() {
    use std::os::unix::process::CommandExt;
    for (name, first_line) in [
        (
            "onggi",
            format!("onggi version {}", env!("CARGO_PKG_VERSION")),
        ),
        (
            "/usr/bin/docker",
            format!(
                "Docker version 28.5.2, build onggi-{}",
                env!("CARGO_PKG_VERSION")
            ),
        ),
        ("podman", "podman version 5.8.6".to_owned()),
    ] {
        let outcome = Command::new(env!("CARGO_BIN_EXE_onggi"))
            .arg0(name)
            .arg("--version")
            .output()
            .unwrap();
        assert_eq!(text(&outcome.stdout), first_line + "\n");
    }
    let outcome = Command::new(env!("CARGO_BIN_EXE_onggi"))
        .arg0("docker-compose")
        .arg("up")
        .output()
        .unwrap();
    assert!(text(&outcome.stderr).starts_with("docker: 'docker compose' is not supported yet"));
}
