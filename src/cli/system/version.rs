//! `version`, and the line of `--version`.

use crate::cli::Context;
use crate::cli::command::Verb;
use anyhow::Result;

/// The version of Docker whose command line this is; tools parse it.
pub const DOCKER: &str = "28.5.2";

/// The version of podman it answers with when called by that name.
pub const PODMAN: &str = "5.8.6";

/// The version of this program.
pub const ONGGI: &str = env!("CARGO_PKG_VERSION");

/// What `--version` prints. Editors match it against `^Docker version ([0-9.]+)`.
pub fn line(program: &str) -> String {
    match program {
        "docker" => format!("Docker version {DOCKER}, build onggi-{ONGGI}"),
        "podman" => format!("podman version {PODMAN}"),
        _ => format!("onggi version {ONGGI}"),
    }
}

/// Options of `version`.
#[derive(clap::Args)]
pub struct Version {
    /// Print by a Go template, or `json`
    #[arg(short, long)]
    format: Option<String>,
}

impl Verb for Version {
    fn execute(self, context: &mut Context) -> Result<u8> {
        context.output.line(line(&context.program))?;
        Ok(0)
    }
}
