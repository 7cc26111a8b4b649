//! What attackers prepare: images with odd files, and containers that wait for somebody to come in.

use crate::support::{ALPINE, Outcome, Store, image as real_image};
use flate2::read::GzDecoder;
use std::io::Read;
use tar::EntryType;

/// Something in an image.
pub enum Entry<'a> {
    /// A symbolic link with that target.
    Link(&'a str),
    /// A regular file of that mode.
    File(&'a [u8], u32),
    /// An empty directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character device that everybody may read and write.
    Device(u32, u32),
}

/// Imports Alpine as `hostile` with those entries in place of its own; false, with a skip, where it is missing.
#[must_use]
pub fn hostile(store: &Store, entries: &[(&str, Entry<'_>)]) -> bool {
    hostile_with(store, entries, &[])
}

/// The same with options for `import`.
#[must_use]
pub fn hostile_with(store: &Store, entries: &[(&str, Entry<'_>)], options: &[&str]) -> bool {
    let file = format!(
        "alpine-3.20.3-rootfs/alpine-minirootfs-3.20.3-{}.tar.gz",
        std::env::consts::ARCH
    );
    let Some(path) = real_image(&file) else {
        return false;
    };
    let compressed = std::fs::File::open(path).unwrap();
    let mut archive = Vec::new();
    GzDecoder::new(compressed)
        .read_to_end(&mut archive)
        .unwrap();
    // Its end is two blocks of zeros, and more of them to fill the last record.
    let length = archive.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    archive.resize(length.next_multiple_of(512), 0);
    archive.extend(members(entries));
    let words = ["import"].iter().chain(options).chain(&["-", "hostile"]);
    store.onggi(words).stdin(archive).run().code(0);
    true
}

/// An archive of those entries.
pub fn members(entries: &[(&str, Entry<'_>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, entry) in entries {
        let (kind, mode, content, target) = match entry {
            Entry::Link(target) => (EntryType::Symlink, 0o777, &[][..], Some(target)),
            Entry::File(content, mode) => (EntryType::Regular, *mode, *content, None),
            Entry::Directory => (EntryType::Directory, 0o755, &[][..], None),
            Entry::Fifo => (EntryType::Fifo, 0o666, &[][..], None),
            Entry::Device(..) => (EntryType::Char, 0o666, &[][..], None),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        if let Entry::Device(major, minor) = entry {
            header.set_device_major(*major).unwrap();
            header.set_device_minor(*minor).unwrap();
        }
        match target {
            Some(target) => builder.append_link(&mut header, path, target),
            None => builder.append_data(&mut header, path, content),
        }
        .unwrap();
    }
    builder.into_inner().unwrap()
}

/// A shell script in a new container of [`hostile`]'s image, with these options.
pub fn run_hostile(store: &Store, options: &[&str], script: &str) -> Outcome {
    let (run, shell) = (["run", "--rm"], ["hostile", "sh", "-c", script]);
    store.onggi(run.iter().chain(options).chain(&shell)).run()
}

/// A container called `web` that has run this script and waits.
#[track_caller]
pub fn web(store: &Store, options: &[&str], script: &str) {
    store.detached(
        "web",
        options,
        &format!("{script}\ntouch /ready; exec sleep 100000"),
    );
}

/// Removes it again.
#[track_caller]
pub fn remove_web(store: &Store) {
    store.onggi(["rm", "-f", "web"]).run().code(0);
}

/// A program in it.
pub fn exec(store: &Store, options: &[&str], words: &[&str]) -> Outcome {
    let words = ["exec"].iter().chain(options).chain(&["web"]).chain(words);
    store.onggi(words).run()
}

/// A script in it.
pub fn exec_shell(store: &Store, options: &[&str], script: &str) -> Outcome {
    exec(store, options, &["sh", "-c", script])
}

/// The paths on which something is mounted, as `/proc/self/mountinfo` has them (proc_pid_mountinfo(5)).
pub fn mount_points(mountinfo: &str) -> Vec<String> {
    let path = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    mountinfo.lines().filter_map(path).collect()
}

/// Those of a new Alpine container.
pub fn mount_points_of(store: &Store, options: &[&str]) -> Vec<String> {
    let run = ["run", "--rm"].iter().chain(options);
    let words = run.chain(&[ALPINE, "cat", "/proc/self/mountinfo"]);
    mount_points(&store.onggi(words).run().code(0).stdout_text())
}
