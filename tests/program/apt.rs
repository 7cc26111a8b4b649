//! A package manager that wants users of its own, where there is only one id.

use crate::support::{Need, User, requires, skip, store};
use std::process::Command;

#[test]
fn packages_with_a_system_user_install_with_a_single_id() {
    if !requires(&[Need::Root, Need::Program("mmdebstrap")]) {
        return;
    }
    let Some(store) = store(User::Single) else {
        return;
    };
    let archive = store.home().join("debian.tar");
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let Some(suite) = suite.filter(|_| release.contains("\nID=debian\n")) else {
        return skip("the host is not Debian, whose packages are used");
    };
    // With the host's own sources of packages.
    let made = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=apt", suite])
        .arg(&archive)
        .output()
        .unwrap();
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr)
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned();
        return skip(format!("mmdebstrap made no Debian: {why}"));
    }
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&archive, readable).unwrap();
    store
        .onggi(["import", archive.to_str().unwrap(), "debian"])
        .run()
        .code(0);
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends dbus >&2 && \
                  dpkg-query -W -f '${Status}\\n' dbus && grep -c ^messagebus: /etc/passwd";
    store
        .onggi([
            "run",
            "--rm",
            "--network",
            "host",
            "-e",
            "DEBIAN_FRONTEND=noninteractive",
            "debian",
            "sh",
            "-c",
            script,
        ])
        .run()
        .code(0)
        .stdout("install ok installed\n1\n");
}
