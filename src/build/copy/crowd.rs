//! A walk by several threads: whoever has nothing to do takes the directory that was found last, or more names of a
//! large one. What they find is put in its order at the end, so that it is the same however many there are.

use super::selection::{Entry, Kind};
use super::threads::together;
use super::walk::{Directory, Found, Inner, Kept, Walk};
use anyhow::Result;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// More threads than that wait for each other.
const MAX_THREADS: usize = 8;
/// With fewer directories beside each other one thread is done sooner.
const WORTH_THREADS: usize = 8;
/// A thread looks at so many names at once.
const NAMES: usize = 256;

/// What is to be done.
enum Part {
    /// To look into a directory.
    Inner(Inner),
    /// To look at some of the names in one.
    Names(Arc<Directory>, Range<usize>),
}

/// What came of a part.
#[derive(Default)]
struct Piece {
    kept: Vec<Kept>,
    warnings: Vec<String>,
    /// The parts that look into the directories of these have numbers from this one on.
    inner: usize,
    /// The part with the names after these.
    rest: Option<usize>,
}

/// Parts that wait for somebody.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// With their numbers.
    waiting: Vec<(usize, Part)>,
    /// So many have got numbers.
    count: usize,
    /// So many are being done.
    busy: usize,
    /// So many have nothing to do.
    idle: usize,
    has_failed: bool,
}

/// All that is in a directory and below it, and what the user should know.
pub fn look(walk: &Walk<'_>, root: Directory) -> Result<(Vec<Entry>, Vec<String>)> {
    let queue = Queue::default();
    let names = 0..root.names().count();
    queue.push([Part::Names(Arc::new(root), names)]);
    let mut done = queue.work(walk, WORTH_THREADS)?;
    if queue.state().count > done.len() {
        let others = together("walk", MAX_THREADS, || queue.work(walk, usize::MAX))?;
        done.extend(others.into_iter().flatten());
    }
    done.sort_unstable_by_key(|(number, _)| *number);
    let mut gathered = Gathered {
        entries: Vec::with_capacity(done.iter().map(|(_, piece)| piece.kept.len()).sum()),
        pieces: done.into_iter().map(|(_, piece)| piece).collect(),
        ..Gathered::default()
    };
    gathered.add(0);
    Ok((gathered.entries, gathered.warnings))
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets somebody do these; the number of the first.
    fn push(&self, parts: impl IntoIterator<Item = Part>) -> usize {
        let mut state = self.state();
        let first = state.count;
        for part in parts {
            let number = state.count;
            state.waiting.push((number, part));
            state.count += 1;
        }
        self.call(&state);
        first
    }

    fn call(&self, state: &State) {
        if state.idle > 0 {
            self.changed.notify_all();
        }
    }

    /// Does parts until none is left, or more than `most` wait.
    fn work(&self, walk: &Walk<'_>, most: usize) -> Result<Vec<(usize, Piece)>> {
        let mut done = Vec::new();
        while let Some((number, part)) = self.next(most) {
            let busy = Busy(self);
            let piece = self.part(walk, part);
            self.state().has_failed |= piece.is_err();
            drop(busy);
            done.push((number, piece?));
        }
        Ok(done)
    }

    fn next(&self, most: usize) -> Option<(usize, Part)> {
        let mut state = self.state();
        loop {
            if state.has_failed || state.waiting.len() > most {
                return None;
            }
            if let Some(part) = state.waiting.pop() {
                state.busy += 1;
                return Some(part);
            }
            if state.busy == 0 {
                return None;
            }
            state.idle += 1;
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn part(&self, walk: &Walk<'_>, part: Part) -> Result<Piece> {
        let (directory, mut names) = match part {
            Part::Names(directory, names) => (directory, names),
            Part::Inner(inner) => {
                let directory = walk.open(inner)?;
                let names = 0..directory.names().count();
                (Arc::new(directory), names)
            }
        };
        let mut rest = None;
        if names.len() > NAMES {
            let others = names.start + NAMES..names.end;
            names.end = others.start;
            rest = Some(self.push([Part::Names(Arc::clone(&directory), others)]));
        }
        let mut found = Found::default();
        found.kept.reserve(names.len());
        for number in names {
            walk.look(&directory, number, &mut found)?;
        }
        found.kept.shrink_to_fit();
        Ok(Piece {
            kept: found.kept,
            warnings: found.warnings,
            inner: self.push(found.inner.into_iter().map(Part::Inner)),
            rest,
        })
    }
}

/// Somebody is busy as long as this is there, also if he panics: the others do not wait for him for ever.
struct Busy<'a>(&'a Queue);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.busy -= 1;
        self.0.call(&state);
    }
}

/// Pieces in the order of their names.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Piece>,
    entries: Vec<Entry>,
    warnings: Vec<String>,
    /// Files with several names: file system and number → the first entry.
    linked: HashMap<(u64, u64), usize>,
}

impl Gathered {
    /// Adds the part of that number and what is below it.
    fn add(&mut self, number: usize) {
        let mut next = Some(number);
        while let Some(number) = next {
            let piece = std::mem::take(&mut self.pieces[number]);
            next = piece.rest;
            let mut inner = piece.inner;
            self.warnings.extend(piece.warnings);
            for mut kept in piece.kept {
                let own = self.entries.len();
                let is_directory = kept.entry.kind == Kind::Directory;
                if kept.has_links {
                    let first = *self.linked.entry(kept.entry.identity).or_insert(own);
                    if first != own {
                        kept.entry.kind = Kind::Same(first);
                        kept.entry.content = None;
                    }
                }
                self.entries.push(kept.entry);
                if is_directory {
                    self.add(inner);
                    inner += 1;
                }
                if kept.is_pending && self.entries.len() == own + 1 {
                    self.entries.pop();
                }
            }
        }
    }
}
