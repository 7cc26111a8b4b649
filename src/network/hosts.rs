//! `/etc/hosts` of a container (hosts(5)): names that need no resolver.
//!
//! What follows from the networks, the container's own addresses and its links, stands between two lines of comment; only
//! what is between them is rewritten when it is connected and disconnected. All other lines belong to the container, which
//! may have changed them; if it has removed the comments, the block comes back at the end. The file is bind mounted, so
//! it keeps its inode, and whoever reads it meanwhile sees the old text or the new one.

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, ftruncate};
use rustix::io::{Errno, pread, pwrite};
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

/// The names of the machine itself, as in Docker's containers.
pub const LOOPBACK: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

const BEGIN: &str = "# networks of this container: rewritten when they change\n";
const END: &str = "# end of networks\n";

/// More than that is not read: the container can write what it likes.
const LONGEST: usize = 1024 * 1024;

/// What follows from the networks.
#[derive(Clone, Debug, Default)]
pub struct Block<'a> {
    /// The container's addresses.
    pub addresses: &'a [IpAddr],
    /// Its host name.
    pub host: &'a str,
    /// Its domain name; empty: none.
    pub domain: &'a str,
    /// Others: address and names, as in `db` (the link), the container's host name, its name.
    pub links: &'a [(IpAddr, Vec<String>)],
}

/// The whole file: the names of the machine itself, what was asked for (`--add-host`) and the block.
pub fn render<'a>(
    extra: impl IntoIterator<Item = (&'a str, &'a str)>,
    block: &Block<'_>,
) -> String {
    let mut text = LOOPBACK.to_owned();
    append(&mut text, extra);
    text + &block.render()
}

/// Adds lines of name and address.
pub fn append<'a>(text: &mut String, extra: impl IntoIterator<Item = (&'a str, &'a str)>) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
}

impl Block<'_> {
    /// With its two lines of comment; nothing at all if there is nothing in it.
    pub fn render(&self) -> String {
        if self.addresses.is_empty() && self.links.is_empty() {
            return String::new();
        }
        let mut text = BEGIN.to_owned();
        for address in self.addresses {
            let _ = match self.domain {
                "" => writeln!(text, "{address}\t{}", self.host),
                domain => writeln!(text, "{address}\t{0}.{domain} {0}", self.host),
            };
        }
        for (address, names) in self.links {
            let mut seen: Vec<&str> = Vec::new();
            for name in names.iter().filter(|name| !name.is_empty()) {
                if !seen.contains(&name.as_str()) {
                    seen.push(name);
                }
            }
            let _ = writeln!(text, "{address}\t{}", seen.join(" "));
        }
        text + END
    }
}

/// Puts another block into a file that a container uses.
pub fn update(path: &Path, block: &Block<'_>) -> Result<()> {
    let name = path.display();
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("open `{name}`"))?;
    let mut old = vec![0; LONGEST + 1];
    let mut length = 0;
    while length < old.len() {
        match pread(&file, &mut old[length..], length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).with_context(|| format!("read `{name}`")),
        }
    }
    if length > LONGEST {
        bail!("read `{name}`: it is longer than {LONGEST} bytes");
    }
    old.truncate(length);
    let new = replace(&old, block.render().as_bytes());
    if new == old {
        return Ok(());
    }
    // Empty lines in the place of what goes away: nobody sees a rest of it before the file is cut.
    let mut bytes = new.clone();
    bytes.resize(new.len().max(old.len()), b'\n');
    let mut written = 0;
    while written < bytes.len() {
        match pwrite(&file, &bytes[written..], written as u64) {
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).with_context(|| format!("write `{name}`")),
        }
    }
    ftruncate(&file, new.len() as u64).with_context(|| format!("truncate `{name}`"))
}

/// The text with that block instead of the one in it, in its place.
fn replace(text: &[u8], block: &[u8]) -> Vec<u8> {
    let begin = find(text, BEGIN.as_bytes(), 0);
    let end = begin.and_then(|begin| find(text, END.as_bytes(), begin));
    let (before, after) = match (begin, end) {
        (Some(begin), Some(end)) => (&text[..begin], &text[end + END.len()..]),
        _ => (text, &[][..]),
    };
    let mut new = before.to_vec();
    if !new.is_empty() && !new.ends_with(b"\n") && !block.is_empty() {
        new.push(b'\n');
    }
    new.extend_from_slice(block);
    new.extend_from_slice(after);
    new
}

/// Where that line begins.
fn find(text: &[u8], line: &[u8], from: usize) -> Option<usize> {
    let starts = (from..text.len()).filter(|at| *at == 0 || text[at - 1] == b'\n');
    let mut starts = starts.filter(|at| text[*at..].starts_with(line));
    starts.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block<'a>(addresses: &'a [IpAddr], links: &'a [(IpAddr, Vec<String>)]) -> Block<'a> {
        Block {
            addresses,
            host: "web",
            domain: "example.org",
            links,
        }
    }

    #[test]
    fn file_has_all_names() {
        let addresses = ["172.18.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        let names = ["db", "0123456789ab", "database", "db"].map(str::to_owned);
        let links = [("172.18.0.3".parse().unwrap(), names.to_vec())];
        let text = render([("gateway", "172.18.0.1")], &block(&addresses, &links));
        assert!(text.starts_with(LOOPBACK));
        assert_eq!(
            text.strip_prefix(LOOPBACK).unwrap(),
            format!(
                "172.18.0.1\tgateway\n{BEGIN}172.18.0.2\tweb.example.org web\nfd00::2\tweb.example.org web\n\
                 172.18.0.3\tdb 0123456789ab database\n{END}"
            )
        );
        assert_eq!(render([], &Block::default()), LOOPBACK);
    }

    #[test]
    fn update_keeps_the_inode_and_other_lines() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        let first = ["10.0.0.2".parse().unwrap()];
        let both = ["10.0.0.2".parse().unwrap(), "10.1.0.2".parse().unwrap()];
        std::fs::write(&path, render([], &block(&first, &[])) + "10.9.9.9 mine").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        let check = |block: &Block<'_>, expect: &str| {
            update(&path, block).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{LOOPBACK}{expect}")
            );
            assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        };
        let own = |address| format!("{address}\tweb.example.org web\n");
        let two = own("10.0.0.2") + &own("10.1.0.2");
        check(
            &block(&both, &[]),
            &format!("{BEGIN}{two}{END}10.9.9.9 mine"),
        );
        check(&Block::default(), "10.9.9.9 mine");
        let one = own("10.0.0.2");
        check(
            &block(&first, &[]),
            &format!("10.9.9.9 mine\n{BEGIN}{one}{END}"),
        );
        // What is no whole block is the container's.
        std::fs::write(&path, format!("{LOOPBACK}{BEGIN}10.0.0.1 old\n")).unwrap();
        check(
            &block(&first, &[]),
            &format!("{BEGIN}10.0.0.1 old\n{BEGIN}{one}{END}"),
        );
    }

    #[test]
    fn update_takes_no_link_and_no_flood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::os::unix::fs::symlink("/etc/hosts", &path).unwrap();
        assert!(update(&path, &Block::default()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![b'#'; LONGEST + 1]).unwrap();
        let error = update(&path, &Block::default()).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }
}
