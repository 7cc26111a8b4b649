//! Contexts of every kind, each with real files: archives, repositories, servers.

use super::git::Repository;
use super::*;
use crate::image::layer::{Member, MemberKind, Writer};
use rustix::fs::Timespec;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::process::Command;
use tempfile::TempDir;

struct Place {
    directory: TempDir,
    paths: Paths,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::new(directory.path().join("store"), directory.path().join("run"));
        Self { directory, paths }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, content: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn host(&self, input: &[u8]) -> Host {
        Host {
            paths: self.paths.clone(),
            silence: Duration::from_secs(20),
            secrets: BTreeMap::new(),
            input: Mutex::new(Some(Box::new(Cursor::new(input.to_vec())))),
        }
    }

    fn open(&self, address: &str, input: &[u8]) -> Result<Context> {
        Context::open(&Address::parse(address)?, &self.host(input), &|_, _| ())
    }
}

fn names(context: &Context, source: &str) -> Result<Vec<String>> {
    let selector = Selector {
        sources: vec![source.to_owned()],
        ..Selector::default()
    };
    let selection = context.select(&selector)?;
    let names = selection
        .entries()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned());
    Ok(names.collect())
}

fn text(result: Result<impl Sized>) -> String {
    let error = result.err().unwrap();
    format!(
        "{error:#} [{}]",
        crate::error::hint(&error).unwrap_or_default()
    )
}

/// An archive of members by their names: `d/`, `name=content`, `name->target`, `name==hard link`, `name!` a device.
fn tar(lines: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for line in lines {
        let mut member = Member {
            name: line.as_bytes().to_vec(),
            link: Vec::new(),
            kind: MemberKind::Directory,
            mode: 0o755,
            uid: 12,
            gid: 34,
            mtime: Timespec {
                tv_sec: 77,
                tv_nsec: 0,
            },
            device: (1, 3),
            size: 0,
            sparse: None,
            xattrs: Vec::new(),
        };
        let mut content = "";
        let set = |member: &mut Member, name: &str, link: &str, kind| {
            member.name = name.into();
            member.link = link.into();
            member.kind = kind;
        };
        if let Some((name, link)) = line.split_once("==") {
            set(&mut member, name, link, MemberKind::HardLink);
        } else if let Some((name, link)) = line.split_once("->") {
            set(&mut member, name, link, MemberKind::SymbolicLink);
        } else if let Some((name, text)) = line.split_once('=') {
            content = text;
            set(&mut member, name, "", MemberKind::File);
            member.size = text.len() as u64;
            member.mode = 0o640;
        } else if let Some(name) = line.strip_suffix('!') {
            set(&mut member, name, "", MemberKind::Character);
        }
        writer.member(&member).unwrap();
        writer.data(content.as_bytes()).unwrap();
    }
    writer.finish().unwrap().0
}

#[test]
fn directories_with_their_dockerfile_and_what_is_left_out() {
    let place = Place::new();
    for (name, content) in [
        ("c/Dockerfile", "FROM scratch"),
        ("c/.dockerignore", "*.md\n!keep.md\nsecret"),
        ("c/a.md", ""),
        ("c/keep.md", ""),
        ("c/secret/key", ""),
        ("other/Special", "FROM other"),
        ("other/Special.dockerignore", "*\n!a.md"),
    ] {
        place.file(name, content);
    }
    let at = |name: &str| place.path(name).display().to_string();
    let host = place.host(b"FROM input");
    let mut context = place.open(&at("c"), b"").unwrap();
    let found = definition::read(&mut context, None, None, &host).unwrap();
    assert_eq!(
        (&found.name[..], &found.bytes[..]),
        ("Dockerfile", &b"FROM scratch"[..])
    );
    assert_eq!(
        names(&context, ".").unwrap(),
        [".dockerignore", "Dockerfile", "keep.md"]
    );
    assert!(text(names(&context, "secret/key")).contains("take it back with a line `!secret/key`"));
    let mut context = place.open(&at("c"), b"").unwrap();
    let found = definition::read(&mut context, Some(&at("other/Special")), None, &host).unwrap();
    assert_eq!(found.bytes, b"FROM other");
    assert_eq!(names(&context, ".").unwrap(), ["a.md"]);
    let found = definition::read(&mut context, Some("-"), None, &host).unwrap();
    assert_eq!(found.bytes, b"FROM input");
    let error = text(definition::read(&mut context, Some("-"), None, &host));
    assert!(error.contains("can't use stdin"), "{error}");
    let mut empty = place.open(&at("other"), b"").unwrap();
    let error = text(definition::read(&mut empty, None, None, &host));
    assert!(
        error.contains("failed to read dockerfile: open Dockerfile: no such file"),
        "{error}"
    );
    place.file("other/Dockerfile.dockerignore", "[");
    place.file("other/Dockerfile", "");
    let error = text(definition::read(&mut empty, None, None, &host));
    assert!(error.contains("syntax error in pattern"), "{error}");
    assert!(text(place.open(&at("none"), b"")).contains("not found"));
    assert!(text(place.open(&at("c/Dockerfile"), b"")).contains("is not a directory"));
}

#[test]
fn archives_and_dockerfiles_come_by_standard_input() {
    let place = Place::new();
    let plain = tar(&[
        "d/",
        "d/file=one",
        "Dockerfile=FROM scratch",
        "d/again==d/file",
        "null!",
    ]);
    let gzip = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        gzip.finish().unwrap()
    };
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for input in [&plain, &gzip, &zstd] {
        let host = place.host(b"");
        let mut context = place.open("-", input).unwrap();
        let found = definition::read(&mut context, None, None, &host).unwrap();
        assert_eq!(
            (&found.bytes[..], found.modified),
            (&b"FROM scratch"[..], 77)
        );
        assert_eq!(names(&context, "d").unwrap(), ["d/again", "d/file"]);
        assert!(
            context
                .warnings()
                .iter()
                .any(|line| line.contains("`null` is a device"))
        );
    }
    let host = place.host(b"");
    let mut context = place.open("-", b"FROM scratch\n").unwrap();
    assert!(names(&context, ".").unwrap().is_empty());
    let found = definition::read(&mut context, None, None, &host).unwrap();
    assert_eq!(found.bytes, b"FROM scratch\n");
    for (input, expected) in [
        (&b""[..], "it is empty"),
        (&b"BZh91AY&SY"[..], "bzip2"),
        (&zstd[..zstd.len() - 3], "cut off"),
        (
            &zstd::encode_all(&b"FROM scratch"[..], 1).unwrap(),
            "no archive",
        ),
        (&vec![b'x'; (LONGEST + 1) as usize], "no archive"),
    ] {
        let error = text(place.open("-", input));
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn nothing_of_an_archive_gets_out_of_its_directory() {
    let place = Place::new();
    place.file("victim", "safe");
    let victim = place.path("victim").display().to_string();
    for lines in [
        &["../victim=x"][..],
        &["a/../../../../victim=x"],
        &["out->../../../..", "out/victim=x"],
        &[&format!("link->{victim}"), "link=x"],
        &[&format!("hard=={victim}")],
        &["hard==../../../../victim"],
    ] {
        // Refused, or put where it does no harm.
        let _ = place
            .open("-", &tar(lines))
            .map(|context| names(&context, "."));
        assert_eq!(
            std::fs::read_to_string(&victim).unwrap(),
            "safe",
            "{lines:?}"
        );
    }
    // What has led outside is not read either.
    let context = place
        .open("-", &tar(&[&format!("link->{victim}")]))
        .unwrap();
    assert!(text(names(&context, "link")).contains("forbidden path outside the build context"));
}

fn git(directory: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args([
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@y",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(words)
        .env("GIT_COMMITTER_DATE", "2001-02-03T04:05:06Z")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?} {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn repositories_are_fetched_without_what_this_machine_adds() {
    let place = Place::new();
    let source = place.path("r.git");
    place.file("r.git/Dockerfile", "FROM one");
    place.file("r.git/sub/dir/file", "x");
    git(&source, &["init", "-q", "-b", "main"]);
    symlink("../..", source.join("sub/out")).unwrap();
    git(&source, &["add", "."]);
    git(&source, &["commit", "-qm", "one"]);
    let first = git(&source, &["rev-parse", "HEAD"]);
    git(&source, &["tag", "v1"]);
    place.file("r.git/Dockerfile", "FROM two");
    git(&source, &["commit", "-qam", "two"]);
    let url = format!("file://{}", source.display());
    let head = place.open(&url, b"").unwrap();
    assert_eq!(head.epoch(), Some(981_173_106));
    assert_eq!(
        names(&head, ".").unwrap(),
        ["Dockerfile", "sub", "sub/dir", "sub/dir/file", "sub/out"]
    );
    for suffix in [
        "#v1".to_owned(),
        "?tag=v1".to_owned(),
        format!("#{first}"),
        format!("?ref=v1&checksum={}", &first[..8]),
    ] {
        let mut context = place.open(&format!("{url}{suffix}"), b"").unwrap();
        let host = place.host(b"");
        let found = definition::read(&mut context, None, None, &host).unwrap();
        assert_eq!(found.bytes, b"FROM one", "{suffix}");
    }
    let sub = place.open(&format!("{url}#main:sub/dir"), b"").unwrap();
    assert_eq!(names(&sub, ".").unwrap(), ["file"]);
    for (suffix, expected) in [
        ("#none", "git fetch: "),
        ("#main:none", "has no directory `none`"),
        ("?checksum=0123456", "expected checksum to match 0123456"),
    ] {
        let error = text(place.open(&format!("{url}{suffix}"), b""));
        assert!(error.contains(expected), "{suffix}: {error}");
    }
    let repository = Repository::parse(&url).unwrap().unwrap();
    let kept = Context::repository(&repository, true, None, &place.host(b"")).unwrap();
    assert!(
        names(&kept, ".git")
            .unwrap()
            .contains(&".git/HEAD".to_owned())
    );
    // The same commit is the same, whoever fetches it and when.
    let again = Context::repository(&repository, true, None, &place.host(b"")).unwrap();
    let all = Selector {
        sources: vec!["/".to_owned()],
        ..Selector::default()
    };
    let digest = |context: &Context| context.select(&all).unwrap().digest();
    assert_eq!(digest(&kept), digest(&again));
    let root = std::fs::read_link(format!("/proc/self/fd/{}", kept.root().as_raw_fd())).unwrap();
    let safe = "safe.directory=*";
    assert_eq!(git(&root, &["-c", safe, "status", "--porcelain"]), "");
    // A submodule that leads to files of this machine.
    place.file("private.git/key", "secret");
    git(&place.path("private.git"), &["init", "-q", "-b", "main"]);
    git(&place.path("private.git"), &["add", "."]);
    git(&place.path("private.git"), &["commit", "-qm", "one"]);
    let private = place.path("private.git").display().to_string();
    git(
        &source,
        &["submodule", "--quiet", "add", &private, "stolen"],
    );
    git(&source, &["commit", "-qm", "three"]);
    let error = text(place.open(&url, b""));
    assert!(error.contains("transport 'file' not allowed"), "{error}");
    let without = place.open(&format!("{url}?submodules=0"), b"").unwrap();
    assert_eq!(names(&without, "stolen").unwrap(), Vec::<String>::new());
}

#[test]
fn passwords_in_addresses_are_not_told() {
    let place = Place::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let port = port.unwrap().port();
    for address in [
        format!("http://user:word@127.0.0.1:{port}/x.git"),
        format!("http://user:word@127.0.0.1:{port}/x.tar?signature=word"),
    ] {
        let error = text(place.open(&address, b""));
        assert!(error.contains("127.0.0.1"), "{error}");
        assert!(!error.replace("password", "").contains("word"), "{error}");
    }
}

/// Answers so many requests, each with what `answer` makes of its head.
fn serve(count: usize, answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            stream
                .write_all(&answer(&String::from_utf8(head).unwrap()))
                .unwrap();
        }
    });
    format!("http://{address}")
}

fn response(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {headers}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn addresses_give_archives_dockerfiles_and_files() {
    let place = Place::new();
    let archive = tar(&["Dockerfile=FROM scratch", "file=x"]);
    let url = serve(2, move |head| match head.starts_with("GET /c.tar ") {
        true => response("200 OK", &archive),
        false => response(
            "200 OK\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT",
            b"FROM net",
        ),
    });
    let context = place.open(&format!("{url}/c.tar"), b"").unwrap();
    assert_eq!(names(&context, ".").unwrap(), ["Dockerfile", "file"]);
    let mut context = place.open(&format!("{url}/d"), b"").unwrap();
    let found = definition::read(&mut context, None, None, &place.host(b"")).unwrap();
    assert_eq!(
        (&found.bytes[..], found.modified),
        (&b"FROM net"[..], 784_111_777)
    );
}

#[test]
fn a_server_is_neither_waited_for_nor_believed_for_ever() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A byte now and then, until nobody listens.
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
                let mut sent = stream.write_all(head.as_bytes());
                while sent.is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                    sent = stream.write_all(b"x");
                }
            });
        }
    });
    let downloader = Downloader::new(&place.paths, Duration::from_secs(1));
    let error = text(downloader.get(&format!("{url}/drips"), None, &|_, _| ()));
    assert!(error.contains("less than 1000 bytes a second"), "{error}");
    let url = serve(1, |_| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nx".to_vec()
    });
    let error = text(downloader.get(&format!("{url}/long"), None, &|_, _| ()));
    assert!(error.contains("longer than 32 GiB"), "{error}");
    let left = std::fs::read_dir(place.paths.build_downloads()).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn what_was_downloaded_is_asked_for_only_if_it_has_changed() {
    let place = Place::new();
    let url = serve(4, |head| {
        let head = head.to_ascii_lowercase();
        match (
            head.contains("/none"),
            head.contains("if-none-match: \"one\""),
        ) {
            (true, _) => response("404 Not Found", b""),
            (_, true) => response("304 Not Modified", b""),
            _ => response(
                "200 OK\r\nETag: \"one\"\r\nContent-Disposition: attachment; filename=f.txt",
                b"content",
            ),
        }
    });
    let downloader = place.host(b"").downloader();
    let address = format!("{url}/x");
    let digest = Digest::of(b"content");
    for _ in 0..2 {
        let found = downloader.get(&address, None, &|_, _| ()).unwrap();
        assert_eq!(
            (&found.name[..], found.modified, &found.digest),
            ("f.txt", 0, &digest)
        );
        let mut text = String::new();
        File::from(found.file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }
    // Nobody is asked for what is known by its digest.
    downloader.get(&address, Some(&digest), &|_, _| ()).unwrap();
    let error = text(downloader.get(&address, Some(&Digest::of(b"other")), &|_, _| ()));
    assert!(error.contains("digest mismatch"), "{error}");
    let error = text(downloader.get(&format!("{url}/none"), None, &|_, _| ()));
    assert!(error.contains("404"), "{error}");
}
