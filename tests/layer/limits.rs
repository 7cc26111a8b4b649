//! Layers larger than what the settings or the disk allow, and how much memory huge claims cost.

use super::archive::{Tar, gzip};
use super::{Layers, RULES, as_root, in_mount_namespace};
use crate::support::{Need, images, requires};
use onggi::error::{Kind, hint, kind};
use onggi::image::layer::{Owners, Rules, XattrPrefix, unpack};

#[test]
fn what_inflates_without_end() {
    let rules = Rules {
        owners: Owners::SingleId,
        xattrs: XattrPrefix::User,
        max_bytes: 1 << 20,
        ..RULES
    };
    let exact = Tar::new().raw(&vec![0; 1 << 20]).unfinished();
    Layers::with(rules.clone()).add(&exact);
    let over = gzip(&vec![0; (1 << 20) + 1]);
    let error = Layers::with(rules.clone()).try_blob(&over).unwrap_err();
    assert!(
        format!("{error:#}").contains("more than 1048576 bytes"),
        "{error:#}"
    );
    assert!(hint(&error).unwrap().contains("layer-max-bytes"));
    let bomb = "grootfs/zip-bomb";
    if requires(&[Need::Image(bomb)]) {
        let blobs = images().join(bomb).join("blobs/sha256");
        let is_gzip = |bytes: &Vec<u8>| bytes.starts_with(&[0x1f, 0x8b]);
        let layers = std::fs::read_dir(blobs)
            .unwrap()
            .map(|blob| std::fs::read(blob.unwrap().path()).unwrap())
            .filter(is_gzip);
        let rules = Rules {
            max_bytes: 10_000,
            ..rules
        };
        let refused = layers
            .filter(|layer| Layers::with(rules.clone()).try_blob(layer).is_err())
            .count();
        assert!(refused > 0);
    }
}

#[test]
fn a_full_disk_is_named() {
    if !as_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let error = in_mount_namespace(|| {
        use nix::mount::MsFlags;
        nix::mount::mount(
            Some("tmpfs"),
            place.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=1m"),
        )
        .unwrap();
        let tar = Tar::new()
            .file("small", "x")
            .file("usr/large", &"x".repeat(4 << 20))
            .bytes();
        unpack(&tar[..], place.path(), &[], &RULES).unwrap_err()
    });
    assert_eq!(
        format!("{error:#}"),
        "write `usr/large` of the layer: disk full"
    );
    assert_eq!(kind(&error), Some(Kind::Denied));
    assert!(hint(&error).is_some());
    let error = in_mount_namespace(|| {
        use nix::mount::MsFlags;
        let options = Some("nr_inodes=6");
        nix::mount::mount(
            Some("tmpfs"),
            place.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        let tar = (0..9)
            .fold(Tar::new(), |tar, number| {
                tar.directory(&format!("d{number}/"), 0o755)
            })
            .bytes();
        unpack(&tar[..], place.path(), &[], &RULES).unwrap_err()
    });
    assert!(
        format!("{error:#}").ends_with("of the layer: disk full"),
        "{error:#}"
    );
}
