//! `version`, and the line of `--version`.
//!
//! Tools ask by these keys which Docker they speak to and refuse what is too old for them, so both blocks
//! carry an API version. Called as `docker` the versions are those of the Docker whose command line this is.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect;
use anyhow::Result;
use serde_json::{Value, json};

/// The version of Docker whose command line this is.
pub const DOCKER: &str = "28.5.2";

/// The version of podman that it answers with when called by that name.
pub const PODMAN: &str = "5.8.6";

/// The version of this program.
pub const ONGGI: &str = env!("CARGO_PKG_VERSION");

const API: &str = "1.51";
const OLDEST_API: &str = "1.24";

/// What `--version` prints. Editors match it against `^Docker version ([0-9.]+)`.
pub fn line(program: &str) -> String {
    match program {
        "docker" => format!("Docker version {DOCKER}, build onggi-{ONGGI}"),
        "podman" => format!("podman version {PODMAN}"),
        _ => format!("onggi version {ONGGI}"),
    }
}

/// The version to tell under that name.
pub fn of(program: &str) -> &'static str {
    match program {
        "docker" => DOCKER,
        "podman" => PODMAN,
        _ => ONGGI,
    }
}

/// Go's word for the architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Release of the kernel (uname(2)).
pub fn kernel() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Options of `version`.
#[derive(clap::Args)]
pub struct Version {
    /// Print "json", or by a Go template
    #[arg(short, long)]
    format: Option<String>,
}

impl Verb for Version {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let version = of(&context.program);
        match self.format.as_deref().map(str::trim) {
            None | Some("") => context.output.write(blocks(version).as_bytes())?,
            Some("json") => context.output.line(facts(version))?,
            template => inspect::render_inspect(&mut context.output, template, &[facts(version)])?,
        }
        Ok(0)
    }
}

/// What `--format` has, by Docker's keys.
fn facts(version: &str) -> Value {
    let (os, architecture) = ("linux", architecture());
    json!({
        "Client": {
            "Platform": {"Name": "onggi"},
            "Version": version,
            "ApiVersion": API,
            "DefaultAPIVersion": API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": os,
            "Arch": architecture,
            "BuildTime": "",
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "onggi"},
            "Components": [{
                "Name": "Engine",
                "Version": version,
                "Details": {
                    "ApiVersion": API,
                    "Arch": architecture,
                    "Experimental": "false",
                    "KernelVersion": kernel(),
                    "MinAPIVersion": OLDEST_API,
                    "Os": os,
                },
            }],
            "Version": version,
            "ApiVersion": API,
            "MinAPIVersion": OLDEST_API,
            "GitCommit": "",
            "GoVersion": "",
            "Os": os,
            "Arch": architecture,
            "KernelVersion": kernel(),
            "BuildTime": "",
        },
    })
}

/// The two blocks. The server is this program: there is no daemon.
fn blocks(version: &str) -> String {
    let architecture = architecture();
    format!(
        "Client: onggi {ONGGI}\n \
         Version:           {version}\n \
         API version:       {API}\n \
         OS/Arch:           linux/{architecture}\n \
         Context:           default\n\
         \n\
         Server: onggi {ONGGI}\n \
         Engine:\n  \
         Version:          {version}\n  \
         API version:      {API} (minimum version {OLDEST_API})\n  \
         OS/Arch:          linux/{architecture}\n  \
         Kernel version:   {}\n  \
         Experimental:     false\n",
        kernel()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_version() {
        assert_eq!(line("onggi"), format!("onggi version {ONGGI}"));
        assert_eq!(line("podman"), "podman version 5.8.6");
        let rest = line("docker");
        let number = rest
            .strip_prefix("Docker version ")
            .unwrap()
            .split(',')
            .next()
            .unwrap();
        assert!(
            number.split('.').all(|part| part.parse::<u32>().is_ok()),
            "{rest}"
        );
    }

    #[test]
    fn tools_find_the_server() {
        let facts = facts(of("docker"));
        assert_eq!(facts["Server"]["Version"], DOCKER);
        assert_eq!(facts["Server"]["Components"][0]["Name"], "Engine");
        assert!(blocks("1.2.3").contains("\n\nServer: "));
    }
}
