//! What happens to many descriptors (epoll(7)), and the table of things that it happens to.
//!
//! Invariant: a key is never given twice within 16 million, so an event that was on its way to something that is gone
//! meanwhile reaches nothing.

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{Timespec, epoll::Event};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How many events are taken at once.
const BATCH: usize = 64;

/// A place in a [`Table`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// Whom an event is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What kind of thing; below 128.
    pub kind: u8,
    /// Which of its two descriptors.
    pub side: usize,
    /// Which one.
    pub key: Key,
}

impl Token {
    /// For a thing with one descriptor.
    pub fn new(kind: u8, key: Key) -> Self {
        Self { kind, side: 0, key }
    }

    fn pack(self) -> EventData {
        EventData::new_u64(
            u64::from(self.kind) << 57
                | (self.side as u64 & 1) << 56
                | u64::from(self.key.generation) << 32
                | u64::from(self.key.index),
        )
    }

    fn unpack(data: EventData) -> Self {
        let data = data.u64();
        Self {
            kind: (data >> 57) as u8,
            side: (data >> 56 & 1) as usize,
            key: Key {
                index: data as u32,
                generation: (data >> 32 & 0xff_ffff) as u32,
            },
        }
    }
}

/// When a descriptor is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// As long as there is something to read.
    Level,
    /// When there is something more to read, or that was the end.
    Edge,
    /// The same, and when more can be written.
    EdgeBoth,
    /// Only its errors.
    Paused,
}

impl Watch {
    fn flags(self) -> EventFlags {
        match self {
            Self::Level => EventFlags::IN,
            Self::Edge => EventFlags::IN | EventFlags::PRI | EventFlags::RDHUP | EventFlags::ET,
            Self::EdgeBoth => Self::Edge.flags() | EventFlags::OUT,
            Self::Paused => EventFlags::empty(),
        }
    }
}

/// An epoll descriptor with a timer in it.
#[derive(Debug)]
pub struct Events {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// When the timer goes off.
    alarm: Option<Instant>,
}

/// The kind of the timer's own events; they are for nobody.
const TIMER: u8 = 127;

impl Events {
    /// One that watches nothing.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let events = Self {
            epoll,
            timer,
            alarm: None,
        };
        events.watch(
            events.timer.as_fd(),
            Token::new(TIMER, Key::default()),
            Watch::Level,
        )?;
        Ok(events)
    }

    /// Tells of a descriptor from now on, until it is closed.
    pub fn watch(
        &self,
        descriptor: BorrowedFd<'_>,
        token: Token,
        watch: Watch,
    ) -> Result<(), Errno> {
        epoll::add(&self.epoll, descriptor, token.pack(), watch.flags())
    }

    /// Tells of it in another way.
    pub fn change(
        &self,
        descriptor: BorrowedFd<'_>,
        token: Token,
        watch: Watch,
    ) -> Result<(), Errno> {
        epoll::modify(&self.epoll, descriptor, token.pack(), watch.flags())
    }

    /// Tells of it no more.
    pub fn forget(&self, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
        epoll::delete(&self.epoll, descriptor)
    }

    /// Waits until something has happened if `wait`; what it is, at most so much that nobody else starves.
    pub fn take(
        &mut self,
        wait: bool,
        happened: &mut Vec<(Token, EventFlags)>,
    ) -> Result<(), Errno> {
        happened.clear();
        let mut space = [MaybeUninit::<Event>::uninit(); BATCH];
        let timeout = (!wait).then(Timespec::default);
        let (events, _) = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            result => result?,
        };
        for event in events {
            let token = Token::unpack(event.data);
            match token.kind {
                TIMER => self.silence(),
                _ => happened.push((token, event.flags)),
            }
        }
        Ok(())
    }

    /// The timer has gone off.
    fn silence(&mut self) {
        let _ = rustix::io::read(&self.timer, &mut [0; 8]);
        self.alarm = None;
    }

    /// Becomes readable at that time, even if nothing else happens; never at `None`.
    pub fn set_alarm(&mut self, time: Option<Instant>) -> Result<(), Errno> {
        if self.alarm == time {
            return Ok(());
        }
        let left = time.map_or(Duration::ZERO, |time| {
            // Zero would be never.
            time.saturating_duration_since(Instant::now())
                .max(Duration::from_nanos(1))
        });
        let value = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).map_err(|_| Errno::INVAL)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value)?;
        self.alarm = time;
        Ok(())
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Things by key.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
    generation: u32,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            generation: 0,
        }
    }
}

impl<T> Table<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts one in.
    pub fn insert(&mut self, value: T) -> Key {
        self.generation = (self.generation + 1) & 0xff_ffff;
        let place = (self.generation, Some(value));
        let index = match self.free.pop() {
            Some(index) => {
                self.places[index as usize] = place;
                index
            }
            None => {
                self.places.push(place);
                (self.places.len() - 1) as u32
            }
        };
        Key {
            index,
            generation: self.generation,
        }
    }

    /// The one with that key, unless it is gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_ref(),
            _ => None,
        }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    /// Takes it out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let value = self.places[key.index as usize].1.take();
        self.free.push(key.index);
        if self.is_empty() {
            // After a rush the memory is given back.
            self.places.truncate(0);
            self.places.shrink_to(BATCH);
            self.free.truncate(0);
            self.free.shrink_to(BATCH);
        }
        value
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(index, (generation, value))| {
                let key = Key {
                    index: index as u32,
                    generation: *generation,
                };
                Some((key, value.as_ref()?))
            })
    }

    /// The keys of those that fulfil a condition.
    pub fn keys(&self, mut wanted: impl FnMut(&T) -> bool) -> Vec<Key> {
        self.iter()
            .filter(|(_, value)| wanted(value))
            .map(|(key, _)| key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_something_gone_reaches_nothing() {
        let mut table = Table::default();
        let first = table.insert('a');
        let second = table.insert('b');
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!(table.remove(first), None);
        let third = table.insert('c');
        assert_eq!((third.index, table.get(first)), (first.index, None));
        assert_eq!(
            (table.get(second), table.get(third)),
            (Some(&'b'), Some(&'c'))
        );
        table.remove(second);
        table.remove(third);
        assert!(table.is_empty());
        let fourth = table.insert('d');
        assert_eq!((table.get(first), table.get(fourth)), (None, Some(&'d')));
    }

    #[test]
    fn tokens_survive_the_kernel() {
        let mut events = Events::new().unwrap();
        let (read, write) = rustix::pipe::pipe().unwrap();
        let key = Key {
            index: u32::MAX,
            generation: 0xff_ffff,
        };
        let token = Token {
            kind: 126,
            side: 1,
            key,
        };
        events.watch(read.as_fd(), token, Watch::Level).unwrap();
        let mut happened = Vec::new();
        events.take(false, &mut happened).unwrap();
        assert!(happened.is_empty());
        rustix::io::write(&write, b"x").unwrap();
        events.take(true, &mut happened).unwrap();
        assert_eq!(happened, [(token, EventFlags::IN)]);
        events.change(read.as_fd(), token, Watch::Paused).unwrap();
        events.set_alarm(Some(Instant::now())).unwrap();
        events.take(true, &mut happened).unwrap();
        assert!(happened.is_empty());
    }
}
