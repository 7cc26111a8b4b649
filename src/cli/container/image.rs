//! The image of a new container: one that is here, or the built-in `hello`.

use super::options::CreateFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::image::limit;
use crate::cli::value::Pull;
use crate::container::engine::Engine;
use crate::container::options::Options;
use crate::container::{list, user_namespace};
use crate::error::{self, Error, Kind, bad_input};
use crate::image::digest::Digest;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::shared::has_to_be_copied;
use crate::image::store::{self, Image};
use crate::image::{hello, tag};
use anyhow::{Context as _, Result};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

const PROGRAM: &str = "/proc/self/exe";

/// What is said of the image beside its name.
pub struct Wanted {
    /// `--platform`.
    pub platform: Option<String>,
    /// `--pull`.
    pub pull: Pull,
    /// `--quiet`.
    pub quiet: bool,
    /// `--verify`.
    pub verify: Option<String>,
}

impl Wanted {
    /// What the flags come to. Signatures are looked at when an image is pulled, so that whoever insists on one has it
    /// pulled even if it is here.
    pub fn new(flags: &CreateFlags) -> Result<Self> {
        let pull = match (flags.verify.is_some(), flags.pull) {
            (true, Pull::Never) => {
                return Err(bad_input("conflicting options: --verify and --pull never")
                    .hint("signatures are in registries, and are looked at when an image is pulled")
                    .into());
            }
            (true, _) => Pull::Always,
            (false, pull) => pull,
        };
        Ok(Self {
            platform: flags.platform.clone(),
            pull,
            quiet: flags.quiet,
            verify: flags.verify.clone(),
        })
    }
}

/// Finds the image, or brings it in, or tells why it cannot be had. One of another store whose layers cannot be used
/// there becomes one of this store first.
pub fn obtain(
    context: &mut Context,
    engine: &Engine,
    options: &Options,
    wanted: &Wanted,
) -> Result<Image> {
    // Before anything is pulled.
    engine.mapping.require_containers()?;
    let image = look_for(context, engine, &options.image, wanted)?;
    let is_foreign = has_to_be_copied(&engine.paths, &image);
    if !is_foreign && !user_namespace::needs_own_layers(engine, options, &image.layers) {
        return Ok(image);
    }
    let why = match is_foreign {
        true => "the kernel does not let you change files with the owners that they have there",
        false => "containers with other ids than yours need layers of your own",
    };
    let name = &options.image;
    context.output.progress(format_args!(
        "copying image {name} from another store, once: {why}"
    ));
    adopt(engine, &image.id)?;
    store::find(&engine.paths, &image.id.to_string())
}

fn look_for(context: &mut Context, engine: &Engine, name: &str, wanted: &Wanted) -> Result<Image> {
    let platform = wanted
        .platform
        .as_deref()
        .map(str::parse::<Platform>)
        .transpose()?;
    if hello::is_meant(name) && wanted.pull == Pull::Missing && !hello::is_here(&engine.paths)? {
        make_hello(engine)?;
    }
    if wanted.pull == Pull::Always {
        fetch(context, engine, name, wanted)?;
    }
    match find(engine, name, platform.as_ref()) {
        Err(error) if is_missing(&error) && matches!(wanted.pull, Pull::Missing | Pull::Newer) => {
            if let Ok(name) = name.parse::<Reference>() {
                let name = name.or_latest();
                context
                    .output
                    .progress(format_args!("Unable to find image '{name}' locally"));
            }
            fetch(context, engine, name, wanted)?;
            find(engine, name, platform.as_ref())
        }
        Ok(_) if wanted.pull == Pull::Newer => {
            fetch(context, engine, name, wanted)?;
            find(engine, name, platform.as_ref())
        }
        found => found,
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error::kind(error), Some(Kind::NotFound | Kind::Conflict))
}

/// The image that is here; [`Kind::Conflict`] where it is for another platform.
fn find(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Image> {
    let image = store::find(&engine.paths, name)?;
    let is = image.config.platform();
    match platform.filter(|wanted| !wanted.matches(&is)) {
        Some(wanted) => {
            let message = format!("image {name} is for {is}, not for {wanted}");
            let hint = format!("`onggi pull --platform {wanted} {name}`");
            Err(Error::new(Kind::Conflict, message).hint(hint).into())
        }
        None => Ok(image),
    }
}

/// Brings the image in by another process: this one must stay alone with itself until the container is made. What it
/// tells goes to standard error; how it failed is the error here.
fn fetch(context: &mut Context, engine: &Engine, name: &str, wanted: &Wanted) -> Result<()> {
    // An id is nothing that a registry knows.
    name.parse::<Reference>()?;
    let mut command = own_command(engine);
    if let Some(directory) = &context.globals.config {
        command.arg("--config").arg(directory);
    }
    command.arg("pull");
    if let Some(platform) = &wanted.platform {
        command.args(["--platform", platform]);
    }
    if let Some(key) = &wanted.verify {
        command.arg(format!("--verify={key}"));
    }
    if wanted.pull == Pull::Newer {
        // Where there is none to be had, it is content with what is here, and says so.
        command.args(["--policy", "newer"]);
    }
    let told = match wanted.quiet {
        true => Stdio::null(),
        false => Stdio::from(
            rustix::stdio::stderr()
                .try_clone_to_owned()
                .context("duplicate standard error")?,
        ),
    };
    let child = command
        .arg(name)
        .stdin(Stdio::null())
        .stdout(told)
        .stderr(Stdio::piped());
    let output = child
        .spawn()
        .and_then(std::process::Child::wait_with_output);
    let output = output.with_context(|| format!("execute `{PROGRAM}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let (mut message, mut hint) = (None, None);
    for line in said.lines() {
        match line
            .strip_prefix("onggi: ")
            .map(|line| (line, line.strip_prefix("warning: ")))
        {
            Some((_, Some(warning))) => context.output.warn(warning),
            Some((line, None)) => message = Some(line.to_owned()),
            None => match line.strip_prefix("try: ") {
                Some(text) => hint = Some(text.to_owned()),
                None => context.output.progress(line),
            },
        }
    }
    if output.status.success() {
        return Ok(());
    }
    let message = message.unwrap_or_else(|| format!("pull `{name}`: {}", output.status));
    Err(Error {
        kind: Kind::BadInput,
        message,
        hint,
        bundle_hint: None,
    }
    .into())
}

/// This program with the same stores.
fn own_command(engine: &Engine) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args([OsStr::new("--root"), engine.paths.data().as_os_str()])
        .args([OsStr::new("--runroot"), engine.paths.run().as_os_str()]);
    for store in engine.paths.image_stores() {
        command.args([OsStr::new("--imagestore"), store.data.as_os_str()]);
    }
    command
}

/// An ordinary user unpacks as root of a user namespace. A start makes that namespace anew and cannot do so from
/// within, so another process does the unpacking.
fn unpack_by(mut command: Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("execute `{PROGRAM}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_error = |line: &&str| !line.starts_with("onggi: warning: ");
    let first = said.lines().find(is_error).unwrap_or_default();
    match output.status.success() {
        true => Ok(()),
        false => Err(bad_input(first.trim_start_matches("onggi: ").to_owned()).into()),
    }
}

fn make_hello(engine: &Engine) -> Result<()> {
    if !engine.mapping.needs_user_namespace() {
        return unpack_hello(engine);
    }
    let mut command = own_command(engine);
    command.arg("hello-image");
    unpack_by(command)
}

fn adopt(engine: &Engine, id: &Digest) -> Result<()> {
    let mut command = own_command(engine);
    command.args(["adopt-image".to_owned(), id.to_string()]);
    unpack_by(command)
}

/// `adopt-image`: makes an image of another store one of this store, with all its layers.
#[derive(clap::Args)]
pub struct AdoptImage {
    id: String,
}

impl Verb for AdoptImage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let rules = engine.layer_rules()?;
        engine.enter_user_namespace()?;
        let image = store::find(&engine.paths, &self.id)?;
        tag::adopt(&engine.paths, &rules, &image, true)?;
        limit::enforce(context, &engine, &[image.id])?;
        Ok(0)
    }
}

fn unpack_hello(engine: &Engine) -> Result<()> {
    let users = |image: &_| list::users(engine, image);
    hello::ensure(&engine.paths, &engine.layer_rules()?, &users)
}

/// `hello-image`: makes the image `hello` for an ordinary user's `run hello`. It has no options.
#[derive(clap::Args)]
pub struct HelloImage {}

impl Verb for HelloImage {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        engine.enter_user_namespace()?;
        unpack_hello(&engine)?;
        Ok(0)
    }
}
