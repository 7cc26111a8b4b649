//! `--secret` and `--ssh`: what steps see of them, and that nothing else does.

use crate::support::life::until;
use crate::support::{Need, Store, User, everyone_with_alpine, requires};
use std::path::Path;
use std::process::{Child, Stdio};

const SECRETS: &str = r#"FROM alpine:3.20
RUN --mount=type=secret,id=file test "$(cat /run/secrets/file)" = "$(cat /run/secrets/file)" && \
    test "$(wc -c < /run/secrets/file)" = 12 && ! echo x > /run/secrets/file
RUN --mount=type=secret,id=variable,target=/place/token,mode=0440,uid=7,gid=8 \
    test "$(wc -c < /place/token)" = 16 && stat -c '%a %u:%g' /place/token > /told
RUN --mount=type=secret,id=variable,env=TOKEN test "${#TOKEN}" = 16 && test ! -e /run/secrets/variable
RUN --mount=type=secret,id=variable,env=TOKEN,target=/both test "$(cat /both)" = "$TOKEN"
RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent && echo absent >> /told
RUN --mount=type=secret,target=named cat named >> /told; test ! -e /run/secrets
CMD ["cat", "/told"]
"#;

#[test]
fn secrets_are_seen_by_their_steps_alone() {
    for store in everyone_with_alpine() {
        store.file("context/Dockerfile", SECRETS);
        let build = |file: &str, variable: &str| {
            store.file("word", file);
            let words = [
                "build",
                "--progress=plain",
                "-t=app",
                "--secret=id=file,src=word",
                "--secret=type=env,id=variable,env=WORD",
                "context",
            ];
            let built = store.onggi(words).env("WORD", variable).run();
            built.code(0);
            built
        };
        let first = build("hush of file", "hush of variable");
        // Who has one id owns everything that it sees.
        let owner = if store.user == User::Single {
            "0:0"
        } else {
            "7:8"
        };
        let told = format!("440 {owner}\nabsent\n");
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout(&told);
        store.ok(["save", "-o", "app.tar", "app"]);
        std::fs::remove_file(store.home().join("word")).unwrap();
        for place in [store.data(), store.run_root(), store.home().join("app.tar")] {
            assert_eq!(holding(&place, b"hush of "), Vec::<String>::new());
        }
        let history = store.onggi(["history", "--no-trunc", "app"]).run();
        history.code(0).stdout_lacks("hush of ");
        first.stderr_lacks("hush of ");
        // Another secret makes no other step.
        let second = build("hush no more", "other of variable");
        let cached = second.stderr_text().matches("CACHED").count();
        second.expect(cached == 7, "the image and six cached steps");
    }
}

/// The files below a directory that hold these bytes.
fn holding(place: &Path, wanted: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(metadata) = place.symlink_metadata() else {
        return found;
    };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            found.extend(holding(&entry.path(), wanted));
        }
    } else if metadata.is_file() {
        let bytes = std::fs::read(place).unwrap();
        if bytes.windows(wanted.len()).any(|window| window == wanted) {
            found.push(place.display().to_string());
        }
    }
    found
}

#[test]
fn secrets_that_cannot_be_had_are_told() {
    for store in everyone_with_alpine().take(1) {
        let file = "FROM alpine:3.20\nRUN --mount=type=secret,id=a,required cat /run/secrets/a\n";
        store.file("context/Dockerfile", file);
        store.file("large", vec![b'x'; 600 << 10]);
        for (secret, told) in [
            (
                "id=b,src=context/Dockerfile",
                "secret a: not found, and the step requires it",
            ),
            ("id=a,src=nothing", "nothing"),
            ("id=a,src=large", "secret a too big. max size 500KB"),
            ("id=a,src=context", "context"),
        ] {
            let words = ["build", "--secret", secret, "context"];
            store.onggi(words).run().code(1).stderr_has(told);
        }
        // As with BuildKit, a variable that is not set is a secret with nothing in it.
        let empty =
            "FROM alpine:3.20\nRUN --mount=type=secret,id=a,required test ! -s /run/secrets/a\n";
        store.file("context/Dockerfile", empty);
        let unset = ["build", "--secret=id=a,env=NO_SUCH_VARIABLE", "context"];
        store.onggi(unset).run().code(0);
        // What cannot be read is told although no step wants it.
        store.file("context/Dockerfile", "FROM alpine:3.20\n");
        let unused = store
            .onggi(["build", "--secret=id=x,src=nothing", "context"])
            .run();
        unused.code(1).stderr_has("nothing");
    }
}

/// An agent of OpenSSH with one key, which ends with this.
struct Agent {
    process: Child,
    key: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Agent {
    fn start(store: &Store, socket: &str) -> Self {
        let mut agent = store.command("ssh-agent");
        agent.args(["-D", "-a", socket]);
        let agent = agent.stdin(Stdio::null()).stdout(Stdio::null());
        let process = agent.stderr(Stdio::null()).spawn().unwrap();
        let socket = store.home().join(socket);
        until("the agent listens", || socket.exists());
        let script = format!(
            "ssh-keygen -q -t ed25519 -N '' -C of-the-test -f key && SSH_AUTH_SOCK={} ssh-add -q key && cat key.pub",
            socket.display()
        );
        let key = store.script(&script).run().code(0).stdout_text();
        Self { process, key }
    }
}

/// Copies a program of this machine with its libraries to a directory; how it is run where that is `/host`.
fn portable(store: &Store, program: &str, directory: &str) -> String {
    let script = format!(
        "mkdir -p {directory}; program=$(command -v {program}); cp \"$program\" {directory}/program
         ldd \"$program\" | grep -o '/[^ ]*' | while read -r library; do cp -L \"$library\" {directory}; done
         basename \"$(ldd \"$program\" | grep -o '/[^ ]*ld-linux[^ ]*')\""
    );
    let loader = store.script(&script).run().code(0).stdout_text();
    format!("/host/{} --library-path /host /host/program", loader.trim())
}

#[test]
fn an_agent_gives_its_keys_to_steps_that_ask_for_it() {
    if !["ssh-agent", "ssh-add", "ssh-keygen"]
        .iter()
        .all(|program| requires(&[Need::Program(program)]))
    {
        return;
    }
    for store in everyone_with_alpine() {
        let agent = Agent::start(&store, "agent");
        let add = portable(&store, "ssh-add", "host");
        let mount = "--mount=type=bind,from=host,target=/host";
        let file = format!(
            "FROM alpine:3.20\n\
             RUN {mount} --mount=type=ssh {add} -L > /keys && test \"$SSH_AUTH_SOCK\" = /run/buildkit/ssh_agent.0\n\
             RUN {mount} --mount=type=ssh,id=work,target=/sock,mode=0666,required \
             test -S /sock && stat -c %a /sock >> /keys && SSH_AUTH_SOCK=/sock {add} -l >> /keys\n\
             RUN test -z \"$SSH_AUTH_SOCK\" && test ! -e /run/buildkit && test ! -e /sock\n"
        );
        store.file("context/Dockerfile", file);
        let socket = store.home().join("agent");
        let words = [
            "build",
            "-t=app",
            "--build-context=host=host",
            "--ssh=default",
        ];
        let built = store.onggi(words).args(["--ssh=work=agent", "context"]);
        built.env("SSH_AUTH_SOCK", &socket).run().code(0);
        let keys = store.ok(["run", "--rm", "app", "cat", "/keys"]);
        let lines: Vec<&str> = keys.lines().collect();
        assert_eq!(format!("{}\n", lines[0]), agent.key);
        assert_eq!(lines[1], "666");
        assert!(lines[2].ends_with("of-the-test (ED25519)"), "{keys}");
        // A key is no agent, and none is made of it.
        let key = store.onggi(["build", "--ssh=default=key", "context"]).run();
        key.code(1).stderr_has("is no socket").stderr_has("ssh-add");
        let missing = store
            .onggi(["build", "--ssh=default=none", "context"])
            .run();
        missing.code(1).stderr_has("none");
        let unset = store.onggi(["build", "--ssh=default", "context"]).run();
        unset.code(125).stderr_has("SSH_AUTH_SOCK");
    }
}
