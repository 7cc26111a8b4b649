//! `trust show`: what the policy means for an image.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::image::reference::Reference;
use crate::image::trust::policy::Policy;
use crate::image::trust::words;
use anyhow::Result;

/// Options of `trust show`.
#[derive(clap::Args)]
pub struct Show {
    #[arg(required = true)]
    image: String,
}

impl Verb for Show {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let name: Reference = self.image.parse()?;
        let name = name.or_latest();
        let policy = Policy::load()?;
        let rule = policy.rule(&name);
        let file = policy.file.as_ref().map(|file| file.display().to_string());
        let scope = if rule.scope.is_empty() {
            "docker:"
        } else {
            rule.scope
        };
        for (what, is) in [
            ("Image", name.canonical()),
            ("Policy", file.unwrap_or_else(|| "none".to_owned())),
            ("Scope", scope.to_owned()),
            ("Images are", words::of_rule(&rule)),
        ] {
            context
                .output
                .line(format_args!("{:12}{is}", format!("{what}:")))?;
        }
        Ok(0)
    }
}
