//! The bytes of a blob that goes to a registry, in one piece or in several, and from the start again where it must. Not
//! how it goes there: that is [`super::upload`]'s.

use super::transport::{Opener, lock};
use anyhow::Result;
use std::io::{self, Read};
use std::sync::Mutex;

/// The bytes of a blob. Pieces follow one another, so the place where one ended is where the next one begins.
pub(super) struct Content<'a, 'o> {
    open: &'a Opener<'o>,
    at: Mutex<Option<(Box<dyn Read + Send + 'o>, u64)>>,
}

impl<'a, 'o> Content<'a, 'o> {
    /// Nothing is read yet.
    pub(super) fn new(open: &'a Opener<'o>) -> Self {
        Self {
            open,
            at: Mutex::new(None),
        }
    }

    /// The bytes from one on; `tell` is told how many of all have gone.
    pub(super) fn from<'b>(
        &'b self,
        offset: u64,
        tell: &'b (dyn Fn(u64) + Sync),
    ) -> Result<Box<dyn Read + Send + 'b>> {
        let mut at = lock(&self.at);
        if at.as_ref().is_none_or(|(_, position)| *position != offset) {
            let mut reader = (self.open)()?;
            let skipped = io::copy(&mut reader.by_ref().take(offset), &mut io::sink())?;
            if skipped < offset {
                anyhow::bail!("it has {skipped} bytes only");
            }
            *at = Some((reader, offset));
        }
        Ok(Box::new(Passage {
            content: self,
            tell,
        }))
    }
}

/// A part of a blob being read.
struct Passage<'a, 'o, 'b> {
    content: &'b Content<'a, 'o>,
    tell: &'b (dyn Fn(u64) + Sync),
}

impl Read for Passage<'_, '_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut at = lock(&self.content.at);
        let Some((reader, position)) = at.as_mut() else {
            return Ok(0);
        };
        let got = reader.read(buffer)?;
        *position += got as u64;
        (self.tell)(*position);
        Ok(got)
    }
}
