//! What becomes of a control group when its user logs out: a user's manager ends with the last session unless the user
//! lingers, and ends all its units (user@.service(5), loginctl(1)).
//!
//! What logind(8) kills in the scope of a session itself (`KillUserProcesses=`) is not told: its default is built in, and
//! differs between distributions.

use std::path::Path;

/// Whether the user's manager ends a group, which it has made, at the end of the last session.
pub fn ends_group(group: &Path, uid: u32, name: &str) -> bool {
    ends(group, uid, name, |path| Path::new(path).exists())
}

fn ends(group: &Path, uid: u32, name: &str, exists: impl Fn(&str) -> bool) -> bool {
    let manager = format!("user@{uid}.service");
    group.iter().any(|part| *part == *manager)
        // Else nobody but the administrator has started that manager, and nobody ends it.
        && exists(&format!("/run/systemd/users/{uid}"))
        && !exists(&format!("/var/lib/systemd/linger/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_manager_without_lingering_has_made_ends() {
        let scope = "/user.slice/user-7.slice/user@7.service/app.slice/onggi-1.scope/container";
        let known = "/run/systemd/users/7";
        let linger = "/var/lib/systemd/linger/me";
        for (group, files, expected) in [
            (scope, &[known][..], true),
            (scope, &[known, linger], false),
            (scope, &[], false),
            (
                "/user.slice/user-7.slice/session-2.scope/onggi-1",
                &[known],
                false,
            ),
            (
                "/user.slice/user-8.slice/user@8.service/app.slice/onggi-1.scope/container",
                &[known],
                false,
            ),
            ("/system.slice/onggi-1.scope/container", &[known], false),
        ] {
            let found = ends(Path::new(group), 7, "me", |path| files.contains(&path));
            assert_eq!(found, expected, "{group} {files:?}");
        }
    }
}
