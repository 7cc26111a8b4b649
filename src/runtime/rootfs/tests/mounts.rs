//! What becomes of the options of mounts, and where mounts may be made: by real root, seen from inside.

use super::*;
use oci_spec::runtime::LinuxIdMappingBuilder;
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::os::unix::fs::{chown, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn mount_of(kind: &str, source: &Path, target: &str, options: &[&str]) -> Mount {
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(target)
        .options(
            options
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>(),
        )
        .build()
        .unwrap()
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    mount_of("none", source, target, options)
}

fn memory(target: &str, options: &[&str]) -> Mount {
    mount_of("tmpfs", Path::new("tmpfs"), target, options)
}

/// What statvfs(3) says of the mount at a path.
fn flags_at(path: &str) -> String {
    let flags = statvfs(path).unwrap().f_flag;
    let names = [
        (StatVfsMountFlags::RDONLY, "ro"),
        (StatVfsMountFlags::NOSUID, "nosuid"),
        (StatVfsMountFlags::NODEV, "nodev"),
        (StatVfsMountFlags::NOEXEC, "noexec"),
        (StatVfsMountFlags::NOATIME, "noatime"),
        (StatVfsMountFlags::NODIRATIME, "nodiratime"),
        (StatVfsMountFlags::from_bits_retain(0x2000), "nosymfollow"),
    ];
    let said = names.iter().filter(|(flag, _)| flags.contains(*flag));
    said.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

/// Runs `act` in a mount namespace of its own and fails when that does.
fn apart(act: impl FnOnce()) {
    let child = process::clone3(flags::NEW_MOUNT, || {
        // It must not get to the caller's caller, which the parent is in too.
        let done = catch_unwind(AssertUnwindSafe(|| {
            mount::set_propagation_of_all(false).unwrap();
            act();
        }));
        u8::from(done.is_err())
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), 0);
}

fn mount_memory(path: &Path, attributes: Attributes) {
    let memory = mount::new_filesystem("tmpfs", "tmpfs", &[], attributes).unwrap();
    let place = mount::open_source(path).unwrap();
    mount::attach(memory.as_fd(), place.as_fd()).unwrap();
}

#[test]
fn attributes_of_a_mount_and_of_those_below_it() {
    if !is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    apart(|| {
        let below = host.path().join("below");
        std::fs::create_dir(&below).unwrap();
        mount_memory(host.path(), Attributes::MOUNT_ATTR_NODEV);
        std::fs::create_dir(&below).unwrap();
        mount_memory(&below, Attributes::MOUNT_ATTR_NOSUID);
        for (options, own, other) in [
            (&["rbind"][..], "nodev", "nosuid"),
            (&["rbind", "ro"], "ro,nodev", "nosuid"),
            (&["rbind", "rro"], "ro,nodev", "ro,nosuid"),
            (&["rbind", "rro", "rw"], "nodev", "ro,nosuid"),
            (&["rbind", "dev", "noexec"], "noexec", "nosuid"),
            (
                &["rbind", "rdev", "rsuid", "rnodiratime"],
                "nodiratime",
                "nodiratime",
            ),
            (&["rbind", "rnoatime"], "nodev,noatime", "nosuid,noatime"),
            (
                &["rbind", "rnosymfollow", "symfollow"],
                "nodev",
                "nosuid,nosymfollow",
            ),
            (
                &["bind", "rro", "nosuid"],
                "ro,nosuid,nodev",
                "ro,nosuid,nodev",
            ),
        ] {
            let plan = plan(root.path(), vec![bind(host.path(), "/x", options)]);
            let look = || format!("{} {}", flags_at("/x"), flags_at("/x/below"));
            assert_eq!(seen(&plan, look), format!("{own} {other}"), "{options:?}");
        }
    });
}

#[test]
fn owners_are_mapped_as_the_mount_says() {
    if !is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, uid, gid) in [("a", 0, 0), ("b", 5, 7)] {
        let path = host.path().join(name);
        std::fs::write(&path, "").unwrap();
        chown(path, Some(uid), Some(gid)).unwrap();
    }
    let owners = || {
        let owner = |name| {
            let found = std::fs::metadata(format!("/x/{name}")).unwrap();
            format!("{}:{}", found.uid(), found.gid())
        };
        format!("{} {}", owner("a"), owner("b"))
    };
    let option = "idmap=uids=0-1000-1#5-2000-1;gids=0-3000-10";
    let written = bind(host.path(), "/x", &["bind", option]);
    assert_eq!(
        seen(&plan(root.path(), vec![written]), owners),
        "1000:3000 2000:3007"
    );
    let range = |inside: u32, outside: u32| {
        let range = LinuxIdMappingBuilder::default();
        range
            .container_id(inside)
            .host_id(outside)
            .size(10u32)
            .build()
            .unwrap()
    };
    let mut mapped = bind(host.path(), "/x", &["rbind", "ridmap"]);
    mapped.set_uid_mappings(Some(vec![range(0, 70)]));
    mapped.set_gid_mappings(Some(vec![range(0, 90)]));
    assert_eq!(
        seen(&plan(root.path(), vec![mapped]), owners),
        "70:90 75:97"
    );
    let without = plan_with(
        root.path(),
        vec![bind(host.path(), "/x", &["rbind", "idmap"])],
        Sources::new(),
    );
    let said = format!("{:#}", without.unwrap_err());
    assert!(
        said.ends_with("ids are to be mapped, and neither the mount nor the container says how"),
        "{said}"
    );
}

#[test]
fn sources_that_are_open_win_over_their_paths() {
    if !is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(host.path().join("file"), "held").unwrap();
    let place = mount::open_source(&host.path().join("file")).unwrap();
    let memory = mount::new_filesystem("tmpfs", "tmpfs", &[], Attributes::empty()).unwrap();
    let mounts = vec![
        bind(Path::new("/nowhere"), "/x/file", &["bind", "ro"]),
        mount_of(
            "nfs",
            Path::new("server:/"),
            "/y",
            &["addr=192.0.2.1", "noexec"],
        ),
    ];
    let sources = Sources::from([
        ("/x/file".into(), Held::Place(place)),
        ("/y".into(), Held::Mount(memory)),
    ]);
    let plan = plan_with(root.path(), mounts, sources).unwrap();
    let look = || {
        let content = std::fs::read_to_string("/x/file").unwrap();
        format!("{content} {} {}", flags_at("/x/file"), flags_at("/y"))
    };
    assert_eq!(seen(&plan, look), "held ro noexec");
}

#[test]
fn places_that_are_not_there_are_made_in_the_mount_that_they_belong_to() {
    if !is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (host.path().join("a"), host.path().join("b"));
    for path in [&a, &b] {
        std::fs::create_dir(path).unwrap();
    }
    std::fs::write(b.join("file"), "b").unwrap();
    symlink("/new/place", root.path().join("link")).unwrap();
    let mounts = |options: &[&str]| {
        vec![
            bind(&a, "/x", options),
            bind(&b, "/x/sub", &["bind"]),
            bind(&b.join("file"), "/link", &["bind"]),
        ]
    };
    let refused = seen(&plan(root.path(), mounts(&["bind", "ro"])), String::new);
    assert!(
        refused.contains("`/x/sub` is not there, and it cannot be made: the mount that it belongs to is read-only"),
        "{refused}"
    );
    let look = || {
        let content = |path| std::fs::read_to_string(path).unwrap();
        content("/x/sub/file") + &content("/new/place")
    };
    assert_eq!(seen(&plan(root.path(), mounts(&["bind"])), look), "bb");
    assert!(a.join("sub").is_dir() && std::fs::read_dir(a.join("sub")).unwrap().next().is_none());
    let wrong = vec![bind(&b, "/x", &["bind"]), bind(&a, "/x/file", &["bind"])];
    let refused = seen(&plan(root.path(), wrong), String::new);
    assert!(
        refused.ends_with("`/x/file` is a file in another mount of the container, and a directory is to be mounted there"),
        "{refused}"
    );
}

#[test]
fn nothing_is_mounted_over_the_kernels_files_but_what_lxcfs_has() {
    if !is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = host.path().join("file");
    std::fs::write(&file, "own").unwrap();
    std::fs::create_dir(root.path().join("proc")).unwrap();
    symlink("/proc", root.path().join("link")).unwrap();
    let with = |mount: Mount| {
        let mounts = vec![
            mount_of("proc", Path::new("proc"), "/proc", &["nosuid"]),
            mount,
        ];
        plan(root.path(), mounts)
    };
    let uptime = || std::fs::read_to_string("/proc/uptime").unwrap();
    assert_eq!(
        seen(&with(bind(&file, "/proc/uptime", &["bind"])), uptime),
        "own"
    );
    for (source, target, said) in [
        (
            &*file,
            "/proc/version",
            "`/proc/version` lies in the container's `/proc`",
        ),
        (
            &file,
            "/proc/sys/kernel/hostname",
            "`/proc/sys/kernel/hostname` lies in the container's `/proc`",
        ),
        (
            &file,
            "/link/uptime",
            "`/link/uptime` lies in the container's `/proc`",
        ),
        (
            host.path(),
            "/proc",
            "`/proc` lies in the container's `/proc`",
        ),
        (
            host.path(),
            "/link",
            "`/link` lies in the container's `/proc`",
        ),
        (
            host.path(),
            "/proc/uptime",
            "on `/proc/uptime` nothing can be mounted but a regular file from outside of a process file system",
        ),
        (
            Path::new("/proc/self/status"),
            "/proc/uptime",
            "on `/proc/uptime` nothing can be mounted but a regular file from outside of a process file system",
        ),
    ] {
        let refused = seen(&with(bind(source, target, &["bind"])), String::new);
        assert!(refused.ends_with(said), "{target}: {refused}");
    }
    let instead = plan(root.path(), vec![bind(host.path(), "/link", &["bind"])]);
    let refused = seen(&instead, String::new);
    assert!(
        refused.contains("is for the process file system"),
        "{refused}"
    );
    let other = plan(
        root.path(),
        vec![bind(Path::new("/proc"), "/proc", &["rbind"])],
    );
    assert!(inside(&other, || Path::new("/proc/self").exists()));
}

#[test]
fn memory_has_the_mode_and_the_files_that_it_is_to_have() {
    if !is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("there");
    std::fs::create_dir_all(place.join("deep/er")).unwrap();
    std::fs::write(place.join("deep/file"), "content").unwrap();
    std::fs::hard_link(place.join("deep/file"), place.join("second")).unwrap();
    chown(place.join("second"), Some(5), Some(6)).unwrap();
    std::fs::set_permissions(&place, PermissionsExt::from_mode(0o2751)).unwrap();
    let mode = |path: &str| format!("{:o}", std::fs::metadata(path).unwrap().mode() & 0o7777);
    for (mount, expected) in [
        (memory("/there", &[]), "2751"),
        (memory("/there", &["mode=700"]), "700"),
        (memory("/new", &[]), "1777"),
    ] {
        let target = mount.destination().display().to_string();
        assert_eq!(
            seen(&plan(root.path(), vec![mount]), || mode(&target)),
            expected
        );
    }
    let look = || {
        let content = std::fs::read_to_string("/there/second").unwrap();
        let found = std::fs::metadata("/there/deep/file").unwrap();
        let names = std::fs::read_dir("/there").unwrap().count();
        format!(
            "{content} {}:{} {} {names} {}",
            found.uid(),
            found.gid(),
            found.nlink(),
            flags_at("/there")
        )
    };
    let copied = memory("/there", &["tmpcopyup", "ro", "nosuid"]);
    assert_eq!(
        seen(&plan(root.path(), vec![copied]), look),
        "content 5:6 2 2 ro,nosuid"
    );
    for (options, said) in [
        (
            &["size=much"][..],
            "set the option `size=much` of tmpfs: tmpfs: Bad value for 'size': Invalid argument (os error 22)",
        ),
        (
            &["mode=700", "colour"],
            "set the option `colour` of tmpfs: tmpfs: Unknown parameter 'colour': Invalid argument (os error 22)",
        ),
    ] {
        let refused = seen(&plan(root.path(), vec![memory("/t", options)]), String::new);
        assert_eq!(refused, format!("mount `tmpfs` on `/t`: {said}"));
    }
    let unknown = plan(
        root.path(),
        vec![mount_of("nothing", Path::new("none"), "/t", &[])],
    );
    let refused = seen(&unknown, String::new);
    assert!(
        refused.contains("open the file system `nothing`: No such device"),
        "{refused}"
    );
}
