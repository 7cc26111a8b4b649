//! Wrong command lines (docker run, "Exit status"): 125, one line that says why, nothing written.

use crate::support::everyone;

#[test]
fn what_is_no_command_or_flag_ends_with_125() {
    for store in everyone() {
        for arguments in [
            &["no-such-command"][..],
            &["run", "--no-such-flag", "x"],
            &["run"],
            &["images", "--nonsense"],
        ] {
            let outcome = store.onggi(arguments).run();
            outcome.code(125).stdout("");
            outcome.expect(!outcome.stderr_text().is_empty(), "a reason");
        }
    }
}
