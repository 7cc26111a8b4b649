//! Where things go, and with which attributes.

use super::*;

fn context() -> TempDir {
    files(&[
        "file=one",
        "run.sh=#! 700",
        "src/a=a",
        "src/sub/b=b 600",
        "src/sub/empty/ 700",
        "src/link->../file",
        "top->src/sub",
    ])
}

#[test]
fn files_and_directories_go_where_docker_puts_them() {
    let context = context();
    let below = files(&["etc/ 750", "etc/old", "app/ 711", "data->etc", "plain=x"]);
    let src = |directory: &str| -> Vec<String> {
        let names = [
            "a 644 =a",
            "link -> ../file",
            "sub/ 755",
            "sub/b 600 =b",
            "sub/empty/ 700",
        ];
        names.map(|name| format!("{directory}{name}")).to_vec()
    };
    let with = |first: &[&str], rest: Vec<String>| {
        let first = first.iter().map(ToString::to_string);
        first.chain(rest).collect::<Vec<_>>()
    };
    let lines = |lines: &[&str]| with(lines, Vec::new());
    for (words, expected) in [
        (&["file", "/new"][..], lines(&["new 644 =one"])),
        (
            &["file", "/new/"],
            lines(&["new/ 755", "new/file 644 =one"]),
        ),
        (
            &["file", "/x/y/new"],
            lines(&["x/ 755", "x/y/ 755", "x/y/new 644 =one"]),
        ),
        (&["file", "/etc"], lines(&["etc/ 750", "etc/file 644 =one"])),
        (
            &["file", "/etc/old"],
            lines(&["etc/ 750", "etc/old 644 =one"]),
        ),
        // A link on the way is followed, inside of the image.
        (
            &["file", "/data/"],
            lines(&["etc/ 750", "etc/file 644 =one"]),
        ),
        (&["file", "/"], lines(&["file 644 =one"])),
        (
            &["run.sh", "file", "/"],
            lines(&["file 644 =one", "run.sh 700 =#!"]),
        ),
        // What is in a directory is copied, not the directory.
        (&["src", "/app"], with(&["app/ 711"], src("app/"))),
        (&["src/", "/app/"], with(&["app/ 711"], src("app/"))),
        (&["/src", "/fresh"], with(&["fresh/ 755"], src("fresh/"))),
        (&["src/.", "/"], src("")),
        // A link that is asked for by name is followed, one that is met is not.
        (
            &["top", "/d"],
            lines(&["d/ 755", "d/b 600 =b", "d/empty/ 700"]),
        ),
        (&["../file", "/new"], lines(&["new 644 =one"])),
        (
            &["src/*", "/d/"],
            lines(&[
                "d/ 755",
                "d/a 644 =a",
                "d/b 600 =b",
                "d/empty/ 700",
                "d/link 644 =one",
            ]),
        ),
        (&["none*", "/d/"], lines(&[])),
    ] {
        assert_eq!(
            Copy::new(words).onto(&context, Some(&below)).unwrap(),
            expected,
            "{words:?}"
        );
    }
}

#[test]
fn a_file_does_not_take_the_place_of_a_directory_nor_the_reverse() {
    let context = context();
    let below = files(&["etc/sub/", "plain=x", "sub=y", "loop->loop"]);
    for (words, expected) in [
        (
            &["src", "/plain"][..],
            "cannot copy to non-directory: /plain",
        ),
        (&["src", "/"], "cannot copy to non-directory: /sub"),
        (&["file", "/plain/"], "cannot copy to non-directory: /plain"),
        (
            &["file", "/plain/x"],
            "cannot copy to non-directory: /plain",
        ),
        (&["file", "/loop/x"], "too many links"),
    ] {
        let found = message(Copy::new(words).onto(&context, Some(&below)));
        assert!(found.contains(expected), "{words:?}: {found}");
    }
    let context = files(&["d/sub=file"]);
    let found = message(Copy::new(&["d", "/etc"]).onto(&context, Some(&below)));
    assert!(
        found.contains("cannot replace to directory /etc/sub with file"),
        "{found}"
    );
    // With --link nobody looks below.
    let written = Copy::new(&["d", "/etc"]).onto(&context, None).unwrap();
    assert_eq!(written, ["etc/ 755", "etc/sub 644 =file"]);
}

#[test]
fn owners_and_modes_are_those_that_were_asked_for() {
    let context = context();
    let below = files(&["etc/passwd=www:x:33:34::/:/\n", "app/ 711"]);
    let copy = |words: &[&str], owner: Option<&str>, mode: Option<&str>| {
        Copy::new(words)
            .with(|copy| {
                copy.plan.owner = owner.map(str::to_owned);
                copy.plan.mode = mode.map(str::to_owned);
            })
            .onto(&context, Some(&below))
            .unwrap()
    };
    assert_eq!(
        copy(&["src", "/app/x"], Some("www"), Some("u=rwX,go=rX")),
        [
            "app/ 711",
            "app/x/ 755 33:34",
            "app/x/a 644 33:34 =a",
            "app/x/link 33:34 -> ../file",
            "app/x/sub/ 755 33:34",
            "app/x/sub/b 644 33:34 =b",
            "app/x/sub/empty/ 755 33:34",
        ]
    );
    assert_eq!(
        copy(&["file", "/new"], Some("7"), Some("4755")),
        ["new 4755 7:7 =one"]
    );
    // What is there keeps its owner and its mode if it is only written into.
    assert_eq!(
        copy(&["file", "/app/"], Some("7:8"), None),
        ["app/ 711", "app/file 644 7:8 =one"]
    );
}

#[test]
fn layers_keep_owners_attributes_and_hard_links() {
    let from = files(&["out/bin/tool=t 4755", "out/data=d 640", "out/zz/"]);
    let place = |name: &str| from.path().join("out").join(name);
    std::fs::hard_link(place("bin/tool"), place("zz/again")).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(place("data"), Some(5), Some(6)).unwrap();
    }
    let written = Copy::new(&["/out", "/opt"]).from(&from, None).unwrap();
    let data = if is_root {
        "opt/data 640 5:6 =d"
    } else {
        "opt/data 640 =d"
    };
    assert_eq!(
        written
            .iter()
            .map(String::as_str)
            .filter(|line| !line.contains("data"))
            .collect::<Vec<_>>(),
        [
            "opt/ 755",
            "opt/bin/ 755",
            "opt/bin/tool 4755 =t",
            "opt/zz/ 755",
            "opt/zz/again 4755 == opt/bin/tool"
        ]
    );
    assert!(written.iter().any(|line| line == data), "{written:?}");
}

#[test]
fn later_parts_take_the_places_of_earlier_ones() {
    let context = context();
    let text = Part::Text {
        name: "file".to_owned(),
        content: "two".to_owned(),
    };
    let written = Copy::new(&["file", "/d/"])
        .with(|copy| copy.plan.mode = Some("600".to_owned()))
        .write(text, &[], &[], None)
        .unwrap();
    assert_eq!(written, ["d/ 755", "d/file 600 =two"]);
    let written = Copy::new(&["file", "src/a", "run.sh", "/one"])
        .onto(&context, None)
        .unwrap();
    assert_eq!(written, ["one 700 =#!"]);
}

#[test]
fn what_changes_meanwhile_is_not_copied() {
    let context = context();
    let copy = |change: &dyn Fn(&Path)| {
        let selection = selected(&context, &selector(&["src"]), None).unwrap();
        change(context.path());
        let part = Part::Directory {
            descriptor: 0,
            selection: 1,
            unpack: false,
        };
        let descriptors = [root(&context), selection.to_file().unwrap()];
        message(Copy::new(&["src", "/d"]).write(part, &descriptors, &[], None))
    };
    let secret = files(&["b=secret"]);
    let changed = copy(&|root| std::fs::write(root.join("src/sub/b"), "bb").unwrap());
    assert!(
        changed.contains("`src/sub/b` was changed while it was copied"),
        "{changed}"
    );
    // A directory becomes a link that leaves the context.
    let changed = copy(&|root| {
        std::fs::rename(root.join("src/sub"), root.join("src/gone")).unwrap();
        symlink(secret.path(), root.join("src/sub")).unwrap();
    });
    assert!(
        changed.contains("`src/sub/b` was changed while it was copied"),
        "{changed}"
    );
}

#[test]
fn whiteouts_cannot_be_copied() {
    let context = files(&["d/.wh.etc"]);
    let found = message(Copy::new(&["d", "/"]).onto(&context, None));
    assert!(found.contains("`/.wh.etc` cannot be in a layer"), "{found}");
}

/// An archive with a directory, a link and files that belong to somebody.
fn archive(more: &[(&str, MemberKind, &str)]) -> Vec<u8> {
    use crate::image::layer::{Member, Writer};
    let mut writer = Writer::new(Vec::new());
    let members = [
        ("./", MemberKind::Directory, ""),
        ("./usr/bin/tool", MemberKind::File, ""),
        ("bin/sh", MemberKind::SymbolicLink, "tool"),
        ("usr/bin/again", MemberKind::HardLink, "usr/bin/tool"),
    ];
    for (name, kind, link) in members.iter().chain(more) {
        let size = if *kind == MemberKind::File { 4 } else { 0 };
        let member = Member {
            name: name.as_bytes().to_vec(),
            link: link.as_bytes().to_vec(),
            kind: *kind,
            mode: 0o755,
            uid: 7,
            gid: 8,
            mtime: rustix::fs::Timespec {
                tv_sec: EPOCH + 5,
                tv_nsec: 9,
            },
            device: (0, 0),
            size,
            sparse: None,
            xattrs: vec![(b"trusted.overlay.opaque".to_vec(), b"y".to_vec())],
        };
        writer.member(&member).unwrap();
        writer.data(&b"tool"[..size as usize]).unwrap();
    }
    writer.finish().unwrap().0
}

fn add(
    archive: &[u8],
    name: &str,
    destination: &str,
    below: Option<&TempDir>,
) -> Result<Vec<String>> {
    let context = files(&["before=1"]);
    std::fs::write(context.path().join(name), archive).unwrap();
    let selection = selected(&context, &selector(&["before", name]), None)?;
    let part = Part::Directory {
        descriptor: 0,
        selection: 1,
        unpack: true,
    };
    let descriptors = [root(&context), selection.to_file()?];
    Copy::new(&[destination]).write(part, &descriptors, &[], below)
}

#[test]
fn archives_are_unpacked_whatever_they_are_called() {
    let below = files(&["usr/bin/ 711", "bin->usr/bin", "etc/"]);
    let expected = [
        "before 644 =1",
        "usr/ 755",
        "usr/bin/ 711",
        "usr/bin/tool 755 7:8 =tool",
        // The directory for it is a link below.
        "usr/bin/sh 7:8 -> tool",
        "usr/bin/again 755 7:8 == usr/bin/tool",
    ];
    let plain = archive(&[]);
    assert_eq!(add(&plain, "odd.txt", "/", Some(&below)).unwrap(), expected);
    let packed = zstd::encode_all(&plain[..], 1).unwrap();
    assert_eq!(add(&packed, "odd", "/", Some(&below)).unwrap(), expected);
    // A file that is no archive is the directory's neighbour.
    let alone = add(&plain, "x", "/d/", None).unwrap();
    assert_eq!(alone[..3], ["d/ 755", "d/before 644 =1", "d/usr/ 755"]);
}

#[test]
fn paths_that_no_system_call_would_take_are_refused() {
    let below = files(&["etc/"]);
    let names = |count: usize| "a/".repeat(count);
    let (deep, most) = (names(100_000), names(2000));
    for below in [None, Some(&below)] {
        for (more, to) in [
            ((&deep[..], MemberKind::Directory, ""), "/d/"),
            (("hard", MemberKind::HardLink, &deep[..]), "/d/"),
            (("usr/x", MemberKind::File, ""), &format!("/{deep}")),
        ] {
            let found = message(add(&archive(&[more]), "x", to, below));
            assert!(found.contains("is too long"), "{}", &found[..200]);
        }
        let found = Copy::new(&["file", &format!("/{deep}")]);
        let found = message(found.onto(&context(), below));
        assert!(found.contains("is too long"), "{}", &found[..200]);
        // The longest that there may be.
        let written = Copy::new(&["file", &format!("/{most}")]);
        let written = written.onto(&context(), below).unwrap();
        assert_eq!(written.len(), 2001);
    }
    // Links make a path longer.
    let long = "b/".repeat(1000);
    let below = files(&["etc/"]);
    symlink(&long, below.path().join("link")).unwrap();
    let found = Copy::new(&["file", &format!("/link/{}", names(1500))]);
    let found = message(found.onto(&context(), Some(&below)));
    assert!(found.contains("is too long"), "{}", &found[..200]);
}

#[test]
fn nothing_of_an_archive_leaves_the_destination() {
    let below = files(&["etc/passwd=root", "out->../../.."]);
    for (more, expected) in [
        (
            &[("../x", MemberKind::File, "")][..],
            "leads out of the destination",
        ),
        (
            &[("hard", MemberKind::HardLink, "../../etc/passwd")],
            "leads out of the destination",
        ),
        (
            &[("hard", MemberKind::HardLink, "none")],
            "which is no file",
        ),
        (&[(".wh.etc", MemberKind::File, "")], "cannot be in a layer"),
        (
            &[
                ("l", MemberKind::SymbolicLink, "l"),
                ("l/x", MemberKind::File, ""),
            ],
            "too many links",
        ),
    ] {
        let found = message(add(&archive(more), "x", "/d/", Some(&below)));
        assert!(found.contains(expected), "{more:?}: {found}");
    }
    // Links lead to places inside of the image.
    let more = [
        ("up", MemberKind::SymbolicLink, "../../../.."),
        ("up/x", MemberKind::File, ""),
        ("/abs", MemberKind::File, ""),
        ("hard", MemberKind::HardLink, "/usr/bin/tool"),
    ];
    let written = add(&archive(&more), "x", "/d/", Some(&below)).unwrap();
    for line in [
        "x 755 7:8 =tool",
        "d/abs 755 7:8 =tool",
        "d/hard 755 7:8 == d/usr/bin/tool",
    ] {
        assert!(
            written.iter().any(|found| found == line),
            "{line}: {written:?}"
        );
    }
    // Something that only begins like one.
    assert_eq!(
        add(&[0x1f, 0x8b, 0], "x", "/d/", None).unwrap()[2],
        "d/x 644 =\u{1f}\u{fffd}\0"
    );
}
