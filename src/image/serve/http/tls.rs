//! TLS of a server: the certificate it shows, and connections that speak it.

use super::socket::{Paced, Wire};
use crate::error::bad_input;
use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// The files of `--tls-cert` (the server's own certificate first, then those that lead to an authority) and `--tls-key`.
pub fn configuration(certificates: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("read `{}`", path.display()));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(certificates)?)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            bad_input(format!(
                "`{}` is no certificate: {error}",
                certificates.display()
            ))
        })?;
    if chain.is_empty() {
        let message = format!("`{}` has no certificate", certificates.display());
        return Err(bad_input(message).hint("a file in the form PEM").into());
    }
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|error| bad_input(format!("`{}` is no private key: {error}", key.display())))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("prepare TLS")?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|error| {
            bad_input(format!(
                "`{}` and `{}` are no pair: {error}",
                certificates.display(),
                key.display()
            ))
        })?;
    configuration.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(configuration))
}

/// A connection that speaks TLS; the handshake comes with the first byte that is read.
pub fn accept(
    configuration: &Arc<ServerConfig>,
    socket: Paced,
) -> Result<StreamOwned<ServerConnection, Paced>> {
    let connection = ServerConnection::new(configuration.clone()).context("begin with TLS")?;
    Ok(StreamOwned::new(connection, socket))
}

impl Wire for StreamOwned<ServerConnection, Paced> {
    fn farewell(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}
