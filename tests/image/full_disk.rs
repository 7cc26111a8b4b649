//! A full disk: a small tmpfs as the data root.

use super::Library;
use super::plan::{self, Plan};
use super::support::{Need, requires};
use onggi::image::digest::Digest;
use onggi::image::store;
use std::process::Command;

/// Unmounted when dropped, also when the test fails.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    if !requires(&[Need::Root]) {
        return;
    }
    let library = Library::new();
    let data = library.paths.data().to_owned();
    std::fs::create_dir(&data).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&data)
        .status();
    assert!(mounted.unwrap().success());
    let _mounted = Mounted(data);
    library.load(Plan::new().write().path()).unwrap();
    let before = library.content();
    let large = vec![7; 3 << 20];
    let mut plan = Plan::new();
    plan.layer = plan::tar(&[("large", &large)]);
    plan.diff_id = Digest::of(&plan.layer);
    let layout = plan.write();
    let archive = library.directory.path().join("archive.tar.gz");
    std::fs::write(&archive, plan::gzip(&plan::archive(layout.path(), false))).unwrap();
    // The layer itself, and an archive that has to be put down first.
    for (source, part) in [
        (layout.path(), "disk full"),
        (&archive, "No space left on device"),
    ] {
        let error = format!("{:#}", library.load(source).unwrap_err());
        assert!(error.contains(part), "{error}");
        assert_eq!(library.content(), before);
    }
    assert_eq!(store::list(&library.paths).unwrap().len(), 1);
}
