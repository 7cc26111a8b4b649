//! The `docker` programs that the host has: the one on the search path, and the one of Debian's package docker.io
//! (docker-cli from Debian 13 on), which tests/run unpacks and names in `ONGGI_TEST_DOCKER`.

use crate::server::Server;
use crate::support::skip;
use crate::tables::TIME_ZONE;
use std::ffi::OsString;
use std::process::{Command, Output};

/// What a client printed, or how it failed.
pub type Printed = Result<String, String>;

/// A client.
pub struct Client {
    program: OsString,
    /// The minor version of the Go that it was made with: the language of templates has grown with Go's.
    pub go: u32,
}

/// All clients; where there is none, the test is skipped.
pub fn clients() -> Vec<Client> {
    let named = std::env::var_os("ONGGI_TEST_DOCKER");
    let programs = named.into_iter().chain(["docker".into()]);
    let clients: Vec<Client> = programs.filter_map(Client::new).collect();
    if clients.is_empty() {
        skip("no `docker` program made by Docker or Debian");
    }
    clients
}

impl Client {
    /// Nothing, if it is not there or is another program of that name.
    fn new(program: OsString) -> Option<Self> {
        let arguments = [
            "-H",
            "unix:///dev/null",
            "version",
            "-f",
            "{{.Client.GoVersion}}",
        ];
        let output = Command::new(&program).args(arguments).output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?;
        let minor = version.trim().strip_prefix("go1.")?.split('.').next()?;
        Some(Self {
            go: minor.parse().ok()?,
            program,
        })
    }

    /// One call against the canned answers.
    pub fn run(&self, server: &Server, arguments: &[&str]) -> Output {
        Command::new(&self.program)
            .env_clear()
            .env("HOME", server.directory())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TZ", TIME_ZONE)
            .arg("-H")
            .arg(format!("unix://{}", server.socket().display()))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// What it printed, or its message.
    pub fn printed(&self, server: &Server, arguments: &[&str]) -> Printed {
        let output = self.run(server, arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.code() {
            Some(0) => Ok(text(&output.stdout)),
            _ => Err(text(&output.stderr).trim_end().to_owned()),
        }
    }
}
