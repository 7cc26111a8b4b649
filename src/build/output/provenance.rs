//! How an image was made, as BuildKit says it: the predicate of SLSA.
//! <https://slsa.dev/spec/v0.2/provenance>, <https://docs.docker.com/build/metadata/attestations/slsa-provenance/>
//!
//! Nothing in it is of this moment: the same build gives the same statement.

use crate::build::context::address::{self, Address};
use crate::build::order::{Built, Order};
use crate::image::platform::Platform;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Its type.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v0.2";
/// What kind of build it is of.
const BUILD: &str = "https://mobyproject.org/buildkit@v1";

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing that may be a secret.
    Least,
    /// The arguments too.
    Most,
}

/// Of one image.
pub fn predicate(order: &Order, built: &Built, detail: Detail) -> Value {
    let context = match order.context.as_str() {
        "-" => "stdin",
        context if context.contains("://") || context.starts_with("git@") => context,
        _ => "",
    };
    let mut source = Map::new();
    if !context.is_empty() {
        source.insert("uri".to_owned(), json!(address::shown(context)));
    }
    let file = order.dockerfile.as_deref().unwrap_or("Dockerfile");
    source.insert("entryPoint".to_owned(), json!(file));
    let mut parameters = json!({"frontend": "dockerfile.v0"});
    let mut arguments = Map::new();
    if let Some(target) = &order.target {
        arguments.insert("target".to_owned(), json!(target));
    }
    if detail == Detail::Most {
        for (name, value) in &order.arguments {
            arguments.insert(format!("build-arg:{name}"), json!(value));
        }
        for (name, value) in &order.labels {
            arguments.insert(format!("label:{name}"), json!(value));
        }
    }
    if !arguments.is_empty() {
        parameters["args"] = Value::Object(arguments);
    }
    let secrets: Vec<Value> = order
        .secrets
        .keys()
        .map(|id| json!({"id": id, "optional": true}))
        .collect();
    if !secrets.is_empty() {
        parameters["secrets"] = json!(secrets);
    }
    let time = Timestamp::from_second(built.epoch).unwrap_or(Timestamp::UNIX_EPOCH);
    json!({
        "builder": {"id": ""},
        "buildType": BUILD,
        "materials": built.materials,
        "invocation": {
            "configSource": source,
            "parameters": parameters,
            "environment": {"platform": Platform::host().to_string()},
        },
        "metadata": {
            "buildStartedOn": time.to_string(),
            "buildFinishedOn": time.to_string(),
            "completeness": {
                "parameters": detail == Detail::Most,
                "environment": true,
                "materials": is_complete(order),
            },
            "reproducible": false,
        },
    })
}

/// Whether all files come from elsewhere: what lies on this machine is named by nothing.
fn is_complete(order: &Order) -> bool {
    let is_elsewhere = |text: &str| {
        let address = Address::parse_named(text);
        !matches!(address, Ok(Address::Directory(_) | Address::Input) | Err(_))
    };
    let has_file = |file: &str| file != "-";
    is_elsewhere(&order.context)
        && order.dockerfile.as_deref().is_none_or(has_file)
        && order.contexts.values().all(|text| is_elsewhere(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::worker::order::Layers;
    use crate::image::config::Config;

    #[test]
    fn passwords_are_not_told() {
        let order = Order {
            context: "https://user:word@h/x.git#v1".to_owned(),
            ..Order::default()
        };
        let built = Built {
            platform: Platform::host(),
            layers: Layers::default(),
            config: Config::default(),
            bytes: Vec::new(),
            epoch: 0,
            materials: Vec::new(),
        };
        for detail in [Detail::Least, Detail::Most] {
            let told = predicate(&order, &built, detail);
            let source = &told["invocation"]["configSource"]["uri"];
            assert_eq!(source, "https://h/x.git#v1");
            assert!(!told.to_string().contains("word"), "{told}");
        }
    }
}
