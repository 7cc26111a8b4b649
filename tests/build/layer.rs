//! What a step has written is the same whether its layer is the one that the step has left or was unpacked from an archive.

use crate::support::everyone_with_alpine;

/// Everything that can be in an upper directory.
const DOCKERFILE: &str = "FROM alpine:3.20
RUN mkdir -p /d/sub /gone/deep /again/x && echo a > /d/a && echo b > /again/x/b && touch /gone/deep/f && touch -d @5 /d/old
RUN cd /d && ln a hard && ln -s a link && mkfifo pipe && chmod 4755 a && chmod 1777 sub && rm /etc/motd && \\
    rm -r /gone /again && mkdir /again && echo new > /again/new && \\
    rm -r /etc/apk && echo file > /etc/apk && rm /etc/issue && mkdir /etc/issue && \\
    dd if=/dev/zero of=sparse bs=1 count=1 seek=1M && mv /etc/profile /etc/moved && chown 5:6 /d/sub && \\
    chmod 0700 /root && touch -d @7 /var/cache
RUN chmod 600 /d/hard && rm /d/old && cat /again/new && test ! -e /gone
";
const LOOK: &str = "find / -xdev -not -path '/etc/host*' -not -path /etc/resolv.conf | sort | while read -r f; do \
                    case $f in /|/proc|/dev|/sys|/etc) continue;; esac; \
                    stat -c '%n %f %u:%g %h %Y %s %N' \"$f\"; [ -L \"$f\" ] || [ ! -f \"$f\" ] || md5sum < \"$f\"; done";

#[test]
fn the_layer_of_a_step_is_what_its_archive_unpacks_to() {
    for store in everyone_with_alpine() {
        store.file("context/Dockerfile", DOCKERFILE);
        let built = store
            .onggi(["build", "--progress", "plain", "-t", "app", "context"])
            .run();
        built.code(0);
        let look = || {
            let looked = store.onggi(["run", "--rm", "app", "sh", "-c", LOOK]).run();
            looked.code(0);
            looked.stdout_text()
        };
        let (made, saved) = (look(), store.home().join("app.tar"));
        for part in ["/d/sparse", "/d/pipe", "/again/new", "/etc/moved"] {
            assert!(made.contains(part), "{part}: {made}");
        }
        for part in ["/gone", "/again/x", "/etc/motd", "/d/old"] {
            assert!(!made.contains(part), "{part}: {made}");
        }
        store
            .onggi(["save", "-o"])
            .args([saved.as_os_str(), "app".as_ref()])
            .run()
            .code(0);
        // Nothing of it stays, so that all of it is unpacked.
        std::fs::remove_dir_all(store.data().join("build")).unwrap();
        for layer in std::fs::read_dir(store.data().join("layers")).unwrap() {
            let _ = std::fs::remove_file(layer.unwrap().path().join("cached"));
        }
        store.onggi(["rmi", "app", "alpine:3.20"]).run().code(0);
        let left = std::fs::read_dir(store.data().join("layers")).unwrap();
        assert_eq!(left.count(), 0);
        store
            .onggi(["load", "-i"])
            .args([saved.as_os_str()])
            .run()
            .code(0);
        let unpacked = look();
        let differing: Vec<_> = made
            .lines()
            .zip(unpacked.lines())
            .filter(|(one, other)| one != other)
            .take(5)
            .collect();
        assert!(made == unpacked, "{:?}: {differing:?}", store.user);
        store.onggi(["system", "check"]).run().code(0);
    }
}
