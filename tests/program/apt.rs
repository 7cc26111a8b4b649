//! A package manager that wants users of its own, where there is only one id.

use crate::support::{User, debian, store};

#[test]
fn packages_with_a_system_user_install_with_a_single_id() {
    let Some(store) = store(User::Single) else {
        return;
    };
    if !debian::import(&store, &[], "debian") {
        return;
    }
    let script = "! grep ^messagebus: /etc/passwd && apt-get -qq update && \
                  apt-get -qq install -y --no-install-recommends dbus >&2 && \
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
