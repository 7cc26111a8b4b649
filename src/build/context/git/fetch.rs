//! Fetching one commit of a repository with the `git` program. It is told everything; nothing of this machine's or this
//! user's configuration counts, no hook runs, and a submodule leads only into the net.
//!
//! Invariant: the same commit gives the same files and modes, whatever the umask.

use super::{Login, Repository, Revision};
use crate::build::context::address::shown;
use crate::error::{Error, Kind, bad_input, not_found};
use crate::store::tree;
use crate::sys::openat2::{open_in_root, open_root};
use crate::sys::process::killed_with_us;
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, chmodat, unlinkat};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Files of a commit.
#[derive(Debug)]
pub struct Checkout {
    /// The directory that counts.
    pub root: OwnedFd,
    /// The commit's name.
    pub commit: String,
    /// When it was made, in seconds since 1970.
    pub time: i64,
}

/// What of the environment git and the programs that it starts need: to find each other, to reach the net, to ask an
/// agent.
const KEPT: [&str; 20] = [
    "PATH",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_TRACE",
    "LD_LIBRARY_PATH",
    "TMPDIR",
    "USER",
    "LOGNAME",
];

/// Settings that no repository and no user may change.
const SETTINGS: [&str; 14] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.attributesFile=/dev/null",
    // Who has fetched it when.
    "core.logAllRefUpdates=false",
    "credential.helper=",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    "gc.auto=0",
    "fetch.fsckObjects=true",
    "safe.directory=*",
];

/// How git calls ssh: it asks nobody anything, and gives a server up that says nothing for a minute.
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=60 -o ServerAliveInterval=20";

/// Fetches into an empty directory.
pub fn fetch(
    repository: &Repository,
    keep_git_directory: bool,
    checksum: Option<&str>,
    login: Option<&Login>,
    into: &Path,
) -> Result<Checkout> {
    let git = Git {
        directory: into,
        url: &repository.url,
        login,
    };
    let context = || format!("fetch `{}`", shown(&repository.url));
    git.get(repository).with_context(context)?;
    let commit = git.say(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    for wanted in checksum.into_iter().chain(repository.checksum.as_deref()) {
        if !commit.starts_with(&wanted.to_ascii_lowercase()) {
            let message = format!("expected checksum to match {wanted}, got {commit}");
            return Err(bad_input(message)).with_context(context);
        }
    }
    let time = git.say(&["show", "-s", "--format=%ct", "HEAD"])?;
    let time = crate::build::order::seconds(&time)
        .with_context(|| format!("the time of {commit}"))
        .with_context(context)?;
    if repository.submodules && into.join(".gitmodules").symlink_metadata().is_ok() {
        git.submodules().with_context(context)?;
    }
    if keep_git_directory {
        git.forget_files().with_context(context)?;
    }
    tidy(into, keep_git_directory)?;
    let root = open_root(into).with_context(|| format!("open `{}`", into.display()))?;
    let root = match &repository.directory {
        None => root,
        Some(directory) => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            open_in_root(&root, directory.as_bytes(), flags, Mode::empty()).map_err(|_| {
                not_found(format!("the repository has no directory `{directory}`"))
                    .hint("it is the part of the address behind the last `:`, or `subdir=`")
            })?
        }
    };
    Ok(Checkout { root, commit, time })
}

struct Git<'a> {
    directory: &'a Path,
    url: &'a str,
    login: Option<&'a Login>,
}

impl Git<'_> {
    /// Makes the repository, with the one commit that is wanted.
    fn get(&self, repository: &Repository) -> Result<()> {
        self.run(&["init", "--quiet", "--template="])?;
        let name = match &repository.revision {
            Revision::Head => "HEAD",
            Revision::Any(name) | Revision::Reference(name) => name,
        };
        let is_commit =
            matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shallow = [
            "fetch",
            "--quiet",
            "--no-tags",
            "--depth=1",
            "--",
            self.url,
            name,
        ];
        match self.output(&shallow)? {
            output if output.status.success() => {
                self.run(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])
            }
            // Not every server gives a commit away that no name leads to; then all names are fetched.
            _ if is_commit => {
                let all = "+refs/*:refs/remotes/origin/*";
                self.run(&["fetch", "--quiet", "--no-tags", "--", self.url, all])?;
                self.run(&["checkout", "--quiet", "--force", "--detach", name])
            }
            output => Err(self.failed("fetch", &output)),
        }
    }

    fn submodules(&self) -> Result<()> {
        // Where relative addresses begin.
        self.run(&["config", "remote.origin.url", self.url])?;
        let update = [
            "submodule",
            "--quiet",
            "update",
            "--init",
            "--recursive",
            "--force",
        ];
        let shallow = [&update[..], &["--depth=1"]].concat();
        match self.output(&shallow)?.status.success() {
            true => Ok(()),
            false => self.run(&update),
        }
    }

    /// Makes indexes that say nothing of inodes and times, which are others with each checkout.
    fn forget_files(&self) -> Result<()> {
        self.run(&["read-tree", "HEAD"])?;
        let each = "git read-tree HEAD";
        self.run(&["submodule", "--quiet", "foreach", "--recursive", each])
    }

    fn say(&self, words: &[&str]) -> Result<String> {
        let output = self.output(words)?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(self.failed(words[0], &output)),
        }
    }

    fn run(&self, words: &[&str]) -> Result<()> {
        self.say(words).map(drop)
    }

    fn output(&self, words: &[&str]) -> Result<Output> {
        // Who names a repository of this machine means it; a submodule that does means somebody else's files.
        let is_local = self.url.starts_with("file://") && words[0] != "submodule";
        let protocols = match is_local {
            true => "file",
            false => "https:http:ssh:git",
        };
        let login = self.login.map(Login::configuration).transpose()?;
        let configuration = match &login {
            Some(login) => format!("/proc/self/fd/{}", login.as_raw_fd()),
            None => "/dev/null".to_owned(),
        };
        let mut command = Command::new("git");
        command
            .env_clear()
            .envs(
                KEPT.iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .env("HOME", OsStr::new("/nonexistent"))
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", configuration)
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("GIT_SSH_COMMAND", SSH)
            .env("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
            .env("GIT_HTTP_LOW_SPEED_TIME", "60")
            .env("GIT_ALLOW_PROTOCOL", protocols)
            .current_dir(self.directory)
            .stdin(Stdio::null());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(words);
        killed_with_us(&mut command)
            .output()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let message = "there is no `git` program, which git addresses need";
                    let hint = "install git, or give the files as a directory or an archive";
                    Error::new(Kind::Unsupported, message).hint(hint).into()
                }
                _ => anyhow::Error::from(error).context("execute `git`"),
            })
    }

    /// What git says about it, on one line.
    fn failed(&self, action: &str, output: &Output) -> anyhow::Error {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
        let said = lines.take(4).collect::<Vec<_>>().join("; ");
        let said = said.replace(self.url, &shown(self.url));
        let error = Error::new(Kind::Denied, format!("git {action}: {said}"));
        let hint = match said {
            _ if said.contains("couldn't find remote ref") => {
                "it is a branch, a tag, or a commit with all 40 digits"
            }
            _ if [
                "could not read Username",
                "Authentication failed",
                "Permission denied",
            ]
            .iter()
            .any(|part| said.contains(part)) =>
            {
                "a private repository takes --secret id=GIT_AUTH_TOKEN, or ssh with an agent (SSH_AUTH_SOCK)"
            }
            _ if said.contains("transport 'file' not allowed") => {
                "a submodule may not lead to files of this machine; `submodules=false` does without"
            }
            _ => return error.into(),
        };
        error.hint(hint).into()
    }
}

/// Takes git's own files away, and gives all others the modes that git knows: they may be executed, or not.
fn tidy(checkout: &Path, keep_git_directory: bool) -> Result<()> {
    let context = || format!("tidy `{}`", checkout.display());
    if !keep_git_directory {
        tree::remove(&checkout.join(".git")).with_context(context)?;
    }
    let root = open_root(checkout).with_context(context)?;
    let mut tidy = |entry: &tree::Entry<'_>| {
        let kind = FileType::from_raw_mode(entry.found.st_mode);
        if entry.name == b".git" && kind == FileType::Directory {
            return Ok(false);
        }
        if entry.name == b".git" && kind == FileType::RegularFile && !keep_git_directory {
            unlinkat(entry.parent, entry.name, AtFlags::empty())?;
            return Ok(false);
        }
        let mode = match kind {
            FileType::Directory => 0o755,
            FileType::RegularFile if entry.found.st_mode & 0o100 != 0 => 0o755,
            FileType::RegularFile => 0o644,
            _ => return Ok(false),
        };
        if entry.found.st_mode & 0o7777 != mode {
            chmodat(
                entry.parent,
                entry.name,
                Mode::from_raw_mode(mode),
                AtFlags::empty(),
            )?;
        }
        Ok(true)
    };
    tree::visit(root.as_fd(), b".", &mut tidy).with_context(context)
}
