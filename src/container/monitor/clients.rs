//! Those who are connected to a monitor: what each wants of the program, and what it was sent and has not taken
//! yet. Nothing here ever waits for one of them: a client that is stopped must not hold up the monitor.

use super::channel::{self, Next, Report, Request, Stream, Wants};
use crate::sys::socket::{Channel, Listener};
use crate::sys::terminal::Settings;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// More at a time would use the descriptors up that the monitor needs itself.
const MOST: usize = 256;

/// All clients of one monitor.
pub struct Clients {
    listener: Option<Listener>,
    connected: Vec<Client>,
}

struct Client {
    channel: Channel,
    wants: Wants,
    /// Messages for which there was no room, the oldest first.
    waiting: VecDeque<Vec<u8>>,
    /// Its terminal, to be restored if the client dies while that is raw.
    terminal: Option<Settings>,
    /// Its last input has not reached the program yet.
    awaits_input_taken: bool,
    /// Started the container: a stream that it does not read any more is closed for the program too.
    is_starter: bool,
    /// The program is stopped as long as it stays.
    holds: bool,
    /// It has ordered a restart and wants to hear of the start, too.
    awaits_start: bool,
    /// It has ordered a probe and wants to hear what that has found.
    awaits_probe: bool,
    /// It has heard of the end and gets nothing more.
    is_leaving: bool,
    is_gone: bool,
}

/// Who of those that are gone leaves something to be done.
#[derive(Clone, Copy, Default)]
pub struct Lost {
    /// One who was writing to the program.
    pub writer: bool,
    /// One for whom it was stopped.
    pub holder: bool,
}

impl Client {
    fn new(channel: Channel, is_starter: bool) -> Self {
        Self {
            channel,
            wants: Wants::default(),
            waiting: VecDeque::new(),
            terminal: None,
            awaits_input_taken: false,
            is_starter,
            holds: false,
            awaits_start: false,
            awaits_probe: false,
            is_leaving: false,
            is_gone: false,
        }
    }

    fn tell(&mut self, report: &Report<'_>) {
        if !self.waiting.is_empty() {
            return self.waiting.push_back(report.to_bytes());
        }
        match report.send(&self.channel) {
            Ok(true) => {}
            Ok(false) => self.waiting.push_back(report.to_bytes()),
            Err(_) => self.is_gone = true,
        }
    }

    fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            match self.channel.send(&[message], None, false) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
        self.is_gone |= self.is_leaving;
    }
}

impl Clients {
    /// Those who will come to `listener`, and the one who is there already.
    pub fn new(listener: Option<Listener>, first: Channel) -> Self {
        Self {
            listener,
            connected: vec![Client::new(first, true)],
        }
    }

    /// How many there are; they are numbered from 0.
    pub fn count(&self) -> usize {
        self.connected.len()
    }

    /// Whether somebody has not taken what the program printed. Until then no more of it is read, so that nothing
    /// is lost and nothing piles up.
    pub fn is_behind(&self) -> bool {
        let mut clients = self.connected.iter();
        clients.any(|client| !client.is_leaving && !client.waiting.is_empty())
    }

    /// Whether somebody reads that stream.
    pub fn wants(&self, stream: Stream) -> bool {
        let mut clients = self.connected.iter();
        clients.any(|client| wanted(&client.wants, stream))
    }

    /// Adds what poll(2) is to wait for.
    pub fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let listener = self.listener.iter().filter(|_| !self.is_crowded());
        fds.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        fds.extend(self.connected.iter().map(|client| {
            let room = match client.waiting.is_empty() {
                true => PollFlags::empty(),
                false => PollFlags::OUT,
            };
            PollFd::new(&client.channel, PollFlags::IN | room)
        }));
    }

    /// Lets those in who have come.
    pub fn accept(&mut self) {
        while !self.is_crowded()
            && let Some(channel) = self.listener.as_ref().and_then(Listener::accept)
        {
            self.connected.push(Client::new(channel, false));
        }
    }

    /// Whoever comes now waits at the door until somebody has left.
    fn is_crowded(&self) -> bool {
        self.connected.len() >= MOST
    }

    /// What a client asks for, if it asks for something now; one that has closed its end is marked.
    pub fn receive<'a>(
        &mut self,
        index: usize,
        buffer: &'a mut [u8],
    ) -> Option<(Request<'a>, Option<OwnedFd>)> {
        let client = &mut self.connected[index];
        match channel::receive_request(&client.channel, buffer) {
            Ok(Next::Nothing) => None,
            Ok(Next::Message(request, passed)) => Some((request, passed)),
            Ok(Next::Closed) | Err(_) => {
                client.is_gone = true;
                None
            }
        }
    }

    /// Notes which streams it wants.
    pub fn attach(&mut self, index: usize, wants: Wants) {
        self.connected[index].wants = wants;
    }

    /// Its terminal is restored should the client die; answered as input is.
    pub fn keep_terminal(&mut self, index: usize, terminal: Option<OwnedFd>) {
        let client = &mut self.connected[index];
        // What is no terminal needs no restoring.
        client.terminal = terminal.and_then(|terminal| Settings::of(terminal).ok());
        client.tell(&Report::InputTaken);
    }

    /// It has given input, and waits until that is taken.
    pub fn owe_input_taken(&mut self, index: usize) {
        self.connected[index].awaits_input_taken = true;
    }

    /// All input has reached the program, or nobody will ever read it.
    pub fn input_taken(&mut self) {
        for client in &mut self.connected {
            if std::mem::take(&mut client.awaits_input_taken) {
                client.tell(&Report::InputTaken);
            }
        }
    }

    /// It does not read that stream any more; `true` when the program is to feel that.
    pub fn output_closed(&mut self, index: usize, stream: Stream) -> bool {
        let client = &mut self.connected[index];
        match stream {
            Stream::Output => client.wants.output = false,
            Stream::Error => client.wants.error = false,
        }
        client.is_starter && !self.wants(stream)
    }

    /// It leaves of its own will.
    pub fn detach(&mut self, index: usize) {
        let client = &mut self.connected[index];
        // It restores its terminal itself, and the program's input stays open.
        client.terminal = None;
        client.wants = Wants::default();
        client.is_gone = true;
    }

    /// Passes a piece of output on to those who want it.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) {
        for client in &mut self.connected {
            if wanted(&client.wants, stream) {
                client.tell(&Report::Output(stream, bytes));
            }
        }
    }

    /// Tells one.
    pub fn tell(&mut self, index: usize, report: &Report<'_>) {
        self.connected[index].tell(report);
    }

    /// Tells all.
    pub fn tell_all(&mut self, report: &Report<'_>) {
        for client in &mut self.connected {
            client.tell(report);
        }
    }

    /// Whether the program is stopped until it goes.
    pub fn hold(&mut self, index: usize, holds: bool) {
        self.connected[index].holds = holds;
    }

    /// It hears of the next end and of the start that follows.
    pub fn await_start(&mut self, index: usize) {
        self.connected[index].awaits_start = true;
    }

    /// It hears of the next probe.
    pub fn await_probe(&mut self, index: usize) {
        self.connected[index].awaits_probe = true;
    }

    /// Tells those who wait for it whether the container is healthy.
    pub fn probed(&mut self, healthy: bool) {
        for client in &mut self.connected {
            if std::mem::take(&mut client.awaits_probe) {
                client.tell(&Report::Probed(healthy));
            }
        }
    }

    /// Tells all how it ended, which is the last they hear.
    pub fn dismiss(&mut self, report: &Report<'_>) {
        for client in self
            .connected
            .iter_mut()
            .filter(|client| !client.is_leaving)
        {
            client.tell(report);
            client.is_leaving = !std::mem::take(&mut client.awaits_start);
            client.wants = Wants::default();
        }
        self.flush();
    }

    /// Sends what was waiting and forgets those who are gone.
    pub fn flush(&mut self) -> Lost {
        let mut lost = Lost::default();
        self.connected.iter_mut().for_each(Client::flush);
        self.connected.retain(|client| {
            if client.is_gone && !client.is_leaving {
                lost.writer |= client.wants.input;
                lost.holder |= client.holds;
                client.terminal.iter().for_each(Settings::restore);
            }
            !client.is_gone
        });
        lost
    }

    /// Nobody new comes in.
    pub fn close_door(&mut self) {
        if let Some(listener) = self.listener.take() {
            // Those in the queue are told what all are told.
            while let Some(channel) = listener.accept() {
                self.connected.push(Client::new(channel, false));
            }
        }
    }

    /// Waits until all have taken what they were told, or are gone.
    pub fn see_off(mut self) {
        let mut buffer = [0; 64];
        // Also those who were promised a start that will not come, because a `stop` has overtaken their `restart`.
        for client in &mut self.connected {
            client.is_leaving = true;
        }
        loop {
            self.flush();
            if self.connected.is_empty() {
                return;
            }
            let mut fds = Vec::new();
            self.watch(&mut fds);
            if poll(&mut fds, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
                return;
            }
            for index in 0..self.count() {
                while self.receive(index, &mut buffer).is_some() {}
            }
        }
    }
}

fn wanted(wants: &Wants, stream: Stream) -> bool {
    match stream {
        Stream::Output => wants.output,
        Stream::Error => wants.error,
    }
}
