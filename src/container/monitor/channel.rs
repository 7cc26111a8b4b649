//! What a monitor and its clients say to each other. Every message is one datagram of a type and its content:
//!
//! ```text
//! client                                         monitor
//!    │─ Attach{input, output, error} ───────────▶│  what it wants of the program
//!    │◀──────────── Warning{text} ───────────────│  something will be otherwise than asked for
//!    │◀──────────── Started ─────────────────────│  the program runs           or
//!    │◀──────────── Failed{exit code, text, hint} │  it could not be started
//!    │─ Terminal + descriptor ──────────────────▶│  to be restored if the client dies; InputTaken
//!    │─ Input{bytes}, InputEnd ─────────────────▶│  one at a time: the next only after InputTaken,
//!    │◀──────────── InputTaken ──────────────────│  so that signals never wait behind input
//!    │─ Signal{number}, Resize{rows, columns} ──▶│
//!    │─ OutputClosed{stream} ───────────────────▶│  nobody reads it any more
//!    │◀──────────── Output{stream, bytes} ───────│
//!    │─ Detach ─────────────────────────────────▶│  it leaves, and the program's input stays open
//!    │─ Order{kill, stop, restart, pause, …} ───▶│
//!    │◀──────────── Done, Refused{…} ────────────│
//!    │◀──────────── Ended{exit code} ────────────│  and everything there was has been sent
//! ```
//!
//! Whoever has connected hears of the next end of the program, attached or not: that is how others wait for it.

use crate::error::{self, Error, Kind};
use crate::sys::socket::{Channel, MESSAGE_MAX, Received};
use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// `argv[0]` of a monitor.
pub const MONITOR_NAME: &str = "onggi-monitor";
/// The number of the channel's descriptor in a monitor.
pub const MONITOR_CHANNEL: i32 = 3;
/// The number of the container's lock in a monitor.
pub const MONITOR_LOCK: i32 = 4;
/// From this number on: the lock of those who take turns with starting, in a monitor of a container that
/// [takes turns](crate::container::mount_point::takes_turns), then sockets for the program.
pub const MONITOR_MORE: i32 = 5;
/// The most that one message carries beside its type, in bytes.
pub const CHUNK: usize = MESSAGE_MAX - 16;

/// One of the program's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or the terminal.
    Output = 1,
    /// Standard error.
    Error = 2,
}

/// Which of the program's streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// To write to its standard input.
    pub input: bool,
    /// To read its standard output.
    pub output: bool,
    /// To read its standard error.
    pub error: bool,
}

/// What a monitor does with its container when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Sends the program a signal.
    Kill(i32),
    /// Sends the program a signal by which it is to end, and does not start it again.
    Stop(i32),
    /// Sends the program a signal by which it is to end, and starts it again when it has.
    Restart(i32),
    /// Stops all processes until they are continued.
    Pause,
    /// Stops them as long as this client stays.
    Hold,
    /// Continues them.
    Unpause,
    /// Probes the health of the container now.
    Probe,
    /// Puts the container into the networks that its record names, and out of others.
    Networks,
}

/// A message from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The client wants these streams.
    Attach(Wants),
    /// The caller's own terminal comes along, not yet in raw mode.
    Terminal,
    /// For standard input.
    Input(&'a [u8]),
    /// Standard input has ended.
    InputEnd,
    /// To be sent to the program, which may have ended.
    Signal(i32),
    /// New size of the terminal.
    Resize(u16, u16),
    /// The client cannot pass this stream on any more.
    OutputClosed(Stream),
    /// The client leaves and the program goes on as if it had not.
    Detach,
    /// To be done, and answered.
    Order(Order),
}

/// A message from the monitor.
#[derive(Debug)]
pub enum Report<'a> {
    /// Something is otherwise than was asked for.
    Warning(String),
    /// The program runs.
    Started,
    /// It does not, and never did.
    Failed(anyhow::Error),
    /// The last input has been passed on.
    InputTaken,
    /// From the program.
    Output(Stream, &'a [u8]),
    /// The order has been carried out.
    Done,
    /// It has not, or there is nothing to attach to.
    Refused(anyhow::Error),
    /// The probe that was ordered has found it healthy, or not.
    Probed(bool),
    /// The program has ended with this code.
    Ended(u8),
}

impl Request<'_> {
    /// Sends it; waits for room.
    pub fn send(&self, channel: &Channel) -> Result<(), Errno> {
        let number =
            |letter: &[u8], number: i32| channel.send(&[letter, &number.to_le_bytes()], None, true);
        match self {
            Self::Attach(wants) => {
                let wants = [wants.input, wants.output, wants.error].map(u8::from);
                channel.send(&[b"a", &wants], None, true)
            }
            Self::Terminal => channel.send(&[b"T"], Some(rustix::stdio::stdin()), true),
            Self::Input(bytes) => channel.send(&[b"i", bytes], None, true),
            Self::InputEnd => channel.send(&[b"e"], None, true),
            Self::Signal(signal) => number(b"s", *signal),
            Self::Resize(rows, columns) => channel.send(
                &[b"r", &rows.to_le_bytes(), &columns.to_le_bytes()],
                None,
                true,
            ),
            Self::OutputClosed(stream) => channel.send(&[b"c", &[*stream as u8]], None, true),
            Self::Detach => channel.send(&[b"d"], None, true),
            Self::Order(Order::Kill(signal)) => number(b"k", *signal),
            Self::Order(Order::Stop(signal)) => number(b"q", *signal),
            Self::Order(Order::Restart(signal)) => number(b"b", *signal),
            Self::Order(Order::Pause) => channel.send(&[b"p"], None, true),
            Self::Order(Order::Hold) => channel.send(&[b"w"], None, true),
            Self::Order(Order::Unpause) => channel.send(&[b"u"], None, true),
            Self::Order(Order::Probe) => channel.send(&[b"h"], None, true),
            Self::Order(Order::Networks) => channel.send(&[b"n"], None, true),
        }
    }
}

/// Takes the next request apart; an error when it makes no sense.
pub fn receive_request<'a>(channel: &Channel, buffer: &'a mut [u8]) -> Result<Next<Request<'a>>> {
    let (length, passed) = match channel
        .receive(buffer, false)
        .context("listen to the client")?
    {
        Received::Nothing => return Ok(Next::Nothing),
        Received::Closed => return Ok(Next::Closed),
        Received::Message(length, passed) => (length, passed),
    };
    let number = |bytes: &[u8]| -> Result<i32> {
        let bytes = bytes.try_into().context("a signal of odd length")?;
        Ok(i32::from_le_bytes(bytes))
    };
    let request = match &buffer[..length] {
        [b'a', input, output, error] => {
            let [input, output, error] = [input, output, error].map(|wanted| *wanted != 0);
            Request::Attach(Wants {
                input,
                output,
                error,
            })
        }
        [b'T'] => Request::Terminal,
        [b'i', bytes @ ..] => Request::Input(bytes),
        [b'e'] => Request::InputEnd,
        [b's', signal @ ..] => Request::Signal(number(signal)?),
        [b'r', a, b, c, d] => {
            Request::Resize(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))
        }
        [b'c', stream] => Request::OutputClosed(stream_of(*stream)?),
        [b'd'] => Request::Detach,
        [b'k', signal @ ..] => Request::Order(Order::Kill(number(signal)?)),
        [b'q', signal @ ..] => Request::Order(Order::Stop(number(signal)?)),
        [b'b', signal @ ..] => Request::Order(Order::Restart(number(signal)?)),
        [b'p'] => Request::Order(Order::Pause),
        [b'w'] => Request::Order(Order::Hold),
        [b'u'] => Request::Order(Order::Unpause),
        [b'h'] => Request::Order(Order::Probe),
        [b'n'] => Request::Order(Order::Networks),
        _ => bail!("an unknown message from the client"),
    };
    Ok(Next::Message(request, passed))
}

/// What a non-blocking receive has to say.
#[derive(Debug)]
pub enum Next<T> {
    /// Nothing now.
    Nothing,
    /// The other side is gone.
    Closed,
    /// A message and the descriptor that came with it.
    Message(T, Option<OwnedFd>),
}

impl Report<'_> {
    /// Sends it without waiting; `false` when there is no room now.
    pub fn send(&self, channel: &Channel) -> Result<bool, Errno> {
        let sent = self.encode(|parts| channel.send(parts, None, false));
        match sent {
            Err(Errno::AGAIN) => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// As one message, to be sent later.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode(|parts| parts.concat())
    }

    fn encode<R>(&self, then: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self {
            Self::Warning(text) => {
                let end = text.floor_char_boundary(CHUNK);
                then(&[b"W", &text.as_bytes()[..end]])
            }
            Self::Started => then(&[b"S"]),
            Self::InputTaken => then(&[b"t"]),
            Self::Output(stream, bytes) => then(&[b"o", &[*stream as u8], bytes]),
            Self::Done => then(&[b"D"]),
            Self::Probed(healthy) => then(&[b"H", &[u8::from(*healthy)]]),
            Self::Ended(code) => then(&[b"E", &[*code]]),
            Self::Failed(error) => with_error(b"F", error, then),
            Self::Refused(error) => with_error(b"R", error, then),
        }
    }
}

fn with_error<R>(letter: &[u8], error: &anyhow::Error, then: impl FnOnce(&[&[u8]]) -> R) -> R {
    let mut text = format!("{error:#}");
    text.truncate(text.floor_char_boundary(CHUNK / 2));
    let hint = error::hint(error).unwrap_or_default();
    let code = [error::exit_code(error, 125)];
    then(&[letter, &code, text.as_bytes(), b"\0", hint.as_bytes()])
}

/// Waits for the next report; `None` when the monitor is gone.
pub fn receive_report<'a>(channel: &Channel, buffer: &'a mut [u8]) -> Result<Option<Report<'a>>> {
    let length = match channel
        .receive(buffer, true)
        .context("listen to the monitor")?
    {
        Received::Nothing | Received::Closed => return Ok(None),
        Received::Message(length, _) => length,
    };
    Ok(Some(match &buffer[..length] {
        [b'o', stream, bytes @ ..] => Report::Output(stream_of(*stream)?, bytes),
        [b'W', text @ ..] => Report::Warning(String::from_utf8_lossy(text).into_owned()),
        [b'S'] => Report::Started,
        [b't'] => Report::InputTaken,
        [b'D'] => Report::Done,
        [b'H', healthy] => Report::Probed(*healthy != 0),
        [b'E', code] => Report::Ended(*code),
        [b'F', code, text @ ..] => Report::Failed(failure(*code, text)),
        [b'R', code, text @ ..] => Report::Refused(failure(*code, text)),
        _ => bail!("an unknown message from the monitor"),
    }))
}

fn stream_of(number: u8) -> Result<Stream> {
    match number {
        1 => Ok(Stream::Output),
        2 => Ok(Stream::Error),
        _ => bail!("stream {number} does not exist"),
    }
}

fn failure(code: u8, text: &[u8]) -> anyhow::Error {
    let text = String::from_utf8_lossy(text);
    let (text, hint) = text.split_once('\0').unwrap_or((&text, ""));
    let kind = match code {
        126 => Kind::CannotExecute,
        127 => Kind::CommandNotFound,
        _ => Kind::BadInput,
    };
    let error = Error::new(kind, text);
    if hint.is_empty() {
        error.into()
    } else {
        error.hint(hint).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_arrive_as_they_were_sent() {
        let (client, monitor) = Channel::pair().unwrap();
        let requests = [
            Request::Input(b"abc"),
            Request::InputEnd,
            Request::Signal(15),
            Request::Resize(24, 80),
            Request::OutputClosed(Stream::Error),
            Request::Attach(Wants {
                input: true,
                output: false,
                error: true,
            }),
            Request::Detach,
            Request::Order(Order::Kill(9)),
            Request::Order(Order::Stop(37)),
            Request::Order(Order::Restart(1)),
            Request::Order(Order::Pause),
            Request::Order(Order::Hold),
            Request::Order(Order::Unpause),
            Request::Order(Order::Probe),
        ];
        let mut buffer = vec![0; MESSAGE_MAX];
        for request in requests {
            request.send(&client).unwrap();
            match receive_request(&monitor, &mut buffer).unwrap() {
                Next::Message(found, _) => assert_eq!(found, request),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            receive_request(&monitor, &mut buffer).unwrap(),
            Next::Nothing
        ));
        drop(client);
        assert!(matches!(
            receive_request(&monitor, &mut buffer).unwrap(),
            Next::Closed
        ));
    }

    #[test]
    fn a_failure_keeps_its_exit_code() {
        let (client, monitor) = Channel::pair().unwrap();
        let error = Error::new(Kind::CommandNotFound, "nothing there").hint("look");
        Report::Failed(error.into()).send(&monitor).unwrap();
        let mut buffer = vec![0; MESSAGE_MAX];
        let Some(Report::Failed(error)) = receive_report(&client, &mut buffer).unwrap() else {
            panic!()
        };
        assert_eq!(
            (error::exit_code(&error, 125), error::hint(&error)),
            (127, Some("look"))
        );
    }
}
