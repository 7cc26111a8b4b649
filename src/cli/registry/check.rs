//! `registry check`: whether everything in the folder of a registry is what it is called, whether it is served or not.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::image::serve::folder::Folder;
use crate::image::serve::folder::check::{Problem, check};
use anyhow::Result;
use std::path::PathBuf;

/// What its manual page tells beside the options, in the language of man(7).
pub const MANUAL: &str = r#".SH NOTES
Each finding is a line: what is wrong with a blob or a manifest, its digest, and the repositories that have it.
.B damaged
has other bytes than it was pushed with;
.B removed
had, and has none now;
.B missing
has none. Who pushes an image sends what is missing again, and not what is only damaged.
Exits with 0 where there is no finding, else with 1.
"#;

/// Options of `registry check`.
#[derive(clap::Args)]
pub struct Check {
    /// Remove what is damaged, so that the next push sends it again
    #[arg(long)]
    repair: bool,
    /// The folder of the registry (default: that of the store)
    #[arg(long, value_name = "directory")]
    storage: Option<PathBuf>,
}

impl Verb for Check {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let folder = super::folder(context, self.storage)?;
        // It must be there: nothing is made to be checked.
        let findings = check(&Folder::open(&folder, true)?, self.repair)?;
        for finding in &findings {
            let problem = match finding.problem {
                Problem::Damaged => "damaged",
                Problem::Removed => "removed",
                Problem::Missing => "missing",
            };
            let digest = &finding.digest;
            let repositories = finding.repositories.join(", ");
            context
                .output
                .line(format_args!("{problem}: {digest} ({repositories})"))?;
        }
        context.output.line(match findings.len() {
            0 => "The registry is consistent".to_owned(),
            1 => "1 finding".to_owned(),
            count => format!("{count} findings"),
        })?;
        Ok(u8::from(!findings.is_empty()))
    }
}
