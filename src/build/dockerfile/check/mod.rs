//! Build checks: what is allowed in a Dockerfile and yet doubtful, by BuildKit's rules with their names and words.
//! <https://docs.docker.com/build/checks/>
//!
//! ```text
//! text ────── made by the parser, found in `Dockerfile::warnings`
//! evaluated ─ for whoever evaluates a stage: what variables are, what the base is, what is ignored
//! ```
//!
//! Whether a warning is an error is the caller's decision (`Directives::warnings_are_errors`).

mod evaluated;
pub mod rule;
mod text;

pub use rule::Rule;
pub use text::{Facts, text};

use super::instruction::{Directives, Dockerfile};
use crate::build::source::{Diagnostic, Span};

impl Directives {
    /// Whether a check is made: not skipped, and asked for if it is experimental.
    pub fn wants(&self, rule: &Rule) -> bool {
        let named = |names: &[String]| {
            names.iter().any(|name| {
                name.eq_ignore_ascii_case("all") || name.eq_ignore_ascii_case(rule.name)
            })
        };
        !named(&self.skipped_checks) && (!rule.experimental || named(&self.experimental_checks))
    }
}

impl Dockerfile {
    /// A check's warning, unless the file does not want that check. The hint is what the check asks for.
    pub fn warning(&self, rule: &'static Rule, span: Span, message: String) -> Option<Diagnostic> {
        self.directives.wants(rule).then(|| Diagnostic {
            rule: Some(rule.name),
            hint: Some(rule.description.to_owned()),
            ..self.source.diagnostic(span, message)
        })
    }
}

#[cfg(test)]
mod tests;
