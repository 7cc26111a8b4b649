//! `--secret` and `--ssh`.

use crate::build::order::Secret;
use crate::cli::value::comma_separated;
use crate::error::bad_input;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// BuildKit's limit, in bytes.
const LARGEST: u64 = 500 << 10;

/// `id=NAME`, with `src=FILE` or `env=VARIABLE`; without both the variable of that name if there is one, else the file.
pub fn secret(text: &str) -> Result<(String, Secret), String> {
    let (mut id, mut source, mut kind) = (String::new(), None, String::new());
    for field in comma_separated::fields(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        match key.to_ascii_lowercase().as_str() {
            "id" => value.clone_into(&mut id),
            "type" => value.clone_into(&mut kind),
            "source" | "src" if kind != "env" => source = Some(Secret::File(PathBuf::from(value))),
            "env" | "source" | "src" => source = Some(Secret::Variable(value.to_owned())),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !["", "file", "env"].contains(&kind.as_str()) {
        return Err(format!("unsupported secret type {kind:?}"));
    }
    if id.is_empty() {
        return Err("a secret needs an id: id=NAME".to_owned());
    }
    let usual = || match kind.as_str() {
        "file" => Secret::File(PathBuf::from(&id)),
        "env" => Secret::Variable(id.clone()),
        _ if std::env::var_os(&id).is_some() => Secret::Variable(id.clone()),
        _ => Secret::File(PathBuf::from(&id)),
    };
    let source = source.unwrap_or_else(usual);
    Ok((id, source))
}

/// `default`, `NAME` or `NAME=SOCKET`; without a socket that of the environment's agent.
pub fn agent(text: &str) -> Result<(String, PathBuf), String> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, Some(PathBuf::from(socket))),
        None => (text, None),
    };
    let usual = || std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    let socket = socket
        .or_else(usual)
        .ok_or("there is no agent: SSH_AUTH_SOCK is not set")?;
    Ok((id.to_owned(), socket))
}

/// The secrets, whose files must be there whether a step wants them or not.
pub fn secrets(given: Vec<(String, Secret)>) -> Result<BTreeMap<String, Secret>> {
    for (id, secret) in &given {
        let Secret::File(path) = secret else {
            continue;
        };
        let size = stat(path)?.len();
        if size > LARGEST {
            let message = format!("secret {id} too big. max size 500KB");
            let hint = "mount what is large from a directory: --build-context NAME=DIRECTORY";
            return Err(bad_input(message).hint(hint).into());
        }
    }
    Ok(given.into_iter().collect())
}

/// The agents, each of which must be a socket, by absolute paths: who connects to them is somewhere else.
pub fn agents(given: Vec<(String, PathBuf)>) -> Result<BTreeMap<String, PathBuf>> {
    for (_, path) in &given {
        if !stat(path)?.file_type().is_socket() {
            let message = format!("`{}` is no socket of an SSH agent", path.display());
            let hint =
                "give keys to an agent: eval \"$(ssh-agent)\" && ssh-add KEY, then --ssh default";
            return Err(bad_input(message).hint(hint).into());
        }
    }
    let absolute = |(id, path): (String, PathBuf)| Ok((id, std::path::absolute(path)?));
    given.into_iter().map(absolute).collect()
}

fn stat(path: &Path) -> Result<std::fs::Metadata> {
    std::fs::metadata(path).with_context(|| format!("stat `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_files_or_variables() {
        let file = |path: &str| Secret::File(PathBuf::from(path));
        let variable = |name: &str| Secret::Variable(name.to_owned());
        for (text, id, expected) in [
            ("id=a,src=/x", "a", file("/x")),
            ("type=file,id=a,source=b", "a", file("b")),
            ("id=a,env=B", "a", variable("B")),
            ("type=env,id=a,src=B", "a", variable("B")),
            ("id=PATH", "PATH", variable("PATH")),
            (
                "id=no-such-variable",
                "no-such-variable",
                file("no-such-variable"),
            ),
        ] {
            assert_eq!(secret(text).unwrap(), (id.to_owned(), expected), "{text}");
        }
        for bad in ["", "src=x", "id=a,x=y", "type=vault,id=a", "id"] {
            assert!(secret(bad).is_err(), "{bad}");
        }
    }
}
