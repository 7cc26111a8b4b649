//! `top`: the processes of a container, in the columns of ps(1). Which columns is said in ps's own options, of which
//! the usual ones are understood: `-ef`, `-l`, `-j`, `aux`, `-o LIST`. No ps runs, neither here nor in the container.

use super::column::{self, Column, Host};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::table::aligned_wide;
use crate::container::{event, list};
use crate::error::{Error, Kind, bad_input};
use crate::runtime::processes::{self, Process};
use anyhow::Result;

/// Options of `top`.
#[derive(clap::Args)]
pub struct Top {
    #[arg(required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl Verb for Top {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let (name, options) = self
            .words
            .split_first()
            .ok_or_else(|| bad_input("no container"))?;
        let columns = columns(options)?;
        let engine = context.engine()?;
        let container = list::find(&engine, name)?;
        let id = &container.record.id;
        if !container.status().is_up() {
            return Err(
                Error::new(Kind::Conflict, format!("container {id} is not running"))
                    .hint(format!("start it: `onggi start {name}`"))
                    .into(),
            );
        }
        let program = container
            .state
            .as_ref()
            .and_then(|state| state.program.as_ref());
        let found = program.map(processes::of).transpose()?.unwrap_or_default();
        let table = table(&columns, &found)?;
        event::container(&engine, &container.record, "top", &[]);
        context.output.write(table.as_bytes())?;
        Ok(0)
    }
}

/// Processes in these columns.
pub fn table(columns: &[Titled], processes: &[Process]) -> Result<String> {
    let host = Host::now()?;
    let titles = columns.iter().map(|(_, title)| title.clone());
    let mut lines: Vec<Vec<String>> = vec![titles.collect()];
    for process in processes {
        let texts = columns
            .iter()
            .map(|(column, _)| (column.text)(process, &host));
        lines.push(texts.collect());
    }
    Ok(aligned_wide(&lines))
}

/// A column and its heading.
pub type Titled = (&'static Column, String);

const FULL: &str = "user=UID,pid,ppid,c,stime,tty,time,cmd";
const SHORT: &str = "pid,tty,time,comm=CMD";
const LONG: &str = "f,s,uid,pid,ppid,c,pri,ni,sz,wchan,tty,time,comm=CMD";
const FULL_LONG: &str = "f,s,user=UID,pid,ppid,c,pri,ni,sz,wchan,stime,tty,time,cmd";
const EXTRA_FULL: &str = "user=UID,pid,ppid,c,sz,rss,stime,tty,time,cmd";
const JOBS: &str = "pid,pgid,sid,tty,time,comm=CMD";
const USER: &str = "user,pid,%cpu,%mem,vsz,rss,tty,stat,start,bsdtime=TIME,args=COMMAND";
const BSD: &str = "pid,tty,stat,bsdtime=TIME,args=COMMAND";
const BSD_LONG: &str = "f,uid,pid,ppid,pri,ni,vsz,rss,wchan,stat,tty,bsdtime=TIME,args=COMMAND";
const BSD_JOBS: &str = "ppid,pid,pgid,sid,tty,stat,uid,bsdtime=TIME,args=COMMAND";

/// What ps's options ask for: every process of the container is meant, whatever they say about which.
pub fn columns(options: &[String]) -> Result<Vec<Titled>, Error> {
    let mut own = Vec::new();
    let (mut letters, mut bsd) = (String::new(), String::new());
    let mut words = options.iter();
    while let Some(word) = words.next() {
        if let Some(list) = word.strip_prefix("--format=") {
            own.extend(column::list(list)?);
            continue;
        }
        let unsupported = || {
            Err(bad_input(format!("ps option {word} is not supported by top"))
                .hint("it knows -e -A -a -x -f -F -l -j -w, a x u l j w, and -o with a list of columns"))
        };
        let (group, known) = match word.strip_prefix('-') {
            _ if word == "--format" => ("o", "o"),
            Some(group) if !group.is_empty() && !group.starts_with('-') => (group, "eAaxfFljwdo"),
            Some(_) => return unsupported(),
            None => (word.as_str(), "axuljwgo"),
        };
        // `-aux` is what people write for `aux`.
        let (dashed, known) = match group.contains('u') && !group.contains('o') {
            true => (false, "axuljwgo"),
            false => (word.starts_with('-'), known),
        };
        let (flags, list) = match group.split_once('o') {
            Some((flags, list)) => (flags, Some(list)),
            None => (group, None),
        };
        if !flags.chars().all(|flag| known.contains(flag)) {
            return unsupported();
        }
        if dashed { &mut letters } else { &mut bsd }.push_str(flags);
        if let Some(list) = list {
            let list = match list {
                "" => words
                    .next()
                    .ok_or_else(|| bad_input("list of columns must follow -o"))?,
                list => list,
            };
            own.extend(column::list(list)?);
        }
    }
    if !own.is_empty() {
        // Docker needs the numbers to tell which processes are meant, and scripts know its words.
        if !own.iter().any(|(column, _)| column.names.contains(&"pid")) {
            return Err(bad_input("Couldn't find PID field in ps output").hint("as in -o pid,args"));
        }
        return Ok(own);
    }
    let has = |flag: char| letters.contains(flag);
    let bsd_has = |flag: char| bsd.contains(flag);
    column::list(match () {
        () if options.is_empty() => FULL,
        () if bsd_has('u') => USER,
        () if bsd_has('l') => BSD_LONG,
        () if bsd_has('j') => BSD_JOBS,
        () if has('l') && (has('f') || has('F')) => FULL_LONG,
        () if has('F') => EXTRA_FULL,
        () if has('f') => FULL,
        () if has('l') => LONG,
        () if has('j') => JOBS,
        () if !bsd.is_empty() || has('x') => BSD,
        () => SHORT,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &[&str]) -> Result<String, String> {
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let columns = columns(&options).map_err(|error| error.message)?;
        Ok(columns
            .into_iter()
            .map(|(_, title)| title)
            .collect::<Vec<_>>()
            .join(" "))
    }

    #[test]
    fn options_are_those_of_ps() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        let user = "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND";
        for (options, expected) in [
            (&[][..], full),
            (&["-ef"], full),
            (&["-e", "-f"], full),
            (&["aux"], user),
            (&["-aux"], user),
            (&["axuww"], user),
            (&["-e"], "PID TTY TIME CMD"),
            (&["ax"], "PID TTY STAT TIME COMMAND"),
            (&["-e", "-x"], "PID TTY STAT TIME COMMAND"),
            (&["-ely"], ""),
            (&["-el"], "F S UID PID PPID C PRI NI SZ WCHAN TTY TIME CMD"),
            (&["-o", "pid,comm"], "PID COMMAND"),
            (&["-eo", "pid,args"], "PID COMMAND"),
            (&["-opid,cmd"], "PID CMD"),
            (&["o", "pid,user"], "PID USER"),
            (&["-o", "pid", "-o", "rss=Memory"], "PID Memory"),
            (&["--format=pid,etime"], "PID ELAPSED"),
            (&["--format", "pid etime"], "PID ELAPSED"),
        ] {
            match titles(options) {
                Ok(found) => assert_eq!(found, expected, "{options:?}"),
                Err(_) => assert_eq!(expected, "", "{options:?}"),
            }
        }
        for (options, message) in [
            (
                &["--sort", "pid"][..],
                "ps option --sort is not supported by top",
            ),
            (&["-T"], "ps option -T is not supported by top"),
            (&["-o"], "list of columns must follow -o"),
            (&["-o", "args"], "Couldn't find PID field in ps output"),
            (
                &["-o", "pid,cgroup"],
                "ps column cgroup is not supported by top",
            ),
        ] {
            assert_eq!(titles(options).unwrap_err(), message, "{options:?}");
        }
    }
}
