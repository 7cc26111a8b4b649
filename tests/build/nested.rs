//! Builds where namespaces, mounts or both are refused: in containers with Docker's default walls, with some more or less of
//! them, and for users without user namespaces. What is built there is what is built outside.

use crate::support::store::program;
use crate::support::{
    ALPINE, Need, Outcome, Store, User, everyone, requires, store, without_user_namespaces,
};
use std::path::PathBuf;

/// All that a layer can hold, of steps of all kinds.
const FILE: &str = "FROM alpine:3.20 AS tools
RUN mkdir -p /out/bin && echo tool > /out/bin/tool && chmod 4755 /out/bin/tool && ln -s tool /out/bin/link && \
    ln /out/bin/tool /out/bin/hard
FROM alpine:3.20
ENV A=b
WORKDIR /srv/app
COPY one.txt ./
COPY --chown=7:8 sub /sub/
COPY --from=tools /out/ /opt/
RUN echo \"$A $HOSTNAME\" > greeting && touch -d @5 old && rm /etc/motd && chown 12:34 greeting && mkfifo /fifo
RUN adduser -D somebody && echo x | tee -a /etc/hosts /etc/resolv.conf > /dev/null && mkdir -p /dev/shm
USER somebody
RUN id > /tmp/id && touch /tmp/own
USER root
RUN --mount=type=bind,source=sub,target=/mnt/in cat /mnt/in/deep/file > /from-context
RUN --mount=type=bind,from=tools,source=/out/bin/tool,target=/tool cat /tool > /from-stage
RUN --mount=type=tmpfs,target=/scratch echo x > /scratch/x
RUN --mount=type=cache,target=/cache,uid=5 echo x > /cache/x && stat -c %u /cache > /owner
RUN --mount=type=secret,id=word cat /run/secrets/word > /told
RUN rm -rf /usr/share/apk; mkdir /usr/share/apk; echo new > /usr/share/apk/new; rmdir /media/usb
RUN <<END
#!/bin/ash -e
echo $0 | wc -l > /script
END
VOLUME /data
CMD [\"cat\", \"/told\"]
";

const COPIES: &str = "FROM alpine:3.20 AS base
WORKDIR /made/here
FROM alpine:3.20
COPY --chown=7:8 sub /sub/
COPY --chmod=4750 one.txt /srv/
COPY --from=base /etc /copied
CMD [\"cat\", \"/srv/one.txt\"]
";

/// A store of root's whose home has the context `ctx`, Alpine as an archive and the secret `word`.
fn root() -> Option<Store> {
    let store = store(User::Root).filter(Store::alpine)?;
    store.file("ctx/Dockerfile", FILE);
    store.file("ctx/copies", COPIES);
    store.file("ctx/one.txt", "one\n");
    store.file("ctx/sub/deep/file", "deep\n");
    store.file("word", "secret\n");
    store
        .onggi(["save", "-o", "alpine.tar", ALPINE])
        .run()
        .code(0);
    store
        .script("chmod 755 . && chmod 644 alpine.tar")
        .run()
        .code(0);
    Some(store)
}

const EPOCH: &str = "1700000000";
const SECRET: &str = "--secret=id=word,src=word";

/// The id of the image that a Dockerfile gives outside.
fn built_outside(store: &Store, file: &str) -> String {
    let call = store.onggi(["build", "-q", "-f", file, SECRET, "ctx"]);
    let built = call.env("SOURCE_DATE_EPOCH", EPOCH).run();
    built.code(0);
    built.stdout_text().trim().to_owned()
}

/// A shell script in a container with these options, whose `inner` is the program on a store that has Alpine.
fn inside(store: &Store, options: &[&str], script: &str) -> Outcome {
    let mounts = [
        format!("{}:/onggi:ro", program().display()),
        format!("{}:/home:ro", store.home().display()),
    ];
    let mut words = vec![
        "run",
        "--rm",
        "--tmpfs",
        "/memory:exec,mode=1777",
        "-w",
        "/home",
    ];
    for mount in &mounts {
        words.extend(["-v", mount]);
    }
    words.extend(options);
    let script = format!(
        "export HOME=/memory SOURCE_DATE_EPOCH={EPOCH} ONGGI_NETWORK=none
         inner() {{ /onggi --root ${{STORE:-/memory}}/data --runroot /memory/run \"$@\"; }}
         inner load -q -i alpine.tar >/memory/loaded 2>&1 || {{ cat /memory/loaded; exit 1; }}
         {script}"
    );
    words.extend([ALPINE, "sh", "-c", &script]);
    store.onggi(words).run()
}

const NO_FILTER: [&str; 2] = ["--security-opt", "seccomp=unconfined"];
/// What Kubernetes' restricted profile asks for, beside the default filter.
const RESTRICTED: [&str; 6] = [
    "--user",
    "1000",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
];

#[test]
fn the_same_image_is_built_whatever_the_walls_around() {
    let Some(store) = root() else { return };
    let id = built_outside(&store, "ctx/Dockerfile");
    let chroot = "chroot only: no namespaces (unshare: Operation not permitted (os error 1)); programs have no /proc and /sys\n";
    const SINGLE: &str = "user namespace with a single id, ";
    let no_setfcap = [&NO_FILTER[..], &["--cap-drop", "SETFCAP"]].concat();
    for (options, mode) in [
        (&[][..], chroot),
        // An overlay holds the store.
        (&["-e", "STORE=/store"], chroot),
        (
            &["--cap-add", "SYS_ADMIN"],
            "chroot only: no namespaces (pivot_root: Operation not permitted (os error 1))\n",
        ),
        (
            &no_setfcap,
            "chroot only: no namespaces (write `uid_map`: Operation not permitted (os error 1)); programs have no /proc and /sys\n",
        ),
        // Its programs see that they have one id.
        (&NO_FILTER, SINGLE),
        (&["--privileged"], "root, "),
    ] {
        let outcome = inside(
            &store,
            options,
            "inner build --progress plain -t app --secret id=word,src=word ctx 2>&1 || exit 1
             inner build --progress plain -t app --secret id=word,src=word ctx 2>&1 | sed 's/^/again: /'
             inner inspect -f 'built {{.Id}}' app
             inner save -o /memory/app.tar app && inner rmi -f app >/memory/removed && inner load -i /memory/app.tar
             inner images -q --no-trunc app
             inner buildx inspect
             ls ${STORE:-/memory}/data/staging ${STORE:-/memory}/data/containers | grep -v :",
        );
        outcome
            .expect(
                outcome.stdout_text().matches("[internal] mode: ").count() == 1,
                "the mode, once",
            )
            .stdout_has(&format!("[internal] mode: {mode}"))
            .stdout_has("built sha256:")
            .stdout_has("Loaded image: ")
            .stdout_has(&format!("\nMode:             {mode}"))
            .stdout_lacks("again: #2 DONE");
        if mode != SINGLE {
            outcome
                .stdout_has(&format!("built {id}\n"))
                .stdout_has(&format!("\n{id}\n"));
        }
        let tail = outcome.stdout_text();
        outcome.expect(
            tail.trim_end().ends_with("Build checks:     22"),
            "nothing left",
        );
    }
    store.assert_no_process_is_left();
}

#[test]
fn a_program_with_no_walls_but_a_root_directory() {
    let Some(store) = root() else { return };
    // Standard input as the Dockerfile, after its first line.
    let script = "build() { { echo FROM alpine:3.20; cat; } | inner build -q --no-cache \"$@\" - 2>&1; echo \"ended $?\"; }
        echo 'RUN (sleep 1000; touch /late) & exit 3' | build; pidof sleep
        echo 'RUN setsid sleep 1000 & touch /early' | build; pidof sleep
        printf 'FROM alpine:3.20\nRUN touch /tmp/begun; setsid sleep 1000 & sleep 1000' >/memory/long
        /onggi --root /memory/data --runroot /memory/run build -q -f - . </memory/long 2>/memory/told & builder=$!
        until pidof sleep >/memory/pids; do :; done; kill -KILL $builder; wait $builder; while pidof sleep >/memory/pids; do :; done
        echo 'RUN chroot / true' | build
        echo 'RUN echo x >/dev/null && test -w /dev/shm && test ! -e /home/word && ls -A /proc' | build
        echo 'RUN no-such-program' | build
        echo 'RUN [\"no-such-program\"]' | build
        echo 'RUN ulimit -n && test $(ulimit -n) = 77' | build --ulimit nofile=77
        echo 'RUN grep -q 10.0.0.9 /etc/hosts' | build --add-host there:10.0.0.9
        echo 'RUN --network=none true' | build
        for count in 1 2; do
            echo \"RUN --mount=type=cache,target=/c echo x >> /c/x; test \\$(wc -l </c/x) = $count\" | build
        done
        echo 'RUN --mount=type=cache,target=/c rm -r /c; ln -s / /c' | build
        echo 'RUN --mount=type=cache,target=/c test $(wc -l </c/x) = 2' | build
        echo 'RUN rm -r /etc; ln -s /home /etc' | build; cat /memory/marker
        inner run --rm alpine:3.20 true; echo \"ended $?\"; ls -A /memory/data/staging";
    let outcome = inside(&store, &[], &format!("echo kept >/memory/marker\n{script}"));
    let told = outcome.stdout_text();
    let codes: Vec<&str> = told
        .lines()
        .filter_map(|line| line.strip_prefix("ended "))
        .collect();
    let expected = "1 0 1 0 1 1 0 0 1 0 0 0 0 0 125";
    outcome
        .expect(codes.join(" ") == expected, expected)
        .stdout_has("did not complete successfully: exit code: 3")
        .stdout_has("can't change root directory to '/': Operation not permitted")
        .stdout_has("did not complete successfully: exit code: 127")
        .stdout_has("exec: \"no-such-program\": executable file not found in $PATH")
        .stdout_has("RUN: --network=none is not possible by chroot alone")
        .stdout_has("kept\n")
        .stderr_has("cannot create a user namespace: Operation not permitted");
    // Neither a process that was left, nor a directory.
    let alone = told.lines().filter(|line| line.parse::<i32>().is_ok());
    outcome.expect(alone.count() == 0, "no process is left");
    outcome.expect(told.trim_end().ends_with("ended 125"), "no file is left");
    // Where it may mount: the processes around, with Docker's capabilities but that for chroot(2) and none more.
    let script = "printf 'FROM alpine:3.20\\nRUN grep CapBnd /proc/self/status; test -e /sys/class' | inner build --progress plain - 2>&1";
    let outcome = inside(&store, &["--cap-add", "SYS_ADMIN"], script);
    outcome.code(0).stdout_has("00000000a80025fb");
    // The tmpfs on which the store lies opens no device nodes.
    let script = "printf 'FROM alpine:3.20\\nRUN test -f /dev/null' | inner build - 2>&1";
    let outcome = inside(&store, &[], script);
    outcome
        .code(0)
        .stdout_has("programs have no device nodes: ");
    store.assert_no_process_is_left();
}

#[test]
fn without_namespaces_and_without_root_files_are_copied() {
    let Some(store) = root() else { return };
    let id = built_outside(&store, "ctx/copies");
    let script = "inner build --progress plain -t app -f ctx/copies ctx 2>&1 && inner inspect -f 'built {{.Id}}' app
        inner save -o /memory/app.tar app && inner rmi -f app >/memory/removed && inner load -i /memory/app.tar
        printf 'FROM alpine:3.20\\nRUN true' | inner build - 2>&1; echo \"ended $?\"; ls -A /memory/data/staging";
    let no_capabilities = ["--cap-drop", "ALL"];
    for options in [&RESTRICTED[..], &no_capabilities] {
        let outcome = inside(&store, options, script);
        outcome
            .code(0)
            .stdout_has("[internal] mode: files only, no RUN: no namespaces (unshare: Operation not permitted")
            .stdout_has(&format!("built {id}\n"))
            .stdout_has("Loaded image: ")
            .stdout_has("RUN is not possible here: no namespaces")
            .stdout_has("try: allow user namespaces")
            .stdout_has("ended 1\n");
        outcome.expect(outcome.stdout_text().ends_with("ended 1\n"), "nothing left");
    }
    store.assert_no_process_is_left();
}

#[test]
fn users_who_may_make_no_user_namespace_copy_files() {
    if !requires(&[
        Need::Root,
        Need::Program("setpriv"),
        Need::Program("unshare"),
    ]) {
        return;
    }
    let Some(outside) = root() else { return };
    let id = built_outside(&outside, "ctx/copies");
    let base: PathBuf = outside.home().join("alpine.tar");
    for store in everyone().filter(|store| store.user != User::Root) {
        store.file("alpine.tar", std::fs::read(&base).unwrap());
        store.file("ctx/copies", COPIES);
        store.file("ctx/run", "FROM alpine:3.20\nRUN true\n");
        store.file("ctx/one.txt", "one\n");
        store.file("ctx/sub/deep/file", "deep\n");
        let onggi = |words: &[&str]| {
            let call = store.onggi(words).env("SOURCE_DATE_EPOCH", EPOCH);
            without_user_namespaces(&store, call)
        };
        let loaded = onggi(&["load", "-i", "alpine.tar"]);
        loaded.code(0);
        if store.user == User::Subuid {
            loaded.stderr_has("no user namespace can be had here");
        }
        let built = onggi(&[
            "build",
            "--progress",
            "plain",
            "-t",
            "app",
            "-f",
            "ctx/copies",
            "ctx",
        ]);
        built.code(0).stderr_has(
            "[internal] mode: files only, no RUN: no namespaces (unshare: No space left on device (os error 28)), \
             no chroot without root",
        );
        let found = onggi(&["images", "-q", "--no-trunc", "app"]);
        found.code(0).stdout(&format!("{id}\n"));
        let refused = onggi(&["build", "-f", "ctx/run", "ctx"]);
        refused
            .code(1)
            .stderr_has("RUN is not possible here: no namespaces");
        // Where they are allowed it goes on as a store of one id.
        let run = store.onggi(["build", "-f", "ctx/run", "ctx"]).run();
        run.code(0);
        let run = store.onggi(["run", "--rm", "app"]).run();
        run.code(0).stdout("one\n");
    }
}

/// A sandbox that is none of ours, and nothing in it says that it forbids them.
#[test]
fn in_bubblewrap_that_disables_user_namespaces() {
    if !requires(&[Need::Root, Need::Program("bwrap")]) {
        return;
    }
    let Some(outside) = root() else { return };
    let id = built_outside(&outside, "ctx/copies");
    for store in everyone().filter(|store| store.user != User::Root) {
        let script = format!(
            "onggi() {{ {} --root $HOME/data --runroot $HOME/run \"$@\"; }}; cd {}
             onggi load -q -i alpine.tar >$HOME/loaded && onggi build --progress plain -t app -f ctx/copies ctx 2>&1 &&
             onggi images -q --no-trunc app && printf 'FROM alpine:3.20\\nRUN true' | onggi build - 2>&1",
            program().display(),
            outside.home().display(),
        );
        let mut command = store.command("bwrap");
        command.args(["--unshare-user", "--disable-userns", "--bind", "/", "/"]);
        command.args(["--dev-bind", "/dev", "/dev", "--proc", "/proc", "sh", "-c"]);
        command.arg(script).env("SOURCE_DATE_EPOCH", EPOCH);
        let outcome = Outcome::of("bwrap", command.output().unwrap());
        outcome
            .code(1)
            .stdout_has("[internal] mode: files only, no RUN: no namespaces (unshare: ")
            .stdout_has(&format!("\n{id}\n"))
            .stdout_has("RUN is not possible here: no namespaces");
    }
}
