//! Root file systems without a `/dev` of their own, made by real root in a mount namespace that is gone afterwards.

use super::*;
use crate::runtime::plan::Bundle;
use crate::sys::process::{self, flags};
use oci_spec::runtime::{ContainerState, Mount, MountBuilder, Spec, StateBuilder};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

/// That of a container with this root, these mounts and `/masked`.
fn plan(root: &Path, mounts: Vec<Mount>) -> Plan {
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
        spec,
        root: Root::Directory(root.to_owned()),
        groups: Vec::new(),
        user_namespace: None,
        tier: Tier::Root,
        cgroup: None,
        state: state.unwrap(),
        seccomp: None,
        sources: Default::default(),
        edits: Vec::new(),
    })
    .unwrap();
    trees::make(&mut plan, None).unwrap();
    plan
}

/// Makes it and looks at it from inside; whether that could be done.
fn inside(plan: &Plan, look: impl Fn() -> bool) -> bool {
    let enter = || -> Result<bool> {
        mount::set_propagation_of_all(false)?;
        let mut built = build(plan, open(plan)?)?;
        rustix::process::fchdir(&built.root)?;
        mount::pivot_to_current_directory()?;
        restrict(plan, &mut built)?;
        Ok(look())
    };
    let child = process::clone3(flags::NEW_MOUNT, || match enter() {
        Ok(seen) => u8::from(!seen),
        Err(error) => {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                format!("{error:#}\n").as_bytes(),
            );
            2
        }
    });
    child.unwrap().wait().unwrap().code() == 0
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
        let changed = std::fs::set_permissions("/masked", PermissionsExt::from_mode(0));
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
