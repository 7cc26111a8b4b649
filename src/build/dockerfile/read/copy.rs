//! `COPY` and `ADD`.
//!
//! Sources stay as they were written; what they name is found when the stage is built.

use super::super::flag::{Flags, Kind};
use super::super::heredoc;
use super::super::instruction::Copy;
use super::super::part::{Fault, Part, unquote};
use super::{Input, usage};

/// The flags of both.
const FLAGS: [(&str, Kind); 4] = [
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Switch),
    ("exclude", Kind::List),
];

/// `COPY`.
pub fn copy(input: &mut Input<'_>) -> Result<Copy, Fault> {
    let mut known = vec![("from", Kind::Text), ("parents", Kind::Switch)];
    known.extend(FLAGS);
    let flags = input.flags(&known)?;
    if let Some((from, range)) = flags.located("from")
        && from.is_empty()
    {
        return Err(Fault {
            range,
            message: "--from names nothing".to_owned(),
            hint: "expected --from=STAGE, --from=CONTEXT or --from=IMAGE".to_owned(),
        });
    }
    let copy = Copy {
        from: flags.text("from"),
        parents: flags.switch("parents").unwrap_or_default(),
        ..of_both(&flags)
    };
    files(input, copy)
}

/// `ADD`.
pub fn add(input: &mut Input<'_>) -> Result<Copy, Fault> {
    let mut known = vec![
        ("keep-git-dir", Kind::Switch),
        ("checksum", Kind::Text),
        ("unpack", Kind::Switch),
    ];
    known.extend(FLAGS);
    let flags = input.flags(&known)?;
    let copy = Copy {
        keep_git_directory: flags.switch("keep-git-dir").unwrap_or_default(),
        checksum: flags.text("checksum"),
        unpack: flags.switch("unpack"),
        ..of_both(&flags)
    };
    files(input, copy)
}

fn of_both(flags: &Flags) -> Copy {
    Copy {
        owner: flags.text("chown"),
        mode: flags.text("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        excludes: flags
            .list("exclude")
            .map(|(value, _)| value.to_owned())
            .collect(),
        ..Copy::default()
    }
}

/// Sources, heredocs among them, and the destination.
fn files(input: &mut Input<'_>, mut copy: Copy) -> Result<Copy, Fault> {
    if let Some(mut words) = input.list()? {
        let destination = words.pop();
        return match destination {
            Some(destination) if !words.is_empty() => {
                copy.destination = destination;
                copy.sources = words;
                Ok(copy)
            }
            _ => Err(too_few(input, input.rest)),
        };
    }
    let words = input.plain_words()?;
    let Some((destination, sources)) = words
        .split_last()
        .filter(|(_, sources)| !sources.is_empty())
    else {
        let place = words.first().copied().unwrap_or(input.keyword);
        return Err(too_few(input, place));
    };
    if heredoc::opening(*destination, input.escape).is_some() {
        return Err(destination.fault(
            format!("{} cannot accept a heredoc as its destination", input.name),
            format!("expected {}", usage(input.name)),
        ));
    }
    let mut heredocs = input.heredocs.iter().peekable();
    let mut sources = sources.iter();
    while let Some(source) = sources.next() {
        if let Some(opening) = heredoc::opening(*source, input.escape) {
            match heredocs.next() {
                Some(heredoc) if heredoc.name == opening.name => {
                    copy.heredocs.push(heredoc.clone())
                }
                _ => {
                    return Err(source.fault(
                        format!("the heredoc '{}' has no content", opening.name),
                        "expected its lines below the instruction",
                    ));
                }
            }
            continue;
        }
        let named = |name: &Part<'_>| unquote(name.text, input.escape).0;
        if heredoc::bare(*source).is_some()
            && let Some(name) = sources.as_slice().first()
            && let Some(heredoc) = heredocs.next_if(|heredoc| heredoc.name == named(name))
        {
            copy.heredocs.push(heredoc.clone());
            sources.next();
            continue;
        }
        copy.sources.push(source.text.to_owned());
    }
    copy.destination = destination.text.to_owned();
    Ok(copy)
}

fn too_few(input: &Input<'_>, place: Part<'_>) -> Fault {
    place.fault(
        format!(
            "{} requires at least two arguments, but only one was provided. Destination could not be determined",
            input.name
        ),
        format!("expected {}", usage(input.name)),
    )
}
