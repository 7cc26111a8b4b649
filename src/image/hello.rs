//! The image `hello`: made of the running program itself, so that there is something to run on a machine
//! without network. Its only layer holds the executable as `/onggi`.
//!
//! An image of that name that is not ours, by its label, is left alone.

use super::config::{Config, Execution, History, RootFs};
use super::intake::{Chain, Expected, Intake};
use super::layer::Rules;
use super::platform::Platform;
use super::reference::Reference;
use super::remove::{self, Users};
use super::store;
use crate::error::{Kind, kind};
use crate::paths::{self, Paths};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{BufReader, Cursor, Read};

/// What it is called.
pub const NAME: &str = "hello:latest";
const LABEL: &str = "onggi.hello";
const PROGRAM: &str = "onggi";
const EXECUTABLE: &str = "/proc/self/exe";

/// Whether an image that was asked for by this text is `hello`.
pub fn is_meant(name: &str) -> bool {
    name.parse::<Reference>()
        .is_ok_and(|name| name.or_latest().to_string() == NAME)
}

/// Whether nothing is to be made: the image is here and holds the running program, or it is somebody else's.
pub fn is_here(paths: &Paths) -> Result<bool> {
    match store::find(paths, NAME) {
        Ok(image) => {
            Ok(!image.config.config.labels.contains_key(LABEL)
                || holds_this_program(paths, &image)?)
        }
        Err(error) if kind(&error) == Some(Kind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the image, or makes it anew when it holds another program than the running one. An ordinary user must
/// be in the user namespace of the store.
pub fn ensure(paths: &Paths, rules: &Rules, users: Users) -> Result<()> {
    if is_here(paths)? {
        return Ok(());
    }
    if let Ok(older) = store::find(paths, NAME) {
        match remove::remove(paths, &older.id.to_string(), false, users) {
            // A container still needs it; it only loses its name.
            Err(error) if kind(&error) == Some(Kind::Conflict) => {}
            removed => drop(removed?),
        }
    }
    make(paths, rules).context("make the image `hello`")
}

fn make(paths: &Paths, rules: &Rules) -> Result<()> {
    let mut intake = Intake::new(paths, rules)?;
    let mut chain = Chain::default();
    intake.layer(&mut chain, &Expected::default(), tar)?;
    let platform = Platform::host();
    let created = Some("1970-01-01T00:00:00Z".to_owned());
    let created_by = format!("onggi {}", env!("CARGO_PKG_VERSION"));
    let config = Config {
        architecture: platform.architecture,
        os: platform.os,
        created: created.clone(),
        config: Execution {
            entrypoint: Some(vec![format!("/{PROGRAM}"), "hello-page".to_owned()]),
            labels: [(LABEL.to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
            ..Execution::default()
        },
        rootfs: RootFs {
            diff_ids: chain.diff_ids().to_vec(),
            ..RootFs::default()
        },
        history: vec![History {
            created,
            created_by,
            ..History::default()
        }],
        ..Config::default()
    };
    intake.image(&serde_json::to_vec(&config)?, &chain, vec![NAME.parse()?])?;
    intake.commit().map(drop)
}

/// A tar archive with the running program as its only member.
fn tar() -> Result<impl Read + Send> {
    let program = File::open(EXECUTABLE).with_context(|| format!("open `{EXECUTABLE}`"))?;
    let size = program
        .metadata()
        .with_context(|| format!("stat `{EXECUTABLE}`"))?
        .len();
    let mut header = tar::Header::new_gnu();
    header.set_path(PROGRAM)?;
    header.set_mode(0o755);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let padding = size.next_multiple_of(512) - size + 1024;
    Ok(Cursor::new(header.as_bytes().to_vec())
        .chain(program.take(size))
        .chain(std::io::repeat(0).take(padding)))
}

fn holds_this_program(paths: &Paths, image: &store::Image) -> Result<bool> {
    let [layer] = &image.layers[..] else {
        return Ok(false);
    };
    let path = paths::tree_in(&paths.layer(layer)).join(PROGRAM);
    let open = |path: &std::path::Path| {
        File::open(path).with_context(|| format!("open `{}`", path.display()))
    };
    let (here, there) = (open(EXECUTABLE.as_ref())?, open(&path)?);
    if here.metadata()?.len() != there.metadata()?.len() {
        return Ok(false);
    }
    let (mut here, mut there) = (
        BufReader::with_capacity(1 << 20, here),
        BufReader::with_capacity(1 << 20, there),
    );
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let got = here
            .read(&mut ours)
            .with_context(|| format!("read `{EXECUTABLE}`"))?;
        there
            .read_exact(&mut theirs[..got])
            .with_context(|| format!("read `{}`", path.display()))?;
        if got == 0 || ours[..got] != theirs[..got] {
            return Ok(got == 0);
        }
    }
}
