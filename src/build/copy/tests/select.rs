//! Which files are meant, and what their digest depends on.

use super::*;
use crate::build::copy::filter::Verdict;
use crate::build::copy::selection::Kind;

#[test]
fn what_is_not_there_is_told() {
    let context = files(&[
        "file",
        "dir/",
        "out->../../secret",
        "abs->/etc/hostname",
        "gone->none",
        "dir/in->/file",
    ]);
    let ignored = |path: &[u8], _: bool| match path {
        b"dir" => Verdict::Pruned,
        _ => Verdict::Taken,
    };
    for (source, expected) in [
        ("none", "\"/none\": not found in the build context"),
        ("a/../none", "\"/none\": not found"),
        ("fiel", "[did you mean `file`?]"),
        ("dri/in", "[did you mean `dir/in`?]"),
        ("file/x", "\"/file/x\": not found"),
        ("gone", "\"/gone\": not found"),
        (
            "out",
            "forbidden path outside the build context: out leads to ../../secret",
        ),
        (
            "abs",
            "forbidden path outside the build context: abs leads to /etc/hostname",
        ),
        (
            "dir/in",
            "[`dir/in` is there, but the context's ignore file leaves it out",
        ),
        ("[", "syntax error in pattern"),
    ] {
        // The link is followed to a file that is not left out; the place of the link is of no matter.
        if source == "dir/in" {
            assert!(selected(&context, &selector(&[source]), Some(&ignored)).is_ok());
            continue;
        }
        let found = message(selected(&context, &selector(&[source]), Some(&ignored)));
        assert!(found.contains(expected), "{source}: {found}");
    }
    let found = message(selected(&context, &selector(&["dir"]), Some(&ignored)));
    assert!(
        found.contains("not found") && found.contains("leaves it out"),
        "{found}"
    );
}

#[test]
fn what_is_left_out_is_not_copied_and_what_is_taken_back_is() {
    let context = files(&["a/keep/x", "a/keep/y", "a/drop", "b", "c/z"]);
    let ignored = |path: &[u8], is_directory: bool| match path {
        b"a" | b"a/keep" if is_directory => Verdict::Left,
        b"a/keep/x" | b"b" => Verdict::Taken,
        b"c" => Verdict::Pruned,
        _ => Verdict::Left,
    };
    let selection = selected(&context, &selector(&["."]), Some(&ignored)).unwrap();
    let names: Vec<_> = selection
        .entries()
        .map(|entry| entry.relative().to_vec())
        .collect();
    assert_eq!(names, [&b"a"[..], b"a/keep", b"a/keep/x", b"b"]);
}

#[test]
fn parents_are_copied_from_the_pivot_on() {
    let context = files(&[
        "x/a/one.txt",
        "x/a/two.md",
        "x/b/c/three.txt 600",
        "x/b/",
        "y/one.txt",
    ]);
    let names = |source: &str| {
        let parents = Selector {
            parents: true,
            ..selector(&[source])
        };
        let selection = selected(&context, &parents, None)?;
        let names = selection
            .entries()
            .map(|entry| String::from_utf8_lossy(entry.relative()).into_owned());
        Ok::<_, anyhow::Error>(names.collect::<Vec<_>>())
    };
    assert_eq!(names("x/a/one.txt").unwrap(), ["x", "x/a", "x/a/one.txt"]);
    assert_eq!(names("x/./a/one.txt").unwrap(), ["a", "a/one.txt"]);
    assert_eq!(names("*/*/*.txt").unwrap(), ["x", "x/a", "x/a/one.txt"]);
    assert_eq!(
        names("x/./**/*.txt").unwrap(),
        ["a", "a/one.txt", "b", "b/c", "b/c/three.txt"]
    );
    assert_eq!(
        names("x/b").unwrap(),
        ["x", "x/b", "x/b/c", "x/b/c/three.txt"]
    );
    assert_eq!(names("none/*").unwrap(), Vec::<String>::new());
    assert!(names("x/none").is_err() && names("none/./x").is_err());
}

#[test]
fn the_digest_is_that_of_the_files_whatever_their_times() {
    let lines = ["d/a=a", "d/b=b 600", "d/link->a", "d/e/"];
    let digest = |context: &TempDir| selected(context, &selector(&["d"]), None).unwrap().digest();
    let first = files(&lines);
    let expected = digest(&first);
    assert_eq!(digest(&files(&lines)), expected);
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5);
    std::fs::File::open(first.path().join("d/a"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!(digest(&first), expected);
    for change in ["d/a=x", "d/b=b 644", "d/c=", "d/e/ 700", "d/f/"] {
        let changed = files(&lines);
        make(changed.path(), change);
        assert_ne!(digest(&changed), expected, "{change}");
    }
}

#[test]
fn a_second_look_reads_no_content() {
    let context = files(&["d/a=one", "d/b=two"]);
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(9);
    for name in ["d/a", "d/b"] {
        std::fs::File::open(context.path().join(name))
            .unwrap()
            .set_modified(old)
            .unwrap();
    }
    // Changed within this tick, they would not be remembered.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let root = root(&context);
    let tree = Tree::context(root.as_fd(), None);
    let path = context.path().join("cache");
    let mut cache = StatCache::open(&path);
    let first = take(&tree, &selector(&["d"]), &mut cache).unwrap();
    cache.save().unwrap();
    let mut cache = StatCache::open(&path);
    for entry in first.entries() {
        assert_eq!(cache.find(entry), entry.content);
        assert!(entry.content.is_some());
    }
    assert_eq!(take(&tree, &selector(&["d"]), &mut cache).unwrap(), first);
    std::fs::write(context.path().join("d/a"), "six").unwrap();
    std::fs::File::open(context.path().join("d/a"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    assert_ne!(
        take(&tree, &selector(&["d"]), &mut cache).unwrap().digest(),
        first.digest()
    );
}

#[test]
fn a_wide_tree_comes_in_its_order_whoever_looks() {
    let context = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for directory in 0..40 {
        let count = if directory == 9 { 1000 } else { 20 };
        let name = format!("d{directory}");
        std::fs::create_dir_all(context.path().join(&name).join("sub/left")).unwrap();
        expected.extend([name.clone(), format!("{name}/sub")]);
        for number in 0..count {
            for path in [format!("{name}/{number}"), format!("{name}/sub/{number}")] {
                std::fs::write(context.path().join(&path), &path).unwrap();
                expected.push(path);
            }
        }
    }
    let place = |path: &str| context.path().join(path);
    for link in ["d7/sub/x", "d39/x"] {
        std::fs::hard_link(place("d5/7"), place(link)).unwrap();
        expected.push(link.to_owned());
    }
    expected.sort_by(|one, other| one.split('/').cmp(other.split('/')));
    let ignored = |path: &[u8], _: bool| match path.ends_with(b"left") {
        true => Verdict::Left,
        false => Verdict::Taken,
    };
    let first = expected.iter().position(|path| path == "d39/x").unwrap();
    for _ in 0..20 {
        let selection = selected(&context, &selector(&["."]), Some(&ignored)).unwrap();
        let entries = &selection.items[0].entries;
        let paths = entries.iter().map(|entry| entry.relative());
        assert!(paths.eq(expected.iter().map(String::as_bytes)));
        let links = entries.iter().enumerate().filter_map(|(at, entry)| {
            let Kind::Same(first) = entry.kind else {
                return None;
            };
            assert_eq!(entry.content, None);
            Some((at, first))
        });
        let links: Vec<_> = links.map(|(at, first)| (&*expected[at], first)).collect();
        assert_eq!(links, [("d5/7", first), ("d7/sub/x", first)]);
    }
}

#[test]
fn what_goes_wrong_in_one_of_many_directories_ends_the_walk() {
    let context = tempfile::tempdir().unwrap();
    for number in 0..100 {
        let name = context.path().join(number.to_string());
        std::fs::create_dir(&name).unwrap();
    }
    let mut deep = context.path().join("50");
    for _ in 0..=900 {
        deep.push("d");
    }
    std::fs::create_dir_all(&deep).unwrap();
    let found = message(selected(&context, &selector(&["."]), None));
    assert!(found.contains("more than 900 directories"), "{found}");
}

#[test]
fn what_is_excluded_is_named_as_the_destination_sees_it() {
    let context = files(&[
        "d/a.txt",
        "d/b.md",
        "d/sub/a.txt",
        "d/sub/c",
        "home.txt",
        "home.go",
    ]);
    let names = |sources: &[&str], excludes: &[&str]| {
        let selector = Selector {
            excludes: excludes.iter().map(ToString::to_string).collect(),
            ..selector(sources)
        };
        let selection = selected(&context, &selector, None)?;
        let names = selection
            .entries()
            .map(|entry| String::from_utf8_lossy(entry.relative()).into_owned());
        Ok::<_, anyhow::Error>(names.collect::<Vec<_>>())
    };
    assert_eq!(
        names(&["d"], &["*.txt"]).unwrap(),
        ["b.md", "sub", "sub/a.txt", "sub/c"]
    );
    assert_eq!(
        names(&["d"], &["**/*.txt"]).unwrap(),
        ["b.md", "sub", "sub/c"]
    );
    assert_eq!(
        names(&["d"], &["sub", "!sub/c"]).unwrap(),
        ["a.txt", "b.md", "sub", "sub/c"]
    );
    assert_eq!(names(&["hom*"], &["*.txt"]).unwrap(), ["home.go"]);
    assert!(names(&["d"], &["["]).is_err());
}

#[test]
fn what_cannot_be_read_is_told_with_the_way_out() {
    use rustix::thread::set_thread_res_uid;
    let context = files(&["open=x", "closed=x 0", "d/ 0"]);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(context.path(), mode).unwrap();
    let root = root(&context);
    // Root reads everything; nobody does not. Only this thread becomes that, with those that it starts.
    let nobody = rustix::process::Uid::from_raw(65534);
    let look = || {
        if rustix::process::geteuid().is_root() {
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        ["open", "closed", "d", "*"].map(|source| {
            let tree = Tree::context(root.as_fd(), None);
            let found = take(&tree, &selector(&[source]), &mut StatCache::default());
            found
                .map(drop)
                .map_err(|error| message(Err::<(), _>(error)))
        })
    };
    let results = std::thread::scope(|scope| scope.spawn(look).join().unwrap());
    assert_eq!(results[0], Ok(()));
    for result in &results[1..] {
        let found = result.as_ref().unwrap_err();
        assert!(
            found.contains("permission denied [name it in `.dockerignore`"),
            "{found}"
        );
    }
}
