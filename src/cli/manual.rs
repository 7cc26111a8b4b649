//! The manual pages, in the language of man(7), made from the table of commands and from clap's definitions,
//! so that they cannot tell anything else than `--help` does.
//!
//! The pages lie in `man/`; a test makes them anew and compares.

use super::command::{COMMANDS, Command, GROUPS, Section};
use super::{build, flag, help, image, registry, system, trust};
use clap::Arg;

const EXIT_STATUS: &str = "\
.TP
.B 125
Nothing was run: the command line was not understood, something that Docker has is not here yet, or the \
container could not be made.
.TP
.B 126
The program of the container is there and cannot be executed.
.TP
.B 127
The program of the container is not there.
.TP
.BI 128+ n
The program of the container was ended by signal
.IR n .
.TP
.B other
The exit status of the program of the container.
";

/// Every page: its file name and its text.
pub fn pages() -> Vec<(String, String)> {
    let shown = COMMANDS
        .iter()
        .filter(|command| command.section != Section::Hidden);
    let mut pages: Vec<_> = shown
        .map(|command| (format!("{}.1", page_name(command)), of_command(command)))
        .collect();
    pages.push(("onggi.1".to_owned(), of_program()));
    pages
}

/// `onggi-run`: by the shortest spelling.
fn page_name(command: &Command) -> String {
    format!("onggi-{}", shortest(command).replace(' ', "-"))
}

fn shortest(command: &Command) -> &'static str {
    let mut spellings = command.spellings.to_vec();
    spellings.sort_by_key(|spelling| spelling.matches(' ').count());
    spellings.first().copied().unwrap_or_default()
}

fn head(name: &str, about: &str) -> String {
    let title = name.to_uppercase();
    let about = escape(&lower_first(about));
    format!(
        ".TH {title} 1 \"\" \"onggi {}\"\n.SH NAME\n{} \\- {about}\n",
        env!("CARGO_PKG_VERSION"),
        escape(name)
    )
}

fn of_command(command: &Command) -> String {
    let mut text = head(&page_name(command), command.about) + ".SH SYNOPSIS\n.nf\n";
    for spelling in command.spellings {
        let usage = help::usage(&format!("onggi {spelling}"), command);
        text += &format!("{}\n", escape(usage.trim_start_matches("Usage:  ")));
    }
    text += &format!(".fi\n.SH DESCRIPTION\n{}.\n", escape(command.about));
    text += &options(&flag::build(command));
    text += match shortest(command) {
        "system check" => system::check::MANUAL,
        "registry check" => registry::check::MANUAL,
        "trust add" | "trust ls" | "trust rm" | "trust show" => trust::MANUAL,
        "image copy" => image::copy::MANUAL,
        "image inspect" => image::inspect::MANUAL,
        "build" => build::MANUAL,
        _ => "",
    };
    text += ".SH EXIT STATUS\n";
    text += match shortest(command) {
        "runtime run" | "runtime restore" => {
            "1 on failure and where the command line was not understood, 0 with --detach, else that of the program.\n"
        }
        "runtime exec" => {
            "255 on failure, 1 where the command line was not understood, 0 with --detach, else that of the program.\n"
        }
        name if name.starts_with("runtime ") => {
            "0 on success, 1 on failure and where the command line was not understood.\n"
        }
        _ if command.failure == 125 => EXIT_STATUS,
        _ => "0 on success, 1 on failure, 125 where the command line was not understood.\n",
    };
    text + ".SH SEE ALSO\n.BR onggi (1)\n"
}

fn of_program() -> String {
    let mut text = head("onggi", "Run containers without a daemon");
    text += ".SH SYNOPSIS\n.nf\nonggi [OPTIONS] COMMAND [ARG...]\n.fi\n.SH DESCRIPTION\n";
    text += "onggi runs containers with the command line of Docker. It is one program: there is no daemon, and \
             nothing else needs to be installed. Root and ordinary users each have images and containers of \
             their own. Called as\n.B docker\nor\n.B podman\nit answers under that name.\n";
    text += &options(&flag::build_global());
    text += ".SH COMMANDS\n";
    let mut shown: Vec<_> = COMMANDS
        .iter()
        .filter(|command| command.section != Section::Hidden)
        .collect();
    shown.sort_by_key(|command| page_name(command));
    for command in shown {
        let page = escape(&page_name(command));
        text += &format!(".TP\n.BR {page} (1)\n{}.\n", escape(command.about));
    }
    for (noun, about) in GROUPS {
        text += &format!(
            ".TP\n.B onggi {noun}\n{}: the same commands by their noun.\n",
            escape(about)
        );
    }
    text += ".SH ENVIRONMENT\n";
    for (name, about) in [
        (
            "ONGGI_ROOT",
            "Directory of images and containers, where --root is not given.",
        ),
        (
            "ONGGI_RUNROOT",
            "Directory of what is known in this boot only, where --runroot is not given.",
        ),
        (
            "XDG_DATA_HOME, XDG_RUNTIME_DIR",
            "Where the two lie for an ordinary user otherwise.",
        ),
    ] {
        text += &format!(".TP\n.B {}\n{}\n", escape(name), escape(about));
    }
    text + ".SH EXIT STATUS\n" + EXIT_STATUS
}

fn options(command: &clap::Command) -> String {
    let mut shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| help::is_shown(arg))
        .collect();
    shown.sort_by_key(|arg| arg.get_long());
    let mut text = ".SH OPTIONS\n".to_owned();
    for arg in shown {
        let (flag, about) = help::row(arg);
        let (names, kind) = match help::value_kind(arg) {
            Some(kind) => (
                flag.trim().trim_end_matches(&kind).trim_end().to_owned(),
                format!(" \\fI{kind}\\fR"),
            ),
            None => (flag.trim().to_owned(), String::new()),
        };
        text += &format!(
            ".TP\n\\fB{}\\fR{kind}\n{}.\n",
            escape(&names),
            escape(&about)
        );
    }
    text
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

/// Text in which nothing is a request of roff.
fn escape(text: &str) -> String {
    let text = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace("...", "\\&...");
    if text.starts_with('.') {
        format!("\\&{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_a_request() {
        assert_eq!(escape(".x -y 'z' \\"), "\\&.x \\-y \\(aqz\\(aq \\e");
    }

    #[test]
    fn every_visible_command_has_a_page() {
        let names: Vec<String> = pages().into_iter().map(|(name, _)| name).collect();
        for name in ["onggi.1", "onggi-run.1", "onggi-ps.1", "onggi-version.1"] {
            assert!(
                names.iter().any(|found| found == name),
                "{name} in {names:?}"
            );
        }
        assert!(!names.iter().any(|name| name.contains("hello")));
    }
}
