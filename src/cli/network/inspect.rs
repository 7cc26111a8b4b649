//! `network inspect`: all that is known of networks, as JSON: Docker's fields, and the rules in words.

use super::SCOPE;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::inspect::render_inspect;
use crate::container::engine::Engine;
use crate::container::membership;
use crate::network::attach;
use crate::network::endpoint::{self, Endpoint};
use crate::network::record::{Driver, Network, Subnet};
use crate::network::store;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// Options of `network inspect`.
#[derive(clap::Args)]
pub struct InspectNetwork {
    /// Print by a Go template, or "json" for one line
    #[arg(short, long)]
    format: Option<String>,
    /// Taken as Docker takes it: of a network on one host there is no more to tell
    #[arg(short, long)]
    verbose: bool,
    #[arg(required = true)]
    networks: Vec<String>,
}

impl Verb for InspectNetwork {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let (mut found, mut errors) = (Vec::new(), Vec::new());
        for name in &self.networks {
            let inspected =
                store::find(&engine.paths, name).and_then(|network| inspect(&engine, &network));
            match inspected {
                Ok(value) => found.push(value),
                Err(error) => errors.push(error),
            }
        }
        render_inspect(&mut context.output, self.format.as_deref(), &found)?;
        errors.iter().for_each(|error| context.output.error(error));
        Ok(u8::from(!errors.is_empty()))
    }
}

/// The object.
pub fn inspect(engine: &Engine, network: &Network) -> Result<Value> {
    let endpoints = endpoint::live(&engine.paths, &network.id)?;
    let containers = endpoints.iter().map(|endpoint| {
        let value = container(network, endpoint);
        (endpoint.container.clone(), value)
    });
    let containers: Map<String, Value> = containers.collect();
    let subnets: Vec<Value> = network.subnets.iter().map(subnet).collect();
    // As Docker tells of networks that nobody has made.
    let ipam_options = match network.is_built_in() {
        true => Value::Null,
        false => json!(network.ipam_options),
    };
    let config = match network.driver {
        Driver::Host | Driver::None => Value::Null,
        _ => json!(subnets),
    };
    let gives_none = network.subnets.is_empty() && config != Value::Null;
    let ipam_driver = if gives_none { "null" } else { "default" };
    let mut rules = attach::describe(network, &endpoints);
    rules.extend(membership::egress(engine, &endpoints));
    Ok(json!({
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": SCOPE,
        "Driver": network.driver.word(),
        "EnableIPv4": network.ipv4,
        "EnableIPv6": network.ipv6,
        "IPAM": {"Driver": ipam_driver, "Options": ipam_options, "Config": config},
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": false,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": false,
        "Containers": containers,
        "Options": network.options,
        "Labels": network.labels,
        "Rules": rules,
    }))
}

/// Nothing stands for what was not asked for.
fn subnet(subnet: &Subnet) -> Value {
    let mut fields = Map::new();
    let mut add = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    add("Subnet", json!(subnet.subnet));
    if let Some(range) = subnet.range {
        add("IPRange", json!(range));
    }
    if let Some(gateway) = subnet.gateway {
        add("Gateway", json!(gateway));
    }
    if !subnet.auxiliary.is_empty() {
        add("AuxiliaryAddresses", json!(subnet.auxiliary));
    }
    Value::Object(fields)
}

fn container(network: &Network, endpoint: &Endpoint) -> Value {
    let address = |address: Option<IpAddr>| match address {
        Some(address) => with_prefix(network, address),
        None => String::new(),
    };
    json!({
        "Name": endpoint.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": address(endpoint.ipv4.map(IpAddr::V4)),
        "IPv6Address": address(endpoint.ipv6.map(IpAddr::V6)),
    })
}

fn with_prefix(network: &Network, address: IpAddr) -> String {
    match network.subnet_of(address) {
        Some(subnet) => format!("{address}/{}", subnet.subnet.prefix_len()),
        None => address.to_string(),
    }
}
