//! `--subnet`, `--ip-range`, `--gateway` and `--aux-address` of `network create`: each of the last three belongs to the
//! subnet that it lies in. Docker's rules and words; whether the values themselves make sense is checked later.

use crate::error::{Error, bad_input};
use crate::network::request::SubnetRequest;
use ipnet::IpNet;
use std::net::IpAddr;

/// What was named, in any order.
#[derive(Clone, Debug, Default)]
pub struct Named {
    pub subnets: Vec<String>,
    pub ranges: Vec<String>,
    pub gateways: Vec<String>,
    pub auxiliary: Vec<(String, String)>,
}

/// Puts together what belongs together.
pub fn consolidate(named: &Named) -> Result<Vec<SubnetRequest>, Error> {
    let count = named.subnets.len();
    if count < named.ranges.len() || count < named.gateways.len() {
        let message = "every ip-range or gateway must have a corresponding subnet";
        return Err(bad_input(message));
    }
    let mut requests: Vec<SubnetRequest> = Vec::new();
    for subnet in &named.subnets {
        for other in &requests {
            if contains(subnet, &other.subnet)? || contains(&other.subnet, subnet)? {
                let message = "multiple overlapping subnet configuration is not supported";
                return Err(bad_input(message));
            }
        }
        requests.push(SubnetRequest {
            subnet: subnet.clone(),
            ..SubnetRequest::default()
        });
    }
    for range in &named.ranges {
        if range.parse::<IpNet>().is_err() {
            return Err(bad_input(format!("invalid CIDR address: {range}")));
        }
        let request = around(&mut requests, range, "range")?;
        if !request.range.is_empty() {
            return Err(bad_input(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                request.range, request.subnet
            )));
        }
        range.clone_into(&mut request.range);
    }
    for gateway in &named.gateways {
        let request = around(&mut requests, gateway, "gateway")?;
        if !request.gateway.is_empty() {
            return Err(bad_input(format!(
                "cannot configure multiple gateway ({gateway}, {}) for the same subnet ({})",
                request.gateway, request.subnet
            )));
        }
        gateway.clone_into(&mut request.gateway);
    }
    for (name, address) in &named.auxiliary {
        let request = around(&mut requests, address, "aux-address")?;
        request.auxiliary.insert(name.clone(), address.clone());
    }
    Ok(requests)
}

/// The subnet that an address or a block lies in.
fn around<'a>(
    requests: &'a mut [SubnetRequest],
    text: &str,
    what: &str,
) -> Result<&'a mut SubnetRequest, Error> {
    for request in requests {
        if contains(&request.subnet, text)? {
            return Ok(request);
        }
    }
    Err(bad_input(format!("no matching subnet for {what} {text}")))
}

/// Whether the first address of a block, or an address, is in a subnet; what is neither is in none.
fn contains(subnet: &str, text: &str) -> Result<bool, Error> {
    let Ok(block) = subnet.parse::<IpNet>() else {
        return Err(bad_input(format!(
            "invalid subnet: invalid CIDR address: {subnet}"
        )));
    };
    let address = match text.parse::<IpNet>() {
        Ok(inner) => Some(inner.addr()),
        Err(_) => text.parse::<IpAddr>().ok(),
    };
    Ok(address.is_some_and(|address| block.contains(&address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: [&[&str]; 4]) -> Result<Vec<String>, String> {
        let [subnets, ranges, gateways, auxiliary] = words.map(|words| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        });
        let auxiliary = auxiliary.into_iter().enumerate();
        let named = Named {
            subnets,
            ranges,
            gateways,
            auxiliary: auxiliary
                .map(|(at, address)| (format!("a{at}"), address))
                .collect(),
        };
        let requests = consolidate(&named)
            .map_err(|error| error.message)?
            .into_iter();
        let shown = |request: SubnetRequest| {
            let auxiliary: Vec<_> = request.auxiliary.into_values().collect();
            [
                request.subnet,
                request.range,
                request.gateway,
                auxiliary.join("+"),
            ]
            .join(" ")
        };
        Ok(requests.map(shown).collect())
    }

    #[test]
    fn everything_goes_to_the_subnet_that_it_lies_in() {
        assert_eq!(told([&[], &[], &[], &[]]).unwrap(), [""; 0]);
        assert_eq!(
            told([
                &["10.0.0.0/24", "fd00::/64"],
                &["fd00::/80", "10.0.0.128/25"],
                &["10.0.0.9", "fd00::9"],
                &["fd00::5", "10.0.0.5", "10.0.0.6"],
            ])
            .unwrap(),
            [
                "10.0.0.0/24 10.0.0.128/25 10.0.0.9 10.0.0.5+10.0.0.6",
                "fd00::/64 fd00::/80 fd00::9 fd00::5"
            ]
        );
        // What is checked later.
        assert!(told([&["x"], &[], &[], &[]]).is_ok());
    }

    #[test]
    fn what_belongs_nowhere_is_refused_in_dockers_words() {
        let net = "10.0.0.0/24";
        for (words, said) in [
            (
                [&[][..], &["10.0.0.0/25"][..], &[][..], &[][..]],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                [&[], &[], &["10.0.0.1"], &[]],
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                [&[net, "10.0.0.0/16"], &[], &[], &[]],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                [&[net, net], &[], &[], &[]],
                "multiple overlapping subnet configuration is not supported",
            ),
            (
                [&[net], &["10.0.1.0/25"], &[], &[]],
                "no matching subnet for range 10.0.1.0/25",
            ),
            (
                [&[net], &["10.0.0.1"], &[], &[]],
                "invalid CIDR address: 10.0.0.1",
            ),
            (
                [&[net], &[], &["10.0.1.1"], &[]],
                "no matching subnet for gateway 10.0.1.1",
            ),
            (
                [&[net], &[], &["x"], &[]],
                "no matching subnet for gateway x",
            ),
            (
                [&[net], &[], &[], &[""]],
                "no matching subnet for aux-address ",
            ),
            (
                [&["x"], &[], &["10.0.0.1"], &[]],
                "invalid subnet: invalid CIDR address: x",
            ),
            (
                [&[net, "fd00::/64"], &[], &["10.0.0.1", "10.0.0.2"], &[]],
                "cannot configure multiple gateway (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/24)",
            ),
            (
                [
                    &[net, "fd00::/64"],
                    &["10.0.0.0/25", "10.0.0.0/26"],
                    &[],
                    &[],
                ],
                "cannot configure multiple ranges (10.0.0.0/26, 10.0.0.0/25) on the same subnet (10.0.0.0/24)",
            ),
        ] {
            assert_eq!(told(words).unwrap_err(), said);
        }
    }
}
