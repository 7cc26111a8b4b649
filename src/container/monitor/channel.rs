//! What a monitor and its client say to each other. Every message is one datagram of a type and its content:
//!
//! ```text
//! client                                         monitor
//!    │◀──────────── Started ─────────────────────│  the program runs           or
//!    │◀──────────── Failed{exit code, text, hint} │  it could not be started
//!    │─ Terminal + descriptor ──────────────────▶│  to be restored if the client dies; InputTaken
//!    │─ Input{bytes}, InputEnd ─────────────────▶│  one at a time: the next only after InputTaken,
//!    │◀──────────── InputTaken ──────────────────│  so that signals never wait behind input
//!    │─ Signal{number}, Resize{rows, columns} ──▶│
//!    │─ OutputClosed{stream} ───────────────────▶│  nobody reads it any more
//!    │◀──────────── Output{stream, bytes} ───────│
//!    │◀──────────── Ended{exit code} ────────────│  and everything there was has been sent
//! ```

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

/// A message from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The caller's own terminal comes along, not yet in raw mode.
    Terminal,
    /// For standard input.
    Input(&'a [u8]),
    /// Standard input has ended.
    InputEnd,
    /// To be sent to the program.
    Signal(i32),
    /// New size of the terminal.
    Resize(u16, u16),
    /// The client cannot pass this stream on any more.
    OutputClosed(Stream),
}

/// A message from the monitor.
#[derive(Debug)]
pub enum Report<'a> {
    /// The program runs.
    Started,
    /// It does not, and never did.
    Failed(anyhow::Error),
    /// The last input has been passed on.
    InputTaken,
    /// From the program.
    Output(Stream, &'a [u8]),
    /// The program has ended with this code.
    Ended(u8),
}

impl Request<'_> {
    /// Sends it; waits for room.
    pub fn send(&self, channel: &Channel) -> Result<(), Errno> {
        match self {
            Self::Terminal => channel.send(&[b"T"], Some(rustix::stdio::stdin()), true),
            Self::Input(bytes) => channel.send(&[b"i", bytes], None, true),
            Self::InputEnd => channel.send(&[b"e"], None, true),
            Self::Signal(number) => channel.send(&[b"s", &number.to_le_bytes()], None, true),
            Self::Resize(rows, columns) => channel.send(
                &[b"r", &rows.to_le_bytes(), &columns.to_le_bytes()],
                None,
                true,
            ),
            Self::OutputClosed(stream) => channel.send(&[b"c", &[*stream as u8]], None, true),
        }
    }
}

/// Takes the next request apart; `None` when there is none now, an error when it makes no sense.
pub fn receive_request<'a>(channel: &Channel, buffer: &'a mut [u8]) -> Result<Next<Request<'a>>> {
    let (length, passed) = match channel
        .receive(buffer, false)
        .context("listen to the client")?
    {
        Received::Nothing => return Ok(Next::Nothing),
        Received::Closed => return Ok(Next::Closed),
        Received::Message(length, passed) => (length, passed),
    };
    let request = match &buffer[..length] {
        [b'T'] => Request::Terminal,
        [b'i', bytes @ ..] => Request::Input(bytes),
        [b'e'] => Request::InputEnd,
        [b's', number @ ..] => Request::Signal(i32::from_le_bytes(
            number.try_into().context("a signal of odd length")?,
        )),
        [b'r', a, b, c, d] => {
            Request::Resize(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))
        }
        [b'c', stream] => Request::OutputClosed(stream_of(*stream)?),
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

/// Sends a piece of output without waiting; `Errno::AGAIN` when there is no room.
pub fn send_output(channel: &Channel, stream: Stream, bytes: &[u8]) -> Result<(), Errno> {
    channel.send(&[b"o", &[stream as u8], bytes], None, false)
}

/// Sends that the program runs.
pub fn send_started(channel: &Channel) -> Result<(), Errno> {
    channel.send(&[b"S"], None, true)
}

/// Sends that input has been passed on.
pub fn send_input_taken(channel: &Channel) -> Result<(), Errno> {
    channel.send(&[b"t"], None, true)
}

/// Sends the end.
pub fn send_ended(channel: &Channel, code: u8) -> Result<(), Errno> {
    channel.send(&[b"E", &[code]], None, true)
}

/// Sends why the program does not run.
pub fn send_failed(channel: &Channel, error: &anyhow::Error) -> Result<(), Errno> {
    let mut text = format!("{error:#}");
    text.truncate(text.floor_char_boundary(CHUNK / 2));
    let hint = error::hint(error).unwrap_or_default();
    channel.send(
        &[
            b"F",
            &[error::exit_code(error, 125)],
            text.as_bytes(),
            b"\0",
            hint.as_bytes(),
        ],
        None,
        true,
    )
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
        [b'S'] => Report::Started,
        [b't'] => Report::InputTaken,
        [b'E', code] => Report::Ended(*code),
        [b'F', code, text @ ..] => Report::Failed(failure(*code, text)),
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
        send_failed(&monitor, &error.into()).unwrap();
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
