//! The layer writer against the real kernel: odd archives, the layers of real images, each rule of the
//! specifications, hostile input, and random archives given back byte for byte.

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod corpus;
mod hostile;
mod images;
mod limits;
mod roundtrip;
mod rules;
mod whiteouts;

use archive::Tar;
use onggi::image::layer::{Devices, Owners, Rules, Unpacked, XattrPrefix, stream_tar, unpack};
use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use support::{Need, requires};
use tempfile::TempDir;

/// As root unpacks, with a small limit.
const RULES: Rules = Rules {
    owners: Owners::Real,
    xattrs: XattrPrefix::Trusted,
    devices: Devices::Make,
    absolute_names: false,
    max_bytes: 1 << 30,
    keep_blobs: false,
};

/// Layers on top of each other, in a directory of their own.
struct Layers {
    directory: TempDir,
    trees: Vec<PathBuf>,
    rules: Rules,
}

impl Layers {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            directory,
            trees: Vec::new(),
            rules: RULES,
        }
    }

    fn with(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::new()
        }
    }

    /// Where the layer with that number is, counted from zero.
    fn layer(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    fn try_blob(&mut self, blob: &[u8]) -> anyhow::Result<Unpacked> {
        let layer = self.layer(self.trees.len());
        std::fs::create_dir(&layer).unwrap();
        let unpacked = unpack(blob, &layer, &self.trees, &self.rules)?;
        self.trees.push(layer.join("tree"));
        Ok(unpacked)
    }

    /// Unpacks one more layer, and sees to it that its tar comes out as it went in.
    fn add(&mut self, tar: &Tar) -> Unpacked {
        let bytes = tar.bytes();
        let unpacked = self
            .try_blob(&bytes)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let mut again = Vec::new();
        let digest = stream_tar(&self.layer(self.trees.len() - 1), &mut again).unwrap();
        assert!(again == bytes, "the tar stream came out changed");
        assert_eq!(
            (&digest, unpacked.tar_size),
            (&unpacked.diff_id, bytes.len() as u64)
        );
        unpacked
    }

    /// The error of one more layer.
    fn refuses(&mut self, tar: &Tar) -> String {
        match self.try_blob(&tar.bytes()) {
            Ok(_) => panic!("was unpacked:\n{:#?}", describe(self.trees.last().unwrap())),
            Err(error) => {
                assert_eq!(
                    onggi::error::kind(&error),
                    Some(onggi::error::Kind::BadInput),
                    "{error:#}"
                );
                let text = format!("{error:#}");
                assert!(!text.contains('\n'), "{text}");
                text
            }
        }
    }

    /// The uppermost tree.
    fn top(&self) -> &Path {
        self.trees.last().unwrap()
    }

    /// The names that an overlay of all the layers shows.
    fn merged(&self) -> BTreeMap<String, String> {
        let target = self.directory.path().join("merged");
        let empty = self.directory.path().join("empty");
        for directory in [&target, &empty] {
            std::fs::create_dir_all(directory).unwrap();
        }
        // Read-only overlays have at least two layers.
        let lower: Vec<_> = self
            .trees
            .iter()
            .rev()
            .chain([&empty])
            .map(|tree| tree.display().to_string())
            .collect();
        let userxattr = if self.rules.xattrs == XattrPrefix::User {
            ",userxattr"
        } else {
            ""
        };
        let options = format!("lowerdir={}{userxattr}", lower.join(":"));
        in_mount_namespace(|| {
            use nix::mount::MsFlags;
            nix::mount::mount(
                Some("overlay"),
                &target,
                Some("overlay"),
                MsFlags::MS_RDONLY,
                Some(&*options),
            )
            .unwrap();
            describe(&target)
        })
    }

    /// The names alone.
    fn merged_names(&self) -> String {
        self.merged().into_keys().collect::<Vec<_>>().join(" ")
    }
}

/// Runs something in a thread whose mounts vanish with it.
fn in_mount_namespace<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    use nix::mount::{MsFlags, mount};
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            run()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Runs something in a thread in which some system calls fail.
fn with_failing<T: Send>(calls: &[i64], errno: i32, run: impl FnOnce() -> T + Send) -> T {
    use seccompiler::{SeccompAction, SeccompFilter};
    let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
    let (allow, deny) = (SeccompAction::Allow, SeccompAction::Errno(errno as u32));
    let filter = SeccompFilter::new(
        rules,
        allow,
        deny,
        std::env::consts::ARCH.try_into().unwrap(),
    )
    .unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            run()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Everything about a tree that `ls` could show, by path; hard links by the first of their names.
fn describe(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        let mut names: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        names.sort();
        for path in names {
            let name = path
                .strip_prefix(root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let metadata = path.symlink_metadata().unwrap();
            let kind = metadata.file_type();
            let what = if kind.is_dir() {
                waiting.push(path.clone());
                "directory".to_owned()
            } else if kind.is_symlink() {
                format!("link to {}", path.read_link().unwrap().display())
            } else if kind.is_file() {
                let first = links.entry(metadata.ino()).or_insert_with(|| name.clone());
                format!(
                    "file of {} {} = {first}",
                    metadata.size(),
                    content(&path, &metadata)
                )
            } else if kind.is_fifo() {
                "fifo".to_owned()
            } else {
                let device = metadata.rdev();
                let kind = if kind.is_block_device() {
                    "block"
                } else {
                    "character"
                };
                format!(
                    "{kind} {}:{}",
                    rustix::fs::major(device),
                    rustix::fs::minor(device)
                )
            };
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            let xattrs = attributes(&path).join(" ");
            found.insert(
                name,
                format!(
                    "{mode:04o} {uid}:{gid} {} {what} {xattrs}",
                    metadata.mtime()
                ),
            );
        }
    }
    found
}

/// A short word for what is in a file, quick also for huge sparse ones.
fn content(path: &Path, metadata: &std::fs::Metadata) -> String {
    use rustix::fs::{SeekFrom, seek};
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(path).unwrap();
    let (mut at, mut sum, mut written) = (0, 0xcbf2_9ce4_8422_2325u64, 0u64);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        let mut bytes = vec![0; (at - start) as usize];
        file.read_exact_at(&mut bytes, start).unwrap();
        for (offset, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
            for value in [start + offset as u64, u64::from(*byte)] {
                sum = (sum ^ value).wrapping_mul(0x100_0000_01b3);
            }
            written += 1;
        }
        if at >= metadata.size() {
            break;
        }
    }
    format!("({written} set, {sum:x})")
}

/// Extended attributes as `name=value`, sorted.
fn attributes(path: &Path) -> Vec<String> {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut found = Vec::new();
    for name in names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 1 << 16];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        found.push(format!(
            "{}={}",
            String::from_utf8_lossy(name),
            value[..length].escape_ascii()
        ));
    }
    found.sort();
    found
}

/// Most of this needs to give files to other users.
fn as_root() -> bool {
    requires(&[Need::Root])
}
