//! Whom a connection trusts and as whom it shows itself: the system's certificates, and what Docker and podman keep
//! for single hosts in `certs.d/HOST[:PORT]/` (`*.crt`: authorities; `*.cert` with `*.key`: a client).
//!
//! Nothing here is read before the first connection by TLS.

use crate::error::{Error, Kind, bad_input};
use crate::paths;
use anyhow::{Context, Result};
use rustls::sign::CertifiedKey;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use ureq::tls::{
    Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, TlsProvider, parse_pem,
};

/// Where the certificates for a host lie, the user's first; its name has its port unless that is 443.
pub fn directories(host: &str) -> Vec<PathBuf> {
    let all = paths::host_certificates().into_iter();
    all.map(|directory| directory.join(host)).collect()
}

/// How to speak TLS to a host whose certificates lie in these directories.
pub fn configuration(directories: &[PathBuf], verify: bool) -> Result<TlsConfig> {
    let mut found = Found::default();
    for directory in directories {
        found
            .read(directory)
            .with_context(|| format!("read the certificates in `{}`", directory.display()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = match found.client {
        Some((chain, key, file)) => {
            check_client(&chain, &key, &provider)
                .with_context(|| format!("use the client certificate `{}`", file.display()))?;
            Some(ClientCert::new_with_certs(&chain, key))
        }
        None => None,
    };
    let mut builder = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .client_cert(client)
        .disable_verification(!verify);
    if verify {
        let mut roots = system_roots();
        roots.append(&mut found.authorities);
        builder = builder.root_certs(match roots.is_empty() {
            // As in an empty container: those that browsers have.
            true => RootCerts::WebPki,
            false => RootCerts::new_with_certs(&roots),
        });
    }
    Ok(builder.build())
}

fn system_roots() -> Vec<Certificate<'static>> {
    let system = rustls_native_certs::load_native_certs().certs;
    let own = |der: &rustls::pki_types::CertificateDer<'_>| Certificate::from_der(der).to_owned();
    system.iter().map(own).collect()
}

#[derive(Default)]
struct Found {
    authorities: Vec<Certificate<'static>>,
    client: Option<(Vec<Certificate<'static>>, PrivateKey<'static>, PathBuf)>,
}

impl Found {
    /// Takes what one directory has; a directory that is not there or may not be read has nothing.
    fn read(&mut self, directory: &Path) -> Result<()> {
        let entries = match std::fs::read_dir(directory) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            entries => entries?,
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            files.push(entry?.path());
        }
        files.sort();
        for file in files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.authorities.extend(certificates(&file)?),
                Some("cert") if self.client.is_none() => {
                    let key = file.with_extension("key");
                    if !key.exists() {
                        let (file, key) = (file.display(), key.display());
                        let message = format!("`{file}` has no key beside it, `{key}` is missing");
                        return Err(bad_input(message).into());
                    }
                    self.client = Some((certificates(&file)?, private_key(&key)?, file));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn items(file: &Path) -> Result<Vec<PemItem<'static>>> {
    let text = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    let items: Result<Vec<_>, _> = parse_pem(&text).collect();
    let bad = |error| bad_input(format!("`{}` is no valid PEM: {error}", file.display()));
    Ok(items.map_err(bad)?)
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>> {
    let found = items(file)?.into_iter().filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(bad_input(format!("`{}` holds no certificate", file.display())).into()),
        false => Ok(found),
    }
}

fn private_key(file: &Path) -> Result<PrivateKey<'static>> {
    let found = items(file)?.into_iter().find_map(|item| match item {
        PemItem::PrivateKey(key) => Some(key),
        _ => None,
    });
    found.ok_or_else(|| bad_input(format!("`{}` holds no private key", file.display())).into())
}

/// A key that is not that of the certificate is told here; further below it would be a panic.
fn check_client(
    chain: &[Certificate<'static>],
    key: &PrivateKey<'static>,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<()> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = chain
        .iter()
        .map(|one| CertificateDer::from(one.der().to_vec()));
    let refused = |error: &dyn std::fmt::Display| {
        Error::new(
            Kind::BadInput,
            format!("it does not go with its key: {error}"),
        )
    };
    let key = PrivateKeyDer::try_from(key.der().to_vec()).map_err(|error| refused(&error))?;
    CertifiedKey::from_der(chain.collect(), key, provider).map_err(|error| refused(&error))?;
    Ok(())
}
