//! Tar archives made on the spot, also such as no program would make.

use std::io::Write;

/// An archive in the making; every call adds a member.
#[derive(Clone, Debug, Default)]
pub struct Tar {
    bytes: Vec<u8>,
    unfinished: bool,
}

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// Any member. The size is that of the content; `edit` may change the header, whose checksum is set last.
    pub fn member(
        mut self,
        flag: u8,
        name: &str,
        link: &str,
        content: &[u8],
        edit: impl FnOnce(&mut tar::Header),
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(flag));
        header.set_mode(if flag == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        edit(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, content: &str) -> Self {
        self.member(b'0', name, "", content.as_bytes(), |_| {})
    }

    pub fn directory(self, name: &str, mode: u32) -> Self {
        self.member(b'5', name, "", b"", |header| header.set_mode(mode))
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.member(b'2', name, target, b"", |_| {})
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.member(b'1', name, target, b"", |_| {})
    }

    pub fn device(self, name: &str, flag: u8, major: u32, minor: u32) -> Self {
        self.member(flag, name, "", b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// A PAX header for the member that follows.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut content = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            write!(content, "{length} {key}=").unwrap();
            content.extend_from_slice(value);
            content.push(b'\n');
        }
        self.member(b'x', "PaxHeaders", "", &content, |_| {})
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Leaves the two blocks of zeros at the end away.
    pub fn unfinished(mut self) -> Self {
        self.unfinished = true;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if !self.unfinished {
            bytes.resize(bytes.len() + 1024, 0);
        }
        bytes
    }

    pub fn gzip(&self) -> Vec<u8> {
        gzip(&self.bytes())
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
