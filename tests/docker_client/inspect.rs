//! `inspect --format`: Docker's types first, the plain JSON if these fail.

use crate::client::{self, Printed};
use crate::server::Server;
use crate::{answers, random};
use onggi::cli::output::Output;
use onggi::cli::output::inspect::render_inspect;
use serde_json::Value;
use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Capture(Rc<RefCell<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn ours(template: &str, values: &[Value]) -> Printed {
    let data = Capture::default();
    let mut output = Output::new(data.clone(), std::io::sink());
    match render_inspect(&mut output, Some(template), values) {
        Ok(()) => Ok(String::from_utf8(data.0.take()).unwrap()),
        Err(error) => Err(format!("{error:#}")),
    }
}

/// All templates of which a client and this program make different things. `since` is the Go that knows it.
fn differences<'a>(
    templates: impl Iterator<Item = (u32, &'a str, &'a str)> + Clone,
) -> Vec<String> {
    let answers = answers::all();
    let server = Server::start(answers.clone());
    let mut differences = Vec::new();
    for client in client::clients() {
        for (since, kind, template) in templates.clone().filter(|(since, ..)| *since <= client.go) {
            let value = answers[&format!("/{kind}s/web/json")].clone();
            let docker =
                client.printed(&server, &["inspect", "--type", kind, "-f", template, "web"]);
            let ours = ours(template, &[value]);
            // Where Docker prints the address of something, there is nothing to compare with.
            let address = docker.as_ref().is_ok_and(|text| text.contains("0xc0"));
            if docker != ours && !address {
                differences.push(format!(
                    "{kind} {template:?} {since}\n  docker {docker:?}\n    ours {ours:?}"
                ));
            }
        }
    }
    differences
}

/// `[kind]` begins a section; `go1.22: ` before a template says which Go knows it first.
fn templates() -> Vec<(u32, &'static str, &'static str)> {
    let mut kind = "";
    let mut templates = Vec::new();
    let lines = include_str!("templates.txt").lines();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            kind = name;
            continue;
        }
        let newer = line
            .strip_prefix("go1.")
            .and_then(|rest| rest.split_once(": "));
        templates.push(match newer {
            Some((minor, template)) => (minor.parse().unwrap(), kind, template),
            None => (0, kind, line),
        });
    }
    templates
}

#[track_caller]
fn none(differences: &[String]) {
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

#[test]
fn templates_print_what_dockers_client_prints() {
    let templates = templates();
    assert!(templates.len() > 250, "{}", templates.len());
    none(&differences(templates.into_iter()));
}

#[test]
fn random_templates_print_what_dockers_client_prints() {
    let templates = random::templates(200);
    none(&differences(
        templates
            .iter()
            .map(|template| (0, "container", template.as_str())),
    ));
}
