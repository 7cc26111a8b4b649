//! Files from the net, for `ADD` and as contexts. What was downloaded is kept with what its server said of it, and
//! comes again only when the server says that it has changed (RFC 9110, "Conditional Requests").

use super::{Watch, address};
use crate::error::{Error, Kind, bad_input, not_found};
use crate::image::digest::{Digest, Hashing};
use crate::image::registry::transport::{Call, Policy, Transport, shown};
use crate::paths::Paths;
use crate::store::atomic::{self, Durability};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use ureq::http::{HeaderMap, Uri, header};
use ureq::{Body, http::Response};

/// What nobody has asked for that long is not kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// A file is at most so long, in bytes.
const LARGEST: u64 = 32 << 30;
/// A server sends at least so many bytes a second, on the average of the time for which it may say nothing.
const SLOWEST: u64 = 1000;
/// What a file is called whose address does not say it.
const NAMELESS: &str = "download";

/// A file from the net.
#[derive(Debug)]
pub struct Download {
    /// Its content.
    pub file: OwnedFd,
    /// What it is called.
    pub name: String,
    /// When it was changed, in seconds since 1970; 0 where the server does not say it.
    pub modified: i64,
    /// Of its content.
    pub digest: Digest,
}

/// What is remembered of one.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Record {
    url: String,
    name: String,
    modified: i64,
    digest: Digest,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// Downloads files.
#[derive(Debug)]
pub struct Downloader {
    directory: PathBuf,
    silence: Duration,
    transport: Transport,
}

impl Downloader {
    /// For a store; a server may say nothing for as long as `silence`.
    pub fn new(paths: &Paths, silence: Duration) -> Self {
        let policy = Policy {
            verify: true,
            certificates: None,
            silence,
        };
        Self {
            directory: paths.build_downloads(),
            silence,
            transport: Transport::new(policy),
        }
    }

    /// Gets a file, which must have that digest if one is given.
    pub fn get(
        &self,
        address: &str,
        checksum: Option<&Digest>,
        watch: Watch<'_>,
    ) -> Result<Download> {
        let url: Uri = address
            .split_once('#')
            .map_or(address, |(url, _)| url)
            .parse()
            .map_err(|error| {
                let address = address::shown(address);
                bad_input(format!("invalid address `{address}`: {error}"))
            })?;
        self.get_url(&url, checksum, watch)
            .with_context(|| format!("download {}", shown(&url)))
    }

    fn get_url(&self, url: &Uri, checksum: Option<&Digest>, watch: Watch<'_>) -> Result<Download> {
        let create = || format!("create `{}`", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(create)?;
        self.sweep();
        let place = self
            .directory
            .join(Digest::of(url.to_string().as_bytes()).hex());
        let known = known(&place, url);
        if let (Some((record, file)), Some(wanted)) = (&known, checksum)
            && record.digest == *wanted
        {
            return opened(record, file.try_clone()?);
        }
        let mut call = Call::get(url.clone());
        if let Some((record, _)) = &known {
            for (name, value) in [
                (header::IF_NONE_MATCH, &record.etag),
                (header::IF_MODIFIED_SINCE, &record.last_modified),
            ] {
                call = match value {
                    Some(value) => call.with(name, value),
                    None => call,
                };
            }
        }
        let response = self.transport.fetch(&call)?;
        let (record, file) = match (response.status().as_u16(), known) {
            (304, Some((record, file))) => {
                touch(&file);
                (record, file)
            }
            (200..=299, _) => keep(url, response, &place, self.silence, watch)?,
            (404 | 410, _) => {
                let status = response.status();
                return Err(not_found(format!("the server answers {status}")).into());
            }
            _ => {
                let message = format!("the server answers {}", response.status());
                return Err(Error::new(Kind::Denied, message).into());
            }
        };
        if let Some(wanted) = checksum
            && record.digest != *wanted
        {
            let message = format!("digest mismatch: it is {}, not {wanted}", record.digest);
            let hint = "either it has changed there, or --checksum is that of another file";
            return Err(bad_input(message).hint(hint).into());
        }
        opened(&record, file)
    }

    /// Removes what nobody has asked for.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|found| found.modified());
            let age = age.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
            if age.is_ok_and(|age| age > KEPT) {
                // Somebody else may have been quicker.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn opened(record: &Record, file: File) -> Result<Download> {
    Ok(Download {
        file: file.into(),
        name: record.name.clone(),
        modified: record.modified,
        digest: record.digest.clone(),
    })
}

fn record_of(place: &Path) -> PathBuf {
    place.with_extension("json")
}

/// What is here of an address, if it is whole.
fn known(place: &Path, url: &Uri) -> Option<(Record, File)> {
    let record: Record = serde_json::from_slice(&std::fs::read(record_of(place)).ok()?).ok()?;
    let mut file = File::open(place).ok()?;
    let mut hashing = Hashing::default();
    io::copy(&mut file, &mut hashing).ok()?;
    file.rewind().ok()?;
    let is_whole = hashing.finish().0 == record.digest && record.url == url.to_string();
    is_whole.then_some((record, file))
}

/// It is wanted still; a time that cannot be changed costs one more download.
fn touch(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

/// Takes the content down, and what the server says of it.
fn keep(
    url: &Uri,
    response: Response<Body>,
    place: &Path,
    silence: Duration,
    watch: Watch<'_>,
) -> Result<(Record, File)> {
    let headers = response.headers().clone();
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let last_modified = text(header::LAST_MODIFIED).map(str::to_owned);
    let modified = last_modified.as_deref().and_then(seconds).unwrap_or(0);
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        return Err(too_long().into());
    }
    let mut body = Bounded::new(response.into_body().into_reader(), LARGEST, silence);
    let mut hashing = Hashing::default();
    let file = atomic::stream_back(place, |out| {
        let mut out = Watched {
            to: Both(out, &mut hashing),
            written: 0,
            length,
            watch,
        };
        io::copy(&mut body, &mut out)
            .map(drop)
            .context("read what the server sends")
    })?;
    let record = Record {
        url: url.to_string(),
        name: name(url, &headers),
        modified,
        digest: hashing.finish().0,
        etag: text(header::ETAG).map(str::to_owned),
        last_modified,
    };
    let bytes = serde_json::to_vec(&record)?;
    atomic::write(&record_of(place), &bytes, Durability::Volatile)?;
    Ok((record, file))
}

fn too_long() -> Error {
    bad_input(format!("it is longer than {} GiB", LARGEST >> 30))
}

/// What a server sends, as long as that is neither too long nor too slow.
struct Bounded<R> {
    from: R,
    left: u64,
    period: Duration,
    /// When this period has begun, and how many bytes have come in it.
    since: (Instant, u64),
}

impl<R: Read> Bounded<R> {
    fn new(from: R, most: u64, period: Duration) -> Self {
        Self {
            from,
            left: most,
            period,
            since: (Instant::now(), 0),
        }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        let bytes = length as u64;
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or_else(|| io::Error::other(too_long()))?;
        self.since.1 += bytes;
        if length > 0 && self.since.0.elapsed() >= self.period {
            if self.since.1 < SLOWEST * self.period.as_secs() {
                let message = format!("the server sends less than {SLOWEST} bytes a second");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            self.since = (Instant::now(), 0);
        }
        Ok(length)
    }
}

struct Watched<'a, W> {
    to: W,
    written: u64,
    length: Option<u64>,
    watch: Watch<'a>,
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.written += written as u64;
        (self.watch)(self.written, self.length);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

struct Both<A, B>(A, B);

impl<A: Write, B: Write> Write for Both<A, B> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.0.write(bytes)?;
        self.1.write_all(&bytes[..length])?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// An HTTP date (RFC 9110, "Date/Time Formats"), in seconds since 1970.
fn seconds(date: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(time.timestamp().as_second())
}

/// What a file is called: as its server says (RFC 6266), else by the last name of its path.
fn name(url: &Uri, headers: &HeaderMap) -> String {
    let disposition = headers.get(header::CONTENT_DISPOSITION);
    let disposition = disposition.and_then(|value| value.to_str().ok());
    let parameters = disposition
        .into_iter()
        .flat_map(|value| value.split(';').skip(1));
    let announced = parameters.filter_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        let is_name = key.trim().eq_ignore_ascii_case("filename");
        is_name.then(|| value.trim().trim_matches('"').to_owned())
    });
    let path = url.path().trim_end_matches('/');
    let from_path = path.rsplit('/').next().unwrap_or_default().to_owned();
    let names = announced.chain([from_path]);
    let mut names = names.filter_map(|name| {
        let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
        let is_name = !matches!(last, "" | "." | "..") && !last.contains(char::is_control);
        is_name.then(|| last.to_owned())
    });
    names.next().unwrap_or_else(|| NAMELESS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_ends() {
        let read = |most| {
            let mut bounded = Bounded::new(&b"four"[..], most, Duration::from_secs(1));
            io::copy(&mut bounded, &mut io::sink())
        };
        assert_eq!(read(4).unwrap(), 4);
        assert!(read(3).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn what_comes_at_the_same_time_is_not_mixed_up() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file", server.local_addr().unwrap());
        std::thread::spawn(move || {
            for (number, stream) in server.incoming().enumerate() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let _ = io::Read::read(&mut stream, &mut [0; 4096]);
                    let body = format!("{number:08}").repeat(1000);
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                    );
                    let _ = stream.write_all((head + &body).as_bytes());
                });
            }
        });
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().join("store"), directory.path().join("run"));
        let build = || {
            let downloader = Downloader::new(&paths, Duration::from_secs(20));
            for _ in 0..50 {
                let found = downloader.get(&url, None, &|_, _| ()).unwrap();
                let mut hashing = Hashing::default();
                io::copy(&mut File::from(found.file), &mut hashing).unwrap();
                assert_eq!(hashing.finish().0, found.digest);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(build);
            }
        });
    }

    #[test]
    fn files_are_called_as_their_server_says() {
        for (url, disposition, expected) in [
            ("http://h/a/b.tar.gz", None, "b.tar.gz"),
            ("http://h/a/b/", None, "b"),
            ("http://h/", None, "download"),
            ("http://h", None, "download"),
            ("http://h/x?name=y", None, "x"),
            (
                "http://h/x",
                Some("attachment; filename=\"z.txt\""),
                "z.txt",
            ),
            (
                "http://h/x",
                Some("attachment; filename=../../etc/passwd"),
                "passwd",
            ),
            ("http://h/x", Some("attachment; filename=\"..\""), "x"),
            ("http://h/x", Some("inline"), "x"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = disposition {
                headers.insert(header::CONTENT_DISPOSITION, value.parse().unwrap());
            }
            assert_eq!(name(&url.parse().unwrap(), &headers), expected, "{url}");
        }
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(seconds("yesterday"), None);
    }
}
