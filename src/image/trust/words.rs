//! What a policy means, in words.

use super::policy::{Policy, Rule};
use super::requirement::{Requirement, Signed};
use crate::image::trust::policy::{DEFAULT, DOCKER};

/// One rule of a policy as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The scope, with its transport unless that is the one of registries.
    pub scope: String,
    /// What becomes of images in it.
    pub meaning: String,
}

/// All rules, that for everything else first.
pub fn rows(policy: &Policy) -> Vec<Row> {
    let row = |scope: String, requirements: &[Requirement]| Row {
        scope,
        meaning: meaning(requirements),
    };
    let mut rows = vec![row(DEFAULT.to_owned(), &policy.default)];
    for (transport, scopes) in &policy.transports {
        for (scope, requirements) in scopes {
            let shown = match (transport.as_str(), scope.as_str()) {
                (DOCKER, name) if !name.is_empty() => name.to_owned(),
                (transport, name) => format!("{transport}:{name}"),
            };
            rows.push(row(shown, requirements));
        }
    }
    rows
}

/// What becomes of an image that a rule is about.
pub fn of_rule(rule: &Rule) -> String {
    meaning(rule.requirements)
}

fn meaning(requirements: &[Requirement]) -> String {
    let is = |wanted: fn(&Requirement) -> bool| requirements.iter().find(|one| wanted(one));
    if is(|one| *one == Requirement::Reject).is_some() {
        return "refused".to_owned();
    }
    if let Some(Requirement::Unsupported(what)) =
        is(|one| matches!(one, Requirement::Unsupported(_)))
    {
        return format!("refused, since they need {what}, which is not supported");
    }
    let signed = requirements.iter().filter_map(|one| match one {
        Requirement::Signed(wanted) => Some(signed(wanted)),
        _ => None,
    });
    let signed: Vec<String> = signed.collect();
    match signed.is_empty() {
        true => "taken in without a signature".to_owned(),
        false => format!("taken in if signed {}", signed.join(", and also ")),
    }
}

fn signed(wanted: &Signed) -> String {
    let keys = wanted.keys.iter().map(|source| match source.key() {
        Ok(key) => key.to_string(),
        Err(error) => format!("a key that is not to be had ({error:#})"),
    });
    let keys: Vec<String> = keys.collect();
    format!("by {} for {}", keys.join(" or "), wanted.identity)
}
