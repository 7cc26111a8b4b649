//! Which devices a request for GPUs means: Docker's `--gpus` in the names that makers of GPUs give to theirs.

use super::Registry;
use crate::container::options::DeviceRequest;
use crate::error::{Error, Kind, bad_input};

/// The driver that a request may name, and the kind of its devices.
const MAKERS: [(&str, &str); 2] = [("nvidia", "nvidia.com/gpu"), ("amd", "amd.com/gpu")];

/// The qualified names; `kind=all` stands for each.
pub(super) fn names(registry: &Registry, request: &DeviceRequest) -> Result<Vec<String>, Error> {
    if request.driver == "cdi" {
        return Ok(request.device_ids.clone());
    }
    if request.count != 0 && !request.device_ids.is_empty() {
        return Err(bad_input(
            "cannot set both Count and DeviceIDs on device request",
        ));
    }
    let maker = MAKERS
        .iter()
        .find(|(driver, kind)| {
            ["", *driver].contains(&request.driver.as_str()) && registry.has_kind(kind)
        })
        .ok_or_else(|| none(registry, request))?;
    let named = |name: &String| format!("{}={name}", maker.1);
    if !request.device_ids.is_empty() {
        return Ok(request.device_ids.iter().map(named).collect());
    }
    match usize::try_from(request.count) {
        Err(_) => Ok(vec![named(&"all".to_owned())]),
        Ok(count) => {
            // Devices have other names beside their number.
            let mut numbers: Vec<u32> = registry
                .names_of(maker.1)
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect();
            numbers.sort_unstable();
            if numbers.len() < count {
                let there = numbers.len();
                return Err(Error::new(
                    Kind::NotFound,
                    format!("{count} GPUs are asked for, and `{}` has {there}", maker.1),
                ));
            }
            Ok(numbers[..count]
                .iter()
                .map(|number| named(&number.to_string()))
                .collect())
        }
    }
}

fn none(registry: &Registry, request: &DeviceRequest) -> Error {
    let sets: Vec<String> = request
        .capabilities
        .iter()
        .map(|set| format!("[{}]", set.join(" ")))
        .collect();
    let message = format!(
        "could not select device driver \"{}\" with capabilities: [{}]",
        request.driver,
        sets.join(" ")
    );
    let message = match &registry.problems[..] {
        [] => format!("{message}: no CDI file describes a GPU"),
        problems => format!("{message}: {}", problems.join("; ")),
    };
    Error::new(Kind::NotFound, message).hint(
        "with NVIDIA's container toolkit installed: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    )
}
