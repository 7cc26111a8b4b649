//! A daemon that starts containers with this runtime, in a view of the host with control groups of version 2 only.

use crate::support::{Outcome, Store};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

/// It finds the runtime under this name, and nothing of another daemon's.
const VIEW: &str = r#"
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /run
mount -t tmpfs none /usr/local/bin
ln -s "$PROGRAM" /usr/local/bin/onggi-runtime
"#;

/// What a script prints there, by line. The daemon is in the search path `path`, is configured by that file of
/// `examples` and gets that archive of an image.
pub fn lines_of(
    script: &str,
    store: &Store,
    path: &OsStr,
    configuration: &str,
    archive: &Path,
) -> Vec<String> {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut command = store.command("unshare");
    command
        .env("PATH", path)
        .env("PROGRAM", crate::support::store::program())
        .env("CONFIGURATION", examples.join(configuration))
        .env("ARCHIVE", archive)
        .args(["-m", "-p", "-f", "--kill-child", "--mount-proc"])
        .args(["sh", "-ec", &format!("{VIEW}{script}")])
        .stdin(Stdio::null());
    let outcome = Outcome::of(configuration, command.output().unwrap());
    let said = outcome.code(0).stdout_text();
    said.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}
