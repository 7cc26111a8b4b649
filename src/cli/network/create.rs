//! `network create`: a network is made; its bridge comes to be when the first container is connected.

use super::subnet::{Named, consolidate};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value::environment;
use crate::container::membership;
use crate::network::options;
use crate::network::record::Network;
use crate::network::request::Request;
use anyhow::Result;

/// Options of `network create`.
#[derive(clap::Args)]
pub struct Create {
    /// Taken as Docker takes it: on one host every container may join any network
    #[arg(long)]
    attachable: bool,
    /// Addresses that no container gets, with names (NAME=ADDRESS)
    #[arg(long, value_name = "map", value_parser = pair)]
    aux_address: Vec<(String, String)>,
    /// How containers are connected ("bridge", "macvlan", "ipvlan")
    #[arg(short, long, default_value = "bridge")]
    driver: String,
    /// Where packets for elsewhere go: an address of the subnet
    #[arg(long, value_delimiter = ',', value_name = "strings")]
    gateway: Vec<String>,
    /// No way out of the network and none in
    #[arg(long)]
    internal: bool,
    /// The part of the subnet that containers get addresses of
    #[arg(long, value_delimiter = ',', value_name = "strings")]
    ip_range: Vec<String>,
    /// Who gives out addresses: "default", or "null" for none
    #[arg(long, default_value = "default")]
    ipam_driver: String,
    /// Options for that
    #[arg(long, value_name = "map", value_parser = pair)]
    ipam_opt: Vec<(String, String)>,
    /// Addresses of IPv4
    #[arg(long, default_value = "true")]
    ipv4: bool,
    /// Addresses of IPv6; a bridge has them where the host has IPv6
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = crate::cli::flag::boolean)]
    ipv6: Option<bool>,
    /// Set a label
    #[arg(long, value_parser = environment::label)]
    label: Vec<(String, String)>,
    /// Set an option of the driver
    #[arg(short, long, value_name = "map", value_parser = pair)]
    opt: Vec<(String, String)>,
    /// All addresses of the network (10.1.0.0/16, fd00:1::/64)
    #[arg(long, value_delimiter = ',', value_name = "strings")]
    subnet: Vec<String>,
    #[arg(required = true)]
    network: String,
}

/// `KEY=VALUE`, as Docker splits it.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "" => Err(format!("invalid option '{text}': empty name")),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let subnets = consolidate(&Named {
            subnets: self.subnet,
            ranges: self.ip_range,
            gateways: self.gateway,
            auxiliary: self.aux_address,
        })?;
        let request = Request {
            name: self.network,
            driver: self.driver,
            subnets,
            internal: self.internal,
            attachable: self.attachable,
            ipv4: Some(self.ipv4),
            ipv6: self.ipv6,
            options: self.opt.into_iter().collect(),
            ipam_driver: self.ipam_driver,
            ipam_options: self.ipam_opt.into_iter().collect(),
            labels: self.label.into_iter().collect(),
            of_a_user: false,
        };
        let made = membership::create(&context.engine()?, &request)?;
        warn(context, &made);
        context.output.line(made.id)?;
        Ok(0)
    }
}

/// Docker takes every option without a word; a misspelt one should not look as if it were heard.
fn warn(context: &mut Context, network: &Network) {
    let driver = network.driver;
    for name in network
        .options
        .keys()
        .filter(|name| !options::knows(driver, name))
    {
        let driver = driver.word();
        context
            .output
            .warn(format_args!("the driver {driver} knows no option {name}"));
    }
}
