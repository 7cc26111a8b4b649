//! The others: crun and runc on a ready bundle, bubblewrap with the same namespaces, podman with its own store,
//! and the floor. Each gets what it needs below the store's directory, so that it is gone afterwards.
#![allow(dead_code, reason = "each bench uses a part of it")]

use super::bundle::{self, Map};
use super::floor;
use crate::measure::Contender;
use crate::support::store::program;
use crate::support::{Store, User, images};
use onggi::runtime::seccomp::{Identity, default_filter};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// All of them, whether installed or not.
pub fn all(store: &Store) -> Vec<Contender<'_>> {
    let rootfs = rootfs(store);
    let maps = maps(store);
    let mut config = bundle::config(&rootfs, maps.as_ref().map(|(uids, gids)| (uids, gids)));
    let bundle = write_bundle(store, "bundle", &config);
    if let Some(linux) = config["linux"].as_object_mut() {
        linux.remove("seccomp");
    }
    let unfiltered = write_bundle(store, "unfiltered", &config);
    let mut all = vec![
        Contender::new(FLOOR, {
            let words = kernel_calls(store, &rootfs, maps.as_ref(), &[]);
            move || {
                let mut command = store.command(&words[0]);
                command.args(&words[1..]);
                command
            }
        }),
        runtime(
            store,
            &bundle,
            "crun run, no cgroup",
            "crun",
            &["--cgroup-manager=disabled"],
        ),
        // Newer versions than Debian's keep the compiled filter: they stand between this and the line above.
        runtime(
            store,
            &unfiltered,
            "crun run, no cgroup, no seccomp",
            "crun",
            &["--cgroup-manager=disabled"],
        ),
    ];
    if store.user == User::Root {
        all.push(runtime(
            store,
            &bundle,
            "crun run",
            "crun",
            &["--cgroup-manager=cgroupfs"],
        ));
    }
    all.push(runtime(store, &bundle, "runc run", "runc", &[]));
    all.push(bubblewrap(store, &rootfs));
    all.extend(podman(store));
    all
}

/// crun and runc with a scope of systemd's, and crun without any group.
pub fn through_systemd(store: &Store) -> Vec<Contender<'_>> {
    let (rootfs, maps) = (rootfs(store), maps(store));
    let config = bundle::config(&rootfs, maps.as_ref().map(|(uids, gids)| (uids, gids)));
    let bundle = write_bundle(store, "bundle", &config);
    let runtime_directory = format!("/run/user/{}", store.account.uid);
    let of = |title, name, options| {
        let mut contender = runtime(store, &bundle, title, name, options);
        let (mut plain, directory) = (contender.command, runtime_directory.clone());
        // Where these look for a user's manager.
        contender.command = Box::new(move || {
            let mut command = plain();
            command.env("XDG_RUNTIME_DIR", &directory);
            command.env(
                "DBUS_SESSION_BUS_ADDRESS",
                format!("unix:path={directory}/bus"),
            );
            command
        });
        contender
    };
    vec![
        of("crun --systemd-cgroup run", "crun", &["--systemd-cgroup"]),
        of(
            "crun run, no cgroup",
            "crun",
            &["--cgroup-manager=disabled"],
        ),
        of("runc --systemd-cgroup run", "runc", &["--systemd-cgroup"]),
    ]
}

/// crun and runc with this many directories bound, and without.
pub fn with_binds<'a>(store: &'a Store, source: &Path, count: usize) -> Vec<Contender<'a>> {
    let (rootfs, maps) = (rootfs(store), maps(store));
    let mut config = bundle::config(&rootfs, maps.as_ref().map(|(uids, gids)| (uids, gids)));
    let without = write_bundle(store, "without", &config);
    let binds = (0..count).map(|number| {
        serde_json::json!({
            "destination": format!("/mounted/{number}"), "type": "bind", "source": source, "options": ["rbind", "rprivate"],
        })
    });
    if let Some(mounts) = config["mounts"].as_array_mut() {
        mounts.extend(binds);
    }
    let with = write_bundle(store, "with", &config);
    let no_group: &[&str] = &["--cgroup-manager=disabled"];
    let of = |bundle, title: String, name, options| {
        let mut contender = runtime(store, bundle, "", name, options);
        contender.name = title;
        contender
    };
    vec![
        of(
            &with,
            format!("crun run, no cgroup, {count} mounts"),
            "crun",
            no_group,
        ),
        of(&without, "crun run, no cgroup".to_owned(), "crun", no_group),
        of(&with, format!("runc run, {count} mounts"), "runc", &[]),
        of(&without, "runc run".to_owned(), "runc", &[]),
    ]
}

/// A contender's name and the command that it is.
pub type Words = (String, Vec<OsString>);

/// Ours, crun and runc on the same bundle, and the kernel's calls alone: `run`, and then `create`, `start` and `delete` as
/// three commands. `leave_out` takes something out of the configuration.
pub fn of_a_bundle(
    store: &Store,
    states: &Path,
    name: &str,
    leave_out: impl FnOnce(&mut serde_json::Value),
) -> [Vec<Words>; 2] {
    let rootfs = store.home().join("rootfs");
    let rootfs = match rootfs.exists() {
        true => rootfs,
        false => self::rootfs(store),
    };
    let maps = maps(store);
    let mut config = bundle::config(&rootfs, maps.as_ref().map(|(uids, gids)| (uids, gids)));
    leave_out(&mut config);
    let bundle = write_bundle(store, name, &config);
    let ours = program().to_str().unwrap();
    let of = |title: &str, words: &[&str], program: &str, script: &str| {
        let state = states.join(title.replace(' ', "-"));
        let mut all: Vec<OsString> = ["sh", "-c", script, program].map(Into::into).into();
        all.push(bundle.clone().into());
        all.extend(words.iter().map(Into::into));
        all.extend(["--root".into(), state.into()]);
        (title.to_owned(), all)
    };
    const RUN: &str = r#"b=$1; shift; exec "$0" "$@" run --bundle "$b" bench"#;
    const THREE: &str = r#"b=$1; shift
        "$0" "$@" create --bundle "$b" bench && "$0" "$@" start bench && "$0" "$@" delete --force bench"#;
    let mut floor: Vec<OsString> = ["sh", "-c", r#"exec "$0" "$@""#].map(Into::into).into();
    floor.extend(kernel_calls(
        store,
        &rootfs,
        maps.as_ref(),
        &floor_options(store, &config),
    ));
    [RUN, THREE].map(|script| {
        vec![
            of("onggi runtime", &["runtime"], ours, script),
            of(
                "crun, no cgroup",
                &["--cgroup-manager=disabled"],
                "crun",
                script,
            ),
            of("crun", &["--cgroup-manager=cgroupfs"], "crun", script),
            of("runc", &[], "runc", script),
            (FLOOR.to_owned(), floor.clone()),
        ]
    })
}

/// What the kernel's calls alone are to do for a bundle; `--no-filter` is for [`kernel_calls`].
fn floor_options(store: &Store, config: &serde_json::Value) -> Vec<&'static str> {
    let linux = &config["linux"];
    let namespaces = linux["namespaces"].as_array();
    let has_network = namespaces.is_some_and(|all| all.iter().any(|one| one["type"] == "network"));
    let options = [
        (true, "--bind"),
        (!has_network, "--host-network"),
        (store.user == User::Root, "--group"),
        (linux.get("seccomp").is_none(), NO_FILTER),
    ];
    let wanted = options.into_iter().filter(|(is_wanted, _)| *is_wanted);
    wanted.map(|(_, option)| option).collect()
}

const NO_FILTER: &str = "--no-filter";
const FLOOR: &str = "the same kernel calls and nothing else";

/// This program, from where the user can reach it.
pub fn own_copy(store: &Store) -> PathBuf {
    let program = store.path().join("floor");
    if !program.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    }
    program
}

/// A bundle whose program sleeps.
pub fn sleeping_bundle(store: &Store) -> PathBuf {
    let (rootfs, maps) = (rootfs(store), maps(store));
    let mut config = bundle::config(&rootfs, maps.as_ref().map(|(uids, gids)| (uids, gids)));
    config["process"]["args"] = serde_json::json!(["/bin/sleep", "100000"]);
    write_bundle(store, "sleeping", &config)
}

fn write_bundle(store: &Store, name: &str, config: &serde_json::Value) -> PathBuf {
    let bundle = store.home().join(name);
    std::fs::create_dir(&bundle).unwrap();
    std::fs::write(bundle.join("config.json"), config.to_string()).unwrap();
    bundle
}

/// Alpine unpacked by tar, owned by the user where the user cannot own more.
fn rootfs(store: &Store) -> PathBuf {
    let rootfs = store.home().join("rootfs");
    let mut command = store.command("sh");
    let script = "mkdir \"$0\" && tar -xzf \"$1\" -C \"$0\"";
    assert!(
        command
            .args(["-c", script])
            .arg(&rootfs)
            .arg(alpine())
            .status()
            .unwrap()
            .success()
    );
    rootfs
}

/// The archive of its root file system.
pub fn alpine() -> PathBuf {
    let name = format!("alpine-minirootfs-3.20.3-{}.tar.gz", std::env::consts::ARCH);
    images().join("alpine-3.20.3-rootfs").join(name)
}

/// The maps of a user namespace for this user; none for root.
fn maps(store: &Store) -> Option<(Map, Map)> {
    let map = |own: u32, file: &str| {
        let mut map = vec![(0, own, 1)];
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let range = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{}:", store.account.name)));
        let range = range.and_then(|range| range.split_once(':'));
        if let Some((first, count)) = range {
            map.push((1, first.parse().unwrap(), count.parse().unwrap()));
        }
        map
    };
    let (uid, gid) = (store.account.uid, store.account.gid);
    (store.user != User::Root).then(|| (map(uid, "/etc/subuid"), map(gid, "/etc/subgid")))
}

/// The command that does them.
fn kernel_calls(
    store: &Store,
    rootfs: &Path,
    maps: Option<&(Map, Map)>,
    options: &[&str],
) -> Vec<OsString> {
    let identity = if store.user == User::Single {
        Identity::Single
    } else {
        Identity::Mapped
    };
    let filter = match options.contains(&NO_FILTER) {
        true => OsString::new(),
        false => {
            let filter = default_filter(bundle::circumstances(), identity);
            let filter = floor::filter_bytes(filter.program());
            store.file("filter", filter).into()
        }
    };
    let mut words: Vec<OsString> = vec![own_copy(store).into(), "floor".into()];
    let options = options.iter().filter(|option| **option != NO_FILTER);
    words.extend(options.map(Into::into));
    words.extend([rootfs.into(), store.home().join("floor").into(), filter]);
    if let Some((uids, gids)) = maps {
        words.extend([uids, gids].map(|map| {
            let numbers = map
                .iter()
                .flat_map(|&(inside, outside, count)| [inside, outside, count]);
            numbers
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
                .join(" ")
                .into()
        }));
    }
    words
}

fn runtime<'a>(
    store: &'a Store,
    bundle: &Path,
    title: &str,
    name: &'a str,
    options: &'a [&str],
) -> Contender<'a> {
    let (bundle, state) = (bundle.to_owned(), store.path().join("runtime").join(name));
    Contender::new(title, move || {
        let mut command = store.command(name);
        command
            .arg("--root")
            .arg(&state)
            .args(options)
            .args(["run", "--bundle"]);
        command.arg(&bundle).arg("bench");
        command
    })
}

fn bubblewrap<'a>(store: &'a Store, rootfs: &Path) -> Contender<'a> {
    let rootfs = rootfs.to_owned();
    let user: &[&str] = if store.user == User::Root {
        &[]
    } else {
        &["--unshare-user"]
    };
    Contender::new("bwrap, all namespaces, no seccomp", move || {
        let mut command = store.command("bwrap");
        let namespaces =
            ["ipc", "pid", "net", "uts", "cgroup"].map(|kind| format!("--unshare-{kind}"));
        command
            .args(user)
            .args(namespaces)
            .arg("--bind")
            .arg(&rootfs);
        command.args([
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            "--mqueue",
            "/dev/mqueue",
            "/bin/true",
        ]);
        command
    })
}

/// Podman without cgroups and with files for events, and with Alpine in a store of its own.
fn podman(store: &Store) -> Option<Contender<'_>> {
    let containers = store.file(
        "containers.conf",
        "[containers]\npids_limit=0\ndefault_ulimits=[]\n\
         [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n",
    );
    let storage = store.file(
        "storage.conf",
        format!(
            "[storage]\ndriver=\"overlay\"\ngraphroot={:?}\nrunroot={:?}\n\
             [storage.options.overlay]\nignore_chown_errors=\"{}\"\n",
            store.home().join("podman"),
            store.path().join("runtime/podman"),
            store.user == User::Single,
        ),
    );
    let command = move |arguments: &[&OsStr]| -> Command {
        let mut command = store.command("podman");
        command
            .env("CONTAINERS_CONF", &containers)
            .env("CONTAINERS_STORAGE_CONF", &storage);
        command.args(arguments);
        command
    };
    let image = OsStr::new("localhost/alpine:3.20");
    let _ = command(&[
        "import".as_ref(),
        "-q".as_ref(),
        alpine().as_os_str(),
        image,
    ])
    .output();
    let options = [
        "run",
        "--rm",
        "--network",
        "none",
        "--cgroups",
        "disabled",
        "--ulimit",
        "host",
    ];
    Some(Contender::new(
        "podman run --rm --network none, no cgroup",
        move || {
            let mut command = command(&options.map(OsStr::new));
            command.arg(image).arg("/bin/true");
            command
        },
    ))
}
