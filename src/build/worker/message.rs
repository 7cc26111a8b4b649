//! What goes over the channel between scheduler and worker: messages of any size in pieces, each with its kind in front.
//!
//! | kind | means |
//! |---|---|
//! | 0 part | more of the text follows |
//! | 1 text | the last part of it: an order, a greeting or an answer, as JSON |
//! | 2 descriptor | one of those that the next order speaks of; they come in their order |
//! | 3 output, 4 error | bytes that the program has written |
//!
//! Invariant: nothing comes between the parts of one text.

use super::mode::Mode;
use super::order::{Answer, Order};
use crate::sys::socket::{Channel, MESSAGE_MAX, Received};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::os::fd::{BorrowedFd, OwnedFd};

const PART: u8 = 0;
const TEXT: u8 = 1;
const DESCRIPTOR: u8 = 2;
const OUTPUT: u8 = 3;
const ERROR: u8 = 4;
/// The most of a text, or of output, that one message carries.
pub const PIECE: usize = MESSAGE_MAX - 1;

/// The first words of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub struct Greeting {
    /// Its number in the caller's pid namespace, which it shares.
    pub pid: i32,
    /// How it carries steps out.
    pub mode: Mode,
}

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
pub enum Told {
    /// It is there.
    Greeting(Greeting),
    /// What has become of an order.
    Answer(Answer),
}

/// What came.
pub enum Read<T> {
    /// This.
    Told(T),
    /// The other side is gone.
    Closed,
}

/// Sends an order with its descriptors.
pub fn send_order(channel: &Channel, order: &Order, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
    for descriptor in descriptors {
        channel.send(&[&[DESCRIPTOR]], Some(*descriptor), true)?;
    }
    send_text(channel, order)
}

/// Waits for an order and its descriptors.
pub fn receive_order(channel: &Channel) -> Result<Read<(Order, Vec<OwnedFd>)>> {
    let mut descriptors = Vec::new();
    Ok(match receive_text(channel, &mut descriptors, None)? {
        Some(order) => Read::Told((order, descriptors)),
        None => Read::Closed,
    })
}

/// Says something.
pub fn tell(channel: &Channel, told: &Told) -> Result<()> {
    send_text(channel, told)
}

/// Passes on what a program has written, at most [`PIECE`] bytes.
pub fn tell_output(channel: &Channel, is_error: bool, bytes: &[u8]) -> Result<()> {
    let kind = if is_error { ERROR } else { OUTPUT };
    Ok(channel.send(&[&[kind], bytes], None, true)?)
}

/// Waits for what a worker says.
pub fn receive(channel: &Channel) -> Result<Read<Told>> {
    let mut output = None;
    let told = receive_text(channel, &mut Vec::new(), Some(&mut output))?;
    Ok(match (output, told) {
        (Some(answer), _) => Read::Told(Told::Answer(answer)),
        (None, Some(told)) => Read::Told(told),
        (None, None) => Read::Closed,
    })
}

fn send_text(channel: &Channel, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(value)?;
    let mut pieces = text.chunks(PIECE).peekable();
    while let Some(piece) = pieces.next() {
        let kind = if pieces.peek().is_some() { PART } else { TEXT };
        channel.send(&[&[kind], piece], None, true)?;
    }
    Ok(())
}

/// A text; `None` when the other side is gone, or has sent output, for which there is a place then.
fn receive_text<T: DeserializeOwned>(
    channel: &Channel,
    descriptors: &mut Vec<OwnedFd>,
    output: Option<&mut Option<Answer>>,
) -> Result<Option<T>> {
    let mut text = Vec::new();
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let (length, descriptor) = match channel.receive(&mut buffer, true)? {
            Received::Message(length, descriptor) => (length, descriptor),
            Received::Nothing => continue,
            Received::Closed => return Ok(None),
        };
        let (kind, bytes) = (buffer[0], &buffer[1..length]);
        match (kind, &output) {
            (PART, _) => text.extend_from_slice(bytes),
            (TEXT, _) => {
                text.extend_from_slice(bytes);
                return Ok(Some(serde_json::from_slice(&text)?));
            }
            (DESCRIPTOR, None) => descriptors.push(descriptor.context("no descriptor came")?),
            (OUTPUT | ERROR, Some(_)) => {
                let error = kind == ERROR;
                let bytes = bytes.to_vec();
                if let Some(place) = output {
                    *place = Some(Answer::Output { error, bytes });
                }
                return Ok(None);
            }
            _ => bail!("a message of the kind {kind} came"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Layers;
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_is_longer_than_a_message_comes_whole() {
        let (one, other) = Channel::pair().unwrap();
        let path = "/x".repeat(MESSAGE_MAX);
        let order = Order::Directory {
            base: Layers::default(),
            path: path.clone(),
            owner: String::new(),
            epoch: 7,
        };
        let sender = std::thread::spawn(move || {
            send_order(&one, &order, &[one.as_fd(), one.as_fd()]).unwrap();
            tell_output(&one, true, b"bytes").unwrap();
            let failed = Answer::Failed {
                message: "m".repeat(2 * PIECE),
                hint: None,
            };
            tell(&one, &Told::Answer(failed)).unwrap();
        });
        let Read::Told((Order::Directory { path: read, .. }, descriptors)) =
            receive_order(&other).unwrap()
        else {
            panic!("no order came");
        };
        assert_eq!((read == path, descriptors.len()), (true, 2));
        let next = || receive(&other).unwrap();
        assert!(matches!(
            next(),
            Read::Told(Told::Answer(Answer::Output { error: true, bytes })) if bytes == b"bytes"
        ));
        assert!(matches!(
            next(),
            Read::Told(Told::Answer(Answer::Failed { message, .. })) if message.len() == 2 * PIECE
        ));
        sender.join().unwrap();
        drop(descriptors);
        assert!(matches!(next(), Read::Closed));
    }
}
