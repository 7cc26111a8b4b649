//! `/etc/ld.so.cache`, where the loader of glibc looks libraries up (ld.so(8); glibc, `sysdeps/generic/dl-cache.h`):
//! bytes in, bytes out.
//!
//! A header, entries of 24 bytes in falling order of their names, then the names and paths. Older files have another
//! table before that, which the loader does without. What is read is the image's: offsets that lead out of the file make
//! it none.

use std::cmp::Ordering;

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8; 11] = b"ld.so-1.7.0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;

/// `FLAG_ELF_LIBC6` with the flag of the architecture's 64-bit libraries.
#[cfg(target_arch = "x86_64")]
const FLAGS: u32 = 0x303;
#[cfg(target_arch = "aarch64")]
const FLAGS: u32 = 0xa03;

/// The byte that says in which order numbers are written: little end first.
const LITTLE_ENDIAN: u8 = 2;

/// A library by the name that programs ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Architecture and kind.
    flags: u32,
    name: Vec<u8>,
    path: Vec<u8>,
}

impl Library {
    /// One of this machine's architecture.
    pub fn new(name: &str, path: &[u8]) -> Self {
        Self {
            flags: FLAGS,
            name: name.as_bytes().to_vec(),
            path: path.to_vec(),
        }
    }
}

/// All libraries of a file but those for processors with more than the usual; `None` if it is no such file.
pub fn read(file: &[u8]) -> Option<Vec<Library>> {
    let file = if file.starts_with(OLD_MAGIC) {
        let count = number(file, OLD_HEADER - 4)? as usize;
        let end = OLD_HEADER.checked_add(count.checked_mul(OLD_ENTRY)?)?;
        file.get(end.checked_next_multiple_of(8)?..)?
    } else {
        file
    };
    if !file.starts_with(MAGIC) {
        return None;
    }
    let count = number(file, MAGIC.len())? as usize;
    let entries = file.get(HEADER..HEADER.checked_add(count.checked_mul(ENTRY)?)?)?;
    let text = |offset: u32| {
        let rest = file.get(offset as usize..)?;
        Some(rest[..rest.iter().position(|byte| *byte == 0)?].to_vec())
    };
    let libraries = entries.chunks_exact(ENTRY).filter_map(|entry| {
        let is_usual = entry[16..] == [0; 8];
        is_usual.then(|| {
            Some(Library {
                flags: number(entry, 0)?,
                name: text(number(entry, 4)?)?,
                path: text(number(entry, 8)?)?,
            })
        })
    });
    libraries.collect()
}

/// A file of these libraries; of several with the same name the loader takes the first.
pub fn write(libraries: &[Library]) -> Vec<u8> {
    let mut sorted: Vec<&Library> = libraries.iter().collect();
    sorted.sort_by(|a, b| compare(&b.name, &a.name));
    let mut strings = Vec::new();
    let mut entries = Vec::new();
    let start = HEADER + sorted.len() * ENTRY;
    for library in &sorted {
        entries.extend(library.flags.to_le_bytes());
        for text in [&library.name, &library.path] {
            entries.extend(((start + strings.len()) as u32).to_le_bytes());
            strings.extend(text);
            strings.push(0);
        }
        entries.extend([0; 12]);
    }
    let mut file = MAGIC.to_vec();
    file.extend((sorted.len() as u32).to_le_bytes());
    file.extend((strings.len() as u32).to_le_bytes());
    file.push(LITTLE_ENDIAN);
    file.resize(HEADER, 0);
    [file, entries, strings].concat()
}

/// The loader's order of names: runs of digits are numbers, and come after everything else.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        match (a.first(), b.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let ((x, rest_of_a), (y, rest_of_b)) = (leading_number(a), leading_number(b));
                if x != y {
                    return x.cmp(&y);
                }
                (a, b) = (rest_of_a, rest_of_b);
            }
            (Some(x), _) if x.is_ascii_digit() => return Ordering::Greater,
            (Some(_), Some(y)) if y.is_ascii_digit() => return Ordering::Less,
            (Some(x), Some(y)) if x == y => (a, b) = (&a[1..], &b[1..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn leading_number(text: &[u8]) -> (u64, &[u8]) {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(length);
    let value = digits.iter().fold(0u64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    (value, rest)
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn libraries() -> Vec<Library> {
        let names = [
            "libcuda.so.1",
            "libc.so.6",
            "libnvidia-ml.so.1",
            "libx.so.10",
            "libx.so.9",
        ];
        let library = |name: &&str| Library::new(name, format!("/lib/{name}").as_bytes());
        names.iter().map(library).collect()
    }

    #[test]
    fn what_is_written_is_read_in_the_loaders_order() {
        let found = read(&write(&libraries())).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|one| String::from_utf8_lossy(&one.name))
            .collect();
        assert_eq!(
            names,
            [
                "libx.so.10",
                "libx.so.9",
                "libnvidia-ml.so.1",
                "libcuda.so.1",
                "libc.so.6"
            ]
        );
        // The table of older files is skipped.
        let mut old = OLD_MAGIC.to_vec();
        old.extend([0, 1, 0, 0, 0]);
        old.resize(OLD_HEADER + OLD_ENTRY, 0);
        old.resize(old.len().next_multiple_of(8), 0);
        old.extend(write(&libraries()));
        assert_eq!(read(&old).unwrap(), found);
    }

    #[test]
    fn broken_files_are_none() {
        let good = write(&libraries());
        for length in 0..good.len() - 1 {
            assert_eq!(read(&good[..length]), None, "{length}");
        }
        for place in 0..HEADER + 2 * ENTRY {
            let mut broken = good.clone();
            broken[place] = 0xff;
            // Whatever it says, it is an answer.
            read(&broken);
        }
    }

    #[test]
    fn ldconfig_reads_what_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), write(&libraries())).unwrap();
        let shown = Command::new("/sbin/ldconfig")
            .arg("-p")
            .arg("-C")
            .arg(file.path())
            .output();
        let Ok(shown) = shown else { return };
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(text.starts_with("5 libs found"), "{text}");
        for library in libraries() {
            let (name, path) = (library.name, library.path);
            let (name, path) = (
                String::from_utf8_lossy(&name),
                String::from_utf8_lossy(&path),
            );
            let line = text.lines().find(|line| line.trim().starts_with(&*name));
            assert!(
                line.is_some_and(|line| line.ends_with(&*path)),
                "{name}: {text}"
            );
        }
        // That of this host is read as ldconfig reads it.
        if let Ok(host) = std::fs::read("/etc/ld.so.cache") {
            assert!(!read(&host).unwrap().is_empty());
        }
    }
}
