//! `system check`: everything inconsistent in the store is told, and mended if that is wanted.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::check::{self, Host, Report};
use crate::container::engine::{Engine, GlobalOptions};
use crate::image::check::{Finding, Repair};
use crate::store::damage;
use anyhow::Result;
use serde_json::{Value, json};

/// Options of `system check`.
#[derive(clap::Args)]
pub struct Check {
    /// Read every byte of the layers and compare it with their digests
    #[arg(long)]
    deep: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Mend what can be mended without losing what a container needs
    #[arg(long)]
    repair: bool,
}

impl Verb for Check {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let (engine, problem) = Engine::open_to_check(&GlobalOptions {
            root: context.globals.root.clone(),
            runroot: context.globals.runroot.clone(),
        })?;
        let host = Host::look(&engine)?;
        engine.enter_user_namespace()?;
        let run = if self.repair {
            check::repair
        } else {
            check::check
        };
        let report = run(&engine, &host, problem, self.deep)?;
        // The report names all of it.
        damage::take();
        let clean = report.found.is_empty() && report.skipped.is_empty();
        if self.json {
            context.output.line(as_json(&report, clean))?;
        } else {
            tell(context, &report, clean)?;
        }
        Ok(u8::from(!clean))
    }
}

fn tell(context: &mut Context, report: &Report, clean: bool) -> Result<()> {
    for (finding, result) in &report.mended {
        let outcome = match result {
            Ok(()) => "mended".to_owned(),
            Err(error) => format!("not mended: {error:#}"),
        };
        context.output.line(line(finding, &outcome))?;
    }
    for finding in &report.found {
        let remedy = match &finding.repair {
            Repair::Does(what) => format!("--repair {what}"),
            Repair::User(how) => how.clone(),
        };
        context.output.line(line(finding, &remedy))?;
    }
    for sentence in &report.skipped {
        context.output.line(format!("not checked: {sentence}"))?;
    }
    context.output.line(match (clean, report.found.len()) {
        (true, _) => "The store is consistent".to_owned(),
        (false, 1) => "1 finding".to_owned(),
        (false, count) => format!("{count} findings"),
    })
}

fn line(finding: &Finding, remedy: &str) -> String {
    let path = finding.path.display().to_string();
    let about = match path.contains(&finding.object) {
        true => String::new(),
        false => format!("{}: ", finding.object),
    };
    let text = format!(
        "{}: {about}`{path}`: {}; {remedy}",
        finding.kind, finding.problem
    );
    crate::cli::output::visible(&text)
}

fn as_json(report: &Report, clean: bool) -> Value {
    let one = |finding: &Finding, mended: bool, error: String| {
        let (repairable, repair) = match &finding.repair {
            Repair::Does(what) => (true, (*what).to_owned()),
            Repair::User(how) => (false, how.clone()),
        };
        json!({
            "Kind": finding.kind,
            "Object": finding.object,
            "Path": finding.path.display().to_string(),
            "Problem": finding.problem,
            "Repairable": repairable,
            "Repair": repair,
            "Repaired": mended,
            "Error": error,
        })
    };
    let mended = report.mended.iter().map(|(finding, result)| {
        let error = result.as_ref().err().map(|error| format!("{error:#}"));
        one(finding, result.is_ok(), error.unwrap_or_default())
    });
    let found = report
        .found
        .iter()
        .map(|finding| one(finding, false, String::new()));
    json!({
        "Clean": clean,
        "Findings": mended.chain(found).collect::<Vec<_>>(),
        "NotChecked": report.skipped,
    })
}
