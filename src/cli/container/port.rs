//! `port`: which ports of the host lead into a container.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::{inspect, list};
use crate::error::bad_input;
use anyhow::Result;
use serde_json::Value;

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
        let document = inspect::inspect(&engine, &container, false)?;
        let ports = document["NetworkSettings"]["Ports"].as_object();
        let bindings = |bindings: &Value| -> Vec<String> {
            let text =
                |binding: &Value, key: &str| binding[key].as_str().unwrap_or_default().to_owned();
            let addresses = bindings.as_array().into_iter().flatten().map(|binding| {
                let (address, port) = (text(binding, "HostIp"), text(binding, "HostPort"));
                match address.contains(':') {
                    true => format!("[{address}]:{port}"),
                    false => format!("{address}:{port}"),
                }
            });
            addresses.collect()
        };
        let Some(wanted) = self.port else {
            for (port, value) in ports.into_iter().flatten() {
                for address in bindings(value) {
                    context.output.line(format!("{port} -> {address}"))?;
                }
            }
            return Ok(0);
        };
        let (number, protocol) = wanted.split_once('/').unwrap_or((&wanted, "tcp"));
        if let Err(error) = number.parse::<u16>() {
            return Err(bad_input(format!("invalid port ({number}): {error}")).into());
        }
        let key = format!("{number}/{protocol}");
        let found = ports
            .and_then(|ports| ports.get(&key))
            .map(bindings)
            .unwrap_or_default();
        if found.is_empty() {
            let message = format!("No public port '{wanted}' published for {}", self.container);
            return Err(bad_input(message).into());
        }
        found
            .iter()
            .try_for_each(|address| context.output.line(address))?;
        Ok(0)
    }
}
