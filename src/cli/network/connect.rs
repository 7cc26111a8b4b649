//! `network connect` and `network disconnect`: a container joins and leaves networks, whether it runs or not.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::network_request::{alias, driver_option, ipv4, ipv6, link, link_local};
use crate::container::options::NetworkRequest;
use crate::container::{list, membership};
use crate::network::store;
use anyhow::Result;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Options of `network connect`.
#[derive(clap::Args)]
pub struct Connect {
    /// A further name that others in the network find the container by
    #[arg(long, value_delimiter = ',', value_name = "strings", value_parser = alias)]
    alias: Vec<String>,
    /// Set an option of the driver
    #[arg(long, value_delimiter = ',', value_name = "strings", value_parser = driver_option)]
    driver_opt: Vec<(String, String)>,
    /// The network with the highest gives the container its default route
    #[arg(
        long,
        value_name = "int",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    gw_priority: i32,
    /// A fixed IPv4 address
    #[arg(long, value_parser = ipv4)]
    ip: Option<Ipv4Addr>,
    /// A fixed IPv6 address
    #[arg(long, value_parser = ipv6)]
    ip6: Option<Ipv6Addr>,
    /// A container that this one finds by a further name there (NAME:ALIAS)
    #[arg(long, value_parser = link)]
    link: Vec<String>,
    /// An address of the link that is added
    #[arg(long, value_delimiter = ',', value_name = "strings", value_parser = link_local)]
    link_local_ip: Vec<IpAddr>,
    #[arg(required = true)]
    network: String,
    #[arg(required = true)]
    container: String,
}

/// Options of `network disconnect`.
#[derive(clap::Args)]
pub struct Disconnect {
    /// Do not mind if what the running container has of the network cannot be taken from it
    #[arg(short, long)]
    force: bool,
    #[arg(required = true)]
    network: String,
    #[arg(required = true)]
    container: String,
}

impl Verb for Connect {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let network = store::find(&engine.paths, &self.network)?;
        let container = list::find(&engine, &self.container)?;
        let request = NetworkRequest {
            aliases: self.alias,
            ipv4: self.ip,
            ipv6: self.ip6,
            link_local: self.link_local_ip,
            gateway_priority: self.gw_priority,
            links: self.link,
            options: self.driver_opt.into_iter().collect(),
            ..NetworkRequest::default()
        };
        membership::connect(&engine, &container, &network, request)?;
        Ok(0)
    }
}

impl Verb for Disconnect {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let container = list::find(&engine, &self.container)?;
        membership::disconnect(&engine, &container, &self.network, self.force)?;
        Ok(0)
    }
}
