//! Orders to containers that run: kill, stop, pause, unpause, and waiting for the end. Their monitor carries them
//! out; what has no monitor any more is settled first.

use super::engine::Engine;
use super::event;
use super::health;
use super::list::Container;
use super::monitor::channel::{Order, Report, Request, receive_report};
use super::record::{Directory, Record};
use super::settle;
use crate::error::{Error, Kind, bad_input};
use crate::paths::MONITOR_SOCKET;
use crate::store::lock::Lock;
use crate::sys::process::signal_name;
use crate::sys::socket::{Channel, MESSAGE_MAX};
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a monitor may take to answer; it needs microseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// After this time it is worth knowing that a program will not end by the signal it was sent.
const REMARK: Duration = Duration::from_secs(1);
/// Docker's time between the signal that asks the program to end and SIGKILL, in seconds.
const STOP_TIMEOUT: i64 = 10;

/// A connection to the monitor of a container that is up or will be.
pub struct Contact {
    channel: Channel,
    id: String,
    buffer: Vec<u8>,
}

impl Contact {
    /// `None` when it has no monitor.
    fn new(engine: &Engine, id: &str) -> Result<Option<Self>> {
        Ok(connect(engine, id)?.map(|channel| Self {
            channel,
            id: id.to_owned(),
            buffer: vec![0; MESSAGE_MAX],
        }))
    }

    /// Gives an order and waits until it has been carried out; `false` when the program has ended before that.
    fn order(&mut self, order: Order) -> Result<bool> {
        // A monitor that ends just now is noticed by the answer that does not come.
        let _ = Request::Order(order).send(&self.channel);
        let until = Instant::now() + PATIENCE;
        loop {
            if !self.channel.await_message(Some(until))? {
                return Err(silent(&self.id).into());
            }
            match receive_report(&self.channel, &mut self.buffer)? {
                Some(Report::Done) => return Ok(true),
                Some(Report::Refused(error)) => return Err(error),
                None | Some(Report::Ended(_) | Report::Failed(_)) => return Ok(false),
                Some(_) => {}
            }
        }
    }

    /// Waits for the start that follows an end.
    fn await_start(&mut self) -> Result<()> {
        loop {
            match receive_report(&self.channel, &mut self.buffer)? {
                Some(Report::Started) => return Ok(()),
                Some(Report::Failed(error)) => return Err(error),
                // Another end instead: somebody else has stopped it meanwhile.
                None | Some(Report::Ended(_)) => return Err(not_running(&self.id).into()),
                Some(_) => {}
            }
        }
    }

    /// Waits for what the probe that was ordered has found.
    fn await_probe(&mut self) -> Result<bool> {
        loop {
            match receive_report(&self.channel, &mut self.buffer)? {
                Some(Report::Probed(healthy)) => return Ok(healthy),
                None | Some(Report::Ended(_) | Report::Failed(_)) => {
                    return Err(not_running(&self.id).into());
                }
                Some(_) => {}
            }
        }
    }

    /// Waits for the next end of the program. Its exit code, or `None` when that time has come first.
    pub fn await_end(&mut self, until: Option<Instant>) -> Result<Option<End>> {
        while self.channel.await_message(until)? {
            match receive_report(&self.channel, &mut self.buffer)? {
                Some(Report::Ended(code)) => return Ok(Some(End::Seen(code))),
                None | Some(Report::Failed(_)) => return Ok(Some(End::Unseen)),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Waits for the end of a program that was killed.
    fn await_death(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        if self.await_end(Some(until))?.is_some() {
            return Ok(());
        }
        let message = format!("container {} does not end, though it was killed", self.id);
        Err(Error::new(Kind::Conflict, message)
            .hint("a process that waits for a hanging disk or network file system cannot be killed")
            .into())
    }
}

/// What a [`Contact`] has heard of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The program has ended with this code.
    Seen(u8),
    /// The monitor has gone without a word, or the program could not be started again: the state tells.
    Unseen,
}

/// Connects to the monitor of a container; `None` when it has none.
pub fn connect(engine: &Engine, id: &str) -> Result<Option<Channel>> {
    let path = engine.paths.container(id);
    match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        directory => {
            let directory = directory.with_context(|| format!("open `{}`", path.display()))?;
            let connected = Channel::connect(directory.as_fd(), MONITOR_SOCKET);
            // More wait in front of it already than it lets wait.
            let is_silent = |error: &anyhow::Error| error.downcast_ref() == Some(&Errno::AGAIN);
            connected.map_err(|error| match is_silent(&error) {
                true => silent(id).into(),
                false => error,
            })
        }
    }
}

/// Docker's words for a container without a program.
pub fn not_running(id: &str) -> Error {
    Error::new(Kind::Conflict, format!("container {id} is not running"))
}

/// A monitor that was stopped is the one that does not answer.
pub(super) fn silent(id: &str) -> Error {
    let message = format!("the monitor of container {id} does not answer");
    Error::new(Kind::Conflict, message)
        .hint("if it was stopped by a signal, continue it; onggi rm -f ends it")
}

/// Writes down the end of a run that nobody has seen, if there is one.
fn settle_now(engine: &Engine, id: &str) -> Result<()> {
    let directory = Directory::of(engine, id);
    // Whoever holds the lock is just changing it, and will leave it settled.
    if let Some(_lock) = Lock::try_directory(directory.path())?
        && let Some(state) = directory.state()?
    {
        settle::settle(&directory, state)?;
    }
    Ok(())
}

/// Sends a signal to the program; waits for its end when that is SIGKILL.
pub fn kill(engine: &Engine, id: &str, signal: i32) -> Result<()> {
    let mut contact = command(engine, id, Order::Kill(signal))?;
    match signal {
        libc::SIGKILL => contact.await_death(),
        _ => Ok(()),
    }
}

/// Stops all its processes until [`unpause`].
pub fn pause(engine: &Engine, id: &str) -> Result<()> {
    command(engine, id, Order::Pause).map(drop)
}

/// Stops all its processes until the contact is dropped, by whatever end of this process.
pub fn hold(engine: &Engine, id: &str) -> Result<Contact> {
    let mut contact = Contact::new(engine, id)?.ok_or_else(|| not_running(id))?;
    contact.order(Order::Hold)?;
    Ok(contact)
}

/// Ends that, and returns when they go on.
pub fn release(mut held: Contact) {
    // Somebody may have let them go on already, or ended them.
    let _ = held.order(Order::Unpause);
}

/// Lets them go on.
pub fn unpause(engine: &Engine, id: &str) -> Result<()> {
    command(engine, id, Order::Unpause).map(drop)
}

/// Puts a container that runs into the networks that its record names, and out of others.
pub fn follow_networks(engine: &Engine, id: &str) -> Result<()> {
    command(engine, id, Order::Networks).map(drop)
}

/// Has the monitor of a container tell its networks the name that its record has now; one that has just ended has none.
pub fn rename_in_networks(engine: &Engine, id: &str) -> Result<()> {
    match give(engine, id, Order::Networks)? {
        Some(_) => Ok(()),
        None => settle_now(engine, id),
    }
}

/// Probes the health of a container that runs: whether it is healthy. Its streak and log count it.
pub fn probe(engine: &Engine, record: &Record) -> Result<bool> {
    if health::Check::of(record).is_none() {
        let message = format!("container {} has no defined healthcheck", record.id);
        return Err(bad_input(message)
            .hint("give it one when it is made: --health-cmd")
            .into());
    }
    command(engine, &record.id, Order::Probe)?.await_probe()
}

fn command(engine: &Engine, id: &str, order: Order) -> Result<Contact> {
    match give(engine, id, order)? {
        Some(contact) => Ok(contact),
        None => {
            settle_now(engine, id)?;
            Err(not_running(id).into())
        }
    }
}

/// Gives an order to the monitor of a container; `None` when it has none.
pub(super) fn give(engine: &Engine, id: &str, order: Order) -> Result<Option<Contact>> {
    let until = Instant::now() + PATIENCE;
    while let Some(mut contact) = Contact::new(engine, id)? {
        if contact.order(order)? {
            return Ok(Some(contact));
        }
        // The monitor was just telling all of an end. Unless that was the last, it listens again.
        if Instant::now() > until {
            return Err(silent(id).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

/// When a program that was asked to end is killed, which has that many seconds; negative: never.
pub(super) fn killed_at(begun: Instant, timeout: Option<i64>) -> Option<Instant> {
    begun.checked_add(patience(timeout)?)
}

/// How long a program has that was asked to end; `None`: for ever.
pub(super) fn patience(timeout: Option<i64>) -> Option<Duration> {
    let seconds = u64::try_from(timeout.unwrap_or(STOP_TIMEOUT)).ok()?;
    Some(Duration::from_secs(seconds))
}

/// A program that has been asked to end. Many can be asked before the first is waited for.
pub struct Stopping<'a> {
    engine: &'a Engine,
    container: Container,
    contact: Option<Contact>,
    again: bool,
    order: fn(i32) -> Order,
    signal: i32,
    begun: Instant,
    /// When it is killed; `None`: never.
    until: Option<Instant>,
}

impl<'a> Stopping<'a> {
    /// Asks it to end, by `signal` or by its own stop signal. It is killed after `timeout` seconds, or its own time;
    /// negative: never. With `again` it is started when it has ended.
    pub fn begin(
        engine: &'a Engine,
        container: Container,
        again: bool,
        signal: Option<i32>,
        timeout: Option<i64>,
    ) -> Result<Self> {
        let order = if again { Order::Restart } else { Order::Stop };
        let record = &container.record;
        let signal = signal.unwrap_or_else(|| settle::stop_signal(record));
        let begun = Instant::now();
        let until = killed_at(begun, timeout.or(record.options.stop_timeout));
        let contact = give(engine, &record.id, order(signal))?;
        if contact.is_none() {
            settle_now(engine, &record.id)?;
        }
        Ok(Self {
            engine,
            container,
            contact,
            again,
            order,
            signal,
            begun,
            until,
        })
    }

    /// Waits until it has ended, and has been started again if that was asked for. `remark` is told what the user
    /// could do better.
    pub fn finish(mut self, remark: &mut dyn FnMut(&str)) -> Result<()> {
        let Some(mut contact) = self.contact.take() else {
            return match self.again {
                true => super::start::start(self.engine, &self.container.record.id, None, remark)
                    .map(drop),
                false => Ok(()),
            };
        };
        self.await_end(&mut contact, remark)?;
        if self.again {
            contact.await_start()?;
        }
        let action = if self.again { "restart" } else { "stop" };
        event::container(self.engine, &self.container.record, action, &[]);
        Ok(())
    }

    fn await_end(&self, contact: &mut Contact, remark: &mut dyn FnMut(&str)) -> Result<()> {
        let soon = self.begun + REMARK;
        let is_later = self.until.is_none_or(|until| until > soon);
        if is_later {
            if contact.await_end(Some(soon))?.is_some() {
                return Ok(());
            }
            self.say_that_it_will_not_end(remark);
        }
        if contact.await_end(self.until)?.is_some() {
            return Ok(());
        }
        // It may end just now.
        let _ = contact.order((self.order)(libc::SIGKILL));
        contact.await_death()
    }

    fn say_that_it_will_not_end(&self, remark: &mut dyn FnMut(&str)) {
        let state = self.container.state.as_ref();
        let program = state.and_then(|state| state.program.as_ref());
        if program.is_some_and(|program| program.is_alive() && !settle::heeds(program, self.signal))
        {
            let name = signal_name(self.signal).unwrap_or("?");
            remark(&format!(
                "process 1 of {} ignores SIG{name}, so it ends only when it is killed: run it with --init, which passes the signal on",
                self.container.record.name
            ));
        }
    }
}

/// Waits for the next end of the program, or takes the last one when it does not run: the exit code.
pub fn wait(engine: &Engine, id: &str) -> Result<u8> {
    if let Some(mut contact) = Contact::new(engine, id)?
        && let Some(End::Seen(code)) = contact.await_end(None)?
    {
        return Ok(code);
    }
    // A container that goes when it ends has taken its code along.
    let state = Directory::of(engine, id).state()?;
    Ok(state.map_or(0, |state| state.code()))
}
