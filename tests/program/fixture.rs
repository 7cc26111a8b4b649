//! The ground the other tests stand on: a store leaves no file and no process behind.

use crate::support::everyone;
use std::io::Read;
use std::process::Stdio;

#[test]
fn a_store_takes_its_processes_and_files_along() {
    for store in everyone() {
        let path = store.path().to_owned();
        let mut shell = store.command("sh");
        shell
            .args(["-c", "mkdir -m 0 \"$0/locked\"; echo; read line"])
            .arg(store.data());
        let mut child = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0];
        child.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        assert_eq!(store.processes(), [child.id()]);
        drop(store);
        assert!(!child.wait().unwrap().success());
        assert!(!path.exists());
    }
}
