//! `system check`: everything inconsistent in the store is told, and mended if that is wanted.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::check::{self, Host, Report};
use crate::container::engine::Engine;
use crate::image::check::{Finding, Repair};
use crate::store::damage;
use anyhow::Result;
use serde_json::{Value, json};

/// What its manual page tells beside the options, in the language of man(7).
pub const MANUAL: &str = r#".SH NOTES
Looking changes nothing and is in no other command's way.
Exits with 0 where the store is consistent, with 1 where a finding is left or something could not be looked at.
.SH FINDINGS
Each is a line: its kind, where it lies, what is wrong, and what
.B \-\-repair
does about it or what the user can do.
.TP
.BR damaged\-store ", " missing\-directory
The store's own record, or a directory of it. Made again.
.TP
.BR damaged\-names ", " dangling\-name
The names of images cannot be read, or one leads to no image. Removed; the images stay.
.TP
.BR damaged\-image ", " missing\-layer
An image whose records or layers cannot be used. Its record is written again where its config and layers are there;
else it is removed, unless a container needs it: then it has to be taken in again.
.TP
.BR orphan\-layer ", " dead\-staging ", " leftover\-file
What killed commands have left. Removed.
.TP
.B damaged\-container
The record of a container cannot be read. Only
.B onggi rm \-f
removes it, since what it has written may still be wanted.
.TP
.B lost\-record
A container that was started has no record any more. One that runs is ended, with its monitor; only
.B onggi rm \-f
removes it.
.TP
.B damaged\-state
What has become of a container cannot be read, or is missing. Written again: ended with code 255.
.TP
.BR unsupervised ", " unsettled
A container whose monitor was killed. Its program is ended, and the end written down.
.TP
.BR half\-container ", " leftover\-container ", " leftover\-temporary ", " leftover\-socket ", " stale\-mark
What killed commands and monitors have left. Removed; the next command that makes, starts or removes a container does
the same.
.TP
.BR lost\-name ", " stale\-name
A container to which its name does not lead, and a name that leads to no container. Made again; removed.
.TP
.B lost\-layer
A container whose layer is missing. Its image has to be taken in again.
.TP
.B damaged\-network
The record of a network cannot be read. Removed; containers that belong to it have to be connected to another, and
.B bridge
is made again when it is needed.
.TP
.BR orphan\-monitor ", " orphan\-process ", " leaked\-mount
A monitor whose container is gone, a process of a container that does not run, a mount that nobody needs. Killed;
unmounted.
.SH JSON
One object:
.B Clean
(boolean),
.B Findings
and
.B NotChecked
(array of strings: what could not be looked at). A finding has the strings
.BR Kind ", " Object " (id, name or process number), " Path ", " Problem ", " Repair ", " Error
and the booleans
.BR Repairable " and " Repaired .
With
.B \-\-repair
the list has what was mended, what could not be
.RB ( Error
says why), and what is left. Keys may be added, none will change its meaning.
"#;

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
        let (engine, problem) = Engine::open_to_check(&context.global_options())?;
        let on = engine.file_system.as_ref();
        if let Some(line) = on.and_then(|on| on.announcement(engine.paths.data())) {
            context.output.warn(&line);
        }
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
