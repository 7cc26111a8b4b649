//! `login`, `logout`: passwords for registries are checked and kept, in Docker's file or by the helper that it names.

use super::registry::RegistryFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::{Error, bad_input};
use crate::image::registry::configuration::{DOCKER, host};
use crate::image::registry::credentials::{Credential, Files, Secret};
use crate::image::registry::{Options, check_login};
use anyhow::{Context as _, Result};
use std::io::Read;
use std::path::PathBuf;

/// What Docker calls [`DOCKER`], which is meant where none is named.
const DOCKER_ADDRESS: &str = "https://index.docker.io/v1/";
/// Longer than any token.
const LONGEST_PASSWORD: u64 = 64 << 10;

/// Options of `login`.
#[derive(clap::Args)]
pub struct Login {
    /// The password, seen by everybody who looks at processes
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The user
    #[arg(short, long)]
    username: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
    server: Option<String>,
}

impl Verb for Login {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.password.is_some() {
            context
                .output
                .warn("Using --password via the CLI is insecure. Use --password-stdin.");
        }
        self.check()?;
        let server = account(self.server.as_deref())?;
        if let Some(path) = path(self.server.as_deref()) {
            context.output.warn(format_args!(
                "credentials are kept for all of {}, not for `{path}` alone",
                shown(&server)
            ));
        }
        let options = self.registry.options(context)?;
        let given = match (self.username, self.password, self.password_stdin) {
            (Some(user), Some(password), _) => Some((user, password)),
            (Some(user), None, true) => Some((user, password_of_stdin()?)),
            (user, password, _) => {
                if user.is_none() && password.is_none() && known(context, &server, &options)? {
                    return Ok(0);
                }
                ask(context, &server, user, password)?
            }
        };
        let Some((user, password)) = given else {
            return Err(
                bad_input("Cannot perform an interactive login from a non TTY device")
                    .hint("`--username USER --password-stdin`")
                    .into(),
            );
        };
        let credential = Credential {
            user: user.clone(),
            secret: Secret::Password(password),
            source: "the password that was given".to_owned(),
        };
        let secret = check_login(&server, credential, &options)
            .with_context(|| format!("log in to {}", shown(&server)))?;
        keep(context, &server, &user, &secret, &options)?;
        context.output.line("Login Succeeded")?;
        Ok(0)
    }
}

/// Keeps what a registry accepts.
fn keep(
    context: &mut Context,
    server: &str,
    user: &str,
    secret: &Secret,
    options: &Options,
) -> Result<()> {
    if let Some(file) = options.files.store(server, user, secret)? {
        context.output.warn(format_args!(
            "Your credentials are stored unencrypted in '{}'. A credential helper (`credsStore`) keeps them better.",
            file.display()
        ));
    }
    Ok(())
}

impl Login {
    fn check(&self) -> Result<(), Error> {
        match (&self.password, self.password_stdin, &self.username) {
            (Some(_), true, _) => Err(bad_input(
                "--password and --password-stdin are mutually exclusive",
            )),
            (_, true, None) => Err(bad_input("Must provide --username with --password-stdin")),
            (Some(password), ..) if password.is_empty() => Err(bad_input("password is empty")),
            (_, _, Some(user)) if user.is_empty() => Err(bad_input("username is empty")),
            (_, _, Some(user)) if user.contains(':') => Err(bad_input("a username has no colon")),
            _ => Ok(()),
        }
    }
}

/// What credentials for a server are filed under: its host and port, however it was written.
fn account(server: Option<&str>) -> Result<String> {
    let server = server.unwrap_or(DOCKER);
    let rest = match server.split_once("://") {
        Some(("http" | "https", rest)) => rest,
        _ => server,
    };
    let domain = rest.split('/').next().unwrap_or_default();
    // The rules for names of images are those for hosts, too.
    match format!("{domain}/x").parse::<crate::image::reference::Reference>() {
        Ok(name) if name.domain() == domain || host(domain, false).account == DOCKER => {
            Ok(host(domain, false).account)
        }
        // A host without a dot.
        Ok(name) if name.path() == format!("{domain}/x") => Ok(domain.to_owned()),
        _ => Err(bad_input(format!("`{server}` is no name of a registry")).into()),
    }
}

/// What of a server's name is more than a registry; addresses as Docker has them end with the version of its protocol.
fn path(server: Option<&str>) -> Option<&str> {
    let server = server?;
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let (_, path) = rest.split_once('/')?;
    let path = path.trim_matches('/');
    (!matches!(path, "" | "v1" | "v2")).then_some(path)
}

fn shown(account: &str) -> &str {
    match account {
        DOCKER => DOCKER_ADDRESS,
        account => account,
    }
}

fn password_of_stdin() -> Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(LONGEST_PASSWORD)
        .read_to_string(&mut text)
        .context("read the password from standard input")?;
    let text = text.trim_end_matches(['\n', '\r']);
    match text.is_empty() {
        true => Err(bad_input("password is empty").into()),
        false => Ok(text.to_owned()),
    }
}

/// Whether what is kept already is good.
fn known(context: &mut Context, server: &str, options: &Options) -> Result<bool> {
    let Some(credential) = options.files.find(server)? else {
        return Ok(false);
    };
    let (user, is_password) = (
        credential.user.clone(),
        matches!(credential.secret, Secret::Password(_)),
    );
    context
        .output
        .line("Authenticating with existing credentials...")?;
    match check_login(server, credential, options) {
        Ok(secret) => {
            // An identity token takes the place of the password that it was given for.
            if is_password && matches!(secret, Secret::Refresh(_)) {
                keep(context, server, &user, &secret, options)?;
            }
            context.output.line("Login Succeeded")?;
            Ok(true)
        }
        Err(error) => {
            context
                .output
                .warn(format_args!("Login did not succeed, error: {error:#}"));
            Ok(false)
        }
    }
}

/// Asks a person; `None` where there is none.
fn ask(
    context: &mut Context,
    server: &str,
    user: Option<String>,
    password: Option<String>,
) -> Result<Option<(String, String)>> {
    let user = match user {
        Some(user) => user,
        None => match context
            .output
            .ask(&format!("Username ({}): ", shown(server)))?
        {
            Some(user) => user,
            None => return Ok(None),
        },
    };
    let password = match password {
        Some(password) => password,
        None => match context.output.ask_secret("Password: ")? {
            Some(password) => password,
            None => return Ok(None),
        },
    };
    match user.is_empty() || password.is_empty() {
        true => Err(bad_input("username and password must not be empty").into()),
        false => Ok(Some((user, password))),
    }
}

/// Options of `logout`.
#[derive(clap::Args)]
pub struct Logout {
    /// Forget the credentials for all registries
    #[arg(short, long)]
    all: bool,
    /// Change this file instead of Docker's
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    server: Option<String>,
}

impl Verb for Logout {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let files = Files {
            directory: context.globals.config.clone(),
            file: self.authfile,
        };
        let servers = match self.all {
            true => files.hosts()?,
            false => vec![account(self.server.as_deref())?],
        };
        for server in servers {
            let text = match files.erase(&server)? {
                true => format!("Removing login credentials for {}", shown(&server)),
                false => format!("Not logged in to {}", shown(&server)),
            };
            context.output.line(text)?;
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_servers_name_is_known() {
        for (server, expected) in [
            ("a.org", None),
            ("a.org/", None),
            ("https://index.docker.io/v1/", None),
            ("https://a.org/v2/", None),
            ("a.org/team", Some("team")),
            ("https://a.org:5000/team/app/", Some("team/app")),
        ] {
            assert_eq!(path(Some(server)), expected, "{server}");
        }
    }

    #[test]
    fn servers_are_filed_by_host_and_port() {
        for (server, expected) in [
            (None, "docker.io"),
            (Some("https://index.docker.io/v1/"), "docker.io"),
            (Some("registry-1.docker.io"), "docker.io"),
            (Some("https://a.org/v2/"), "a.org"),
            (Some("a.org:5000"), "a.org:5000"),
            (Some("localhost:5000"), "localhost:5000"),
            (Some("[::1]:5000"), "[::1]:5000"),
            (Some("intranet"), "intranet"),
        ] {
            assert_eq!(account(server).unwrap(), expected, "{server:?}");
        }
        for bad in ["", "a b", "http://", "-x", "ftp://a.org"] {
            assert!(account(Some(bad)).is_err(), "{bad}");
        }
    }
}
