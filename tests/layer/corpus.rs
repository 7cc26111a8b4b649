//! Go's odd tar files: each unpacks into so many entries or is refused with such words, and what GNU tar
//! unpacks as well looks the same.

use super::{Layers, describe};
use crate::support::{Need, images, requires};
use onggi::image::layer::{entries, stream_tar};
use std::process::Command;

enum Expected {
    /// So many entries, and the same tree as GNU tar makes.
    Unpacks(usize),
    /// So many entries; GNU tar reads it otherwise.
    UnpacksUnlikeGnu(usize),
    /// An error with these words.
    Fails(&'static str),
}
use Expected::{Fails, Unpacks, UnpacksUnlikeGnu};

const FILES: &[(&str, Expected)] = &[
    ("file-and-dir.tar", Unpacks(2)),
    ("gnu-incremental.tar", Unpacks(3)),
    ("gnu-long-nul.tar", Unpacks(1)),
    ("gnu-multi-hdrs.tar", Unpacks(1)),
    ("gnu-nil-sparse-data.tar", Unpacks(1)),
    ("gnu-nil-sparse-hole.tar", Unpacks(1)),
    ("gnu-not-utf8.tar", Unpacks(1)),
    ("gnu-sparse-big.tar", Unpacks(1)),
    ("gnu-utf8.tar", Unpacks(1)),
    ("gnu.tar", Unpacks(2)),
    ("hardlink.tar", Unpacks(2)),
    ("hdr-only.tar", Unpacks(9)),
    ("invalid-go17.tar", Unpacks(1)),
    ("issue10968.tar", Fails("its size is implausible")),
    ("issue11169.tar", Fails("is cut off")),
    ("issue12435.tar", Fails("its size is implausible")),
    ("neg-size.tar", Fails("its size is implausible")),
    ("nil-uid.tar", Unpacks(1)),
    ("pax-bad-hdr-file.tar", Fails("malformed PAX header")),
    ("pax-bad-hdr-large.tar.bz2", Fails("compressed with bzip2")),
    ("pax-bad-mtime-file.tar", Fails("malformed `mtime`")),
    // GNU tar applies global headers, Docker passes them over.
    ("pax-global-records.tar", UnpacksUnlikeGnu(4)),
    ("pax-multi-hdrs.tar", Unpacks(1)),
    ("pax-nil-sparse-data.tar", Unpacks(1)),
    ("pax-nil-sparse-hole.tar", Unpacks(1)),
    ("pax-nul-path.tar", Fails("malformed PAX header")),
    ("pax-nul-xattrs.tar", Fails("malformed PAX header")),
    ("pax-path-hdr.tar", Fails("ends after an extended header")),
    ("pax-pos-size-file.tar", Unpacks(1)),
    ("pax-records.tar", Unpacks(1)),
    ("pax-sparse-big.tar", Unpacks(1)),
    ("pax.tar", Unpacks(2)),
    ("small.txt", Fails("is cut off")),
    ("small2.txt", Fails("is cut off")),
    // GNU tar expects every segment in blocks of its own, Go (and what wrote this) one after another.
    ("sparse-formats.tar", UnpacksUnlikeGnu(5)),
    ("star.tar", Unpacks(2)),
    ("trailing-slash.tar", Unpacks(1)),
    ("ustar-file-devs.tar", Unpacks(1)),
    ("ustar-file-reg.tar", Unpacks(1)),
    ("ustar.tar", Unpacks(1)),
    ("v7.tar", Unpacks(2)),
    ("writer-big-long.tar", Fails("is cut off")),
    ("writer-big.tar", Fails("is cut off")),
    ("writer.tar", Unpacks(3)),
    ("xattrs.tar", Unpacks(2)),
];

#[test]
fn odd_archives_end_as_the_table_says() {
    if !requires(&[Need::Root, Need::Image("go-archive-tar-corpus")]) {
        return;
    }
    let corpus = images().join("go-archive-tar-corpus");
    let mut known: Vec<_> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut there: Vec<_> = std::fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    known.sort();
    there.sort();
    assert_eq!(known, there);
    for (name, expected) in FILES {
        let blob = std::fs::read(corpus.join(name)).unwrap();
        let mut layers = Layers::new();
        let count = match (layers.try_blob(&blob), expected) {
            (Ok(_), Unpacks(count) | UnpacksUnlikeGnu(count)) => *count,
            (Err(error), Fails(words)) => {
                assert!(format!("{error:#}").contains(words), "{name}: {error:#}");
                continue;
            }
            (Ok(_), Fails(words)) => panic!("{name} was unpacked, not refused with `{words}`"),
            (Err(error), _) => panic!("{name}: {error:#}"),
        };
        assert_eq!(
            entries(&layers.layer(0))
                .unwrap()
                .map(Result::unwrap)
                .count(),
            count,
            "{name}"
        );
        let mut again = Vec::new();
        stream_tar(&layers.layer(0), &mut again).unwrap();
        assert!(again == blob, "{name}");
        if matches!(expected, Unpacks(_)) {
            compare_with_gnu(&layers, &corpus.join(name));
        }
    }
}

fn compare_with_gnu(layers: &Layers, archive: &std::path::Path) {
    let other = tempfile::tempdir().unwrap();
    // It complains about some of them and unpacks them all the same; what counts is the tree.
    let options = [
        "--numeric-owner",
        "--same-owner",
        "-p",
        "--xattrs",
        "--xattrs-include=user.*",
    ];
    Command::new("tar")
        .args(options)
        .arg("-C")
        .arg(other.path())
        .arg("-xf")
        .arg(archive)
        .output()
        .unwrap();
    let comparable = |root| {
        let mut tree = describe(root);
        for (_, description) in tree.iter_mut() {
            // GNU tar gives an implied directory the time of now.
            if description.contains("directory") {
                *description = description
                    .split(' ')
                    .enumerate()
                    .filter(|(at, _)| *at != 2)
                    .map(|(_, word)| word)
                    .collect();
            }
        }
        tree
    };
    assert_eq!(
        comparable(layers.top()),
        comparable(other.path()),
        "{}",
        archive.display()
    );
}
