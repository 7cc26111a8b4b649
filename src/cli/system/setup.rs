//! `system setup`: what an administrator may have to give the host, printed and not done: a program that is run by an
//! ordinary user cannot, and should not, change it.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::container::spawn;
use crate::error::bad_input;
use crate::id_mapping::APPARMOR_SETUP;
use anyhow::Result;
use std::path::Path;

/// Arguments of `system setup`.
#[derive(clap::Args)]
pub struct Setup {
    what: String,
}

impl Verb for Setup {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.what != "apparmor" {
            return Err(bad_input(format!("there is no setup of {:?}", self.what))
                .hint("onggi system setup apparmor")
                .into());
        }
        context
            .output
            .line(profile(&spawn::own_path()?).trim_end())?;
        Ok(0)
    }
}

/// The profile without which Ubuntu, since 23.10, takes a new user namespace's capabilities away from an ordinary
/// user's program (apparmor.d(5), "userns rules").
fn profile(program: &Path) -> String {
    format!(
        "# Lets onggi make user namespaces where AppArmor keeps ordinary users' programs from it\n\
         # (kernel.apparmor_restrict_unprivileged_userns). To install it, run as an ordinary user:\n\
         #   {APPARMOR_SETUP}\n\
         # It confines nothing. When the program is moved, make it again.\n\
         abi <abi/4.0>,\n\
         include <tunables/global>\n\
         \n\
         profile onggi {} flags=(unconfined) {{\n  \
           userns,\n\
         \n  \
           include if exists <local/onggi>\n\
         }}\n",
        quoted(program)
    )
}

/// As apparmor.d(5) reads it: characters of patterns stand for themselves.
fn quoted(path: &Path) -> String {
    let mut text = String::from("\"");
    for letter in path.to_string_lossy().chars() {
        if "\\\"*?[]{}^@".contains(letter) {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_of_this_program() {
        let text = profile(Path::new("/opt/my tools/onggi*"));
        let line = "profile onggi \"/opt/my tools/onggi\\*\" flags=(unconfined) {\n  userns,\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains(&format!("#   {APPARMOR_SETUP}\n")), "{text}");
        assert!(
            text.contains("\nabi <abi/4.0>,\n") && text.ends_with("\n}\n"),
            "{text}"
        );
    }
}
