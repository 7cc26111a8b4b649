//! The image of a new container: one that is here, or the built-in `hello`.

use super::options::CreateFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::Pull;
use crate::container::engine::Engine;
use crate::container::list;
use crate::error::{self, Error, Kind, bad_input};
use crate::image::hello;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::store::{self, Image};
use anyhow::{Context as _, Result};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

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

/// Finds the image, or brings it in, or tells why it cannot be had.
pub fn obtain(
    context: &mut Context,
    engine: &Engine,
    name: &str,
    wanted: &Wanted,
) -> Result<Image> {
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
        Ok(here) if wanted.pull == Pull::Newer => match fetch(context, engine, name, wanted) {
            Err(error) => {
                context
                    .output
                    .warn(format_args!("the image that is here is used: {error:#}"));
                Ok(here)
            }
            Ok(()) => find(engine, name, platform.as_ref()),
        },
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
    let program = "/proc/self/exe";
    let mut command = Command::new(program);
    command
        .args([OsStr::new("--root"), engine.paths.data().as_os_str()])
        .args([OsStr::new("--runroot"), engine.paths.run().as_os_str()]);
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
    let output = output.with_context(|| format!("execute `{program}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let (mut message, mut hint) = (None, None);
    for line in said.lines() {
        match line
            .strip_prefix("onggi: ")
            .map(|line| (line, line.strip_prefix("warning: ")))
        {
            Some((_, Some(warning))) => context.output.warn(warning),
            Some((line, None)) => message = Some(line.to_owned()),
            None => hint = line.strip_prefix("try: ").map(str::to_owned).or(hint),
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
    }
    .into())
}

/// An ordinary user unpacks as root of a user namespace. A start makes that namespace anew and cannot do so from
/// within, so another process does the unpacking.
fn make_hello(engine: &Engine) -> Result<()> {
    if !engine.mapping.needs_user_namespace() {
        return unpack_hello(engine);
    }
    let program = "/proc/self/exe";
    let output = Command::new(program)
        .args([OsStr::new("--root"), engine.paths.data().as_os_str()])
        .args([OsStr::new("--runroot"), engine.paths.run().as_os_str()])
        .arg("hello-image")
        .output()
        .with_context(|| format!("execute `{program}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("onggi: ")
        .to_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(bad_input(first).into())
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
