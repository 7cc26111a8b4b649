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

/// The error of unpacking on a file system with such limits.
fn on_tmpfs(options: &str, tar: &Tar) -> anyhow::Error {
    let place = tempfile::tempdir().unwrap();
    in_mount_namespace(|| {
        let (name, flags) = (Some("tmpfs"), nix::mount::MsFlags::empty());
        nix::mount::mount(name, place.path(), name, flags, Some(options)).unwrap();
        unpack(&tar.bytes()[..], place.path(), &[], &RULES).unwrap_err()
    })
}

#[test]
fn a_full_disk_is_named() {
    if !as_root() {
        return;
    }
    let large = "x".repeat(4 << 20);
    // What no compression makes smaller goes to the journal when it is no file.
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let noise: Vec<u8> = noise.take(4 << 20).collect();
    let directories = (0..9).fold(Tar::new(), |tar, number| {
        tar.directory(&format!("d{number}/"), 0o755)
    });
    for (options, tar, words) in [
        (
            "size=1m",
            Tar::new().file("usr/a", &large),
            "write `usr/a` of the layer",
        ),
        (
            "size=1m",
            Tar::new().member(b'0', ".wh.a", "", &noise, |_| {}),
            "/journal",
        ),
        ("nr_inodes=6", directories, "create the directory `d"),
    ] {
        let error = on_tmpfs(options, &tar);
        let text = format!("{error:#}");
        assert!(
            text.contains(words) && text.ends_with(": disk full"),
            "{text}"
        );
        assert_eq!(kind(&error), Some(Kind::Denied), "{text}");
        assert!(hint(&error).is_some(), "{text}");
    }
}
