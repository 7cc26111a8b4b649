//! Root file systems without a `/dev` of their own, made by real root in a mount namespace that is gone afterwards.

mod mounts;

use super::*;
use crate::runtime::plan::{Bundle, Device, Held, Sources};
use crate::sys::process::{self, flags};
use crate::sys::root;
use oci_spec::runtime::{ContainerState, Mount, MountBuilder, Spec, StateBuilder};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

/// That of a container with this root, these mounts and `/masked`.
fn plan(root: &Path, mounts: Vec<Mount>) -> Plan {
    plan_with(root, mounts, Sources::new()).unwrap()
}

/// The same with sources that are open already.
fn plan_with(root: &Path, mounts: Vec<Mount>, sources: Sources) -> Result<Plan> {
    let mut spec = Spec::default();
    let mut linux = spec.linux().clone().unwrap();
    linux.set_masked_paths(Some(vec!["/masked".into(), "/missing".into()]));
    linux.set_readonly_paths(None);
    spec.set_linux(Some(linux));
    spec.set_mounts(Some(mounts));
    let state = StateBuilder::default()
        .version("1.2.0")
        .id("1")
        .status(ContainerState::Creating)
        .bundle(root)
        .build();
    let mut plan = Plan::new(Bundle {
        life: Default::default(),
        spec,
        root: Root::Directory {
            path: root.to_owned(),
            devices: true,
        },
        groups: Vec::new(),
        user_namespace: None,
        tier: Tier::Root,
        cgroup: None,
        state: state.unwrap(),
        seccomp: None,
        sources,
        sockets: Default::default(),
        edits: Vec::new(),
    })?;
    trees::make(&mut plan, None)?;
    Ok(plan)
}

/// Makes it in a mount namespace that is gone afterwards, looks at it from inside, and gives what it saw or why it
/// could not be made.
fn seen(plan: &Plan, look: impl Fn() -> String) -> String {
    let enter = || -> Result<String> {
        mount::set_propagation_of_all(false)?;
        let mut built = build(plan, &plan.trees, open(plan)?)?;
        rustix::process::fchdir(&built.root)?;
        root::pivot_to_current_directory()?;
        restrict(plan, &mut built)?;
        Ok(look())
    };
    let (mut told, mut tell) = std::io::pipe().unwrap();
    let child = process::clone3(flags::NEW_MOUNT, || {
        let text = enter().unwrap_or_else(|error| format!("{error:#}"));
        u8::from(tell.write_all(text.as_bytes()).is_err())
    });
    drop(tell);
    let mut text = String::new();
    told.read_to_string(&mut text).unwrap();
    assert_eq!(child.unwrap().wait().unwrap().code(), 0, "{text}");
    text
}

/// Whether it can be made and looks like that.
fn inside(plan: &Plan, look: impl Fn() -> bool) -> bool {
    seen(plan, || look().to_string()) == "true"
}

#[test]
fn without_a_dev_files_are_masked_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("masked"), b"secret").unwrap();
    let host = std::fs::metadata("/dev/null").unwrap().mode();
    assert!(inside(&plan(root.path(), Vec::new()), || {
        let found = std::fs::metadata("/masked").unwrap();
        let changed = std::fs::set_permissions("/masked", PermissionsExt::from_mode(0o0));
        found.file_type().is_char_device()
            && std::fs::read("/masked").unwrap().is_empty()
            && std::fs::write("/masked", b"x").is_ok()
            && changed.is_err()
    }));
    assert_eq!(std::fs::metadata("/dev/null").unwrap().mode(), host);
}

#[test]
fn nothing_is_made_in_a_dev_of_the_hosts() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (root, host) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bind = |source: &Path, kind: &str, option: &str| {
        let mount = MountBuilder::default()
            .destination("/dev")
            .source(source)
            .typ(kind)
            .options([option.to_owned()]);
        mount.build().unwrap()
    };
    std::fs::write(host.path().join("own"), b"").unwrap();
    let own = bind(Path::new("tmpfs"), "tmpfs", "nosuid");
    let foreign = bind(host.path(), "bind", "rbind");
    let has_null = || Path::new("/dev/null").exists();
    assert!(inside(&plan(root.path(), vec![own]), has_null));
    let plan = plan(root.path(), vec![foreign]);
    assert!(inside(&plan, || !has_null() && Path::new("/dev/own").exists()));
    assert_eq!(std::fs::read_dir(host.path()).unwrap().count(), 1);
}

#[test]
fn a_plain_directory_has_device_nodes_or_a_stand_in() {
    let directory = tempfile::tempdir().unwrap();
    let has_nodes = make_plain(&crate::sys::openat2::open_root(directory.path()).unwrap()).unwrap();
    let null = directory.path().join("null");
    std::fs::write(&null, "x").unwrap();
    let kind = std::fs::metadata(&null).unwrap().file_type();
    assert_eq!(
        (kind.is_char_device(), kind.is_file()),
        (has_nodes, !has_nodes)
    );
    assert_eq!(directory.path().join("urandom").exists(), has_nodes);
    let link = std::fs::read_link(directory.path().join("stdout")).unwrap();
    assert_eq!(link, Path::new("/proc/self/fd/1"));
}

#[test]
fn pipes_and_nodes_of_the_configuration_are_made() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let dev = MountBuilder::default()
        .destination("/dev")
        .source("tmpfs")
        .typ("tmpfs");
    let mut plan = plan(root.path(), vec![dev.build().unwrap()]);
    let device = |path: &str, mode, (major, minor)| Device {
        path: path.into(),
        mode,
        major,
        minor,
        uid: 5,
        gid: 7,
    };
    plan.devices = vec![
        device("/dev/pipe", libc::S_IFIFO | 0o620, (0, 0)),
        device("/deep/down/zero", libc::S_IFCHR | 0o600, (1, 5)),
    ];
    let look = |path: &str| {
        let found = std::fs::metadata(path).unwrap();
        let (mode, owner) = (found.mode(), (found.uid(), found.gid()));
        format!("{mode:o} {owner:?} {}", found.rdev())
    };
    for nodes_are_bound in [false, true] {
        plan.user_namespace = nodes_are_bound;
        plan.devices.truncate(2 - usize::from(nodes_are_bound));
        let expected = match nodes_are_bound {
            true => "10620 (5, 7) 0".to_owned(),
            false => format!("10620 (5, 7) 0 20600 (5, 7) {}", rustix::fs::makedev(1, 5)),
        };
        let paths = || {
            plan.devices
                .iter()
                .map(|device| look(device.path.to_str().unwrap()))
        };
        assert_eq!(
            seen(&plan, || paths().collect::<Vec<_>>().join(" ")),
            expected
        );
    }
}

#[test]
fn a_bundle_may_ask_for_a_propagation_that_its_source_has_not() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (root, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(source.path().join("own"), b"").unwrap();
    for word in ["rslave", "rshared", "slave"] {
        let bind = MountBuilder::default()
            .destination("/data")
            .source(source.path())
            .typ("bind")
            .options(["rbind".to_owned(), word.to_owned()]);
        let plan = plan(root.path(), vec![bind.build().unwrap()]);
        assert!(inside(&plan, || Path::new("/data/own").exists()), "{word}");
    }
}
