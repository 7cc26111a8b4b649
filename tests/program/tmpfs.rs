//! `--tmpfs`: its options, and what it cannot be.

use super::mount_flag::assert_refused;
use crate::support::everyone_with_alpine;

#[test]
fn options_are_as_asked() {
    for store in everyone_with_alpine() {
        let script = "cp /bin/busybox /t/echo; /t/echo ran; stat -c %a /t; df -k /t | awk 'NR > 1 { print $2 }'";
        let outcome = store
            .shell(&["--tmpfs", "/a/../t//:size=4m,mode=710,exec"], script)
            .run();
        outcome.code(0).stdout("ran\n710\n4096\n");
        let outcome = store.shell(&["--tmpfs", "/t"], script).run();
        outcome.stdout_lacks("ran").stderr_has("Permission denied");
        let outcome = store
            .shell(&["--tmpfs", "/t:ro,notmpcopyup"], "touch /t/x")
            .run();
        outcome.code(1).stderr_has("Read-only file system");
        let outcome = store
            .shell(&["--tmpfs", "/t:nr_inodes=3"], "touch /t/1 /t/2 /t/3")
            .run();
        outcome.code(1).stderr_has("No space left on device");
        let options = ["--tmpfs", "/t:uid=0,gid=0,noatime,nosuid"];
        store
            .shell(&options, "grep ' /t ' /proc/mounts")
            .run()
            .code(0)
            .stdout_has("noatime");
    }
}

/// As Docker's is where the image has no such directory, and with the mode of one that it has.
#[test]
fn it_is_everybodys_unless_the_image_has_something_there() {
    for store in everyone_with_alpine() {
        let options = [
            &["--tmpfs", "/new", "--tmpfs", "/new/one", "--tmpfs", "/root"][..],
            &["--mount", "type=tmpfs,dst=/way/to/it", "-v", "/volume"],
        ];
        store
            .shell(
                &options.concat(),
                "stat -c '%a %n' /new /new/one /root /way/to/it /way/to /volume",
            )
            .run()
            .code(0)
            .stdout(
                "1777 /new\n1777 /new/one\n700 /root\n1777 /way/to/it\n755 /way/to\n755 /volume\n",
            );
    }
}

#[test]
fn the_last_for_a_place_wins() {
    for store in everyone_with_alpine() {
        let options = ["--tmpfs", "/t:mode=700", "--tmpfs", "/t/:mode=711"];
        store
            .shell(&options, "stat -c %a /t")
            .run()
            .code(0)
            .stdout("711\n");
    }
}

#[test]
fn what_it_cannot_be_leaves_nothing() {
    for store in everyone_with_alpine() {
        for (value, message) in [
            ("t", "invalid mount path: 't' mount path must be absolute"),
            ("/t/..", "invalid specification: destination can't be '/'"),
            ("/t:foo", "invalid tmpfs option [\"foo\"]"),
            (
                "/t:size=lots",
                "invalid tmpfs option [\"size=lots\"]: a size is a number with k, m, g or %",
            ),
            (
                "/t:mode=999",
                "invalid tmpfs option [\"mode=999\"]: a mode is an octal number up to 7777",
            ),
            (
                "/t:uid=root",
                "invalid tmpfs option [\"uid=root\"]: an id is a number",
            ),
            ("/t:exec,noexec", "'exec' and 'noexec' exclude each other"),
            (
                "/t:tmpcopyup",
                "invalid tmpfs option [\"tmpcopyup\"]: what the image has at the target is not copied",
            ),
        ] {
            assert_refused(&store, &["-v", "made:/made", "--tmpfs", value], message);
        }
        let both = ["-v", "made:/t", "--tmpfs", "/t"];
        assert_refused(&store, &both, "Duplicate mount point: /t");
    }
}
