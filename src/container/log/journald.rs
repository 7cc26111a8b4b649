//! The driver `journald`: each line becomes a datagram to the journal of the host, in its native protocol (systemd's
//! "Native Journal Protocol"), with the fields that Docker gives.
//!
//! A datagram has lines `FIELD=value`. One that is too large for the socket goes as a sealed file in memory instead.

use super::Stream;
use super::lines::Piece;
use crate::container::record::Record;
use crate::error::{Error, Kind};
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::{
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, sendmsg_addr,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// How long a journal that takes nothing is waited for before a line is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection to the journal.
#[derive(Debug)]
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// What is the same for all lines.
    fields: Vec<u8>,
    /// What is the same for all lines of a chunk.
    head: Vec<u8>,
    message: Vec<u8>,
    ordinal: u64,
    lost: u64,
}

impl Journal {
    /// For the lines of one container.
    pub fn open(record: &Record, tag: &str, attributes: &BTreeMap<String, String>) -> Result<Self> {
        Self::open_at(Path::new(SOCKET), record, tag, attributes)
    }

    fn open_at(
        path: &Path,
        record: &Record,
        tag: &str,
        attributes: &BTreeMap<String, String>,
    ) -> Result<Self> {
        if !path.exists() {
            return Err(
                Error::new(Kind::Denied, "journald is not enabled on this host")
                    .hint("choose another --log-driver: json-file, local or none")
                    .into(),
            );
        }
        let mut fields = Vec::new();
        for (name, value) in [
            ("CONTAINER_ID", &record.id[..12]),
            ("CONTAINER_ID_FULL", &record.id),
            ("CONTAINER_NAME", &record.name),
            ("CONTAINER_TAG", tag),
            ("IMAGE_NAME", &record.image_name),
            ("SYSLOG_IDENTIFIER", tag),
            ("CONTAINER_LOG_EPOCH", &crate::store::id::random_hex(64)?),
        ] {
            field(&mut fields, name, value.as_bytes());
        }
        for (key, value) in attributes {
            let name = field_name(key);
            if !name.is_empty() {
                field(&mut fields, &name, value.as_bytes());
            }
        }
        let socket = UnixDatagram::unbound().context("socket")?;
        socket
            .set_write_timeout(Some(PATIENCE))
            .context("setsockopt SO_SNDTIMEO")?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            fields,
            head: Vec::new(),
            message: Vec::new(),
            ordinal: 0,
            lost: 0,
        })
    }

    /// The lines that follow are of that stream and of now.
    pub fn begin(&mut self, stream: Stream) {
        if self.lost > 0 {
            let text = format!(
                "onggi: {} lines are missing in this log: the journal did not take them",
                self.lost
            );
            self.prepare(Stream::Error);
            let before = self.lost;
            self.line(text.as_bytes(), None);
            // Only the line that says so was added, if anything was.
            self.lost = if self.lost > before { before } else { 0 };
        }
        self.prepare(stream);
    }

    fn prepare(&mut self, stream: Stream) {
        self.head.clear();
        self.head.extend_from_slice(&self.fields);
        let priority = match stream {
            Stream::Output => "6",
            Stream::Error => "3",
        };
        field(&mut self.head, "PRIORITY", priority.as_bytes());
        let now = jiff::Timestamp::now().to_string();
        field(&mut self.head, "SYSLOG_TIMESTAMP", now.as_bytes());
    }

    /// Sends one line.
    pub fn line(&mut self, line: &[u8], piece: Option<Piece<'_>>) {
        self.ordinal += 1;
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        message.extend_from_slice(&self.head);
        // Writing to memory does not fail.
        let _ = writeln!(message, "CONTAINER_LOG_ORDINAL={}", self.ordinal);
        if let Some(piece) = piece {
            let _ = writeln!(
                message,
                "CONTAINER_PARTIAL_ID={}\nCONTAINER_PARTIAL_ORDINAL={}\nCONTAINER_PARTIAL_LAST={}",
                piece.id, piece.ordinal, piece.last
            );
            if !piece.last {
                message.extend_from_slice(b"CONTAINER_PARTIAL_MESSAGE=true\n");
            }
        }
        field(&mut message, "MESSAGE", line);
        if self.send(&message).is_err() {
            self.lost += 1;
        }
        message.shrink_to(4096);
        self.message = message;
    }

    fn send(&self, message: &[u8]) -> Result<(), Errno> {
        match self.send_with(
            &[IoSlice::new(message)],
            &mut SendAncillaryBuffer::default(),
        ) {
            Err(Errno::MSGSIZE | Errno::NOBUFS) => {
                let file = in_memory(message).map_err(|error| {
                    error
                        .raw_os_error()
                        .map_or(Errno::IO, Errno::from_raw_os_error)
                })?;
                let descriptors = [file.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
                self.send_with(&[], &mut ancillary)
            }
            sent => sent,
        }
    }

    /// By the name of the socket, so that a journal that was started again is found.
    fn send_with(
        &self,
        parts: &[IoSlice<'_>],
        ancillary: &mut SendAncillaryBuffer<'_, '_, '_>,
    ) -> Result<(), Errno> {
        let address = SocketAddrUnix::new(&self.path)?;
        // Once it takes nothing, nothing is waited for until it takes something again.
        let flags = match self.lost {
            0 => SendFlags::NOSIGNAL,
            _ => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        };
        loop {
            match sendmsg_addr(&self.socket, &address, parts, ancillary, flags) {
                Err(Errno::INTR) => {}
                sent => return sent.map(|_| ()),
            }
        }
    }
}

/// A file in memory that nobody can change any more, as the journal wants it (memfd_create(2)).
fn in_memory(message: &[u8]) -> std::io::Result<File> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let mut file = File::from(memfd_create(
        "log",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?);
    file.write_all(message)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals)?;
    Ok(file)
}

/// Appends a field; one whose value has newlines is written with its length.
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// A field is named with capital letters, digits and underscores, and does not begin with one of those.
fn field_name(key: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    let name: String = key.chars().map(allowed).collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    use std::io::{IoSliceMut, Read, Seek};

    /// What the journal would get, whichever way it comes.
    fn receive(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 20];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut buffer)],
            &mut ancillary,
            RecvFlags::empty(),
        )
        .unwrap();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut files) = part {
                let mut file = File::from(files.next().unwrap());
                file.rewind().unwrap();
                let mut content = Vec::new();
                file.read_to_end(&mut content).unwrap();
                return content;
            }
        }
        buffer.truncate(received.bytes);
        buffer
    }

    fn record() -> Record {
        let digest = format!("sha256:{}", "ab".repeat(32));
        serde_json::from_value(serde_json::json!({
            "version": 1, "id": "0123456789abcdef".repeat(4), "name": "web", "created": "", "image": digest,
            "image_name": "alpine:3.20", "layers": [], "options": {}, "labels": {},
            "program": { "entrypoint": [], "command": [], "environment": [], "working_directory": "", "user": "",
                         "stop_signal": "" },
        }))
        .unwrap()
    }

    #[test]
    fn lines_arrive_with_their_fields() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let attributes = BTreeMap::from([("_my.label".to_owned(), "a\nb".to_owned())]);
        let mut journal = Journal::open_at(&path, &record(), "tag", &attributes).unwrap();
        journal.begin(Stream::Error);
        journal.line(b"\xffline", None);
        let text = receive(&listener);
        for part in [
            &b"CONTAINER_ID=0123456789ab\n"[..],
            b"CONTAINER_NAME=web\n",
            b"CONTAINER_TAG=tag\nIMAGE_NAME=alpine:3.20\nSYSLOG_IDENTIFIER=tag\n",
            b"\nMY_LABEL\n\x03\0\0\0\0\0\0\0a\nb\n",
            b"\nPRIORITY=3\n",
            b"\nMESSAGE=\xffline\n",
        ] {
            assert!(
                text.windows(part.len()).any(|window| window == part),
                "{}",
                part.escape_ascii()
            );
        }
        journal.begin(Stream::Output);
        let long = vec![b'x'; 400_000];
        journal.line(
            &long,
            Some(Piece {
                id: "i",
                ordinal: 2,
                last: false,
            }),
        );
        let text = String::from_utf8(receive(&listener)).unwrap();
        assert!(text.ends_with(&format!("\nMESSAGE={}\n", str::from_utf8(&long).unwrap())));
        for part in [
            "\nPRIORITY=6\n",
            "\nCONTAINER_PARTIAL_ORDINAL=2\n",
            "\nCONTAINER_PARTIAL_MESSAGE=true\n",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }

    #[test]
    fn a_journal_that_goes_away_and_comes_back_is_told_what_it_missed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(Journal::open_at(&path, &record(), "", &BTreeMap::new()).is_err());
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open_at(&path, &record(), "", &BTreeMap::new()).unwrap();
        drop(listener);
        journal.begin(Stream::Output);
        journal.line(b"one", None);
        journal.line(b"two", None);
        std::fs::remove_file(&path).unwrap();
        let listener = UnixDatagram::bind(&path).unwrap();
        journal.begin(Stream::Output);
        journal.line(b"three", None);
        for message in [
            "MESSAGE=onggi: 2 lines are missing in this log",
            "MESSAGE=three\n",
        ] {
            let text = String::from_utf8(receive(&listener)).unwrap();
            assert!(text.contains(message), "{text}");
        }
    }
}
