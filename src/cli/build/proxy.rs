//! The proxies of Docker's client configuration, which are build arguments in both spellings.
//! <https://docs.docker.com/engine/cli/proxy/>

use crate::error::bad_input;
use crate::paths::docker_configuration;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// What the configuration calls them, and the variables.
const NAMES: &[(&str, &str)] = &[
    ("httpProxy", "HTTP_PROXY"),
    ("httpsProxy", "HTTPS_PROXY"),
    ("noProxy", "NO_PROXY"),
    ("ftpProxy", "FTP_PROXY"),
    ("allProxy", "ALL_PROXY"),
];

/// Those of the configuration in `directory`, of `DOCKER_CONFIG`, or of the home directory.
pub fn arguments(directory: Option<&Path>) -> Result<BTreeMap<String, String>> {
    let Some(path) = docker_configuration(directory) else {
        return Ok(BTreeMap::new());
    };
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes).with_context(|| format!("read `{}`", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        // One that may not be read is not meant for us, as that of another user.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("read `{}`", path.display())),
    }
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let wrong = |error| bad_input(format!("it is no valid JSON: {error}"));
    let value: Value = serde_json::from_slice(bytes).map_err(wrong)?;
    let proxies = &value["proxies"]["default"];
    let mut arguments = BTreeMap::new();
    for (key, name) in NAMES {
        if let Some(value) = proxies[key].as_str().filter(|value| !value.is_empty()) {
            arguments.insert((*name).to_owned(), value.to_owned());
            arguments.insert(name.to_lowercase(), value.to_owned());
        }
    }
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_have_both_spellings() {
        let found = parse(br#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":""}}}"#);
        let found: Vec<_> = found.unwrap().into_iter().collect();
        let pair = |name: &str| (name.to_owned(), "http://p:1".to_owned());
        assert_eq!(found, [pair("HTTP_PROXY"), pair("http_proxy")]);
        assert!(parse(b"{}").unwrap().is_empty());
        assert!(parse(b"{").is_err());
    }
}
