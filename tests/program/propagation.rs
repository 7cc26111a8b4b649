//! Which later mounts are seen on the other side of a bind, and how owners are mapped: the propagation and `idmap` options
//! of -v and --mount (mount_namespaces(7), mount_setattr(2)).

use crate::support::{ALPINE, Need, OwnMounts, Store, User, everyone_with_alpine, requires, store};
use std::path::PathBuf;
use std::process::Command;

/// A mount namespace with a shared and a private mount, `shared` and `private` in the home directory, each with a mount
/// `below`.
fn places(store: &mut Store) -> Option<(OwnMounts, [PathBuf; 2])> {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return None;
    }
    let paths = ["shared", "private"].map(|name| store.home().join(name));
    let script = "mount --make-rprivate /
        for path in \"$@\"; do
            mkdir $path; mount -t tmpfs tmpfs $path
            mkdir $path/below $path/late; mount -t tmpfs tmpfs $path/below
            mkdir $path/below/late; chmod -R 777 $path
        done
        mount --make-rshared $1";
    let mounts = OwnMounts::prepared(store, script, &paths);
    Some((mounts, paths))
}

/// A shell command in the mount namespace that is the host's for the store.
fn on_host(mounts: &OwnMounts, script: &str) -> String {
    let mut command = Command::new("nsenter");
    command.args(["-m", "-t", &mounts.pid().to_string(), "sh", "-c", script]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn detached(store: &Store, options: &[&str]) {
    let words = ["run", "-d", "--name", "web"];
    let program = [ALPINE, "sleep", "100000"];
    let command = words.iter().chain(options).chain(&program);
    store.onggi(command).run().code(0);
}

fn in_container(store: &Store, script: &str) -> String {
    let outcome = store.onggi(["exec", "web", "sh", "-c", script]).run();
    outcome.code(0).stdout_text()
}

#[test]
fn mounts_of_the_host_appear_inside_where_they_are_to() {
    for mut store in everyone_with_alpine() {
        let Some((mounts, [shared, _])) = places(&mut store) else {
            return;
        };
        let path = shared.display();
        let host = "$path/late $path/below/late".replace("$path", &path.to_string());
        for (option, seen) in [
            ("", "0 0"),
            (":private", "0 0"),
            (":rslave", "1 1"),
            (
                ":slave",
                if store.user == User::Root {
                    "1 0"
                } else {
                    "1 1"
                },
            ),
        ] {
            for own in [&[][..], &store.own_user_namespace()] {
                let volume = format!("{path}:/x{option}");
                detached(&store, &[&["-v", &volume], own].concat());
                let mount = "for at in $host; do mount -t tmpfs tmpfs $at; done";
                on_host(&mounts, &mount.replace("$host", &host));
                let count = "echo $(grep -c ' /x/late ' /proc/self/mountinfo) \
                             $(grep -c ' /x/below/late ' /proc/self/mountinfo)";
                let told = in_container(&store, count);
                on_host(&mounts, &format!("umount {host}"));
                assert_eq!(told.trim(), seen, "{:?} {option} {own:?}", store.user);
                // They go again, too.
                assert_eq!(in_container(&store, count).trim(), "0 0");
                store.onggi(["rm", "-f", "web"]).run().code(0);
            }
        }
    }
}

#[test]
fn mounts_from_inside_appear_on_the_host_where_they_are_to() {
    for mut store in everyone_with_alpine().filter(|store| store.user == User::Root) {
        let Some((mounts, [shared, _])) = places(&mut store) else {
            return;
        };
        let path = shared.display();
        for (option, seen) in [
            ("", "0 0"),
            (":rslave", "0 0"),
            (":shared", "1 0"),
            (":rshared", "1 1"),
        ] {
            let volume = format!("{path}:/x{option}");
            detached(&store, &["--privileged", "-v", &volume]);
            in_container(
                &store,
                "mount -t tmpfs a /x/late && mount -t tmpfs b /x/below/late",
            );
            let count = format!(
                "echo $(grep -c ' {path}/late ' /proc/self/mountinfo) \
                 $(grep -c ' {path}/below/late ' /proc/self/mountinfo)"
            );
            assert_eq!(on_host(&mounts, &count).trim(), seen, "{option}");
            in_container(&store, "umount /x/late /x/below/late");
            assert_eq!(on_host(&mounts, &count).trim(), "0 0", "{option}");
            store.onggi(["rm", "-f", "web"]).run().code(0);
        }
    }
}

#[test]
fn what_cannot_propagate_is_refused() {
    for mut store in everyone_with_alpine() {
        let Some((_mounts, [shared, private])) = places(&mut store) else {
            return;
        };
        let refused = |path: &PathBuf, option: &str, own: &[&str], said: &str| {
            let volume = format!("{}:/x:{option}", path.display());
            let outcome = store.shell(&[&["-v", &volume], own].concat(), "true").run();
            outcome.code(125).stderr_has(said);
        };
        let own = store.own_user_namespace();
        for (option, kind) in [
            ("shared", "shared"),
            ("rshared", "shared"),
            ("rslave", "shared or slave"),
        ] {
            let place = private.display();
            let said = format!("path {place} is mounted on {place} but it is not a {kind} mount");
            refused(&private, option, &[], &said);
        }
        refused(
            &shared,
            "rshared",
            &own,
            "with rslave mounts of the host appear in the container",
        );
        if store.user != User::Root {
            refused(
                &shared,
                "rshared",
                &[],
                "what an ordinary user's container mounts never appears on the host",
            );
        }
    }
}

#[test]
fn what_the_host_protects_stays_so() {
    for mut store in everyone_with_alpine() {
        if !requires(&[Need::Root, Need::Program("nsenter")]) {
            return;
        }
        let path = store.home().join("protected");
        let script = "mount --make-rprivate /; mkdir $1; mount -t tmpfs -o mode=777,noatime tmpfs $1; mkdir -m 777 $1/sub
                      mount -o remount,bind,nosuid,nodev,noexec,noatime $1";
        let _mounts = OwnMounts::prepared(&mut store, script, &[&path]);
        let path = path.display();
        for (options, expected) in [
            ("", "rw,nosuid,nodev,noexec,noatime"),
            (":ro", "ro,nosuid,nodev,noexec,noatime"),
        ] {
            for own in [&[][..], &store.own_user_namespace()] {
                for source in [format!("{path}"), format!("{path}/sub")] {
                    let volume = format!("{source}:/x{options}");
                    let options = [&["-v", &volume], own].concat();
                    let look = "grep ' /x ' /proc/self/mountinfo | cut -d' ' -f6";
                    let told = store.shell(&options, look).run();
                    told.code(0).stdout(&format!("{expected}\n"));
                }
            }
        }
        // What root may take away stays for others.
        let mount = format!("type=bind,src={path},dst=/x,exec,suid");
        let look = "grep ' /x ' /proc/self/mountinfo | cut -d' ' -f6";
        let told = store.shell(&["--mount", &mount], look).run();
        match store.user {
            User::Root => told.code(0).stdout("rw,nodev,noatime\n"),
            _ => told.code(125).stderr_has(
                "the host has mounted it with `nosuid,noexec`, which only root of the host can take away",
            ),
        };
    }
}

#[test]
fn what_is_mounted_below_a_volume_is_seen_by_a_user_namespace() {
    let Some(mut store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return;
    }
    let path = store.home().join("device");
    let script =
        "mount --make-rprivate /; mkdir -p $1/sub; mount -t tmpfs tmpfs $1/sub; touch $1/sub/file";
    let _mounts = OwnMounts::prepared(&mut store, script, &[&path]);
    let device = format!("device={}", path.display());
    let [kind, bind] = ["type=none", "o=rbind"];
    store.ok([
        "volume", "create", "--opt", kind, "--opt", bind, "--opt", &device, "vol",
    ]);
    let own = store.own_user_namespace();
    let options = ["-v", "vol:/x", own[0], own[1]];
    let told = store.shell(&options, "stat -c %u:%g /x/sub/file").run();
    told.code(0).stdout("0:0\n");
}

#[test]
fn owners_are_those_that_are_asked_for() {
    for store in everyone_with_alpine() {
        let path = store.home().join("files");
        std::fs::create_dir(&path).unwrap();
        for (name, id) in [("zero", 0), ("thousand", 1000)] {
            std::fs::write(path.join(name), "").unwrap();
            std::os::unix::fs::chown(path.join(name), Some(id), Some(id)).unwrap();
        }
        let path = path.display();
        let owners = |option: &str, own: &[&str]| {
            let volume = format!("{path}:/x:{option}");
            let options = [&["-v", &volume], own].concat();
            store
                .shell(&options, "stat -c %u:%g /x/zero /x/thousand")
                .run()
        };
        let namespace = store.own_user_namespace();
        if store.user != User::Root {
            for own in [&[][..], &namespace] {
                owners("idmap", own).code(125).stderr_has(
                    "the kernel lets only root of the host map the ids of the host's files",
                );
            }
            continue;
        }
        owners("idmap", &namespace)
            .code(0)
            .stdout("0:0\n1000:1000\n");
        let written = "idmap=uids=0-7-1#1000-0-1;gids=1000-5-1#0-9-1";
        for own in [&[][..], &namespace] {
            owners(written, own).code(0).stdout("7:9\n0:5\n");
        }
        owners("idmap", &[])
            .code(125)
            .stderr_has("are to be mapped, and neither it nor the container says how");
        // Without it they are nobody's there.
        owners("rw", &namespace)
            .code(0)
            .stdout("65534:65534\n65534:65534\n");
    }
}
