//! `onggi runtime` beside crun and runc on the same bundles: `run`, and `create`, `start` and `delete` one after the other;
//! with everything, without a network namespace, without a filter, without both.
//!
//! `cargo bench --bench runtime [-- root|subuid|single…]`, in a mount namespace as `start` does. The shell that starts each is
//! in all of them.

#[path = "measure.rs"]
mod measure;
#[path = "../support/mod.rs"]
mod support;

#[path = "start/bundle.rs"]
mod bundle;
#[path = "start/floor.rs"]
#[allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "the bench `start` uses it"
)]
mod floor;
#[path = "start/peers.rs"]
mod peers;
#[path = "start/pure.rs"]
mod pure;

use measure::{race, rounds};
use serde_json::Value;
use support::{User, store};

fn main() {
    pure::enter_cgroup2();
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    for (name, user) in [
        ("root", User::Root),
        ("subuid", User::Subuid),
        ("single", User::Single),
    ] {
        if asked.is_empty() || asked.iter().any(|word| word == name) {
            measure_as(name, user);
        }
    }
}

fn measure_as(name: &str, user: User) {
    let Some(store) = store(user) else { return };
    for (what, leave_out) in [
        ("all", &[][..]),
        ("no-network", &["network"]),
        ("no-filter", &["seccomp"]),
        ("neither", &["network", "seccomp"]),
    ] {
        let [run, three] = peers::of_a_bundle(&store, what, |config| without(config, leave_out));
        race(&format!("run, {what}, as {name}"), rounds(31), run);
        race(
            &format!("create, start, delete, {what}, as {name}"),
            rounds(31),
            three,
        );
    }
}

fn without(config: &mut Value, parts: &[&str]) {
    let linux = &mut config["linux"];
    if parts.contains(&"seccomp") {
        linux.as_object_mut().unwrap().remove("seccomp");
    }
    if parts.contains(&"network") {
        let namespaces = linux["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
}
