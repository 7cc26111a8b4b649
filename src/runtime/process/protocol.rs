//! What init tells its parent, over a pair of sockets that execve(2) closes:
//!
//! ```text
//! parent                                  init
//!    │──────────── clone3 ────────────────▶│
//!    │                                     │ builds the root file system
//!    │───────────── Connected ────────────▶│ only where it waits for its network
//!    │◀──────── Warning{text} ─────────────│ only where something is otherwise than one would think
//!    │◀──────── Terminal + descriptor ─────│ only with a pseudo-terminal
//!    │◀──────── Prepared ──────────────────│ only with hooks that the parent runs
//!    │───────────── Connected ────────────▶│ when they have succeeded
//!    │                                     │ gives up privileges
//!    │◀──────── Listener{number} ──────────│ only with a seccomp agent (`runtime::seccomp::Agent`)
//!    │                                     │ loads its filter
//!    │◀──────── Failed{kind, text, hints} ─│ then exits     or
//!    │◀──────── end of file ───────────────│ execve succeeded   or
//!    │◀──────── Created ───────────────────│ only with a gate: the rest is said to whoever comes there
//! ```
//!
//! A program that joins a container has two senders ([`super::exec`]): the joiner, which says `Terminal` and, once it
//! has made the process, `Child{pid} + descriptor`; and that process, which may say `Failed`. It may be in the hands
//! of the container by then, so nothing else that comes after `Child` counts. Where its scheduler is for the parent to set
//! it waits for `Connected`.
//!
//! With a user namespace of its own, a joiner makes init ([`super::nested`]) and says so on a channel of its own.

use crate::error::{self, Error, Kind};
use crate::runtime::seccomp::Agent;
use crate::sys::process::Child;
use crate::sys::socket::{Channel, MESSAGE_MAX, Received};
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// How long a process may take from one step to the next where somebody else can hold it up: the container's other
/// processes, or an agent. A slow disk needs seconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

const TERMINAL: u8 = b'T';
const FAILED: u8 = b'F';
const CHILD: u8 = b'C';
const LISTENER: u8 = b'L';
const WARNING: u8 = b'W';
const CONNECTED: u8 = b'N';
const PREPARED: u8 = b'P';
const CREATED: u8 = b'G';

const KINDS: [Kind; 7] = [
    Kind::BadInput,
    Kind::NotFound,
    Kind::Conflict,
    Kind::Unsupported,
    Kind::Denied,
    Kind::CannotExecute,
    Kind::CommandNotFound,
];

/// The parent's side: what init waits for is there.
pub fn send_connected(channel: &Channel) -> Result<()> {
    match channel.send(&[&[CONNECTED]], None, true) {
        // It has failed meanwhile, and says why.
        Ok(()) | Err(Errno::PIPE) => Ok(()),
        Err(error) => Err(error).context("let the container go on"),
    }
}

/// Init's side: waits until what it needs is there.
pub fn await_connected(channel: &Channel) -> Result<()> {
    match channel
        .receive(&mut [0], true)
        .context("await the parent")?
    {
        Received::Message(..) => Ok(()),
        Received::Closed | Received::Nothing => bail!("starting the container was cut short"),
    }
}

/// Init's side: waits until the parent has run its hooks.
pub fn await_hooks(channel: &Channel) -> Result<()> {
    let sent = channel.send(&[&[PREPARED]], None, true);
    sent.context("let hooks be run")?;
    await_connected(channel)
}

/// Init's side: there is nothing more to say to the parent.
pub fn send_created(channel: &Channel) -> Result<()> {
    let sent = channel.send(&[&[CREATED]], None, true);
    sent.context("tell that the container is created")
}

/// Init's side: hands over the controlling side of the pseudo-terminal.
pub fn send_terminal(channel: &Channel, terminal: BorrowedFd<'_>) -> Result<()> {
    channel
        .send(&[&[TERMINAL]], Some(terminal), true)
        .context("hand over the pseudo-terminal")
}

/// The joiner's side: hands over the process it has made; one that nobody would know of is killed.
pub fn send_child(channel: &Channel, child: &Child) -> Result<()> {
    let number = child.pid.to_le_bytes();
    let sent = channel.send(&[&[CHILD], &number], Some(child.pidfd.as_fd()), true);
    sent.context("hand over the process").inspect_err(|_| {
        // Its parent, which is the joiner's, is the one to reap it.
        let _ = child.kill(libc::SIGKILL);
    })
}

/// Init's side: tells whoever started it what is otherwise than one would think.
pub fn send_warning(channel: &Channel, text: &str) -> Result<()> {
    channel
        .send(&[&[WARNING], text.as_bytes()], None, true)
        .context("tell a warning")
}

/// Init's side: its filter comes next, and with it a listener at this number.
pub fn send_listener(channel: &Channel, number: RawFd) -> Result<()> {
    channel
        .send(&[&[LISTENER], &number.to_le_bytes()], None, true)
        .context("announce the seccomp listener")
}

/// Init's side: says why it gives up.
pub fn send_failure(channel: &Channel, error: &anyhow::Error) {
    let kind = error::kind(error).and_then(|kind| KINDS.iter().position(|known| *known == kind));
    let mut text = format!("{error:#}");
    text.truncate(text.floor_char_boundary(MESSAGE_MAX / 2));
    let hints = [error::hint(error), error::bundle_hint(error)].map(Option::unwrap_or_default);
    // If nobody listens any more, nobody is left to be told.
    let _ = channel.send(
        &[
            &[FAILED, kind.map_or(u8::MAX, |kind| kind as u8)],
            text.as_bytes(),
            b"\0",
            hints[0].as_bytes(),
            b"\0",
            hints[1].as_bytes(),
        ],
        None,
        true,
    );
}

/// The parent's side: waits until the program of `child` runs; the pseudo-terminal, if one was made, and warnings. Once
/// an agent answers for its calls this takes no longer than `patience`. After an error the child is to be killed: it may
/// wait for an agent that is not there. `hooks` runs those that init waits for.
pub fn await_start(
    channel: &Channel,
    child: &Child,
    agent: Option<&Agent>,
    hooks: &mut dyn FnMut() -> Result<()>,
    patience: Duration,
) -> Result<(Option<OwnedFd>, Vec<String>)> {
    let (mut terminal, mut warnings, mut until) = (None, Vec::new(), None);
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        if !channel.await_message(until)? {
            let message = "the program could not start: its seccomp agent does not answer";
            return Err(Error::new(Kind::CannotExecute, message).into());
        }
        match channel
            .receive(&mut buffer, true)
            .context("listen to init")?
        {
            Received::Closed | Received::Nothing => return Ok((terminal, warnings)),
            Received::Message(length, descriptor) => match (&buffer[..length], agent) {
                ([TERMINAL, ..], _) => terminal = descriptor,
                ([PREPARED], _) => {
                    hooks()?;
                    send_connected(channel)?;
                }
                ([CREATED], _) => return Ok((terminal, warnings)),
                ([WARNING, text @ ..], _) => {
                    warnings.push(String::from_utf8_lossy(text).into_owned());
                }
                ([LISTENER, number @ ..], Some(agent)) => {
                    agent.hand_over(child, parse_number(number)?, channel)?;
                    until = Some(Instant::now() + patience);
                }
                (message, _) => return Err(failure(&message[1..])),
            },
        }
    }
}

/// The parent's side of starting init in another user namespace: waits for what the joiner has made.
pub fn await_child(channel: &Channel) -> Result<Child> {
    let mut buffer = vec![0; MESSAGE_MAX];
    match channel
        .receive(&mut buffer, true)
        .context("listen to the joiner")?
    {
        Received::Message(length, descriptor) => match (&buffer[..length], descriptor) {
            ([CHILD, pid @ ..], Some(pidfd)) => Ok(Child {
                pid: parse_number(pid)?,
                pidfd,
            }),
            (message, _) => Err(failure(message.get(1..).unwrap_or_default())),
        },
        Received::Closed | Received::Nothing => bail!("starting the container was cut short"),
    }
}

/// The parent's side of joining: waits until both senders are done. The process may have failed or not come to be.
/// Those of the container see it, and may have stopped it: it is killed when it has not started within `patience`.
/// `prepare` does what only the parent can do for it, once it is there.
pub fn await_joined(
    channel: &Channel,
    patience: Duration,
    agent: Option<&Agent>,
    prepare: impl Fn(&Child) -> Result<()>,
) -> Result<Joined> {
    let mut joined = Joined::default();
    let mut listener = None;
    let mut until = None;
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        if joined.failure.is_none()
            && let (Some(child), Some(number), Some(agent)) = (&joined.child, listener, agent)
        {
            joined.failure = agent.hand_over(child, number, channel).err();
            (listener, until) = (None, Some(Instant::now() + patience));
        }
        if let (Some(child), Some(_)) = (&joined.child, &joined.failure) {
            // Not waited for, nor for the end of its messages: somebody inside may hold its end of the channel.
            let _ = child.kill(libc::SIGKILL);
            return Ok(joined);
        }
        if !channel.await_message(until)? {
            let message = "the program was held up inside the container before it could start";
            joined.failure = Some(Error::new(Kind::CannotExecute, message).into());
            continue;
        }
        match channel
            .receive(&mut buffer, true)
            .context("listen to the joiner")?
        {
            Received::Closed | Received::Nothing => return Ok(joined),
            Received::Message(length, descriptor) => match (&buffer[..length], descriptor) {
                ([CHILD, pid @ ..], Some(pidfd)) if joined.child.is_none() => {
                    let pid = parse_number(pid)?;
                    let child = Child { pid, pidfd };
                    // It may have failed before it is told of.
                    let earlier = joined.failure.take();
                    joined.failure = earlier.or_else(|| prepare(&child).err());
                    joined.child = Some(child);
                    until = Some(Instant::now() + patience);
                }
                ([TERMINAL, ..], descriptor) if joined.child.is_none() => {
                    joined.terminal = descriptor
                }
                ([WARNING, text @ ..], _) if joined.child.is_none() => {
                    (joined.warnings).push(String::from_utf8_lossy(text).into_owned());
                }
                ([LISTENER, number @ ..], _) if agent.is_some() => match parse_number(number) {
                    Ok(number) => listener = Some(number),
                    Err(error) => joined.failure = Some(error),
                },
                ([FAILED, text @ ..], _) => joined.failure = Some(failure(text)),
                _ => {}
            },
        }
    }
}

/// What came of joining a container.
#[derive(Debug, Default)]
pub struct Joined {
    /// The process, if it was made.
    pub child: Option<Child>,
    /// The controlling side of its pseudo-terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// What is otherwise than one would think.
    pub warnings: Vec<String>,
    /// Why its program does not run.
    pub failure: Option<anyhow::Error>,
}

fn parse_number(bytes: &[u8]) -> Result<i32> {
    Ok(i32::from_le_bytes(
        bytes.try_into().context("a number of odd length")?,
    ))
}

fn failure(message: &[u8]) -> anyhow::Error {
    let (kind, text) = message
        .split_first()
        .map_or((u8::MAX, message), |(kind, text)| (*kind, text));
    // It names what the container's files say; a terminal must not take that for orders.
    let text = String::from_utf8_lossy(text);
    let text = text.replace(
        |letter: char| letter.is_control() && letter != '\0',
        "\u{fffd}",
    );
    let mut parts = text.split('\0');
    let text = parts.next().unwrap_or_default();
    let mut hint = || parts.next().filter(|hint| !hint.is_empty());
    match KINDS.get(usize::from(kind)) {
        None => anyhow::anyhow!("{text}"),
        Some(kind) => {
            let mut error = Error::new(*kind, text);
            error.hint = hint().map(str::to_owned);
            error.bundle_hint = hint().map(str::to_owned);
            error.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_failure_keeps_its_kind_and_hint() {
        let (ours, theirs) = Channel::pair().unwrap();
        let child = crate::sys::process::clone3(0, || 0).unwrap();
        child.wait().unwrap();
        send_terminal(&theirs, theirs.as_fd()).unwrap();
        let error = Error::new(Kind::CommandNotFound, "no such").hint("look");
        let error = anyhow::Error::from(error.bundle_hint("see")).context("start");
        send_failure(&theirs, &error);
        let error = await_start(&ours, &child, None, &mut || Ok(()), PATIENCE).unwrap_err();
        assert_eq!(
            (
                error::kind(&error),
                error::hint(&error),
                error::bundle_hint(&error)
            ),
            (Some(Kind::CommandNotFound), Some("look"), Some("see"))
        );
        assert_eq!(error.to_string(), "start: no such");
        drop(theirs);
        assert!(
            await_start(&ours, &child, None, &mut || Ok(()), PATIENCE)
                .unwrap()
                .0
                .is_none()
        );
    }

    #[test]
    fn an_agent_that_does_not_answer_is_not_waited_for() {
        use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let mut policy = LinuxSeccomp::default();
        policy.set_default_action(LinuxSeccompAction::ScmpActNotify);
        policy.set_listener_path(Some(path));
        let identity = crate::runtime::seccomp::Identity::Mapped;
        let filter = crate::runtime::seccomp::compile(&policy, identity).unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let child = crate::sys::process::clone3(0, || {
            loop {
                std::thread::park();
            }
        });
        let child = child.unwrap();
        // Any descriptor of the child's will do.
        send_listener(&theirs, theirs.as_fd().as_raw_fd()).unwrap();
        let result = await_start(
            &ours,
            &child,
            filter.agent(),
            &mut || Ok(()),
            Duration::from_millis(1),
        );
        child.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        let error = result.unwrap_err();
        assert_eq!(error::kind(&error), Some(Kind::CannotExecute));
        let mut told = String::new();
        let (mut connection, _) = listener.accept().unwrap();
        std::io::Read::read_to_string(&mut connection, &mut told).unwrap();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told["pid"], child.pid);
        assert_eq!(told["fds"][0], "seccompFd");
    }

    #[test]
    fn a_process_that_cannot_be_handed_over_is_killed() {
        use crate::sys::process::clone3;
        // In a process of its own, so that no other test's has a copy of the closed end.
        let outer = clone3(0, || {
            let idle = || loop {
                std::thread::park();
            };
            let child = clone3(0, idle).unwrap();
            let (ours, theirs) = Channel::pair().unwrap();
            drop(ours);
            let sent = send_child(&theirs, &child);
            u8::from(sent.is_ok() || child.wait().unwrap().code() != 137)
        });
        assert_eq!(outer.unwrap().wait().unwrap().code(), 0);
    }

    #[test]
    fn a_failure_that_comes_before_its_process_counts() {
        let (ours, theirs) = Channel::pair().unwrap();
        let child = crate::sys::process::clone3(0, || 125).unwrap();
        send_failure(&theirs, &anyhow::anyhow!("no such program"));
        send_child(&theirs, &child).unwrap();
        drop(theirs);
        let joined = await_joined(&ours, PATIENCE, None, |_| Ok(())).unwrap();
        assert_eq!(joined.failure.unwrap().to_string(), "no such program");
        joined.child.unwrap().wait().unwrap();
    }

    #[test]
    fn who_is_held_up_is_not_waited_for() {
        let (ours, theirs) = Channel::pair().unwrap();
        let child = crate::sys::process::clone3(0, || {
            loop {
                std::thread::park();
            }
        });
        send_child(&theirs, &child.unwrap()).unwrap();
        drop(theirs);
        let joined = await_joined(&ours, Duration::from_millis(1), None, |_| Ok(())).unwrap();
        let failure = joined.failure.unwrap().to_string();
        assert!(failure.contains("held up"), "{failure}");
        let ended = joined.child.unwrap().wait().unwrap();
        assert_eq!(ended.code(), 137);
    }
}
