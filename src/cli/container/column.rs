//! The columns of ps(1) that `top` has: their names, headings and texts. Numbers of processes are those of the host.

use crate::error::{Error, bad_input};
use crate::runtime::processes::{Process, host_names};
use anyhow::{Context, Result};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use procfs::Current;
use std::collections::BTreeMap;

/// What the texts are made with.
pub struct Host {
    now: Timestamp,
    /// Seconds since the machine was started.
    uptime: f64,
    /// Clock ticks of a second.
    ticks: f64,
    page: u64,
    memory: u64,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Host {
    /// The state of this moment.
    pub fn now() -> Result<Self> {
        let memory = procfs::Meminfo::current().context("read `/proc/meminfo`")?;
        let uptime = procfs::Uptime::current().context("read `/proc/uptime`")?;
        Ok(Self {
            now: Timestamp::now(),
            uptime: uptime.uptime,
            ticks: procfs::ticks_per_second() as f64,
            page: procfs::page_size(),
            memory: memory.mem_total,
            users: host_names("/etc/passwd"),
            groups: host_names("/etc/group"),
        })
    }

    /// Seconds that a process has lived.
    fn age(&self, process: &Process) -> f64 {
        (self.uptime - process.stat.starttime as f64 / self.ticks).max(0.0)
    }

    /// Seconds of processor time that it has used.
    fn used(&self, process: &Process) -> f64 {
        (process.stat.utime + process.stat.stime) as f64 / self.ticks
    }

    fn user(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .cloned()
            .unwrap_or_else(|| uid.to_string())
    }

    fn group(&self, gid: u32) -> String {
        self.groups
            .get(&gid)
            .cloned()
            .unwrap_or_else(|| gid.to_string())
    }

    fn percent(&self, process: &Process) -> f64 {
        match self.age(process) {
            age if age > 0.0 => self.used(process) / age * 100.0,
            _ => 0.0,
        }
    }

    fn started(&self, process: &Process) -> jiff::Zoned {
        let age = SignedDuration::from_secs_f64(self.age(process));
        let started = self.now.checked_sub(age).unwrap_or(self.now);
        started.to_zoned(TimeZone::system())
    }

    /// The time of day, the day, or the year: whatever is the last thing that is not as now.
    fn start(&self, process: &Process) -> String {
        let (started, now) = (self.started(process), self.now.to_zoned(TimeZone::system()));
        let form = match () {
            () if started.year() != now.year() => "%Y",
            () if started.date() != now.date() => "%b%d",
            () => "%H:%M",
        };
        started.strftime(form).to_string()
    }
}

/// A column.
pub struct Column {
    /// Its names in `-o`; the first one is ours.
    pub names: &'static [&'static str],
    /// Its heading.
    title: &'static str,
    /// What it says about a process.
    pub text: fn(&Process, &Host) -> String,
}

const fn column(
    names: &'static [&'static str],
    title: &'static str,
    text: fn(&Process, &Host) -> String,
) -> Column {
    Column { names, title, text }
}

const COLUMNS: &[Column] = &[
    column(&["pid", "tgid"], "PID", |p, _| p.stat.pid.to_string()),
    column(&["ppid"], "PPID", |p, _| p.stat.ppid.to_string()),
    column(&["pgid", "pgrp"], "PGID", |p, _| p.stat.pgrp.to_string()),
    column(&["sid", "sess", "session"], "SID", |p, _| {
        p.stat.session.to_string()
    }),
    column(&["tpgid"], "TPGID", |p, _| p.stat.tpgid.to_string()),
    column(&["uid", "euid"], "UID", |p, _| p.status.euid.to_string()),
    column(&["user", "euser", "uname"], "USER", |p, host| {
        host.user(p.status.euid)
    }),
    column(&["ruid"], "RUID", |p, _| p.status.ruid.to_string()),
    column(&["ruser"], "RUSER", |p, host| host.user(p.status.ruid)),
    column(&["gid", "egid"], "GID", |p, _| p.status.egid.to_string()),
    column(&["group", "egroup"], "GROUP", |p, host| {
        host.group(p.status.egid)
    }),
    column(&["rgid"], "RGID", |p, _| p.status.rgid.to_string()),
    column(&["rgroup"], "RGROUP", |p, host| host.group(p.status.rgid)),
    column(&["comm", "ucmd", "ucomm"], "COMMAND", |p, _| {
        p.stat.comm.clone()
    }),
    column(&["args", "command"], "COMMAND", command),
    column(&["cmd"], "CMD", command),
    column(&["s", "state"], "S", |p, _| p.stat.state.to_string()),
    column(&["stat"], "STAT", |p, _| state(p)),
    column(&["tty", "tt", "tname"], "TTY", |p, _| {
        terminal(p.stat.tty_nr)
    }),
    column(&["time", "cputime"], "TIME", |p, host| {
        clock(host.used(p), false)
    }),
    column(&["bsdtime"], "TIME", |p, host| {
        let used = host.used(p) as u64;
        format!("{}:{:02}", used / 60, used % 60)
    }),
    column(&["etime"], "ELAPSED", |p, host| clock(host.age(p), true)),
    column(&["etimes"], "ELAPSED", |p, host| {
        (host.age(p) as u64).to_string()
    }),
    column(&["stime", "start_time"], "STIME", |p, host| host.start(p)),
    column(&["start", "bsdstart"], "START", |p, host| host.start(p)),
    column(&["lstart"], "STARTED", |p, host| {
        host.started(p).strftime("%a %b %e %H:%M:%S %Y").to_string()
    }),
    column(&["c"], "C", |p, host| {
        (host.percent(p) as u64).min(99).to_string()
    }),
    column(&["%cpu", "pcpu"], "%CPU", |p, host| {
        format!("{:.1}", host.percent(p))
    }),
    column(&["%mem", "pmem"], "%MEM", |p, host| {
        let resident = p.stat.rss * host.page;
        format!("{:.1}", resident as f64 / host.memory.max(1) as f64 * 100.0)
    }),
    column(&["rss", "rssize", "rsz"], "RSS", |p, host| {
        (p.stat.rss * host.page / 1024).to_string()
    }),
    column(&["vsz", "vsize"], "VSZ", |p, _| {
        (p.stat.vsize / 1024).to_string()
    }),
    column(&["sz"], "SZ", |p, host| {
        (p.stat.vsize / host.page).to_string()
    }),
    column(&["nlwp", "thcount"], "NLWP", |p, _| {
        p.stat.num_threads.to_string()
    }),
    column(&["ni", "nice"], "NI", |p, _| p.stat.nice.to_string()),
    // ps counts from 60 here, for the sake of other systems.
    column(&["pri", "opri"], "PRI", |p, _| {
        (p.stat.priority + 60).to_string()
    }),
    column(&["f", "flag", "flags"], "F", |p, _| {
        (p.stat.flags >> 6 & 7).to_string()
    }),
    column(&["psr"], "PSR", |p, _| {
        p.stat.processor.unwrap_or_default().to_string()
    }),
    column(&["wchan"], "WCHAN", |p, _| {
        let process = procfs::process::Process::new(p.stat.pid);
        let place = process
            .and_then(|process| process.wchan())
            .unwrap_or_default();
        match place.as_str() {
            "" | "0" => "-".to_owned(),
            place => place.to_owned(),
        }
    }),
];

/// The columns of a list such as `pid,args` or `pid,rss=Memory`, where a heading of one's own follows `=`.
pub fn list(text: &str) -> Result<Vec<(&'static Column, String)>, Error> {
    let mut columns = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find([',', ' ']).unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest[end..].trim_start_matches([',', ' ']);
        if word.is_empty() {
            continue;
        }
        let (name, title) = match word.split_once('=') {
            Some((name, title)) => (name, Some(title)),
            None => (word, None),
        };
        let found = COLUMNS.iter().find(|column| column.names.contains(&name));
        let found = found.ok_or_else(|| {
            let known: Vec<&str> = COLUMNS.iter().map(|column| column.names[0]).collect();
            bad_input(format!("ps column {name} is not supported by top"))
                .hint(format!("it has {}", known.join(" ")))
        })?;
        columns.push((found, title.unwrap_or(found.title).to_owned()));
    }
    Ok(columns)
}

/// The arguments, or the name in brackets where there are none.
fn command(process: &Process, _: &Host) -> String {
    match process.words.is_empty() {
        true if process.stat.state == 'Z' => format!("[{}] <defunct>", process.stat.comm),
        true => format!("[{}]", process.stat.comm),
        false => process.words.join(" "),
    }
}

/// The state with what ps adds: priority, leader of a session, threads, foreground.
fn state(process: &Process) -> String {
    let stat = &process.stat;
    let mut text = stat.state.to_string();
    match stat.nice {
        ..0 => text.push('<'),
        0 => {}
        _ => text.push('N'),
    }
    if stat.session == stat.pid {
        text.push('s');
    }
    if stat.num_threads > 1 {
        text.push('l');
    }
    if stat.pgrp == stat.tpgid {
        text.push('+');
    }
    text
}

/// The controlling terminal by its device number (proc_pid_stat(5), field 7).
fn terminal(number: i32) -> String {
    let number = number.cast_unsigned();
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

/// `[DD-]HH:MM:SS`; hours may be left out where there are none.
fn clock(seconds: f64, short: bool) -> String {
    let seconds = seconds as u64;
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) if short => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_terminals_are_written_as_ps_does() {
        for (seconds, time, elapsed) in [
            (5.9, "00:00:05", "00:05"),
            (3661.0, "01:01:01", "01:01:01"),
            (90061.0, "1-01:01:01", "1-01:01:01"),
        ] {
            assert_eq!(clock(seconds, false), time);
            assert_eq!(clock(seconds, true), elapsed);
        }
        for (number, name) in [
            (0, "?"),
            (0x0401, "tty1"),
            (0x0440, "ttyS0"),
            (0x8803, "pts/3"),
            (0x8901, "pts/257"),
            (0x0501, "5:1"),
        ] {
            assert_eq!(terminal(number), name);
        }
    }
}
