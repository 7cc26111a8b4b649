//! The loop between the program's streams and the clients, until the program has ended and everything it wrote has
//! been passed on. It sleeps in poll(2) and wakes for nothing but data.

use super::channel::{CHUNK, Order, Report, Request, Stream};
use super::clients::Clients;
use crate::error::{Error, Kind};
use crate::runtime::process::parent::Started;
use crate::sys::memory;
use crate::sys::process::{Child, Ended};
use crate::sys::socket::MESSAGE_MAX;
use crate::sys::terminal;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What is read of one stream before the others have their turn, in pieces of [`CHUNK`].
const BURST: usize = 8;
/// What is read of one stream after the end: more than a pipe can hold, for a writer outside the container that
/// never stops must not keep us.
const REST: usize = 2 * 1024 * 1024 / CHUNK;

/// After this time without anything to do, memory is given back; nothing wakes us after that.
const QUIET: Duration = Duration::from_secs(3);

/// What a monitor does beside passing streams on.
pub trait Supervisor {
    /// Carries out an order; there is no program while it waits to be started again.
    fn obey(&mut self, order: Order, program: Option<&Child>) -> Result<()>;
    /// The program has printed this.
    fn output(&mut self, stream: Stream, bytes: &[u8]);
    /// Whether there is nothing to wait for any more before it is decided what comes next.
    fn is_decided(&self) -> bool;
    /// When it is to be woken; `None`: never.
    fn deadline(&self) -> Option<Instant> {
        None
    }
    /// Adds what else is to be waited for.
    fn watch<'a>(&'a self, _: &mut Vec<PollFd<'a>>) {}
    /// That time has come, or something has happened to what is waited for; there is no program while it waits to be
    /// started again.
    fn wake(&mut self, _: &mut Clients, _: Option<&Child>) {}
}

/// Our ends of the program's streams.
pub struct Pipes {
    /// Standard input, if it is kept open.
    pub input: Option<OwnedFd>,
    /// Standard output.
    pub output: Option<OwnedFd>,
    /// Standard error.
    pub error: Option<OwnedFd>,
}

/// A program that runs.
pub struct Program {
    child: Child,
    outputs: [(Stream, Option<OwnedFd>); 2],
    input: Option<OwnedFd>,
    waiting_input: Vec<u8>,
    input_ended: bool,
    /// Its input ends with that of the client who gives it (Docker's `StdinOnce`).
    input_once: bool,
    /// Whom it must not outlive, where no pid namespace sees to that.
    bound_to: Option<OwnedFd>,
}

impl Program {
    /// Of a program that was started with these streams, or with a terminal.
    pub fn new(started: Started, pipes: Pipes, input_once: bool) -> Result<Self> {
        let mut program = Self {
            child: started.child,
            outputs: [(Stream::Output, pipes.output), (Stream::Error, pipes.error)],
            input: pipes.input,
            waiting_input: Vec::new(),
            input_ended: false,
            input_once,
            bound_to: None,
        };
        if let Some(controller) = started.terminal {
            program.input = Some(controller.try_clone().context("duplicate the terminal")?);
            program.outputs[0].1 = Some(controller);
        }
        let sources = program
            .outputs
            .iter()
            .filter_map(|output| output.1.as_ref());
        for descriptor in sources.chain(&program.input) {
            rustix::io::ioctl_fionbio(descriptor, true).context("make a pipe non-blocking")?;
        }
        Ok(program)
    }

    /// Kills it when that process ends.
    pub fn bind_to(&mut self, process: OwnedFd) {
        self.bound_to = Some(process);
    }

    fn has_terminal(&self) -> bool {
        self.input.as_ref().is_some_and(rustix::termios::isatty)
    }

    /// A terminal is told of the end by its end-of-file key; a pipe is closed once what waits for it is written.
    fn end_input(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        match (self.has_terminal(), self.input_once) {
            (true, _) => self.waiting_input.push(END_OF_TRANSMISSION),
            (false, true) => self.input_ended = true,
            (false, false) => {}
        }
    }

    /// The program gets SIGPIPE when it writes there again, as from a local pipe.
    fn close_output(&mut self, stream: Stream) {
        self.outputs[stream as usize - 1].1 = None;
        if self.has_terminal() {
            // The last of our side: the program's terminal hangs up.
            self.input = None;
        }
    }

    fn resize(&self, size: (u16, u16)) {
        if let Some(terminal) = self.input.as_ref().filter(|_| self.has_terminal()) {
            // One that is just going has no size any more.
            let _ = terminal::set_size(terminal.as_fd(), size);
        }
    }
}

/// Why a [`Relay`] does not sleep any more.
#[derive(Default)]
struct Woken {
    /// The program has ended.
    has_ended: bool,
    /// The supervisor's time has come, or something has happened to what it waits for.
    supervisor_called: bool,
}

/// The clients, and the room to move data.
pub struct Relay {
    /// Who listens, and who is listened to.
    pub clients: Clients,
    buffer: Vec<u8>,
}

impl Relay {
    /// For these clients.
    pub fn new(clients: Clients) -> Self {
        Self {
            clients,
            buffer: vec![0; MESSAGE_MAX],
        }
    }

    /// Runs until the program has ended.
    pub fn serve(
        &mut self,
        program: &mut Program,
        supervisor: &mut dyn Supervisor,
    ) -> Result<Ended> {
        loop {
            let Woken {
                has_ended,
                supervisor_called,
            } = self.wait(Some(program), supervisor, None)?;
            self.take_requests(Some(program), supervisor);
            if supervisor_called && !has_ended {
                supervisor.wake(&mut self.clients, Some(&program.child));
            }
            self.pass_output(program, has_ended, supervisor);
            if has_ended {
                self.clients.input_taken();
                return program.child.wait().context("wait for the container");
            }
            self.pass_input(program);
            let lost = self.clients.flush();
            if lost.writer && !program.has_terminal() {
                program.end_input();
            }
            if lost.holder {
                // Somebody may have let it go on already.
                let _ = supervisor.obey(Order::Unpause, Some(&program.child));
            }
        }
    }

    /// Serves the clients while there is no program: until that time, or until a client has decided otherwise.
    pub fn rest(&mut self, until: Instant, supervisor: &mut dyn Supervisor) -> Result<()> {
        while Instant::now() < until && !supervisor.is_decided() {
            if self.wait(None, supervisor, Some(until))?.supervisor_called {
                supervisor.wake(&mut self.clients, None);
            }
            self.take_requests(None, supervisor);
            self.clients.input_taken();
            self.clients.flush();
        }
        Ok(())
    }

    /// Sleeps until something can be done.
    fn wait(
        &mut self,
        program: Option<&Program>,
        supervisor: &dyn Supervisor,
        until: Option<Instant>,
    ) -> Result<Woken> {
        let mut fds = Vec::with_capacity(8);
        if let Some(program) = program {
            fds.push(PollFd::new(&program.child.pidfd, PollFlags::IN));
            let bound_to = program.bound_to.iter();
            fds.extend(bound_to.map(|process| PollFd::new(process, PollFlags::IN)));
            let sources = program
                .outputs
                .iter()
                .filter_map(|output| output.1.as_ref());
            if !self.clients.is_behind() {
                fds.extend(sources.map(|source| PollFd::new(source, PollFlags::IN)));
            }
            let input = program
                .input
                .iter()
                .filter(|_| !program.waiting_input.is_empty());
            fds.extend(input.map(|input| PollFd::new(input, PollFlags::OUT)));
        }
        self.clients.watch(&mut fds);
        let others = fds.len();
        supervisor.watch(&mut fds);
        let deadline = supervisor.deadline();
        let until = until.into_iter().chain(deadline).min();
        let quiet = Instant::now() + QUIET;
        let mut ready = poll(
            &mut fds,
            left_until(until.into_iter().chain([quiet]).min()).as_ref(),
        );
        if ready == Ok(0) && until.is_none_or(|until| until > quiet) {
            // It may be quiet for days, and there may be hundreds of us.
            let left = left_until(until);
            self.buffer = Vec::new();
            ready = memory::sleep_lightly(|| poll(&mut fds, left.as_ref()));
            self.buffer.resize(MESSAGE_MAX, 0);
        }
        match ready {
            Err(Errno::INTR) => return Ok(Woken::default()),
            result => result.context("poll")?,
        };
        if let Some(program) = program
            && program.bound_to.is_some()
            && !fds[1].revents().is_empty()
        {
            // It may have ended as well.
            let _ = program.child.kill(libc::SIGKILL);
        }
        let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(Woken {
            has_ended: program.is_some() && happened(&fds[0]),
            supervisor_called: fds[others..].iter().any(happened)
                || deadline.is_some_and(|deadline| deadline <= Instant::now()),
        })
    }

    fn take_requests(
        &mut self,
        mut program: Option<&mut Program>,
        supervisor: &mut dyn Supervisor,
    ) {
        self.clients.accept();
        let mut buffer = std::mem::take(&mut self.buffer);
        for index in 0..self.clients.count() {
            while let Some((request, passed)) = self.clients.receive(index, &mut buffer) {
                match (request, &mut program) {
                    (Request::Terminal, _) => self.clients.keep_terminal(index, passed),
                    (Request::Detach, _) => self.clients.detach(index),
                    (Request::Order(order), program) => {
                        let child = program.as_ref().map(|program| &program.child);
                        let report = match supervisor.obey(order, child) {
                            Ok(()) => {
                                match order {
                                    Order::Restart(_) => self.clients.await_start(index),
                                    Order::Hold => self.clients.hold(index, true),
                                    Order::Unpause => self.clients.hold(index, false),
                                    Order::Probe => self.clients.await_probe(index),
                                    _ => {}
                                }
                                Report::Done
                            }
                            Err(error) => Report::Refused(error),
                        };
                        self.clients.tell(index, &report);
                    }
                    (Request::Input(_), None) => self.clients.owe_input_taken(index),
                    (Request::Attach(_), None) => {
                        let refusal =
                            "You cannot attach to a restarting container, wait until it is running";
                        let refusal = Error::new(Kind::Conflict, refusal);
                        self.clients.tell(index, &Report::Refused(refusal.into()));
                    }
                    (request, Some(program)) => self.take_request(index, request, program),
                    (_, None) => {}
                }
            }
        }
        self.buffer = buffer;
    }

    fn take_request(&mut self, index: usize, request: Request<'_>, program: &mut Program) {
        match request {
            Request::Attach(wants) => {
                self.clients.attach(index, wants);
                self.clients.tell(index, &Report::Started);
            }
            Request::Input(bytes) => {
                program.waiting_input.extend_from_slice(bytes);
                self.clients.owe_input_taken(index);
            }
            Request::InputEnd => program.end_input(),
            Request::Signal(number) => {
                // It may have ended just now.
                let _ = program.child.kill(number);
            }
            Request::Resize(rows, columns) => program.resize((rows, columns)),
            Request::OutputClosed(stream) => {
                if self.clients.output_closed(index, stream) {
                    program.close_output(stream);
                }
            }
            Request::Terminal | Request::Detach | Request::Order(_) => {}
        }
    }

    fn pass_input(&mut self, program: &mut Program) {
        while let Some(input) = &program.input
            && !program.waiting_input.is_empty()
        {
            match rustix::io::write(input, &program.waiting_input) {
                Ok(written) => drop(program.waiting_input.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // Nobody reads it: what comes is thrown away, as with a pipe whose reader is gone.
                Err(_) => program.input = None,
            }
        }
        program.waiting_input.clear();
        self.clients.input_taken();
        if program.input_ended {
            program.input = None;
        }
    }

    fn pass_output(
        &mut self,
        program: &mut Program,
        has_ended: bool,
        supervisor: &mut dyn Supervisor,
    ) {
        let most = if has_ended { REST } else { BURST };
        for (stream, source) in &mut program.outputs {
            for _ in 0..most {
                let Some(open) = source
                    .as_ref()
                    .filter(|_| has_ended || !self.clients.is_behind())
                else {
                    break;
                };
                match rustix::io::read(open, &mut self.buffer[..CHUNK]) {
                    Ok(length @ 1..) => {
                        let bytes = &self.buffer[..length];
                        supervisor.output(*stream, bytes);
                        self.clients.output(*stream, bytes);
                    }
                    // Whoever still holds the other end after the container's end will not be waited for.
                    Err(Errno::AGAIN) if !has_ended => break,
                    Err(Errno::INTR) => {}
                    // A terminal whose last user is gone answers EIO.
                    Ok(_) | Err(_) => *source = None,
                }
            }
        }
    }
}

/// As poll(2) wants it.
fn left_until(until: Option<Instant>) -> Option<Timespec> {
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // A wait that is too long for the kernel's clock is as good as one without end.
    left.and_then(|left| Timespec::try_from(left).ok())
}
