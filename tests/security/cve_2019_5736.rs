//! CVE-2019-5736: the runtime's own program is written through `/proc/PID/exe`, by what it starts (`run`) and by what
//! waits for it inside (`exec`).

use crate::situation::{Entry, exec_shell, hostile};
use crate::support::life::until;
use crate::support::store::{copy_program, program};
use crate::support::{ALPINE, Call, Outcome, Store, everyone_in_memory};
use crate::{probe, unwalled};
use std::path::{Path, PathBuf};

/// What the program says as the interpreter of a script of that name.
const RAN: &str = "unknown command: onggi /script";

/// A copy that belongs to the very user who runs it: nothing but the runtime protects it.
struct Copy {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Copy {
    fn of(store: &Store, original: &Path) -> Self {
        let path = store.file("victim", "");
        copy_program(original, &path);
        let bytes = std::fs::read(&path).unwrap();
        Self { path, bytes }
    }

    /// Runs it in place of the program under test.
    fn run(&self, store: &Store, call: Call) -> Outcome {
        let mut own = store.command(&self.path);
        own.args(call.into_command().get_args());
        Call::new(own).run()
    }

    fn is_changed(&self) -> bool {
        std::fs::read(&self.path).unwrap() != self.bytes
    }
}

#[test]
fn at_run() {
    for store in everyone_in_memory() {
        let copy = Copy::of(&store, program());
        let run = |options: &[&str], words: &[&str]| {
            let words = ["run", "--rm"]
                .iter()
                .chain(options)
                .chain(&[ALPINE])
                .chain(words);
            copy.run(&store, store.onggi(words))
        };
        let attack =
            "exec 3</proc/1/exe; (echo x >/proc/self/fd/3) 2>&1; (echo x >/proc/1/exe) 2>&1; true";
        run(&["--init"], &["sh", "-c", attack])
            .code(0)
            .stdout_lacks("Text file busy")
            .stdout_has("Read-only file system");
        // The program of the container is the runtime itself, or a script for it, and it is executed.
        let words = ["/proc/self/exe", "--version"];
        run(&[], &words).code(0).stdout_has("onggi version ");
        let entrypoint = ["--entrypoint", "/proc/self/exe"];
        run(&entrypoint, &["--version"])
            .code(0)
            .stdout_has("onggi version ");
        let script = Entry::File(b"#!/proc/self/exe\n", 0o755);
        if !hostile(&store, &[("script", script)]) {
            return;
        }
        copy.run(&store, store.onggi(["run", "--rm", "hostile", "/script"]))
            .code(125)
            .stderr_has(RAN);
        assert!(!copy.is_changed(), "the program has been changed");
    }
}

/// What is executed while the program is on its way is opened, and written to as long as anybody lets it.
#[test]
fn at_exec() {
    for store in everyone_in_memory() {
        let copy = Copy::of(&store, program());
        probe::prepare(
            &store,
            "web",
            &["--cap-add", "SYS_PTRACE"],
            "overwrite /victim",
        );
        let victim = copy.path.to_str().unwrap();
        store.ok(["cp", victim, "web:/victim"]);
        copy.run(&store, store.onggi(["start", "web"])).code(0);
        let own =
            |words: &[&str]| copy.run(&store, store.onggi(["exec", "web"].iter().chain(words)));
        let said = || exec_shell(&store, &[], "cat /said 2>/dev/null").stdout_text();
        until("the attacker has had the program open", || {
            own(&["true"]).code(0);
            said().contains("open ")
        });
        // The program is itself what is executed.
        own(&["/proc/self/exe", "--version"])
            .code(0)
            .stdout_has("onggi version ");
        let script = "printf '#!/proc/self/exe\n' >/script; chmod 755 /script";
        exec_shell(&store, &[], script).code(0);
        own(&["/script"]).code(125).stderr_has(RAN);
        let said = said();
        assert!(!said.contains("open bare"), "{said}");
        assert!(!said.contains("written"), "{said}");
        assert!(!copy.is_changed(), "the program has been changed");
    }
}

/// A program that nothing protects is overwritten by the same attempt as soon as nobody runs it.
#[test]
fn without_the_wall() {
    for store in everyone_in_memory() {
        let copy = Copy::of(&store, Path::new("/bin/sleep"));
        let mut attack = store.command("sh");
        let script = "\"$0\" 1000 & exec 3</proc/$!/exe
            until test $(readlink /proc/$!/exe) = \"$0\"; do exec 3</proc/$!/exe; done; exec 3</proc/$!/exe
            (echo x >/proc/self/fd/3) 2>&1; kill $!; wait $!; echo x >/proc/self/fd/3";
        attack.args(["-c", script]).arg(&copy.path);
        unwalled::run(attack).code(0).stdout_has("Text file busy");
        assert!(copy.is_changed(), "the attempt cannot succeed");
    }
}
