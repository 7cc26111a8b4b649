//! `port`: which ports of the host lead into a container.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::{list, network_settings};
use crate::error::bad_input;
use crate::network::endpoint::Protocol;
use anyhow::Result;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Options of `port`.
#[derive(clap::Args)]
pub struct Port {
    container: String,
    port: Option<String>,
}

impl Verb for Port {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let container = list::find(&engine, &self.container)?;
        let endpoints = network_settings::endpoints(&engine, &container);
        let published = network_settings::published(&endpoints, BTreeSet::new());
        let Some(wanted) = self.port else {
            for ((port, protocol), bindings) in &published {
                for (address, host) in bindings {
                    let address = SocketAddr::new(*address, *host);
                    context
                        .output
                        .line(format!("{port}/{} -> {address}", protocol.word()))?;
                }
            }
            return Ok(0);
        };
        let (number, protocol) = wanted.split_once('/').unwrap_or((&wanted, "tcp"));
        let number: u16 = match number.parse() {
            Ok(number) => number,
            Err(error) => {
                return Err(bad_input(format!("invalid port ({number}): {error}")).into());
            }
        };
        let port = Protocol::from_word(protocol).map(|protocol| (number, protocol));
        let found = port.and_then(|port| published.get(&port));
        let Some(bindings) = found.filter(|bindings| !bindings.is_empty()) else {
            let message = format!("No public port '{wanted}' published for {}", self.container);
            return Err(bad_input(message).into());
        };
        for (address, host) in bindings {
            context.output.line(SocketAddr::new(*address, *host))?;
        }
        Ok(0)
    }
}
