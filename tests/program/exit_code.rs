//! What `run` ends with (docker run, "Exit status").

use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn the_programs_own_code() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--rm", ALPINE, "true"])
            .run()
            .code(0)
            .stdout("")
            .stderr("");
        store.shell(&[], "exit 7").run().code(7).stderr("");
        store
            .shell(&["--init"], "exit 255")
            .run()
            .code(255)
            .stderr("");
    }
}

#[test]
fn what_cannot_be_executed_is_126() {
    for store in everyone_with_alpine() {
        for path in ["/etc", "/etc/passwd"] {
            store
                .onggi(["run", "--rm", ALPINE, path])
                .run()
                .code(126)
                .stdout("")
                .stderr_has(path);
        }
    }
}

#[test]
fn what_does_not_exist_is_127() {
    for store in everyone_with_alpine() {
        let run = |program| store.onggi(["run", "--rm", ALPINE, program]).run();
        run("no-such-program")
            .code(127)
            .stdout("")
            .stderr_has("executable file not found in $PATH");
        run("/no/such/program")
            .code(127)
            .stdout("")
            .stderr_has("no such file or directory");
    }
}

#[test]
fn a_missing_interpreter_is_named() {
    for store in everyone_with_alpine() {
        let archive = store.file("script.tar", tar_with_script());
        store
            .onggi(["import", archive.to_str().unwrap(), "script:1"])
            .run()
            .code(0);
        store
            .onggi(["run", "--rm", "script:1", "/script"])
            .run()
            .code(127)
            .stderr_has("/no/such/shell");
    }
}

fn tar_with_script() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let content = b"#!/no/such/shell\n";
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, "script", &content[..])
        .unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn a_signal_is_128_and_its_number() {
    for store in everyone_with_alpine() {
        for signal in ["KILL", "SEGV"] {
            let number = if signal == "KILL" { 9 } else { 11 };
            // Process 1 is safe from its own signals, its child is not; init reports the child's end.
            let script = format!("kill -{signal} $$");
            store
                .shell(&["--init"], &script)
                .run()
                .code(128 + number)
                .stderr("");
        }
    }
}

#[test]
fn our_own_failures_are_125() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--pull=never", "--rm", "no-such-image", "true"])
            .run()
            .code(125)
            .stdout("")
            .stderr_has("no-such-image");
        store
            .onggi(["run", "--rm", "-u", "no-such-user", ALPINE, "true"])
            .run()
            .code(125)
            .stderr_has("no-such-user");
        store
            .onggi(["run", "--rm", "--cap-add", "NONSENSE", ALPINE, "true"])
            .run()
            .code(125)
            .stderr_has("NONSENSE");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}
