//! `--tmpfs DST[:OPTIONS]`: memory, with the words that mount(8) knows for tmpfs(5).

use super::mount_point::target_path;

/// One `--tmpfs`: a clean path, and options that tmpfs has.
pub fn tmpfs(text: &str) -> Result<(String, String), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let target = target_path(target).map_err(|error| error.message)?;
    let mut kept = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        // That nothing is copied there is how it is anyway.
        if option != "notmpcopyup" {
            check_option(option)?;
            kept.push(option);
        }
    }
    exclude_each_other(&kept)?;
    Ok((target, kept.join(",")))
}

/// Whether it is an option that a tmpfs can be mounted with.
pub fn check_option(option: &str) -> Result<(), String> {
    let (key, value) = match option.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (option, None),
    };
    let invalid = |why: &str| Err(format!("invalid tmpfs option [\"{option}\"]{why}"));
    let number = |value: &str| value.parse::<u32>().is_ok();
    match (key, value) {
        (
            "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" | "noatime"
            | "nodiratime" | "strictatime" | "relatime",
            None,
        ) => Ok(()),
        ("size", Some(value)) if is_size(value) => Ok(()),
        ("size", _) => invalid(": a size is a number with k, m, g or %"),
        ("mode", Some(value)) if u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777) => {
            Ok(())
        }
        ("mode", _) => invalid(": a mode is an octal number up to 7777"),
        ("uid" | "gid", Some(value)) if number(value) => Ok(()),
        ("uid" | "gid", _) => invalid(": an id is a number"),
        ("nr_inodes" | "nr_blocks", Some(value)) if is_count(value) => Ok(()),
        ("nr_inodes" | "nr_blocks", _) => invalid(": a count is a number with k, m or g"),
        ("huge", Some("never" | "always" | "within_size" | "advise")) => Ok(()),
        ("huge", _) => invalid(": one of never, always, within_size and advise"),
        ("mpol", Some(policy)) if !policy.is_empty() => Ok(()),
        ("tmpcopyup", None) => invalid(": what the image has at the target is not copied"),
        _ => invalid(""),
    }
}

/// What the kernel takes: bytes, or a share of the memory.
fn is_size(text: &str) -> bool {
    match text.strip_suffix('%') {
        Some(share) => share.parse::<u32>().is_ok_and(|share| share <= 100),
        None => is_count(text),
    }
}

fn is_count(text: &str) -> bool {
    const UNITS: [char; 12] = ['k', 'm', 'g', 't', 'p', 'e', 'K', 'M', 'G', 'T', 'P', 'E'];
    text.strip_suffix(UNITS)
        .unwrap_or(text)
        .parse::<u64>()
        .is_ok()
        && !text.starts_with('+')
}

/// Words of which only one can be meant.
pub fn exclude_each_other(flags: &[&str]) -> Result<(), String> {
    for (one, other) in [
        ("ro", "rw"),
        ("exec", "noexec"),
        ("suid", "nosuid"),
        ("dev", "nodev"),
    ] {
        if flags.contains(&one) && flags.contains(&other) {
            return Err(format!("'{one}' and '{other}' exclude each other"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn targets_and_options() {
        check(
            tmpfs,
            &[
                ("/run:size=1m", r#"("/run", "size=1m")"#),
                ("/run", r#"("/run", "")"#),
                ("/a//b/../c/:", r#"("/a/c", "")"#),
                (
                    "/a:rw,size=50%,mode=1770,uid=0,gid=7,nr_inodes=1k,exec,notmpcopyup",
                    r#"("/a", "rw,size=50%,mode=1770,uid=0,gid=7,nr_inodes=1k,exec")"#,
                ),
                (
                    "foo",
                    "! invalid mount path: 'foo' mount path must be absolute",
                ),
                ("", "! field Target must not be empty"),
                (
                    "/x/../..",
                    "! invalid specification: destination can't be '/'",
                ),
                ("//.", "! invalid specification: destination can't be '/'"),
                ("/a:foo", "! invalid tmpfs option [\"foo\"]"),
                (
                    "/a:size",
                    "! invalid tmpfs option [\"size\"]: a size is a number with k, m, g or %",
                ),
                (
                    "/a:size=-1",
                    "! invalid tmpfs option [\"size=-1\"]: a size is a number with k, m, g or %",
                ),
                (
                    "/a:mode=9",
                    "! invalid tmpfs option [\"mode=9\"]: a mode is an octal number up to 7777",
                ),
                (
                    "/a:mode=77777",
                    "! invalid tmpfs option [\"mode=77777\"]: a mode is an octal number up to 7777",
                ),
                (
                    "/a:uid=root",
                    "! invalid tmpfs option [\"uid=root\"]: an id is a number",
                ),
                (
                    "/a:nr_inodes=x",
                    "! invalid tmpfs option [\"nr_inodes=x\"]: a count is a number with k, m or g",
                ),
                (
                    "/a:tmpcopyup",
                    "! invalid tmpfs option [\"tmpcopyup\"]: what the image has at the target is not copied",
                ),
                ("/a:ro,rw", "! 'ro' and 'rw' exclude each other"),
            ],
        );
    }
}
