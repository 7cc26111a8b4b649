//! Archives that are small and ask for much: memory for a window or a dictionary, documents without end, zeros.
//! Everything runs with 400 MiB of address space, which is plenty for what is honest.

use crate::situation::{Entry, members};
use crate::support::{Need, Store, User, everyone, requires, store};
use crate::unwalled;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

const MEMORY: &str = "--as=419430400";
const GIGABYTE: usize = 1 << 30;

/// A command with little memory; it must end by itself, and not since it found none.
fn within_bounds(store: &Store, words: &[&str]) -> (Option<i32>, String) {
    let onggi = store.onggi(words).into_command();
    let mut bounded = store.command("prlimit");
    bounded
        .arg(MEMORY)
        .arg(onggi.get_program())
        .args(onggi.get_args());
    let output = bounded.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.signal(), None, "{words:?}: {said}");
    assert!(
        !said.contains("memory allocation") && !said.contains("panicked"),
        "{said}"
    );
    (output.status.code(), said)
}

/// So many bytes after what was written before, then the end of an archive, in a few bytes per million.
fn inflating(start: &[u8], count: usize, byte: u8) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(start).unwrap();
    let block = vec![byte; 1 << 20];
    for _ in 0..count >> 20 {
        packed.write_all(&block).unwrap();
    }
    packed.write_all(&[0; 1024]).unwrap();
    packed.finish().unwrap()
}

/// The header of a regular file of that length.
fn header(name: &str, length: usize) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(length as u64);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// A program of the host's that packs standard input.
fn packed_by(program: &str, options: &[&str], content: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let pipes = command
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&content).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// An xz stream that asks for a dictionary of 4 GiB (xz file format, 5.3.1).
fn greedy_xz(content: &[u8]) -> Vec<u8> {
    let mut packed = packed_by("xz", &["-c", "-T1"], content);
    let (start, size) = (12, (usize::from(packed[12]) + 1) * 4);
    assert_eq!(
        packed[start + 2..start + 4],
        [0x21, 1],
        "LZMA2 and its one property"
    );
    packed[start + 4] = 40;
    let mut sum = flate2::Crc::new();
    sum.update(&packed[start..start + size - 4]);
    packed[start + size - 4..start + size].copy_from_slice(&sum.sum().to_le_bytes());
    packed
}

/// A zstd frame that asks for a window of 2 GiB (RFC 8878, 3.1.1.1.2).
fn greedy_zstd(content: &[u8]) -> Vec<u8> {
    let mut packed = packed_by("zstd", &["-c", "-q", "--no-check", "-3"], content);
    assert_eq!(packed[4] & 0x20, 0, "not a single segment");
    packed[5] = (31 - 10) << 3;
    packed
}

#[test]
fn windows_and_dictionaries() {
    if !requires(&[
        Need::Program("xz"),
        Need::Program("zstd"),
        Need::Program("prlimit"),
    ]) {
        return;
    }
    let mut content = members(&[("file", Entry::File(&vec![b'x'; 3 << 20], 0o644))]);
    content.resize(content.len() + 1024, 0);
    for store in everyone() {
        store.file("honest.xz", packed_by("xz", &["-c"], &content));
        store.file("honest.zst", packed_by("zstd", &["-c", "-q"], &content));
        store.file("greedy.xz", greedy_xz(&content));
        store.file("greedy.zst", greedy_zstd(&content));
        for file in ["honest.xz", "honest.zst"] {
            assert_eq!(
                within_bounds(&store, &["import", file]).0,
                Some(0),
                "{file}"
            );
        }
        for file in ["greedy.xz", "greedy.zst"] {
            for words in [&["import", file][..], &["load", "-i", file]] {
                let (code, said) = within_bounds(&store, words);
                assert_eq!(code, Some(1), "{words:?}: {said}");
                let reasons = ["requires too much memory", "needed memory too big"];
                let is_told = reasons.iter().any(|reason| said.contains(reason));
                assert!(is_told, "{words:?}: {said}");
            }
        }
    }
}

#[test]
fn zeros_and_documents_without_end() {
    if !requires(&[Need::Program("prlimit")]) {
        return;
    }
    let Some(store) = store(User::Root) else {
        return;
    };
    let small = members(&[("file", Entry::File(b"x", 0o644))]);
    // After the end of an archive, where nobody needs to look.
    store.file("tail.gz", inflating(&small, GIGABYTE, 0));
    assert_eq!(within_bounds(&store, &["import", "tail.gz"]).0, Some(0));
    // A file of holes, in a layer.
    store.file(
        "holes.gz",
        inflating(&header("holes", GIGABYTE), GIGABYTE, 0),
    );
    assert_eq!(within_bounds(&store, &["import", "holes.gz"]).0, Some(0));
    // A name, a link target and further attributes of that length.
    for kind in [b'L', b'K', b'x', b'g'] {
        let mut long = header("long", GIGABYTE);
        long[156] = kind;
        let mut sum = tar::Header::from_byte_slice(&long).clone();
        sum.set_cksum();
        store.file("long.gz", inflating(sum.as_bytes(), GIGABYTE, b'a'));
        let (code, said) = within_bounds(&store, &["import", "long.gz"]);
        assert_eq!(code, Some(1), "{}: {said}", char::from(kind));
        assert!(
            said.contains("an extended header of 1073741824 bytes"),
            "{said}"
        );
    }
    // Documents of an image.
    for (name, byte) in [
        ("manifest.json", b' '),
        ("manifest.json", b'['),
        ("index.json", b' '),
        ("repositories", b'{'),
    ] {
        let layout = members(&[(
            "oci-layout",
            Entry::File(br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644),
        )]);
        let layout = match name {
            "index.json" => &layout[..layout.len() - 1024],
            _ => &[][..],
        };
        let start = [layout, &header(name, GIGABYTE)].concat();
        store.file("load.gz", inflating(&start, GIGABYTE, byte));
        let (code, said) = within_bounds(&store, &["load", "-i", "load.gz"]);
        assert_eq!(code, Some(1), "{name}: {said}");
        let reason = format!("`{name}` has 1073741824 bytes, the most for a document is");
        assert!(said.contains(&reason), "{said}");
    }
}

/// With these bounds, a program that keeps all it is given fails.
#[test]
fn without_the_wall() {
    if !requires(&[Need::Program("prlimit"), Need::Program("xz"), Need::Root]) {
        return;
    }
    let mut keeps = Command::new("prlimit");
    keeps.args([
        MEMORY,
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=1G",
        "count=1",
    ]);
    let outcome = unwalled::run(keeps);
    outcome.expect(!outcome.succeeded(), "no memory");
    let Some(store) = store(User::Root) else {
        return;
    };
    let greedy = store.file("greedy.xz", greedy_xz(b"content"));
    let unpack = |options: &[&str], file: &Path| {
        let mut xz = Command::new("prlimit");
        xz.args(options).args(["xz", "-t"]).arg(file);
        unwalled::run(xz)
    };
    // What was made is a stream that others read as well, if they have the memory.
    unpack(&[], &greedy).code(0);
    let outcome = unpack(&[MEMORY], &greedy);
    outcome.expect(!outcome.succeeded(), "no memory");
}
