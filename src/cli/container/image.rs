//! The image of a new container: one that is here, or the built-in `hello`.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::unsupported;
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
use std::process::Command;

/// Finds the image, or tells why it cannot be had.
pub fn obtain(engine: &Engine, name: &str, platform: Option<&str>, pull: Pull) -> Result<Image> {
    if pull == Pull::Always {
        return Err(
            unsupported::not_yet("--pull always", "there is no access to registries").into(),
        );
    }
    let wanted = platform.map(str::parse::<Platform>).transpose()?;
    if hello::is_meant(name) && pull == Pull::Missing && !hello::is_here(&engine.paths)? {
        make_hello(engine)?;
    }
    let image = match store::find(&engine.paths, name) {
        Err(error) if error::kind(&error) == Some(Kind::NotFound) => {
            return Err(missing(name, pull).into());
        }
        found => found?,
    };
    let is = image.config.platform();
    match wanted {
        Some(wanted) if !wanted.matches(&is) => {
            let message = format!("image {name} is for {is}, not for {wanted}");
            Err(bad_input(message)
                .hint("load it for that platform: `onggi load --platform`")
                .into())
        }
        _ => Ok(image),
    }
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

/// Docker's words, and what to do as long as images cannot be fetched.
fn missing(name: &str, pull: Pull) -> Error {
    let shown = name
        .parse::<Reference>()
        .map_or_else(|_| name.to_owned(), |name| name.or_latest().to_string());
    let message = match pull {
        Pull::Never => format!("No such image: {shown}"),
        _ => format!(
            "Unable to find image '{shown}' locally, and there is no access to registries yet"
        ),
    };
    error::not_found(message)
        .hint("bring it in with `onggi load` or `onggi import`; `onggi images` lists what is here")
}
