//! How slow a server may be: one that sends a byte now and then never says nothing for long, and would never come to an
//! end. Not here: how long it may say nothing, which is [`super::transport`]'s.
//!
//! Only the time in which a server is waited for counts, not what is done meanwhile with what it has sent.

use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

/// Fewer bytes a second than these, for as long as a [`SPAN`], are too few.
const SLOWEST: u64 = 1 << 10;
const SPAN: Duration = Duration::from_secs(60);
/// A document comes within that time, however long it is.
pub const DOCUMENT: Duration = Duration::from_secs(5 * 60);

/// What is read, as long as it comes fast enough.
pub struct Paced<R> {
    inner: R,
    pace: Pace,
}

impl<R: Read> Paced<R> {
    /// `most` is how long all of it may take; `None`: as long as it takes.
    pub fn new(inner: R, most: Option<Duration>) -> Self {
        let pace = Pace {
            most,
            ..Pace::default()
        };
        Self { inner, pace }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let got = self.inner.read(buffer)?;
        if got > 0 {
            self.pace.count(start.elapsed(), got as u64)?;
        }
        Ok(got)
    }
}

#[derive(Default)]
struct Pace {
    most: Option<Duration>,
    /// In all.
    waited: Duration,
    /// Since a span began.
    span: Duration,
    got: u64,
}

impl Pace {
    fn count(&mut self, waited: Duration, got: u64) -> io::Result<()> {
        self.waited += waited;
        self.span += waited;
        self.got += got;
        let slow = |why: String| Err(io::Error::new(ErrorKind::TimedOut, why));
        if let Some(most) = self.most.filter(|most| self.waited > *most) {
            return slow(format!("it has not come within {} seconds", most.as_secs()));
        }
        if self.span < SPAN {
            return Ok(());
        }
        let seconds = self.span.as_secs();
        if self.got < SLOWEST * seconds {
            return slow(format!(
                "it sends too slowly: {} bytes in {seconds} seconds",
                self.got
            ));
        }
        (self.span, self.got) = (Duration::ZERO, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reads after which it is given up: each waits for so long and gives so many bytes.
    fn reads(most: Option<u64>, wait: u64, got: u64) -> Option<(usize, String)> {
        let mut pace = Pace {
            most: most.map(Duration::from_secs),
            ..Pace::default()
        };
        (1..1000).find_map(|read| {
            let error = pace.count(Duration::from_secs(wait), got).err()?;
            Some((read, error.to_string()))
        })
    }

    #[test]
    fn what_drips_is_given_up() {
        let dripped = reads(None, 10, 1).unwrap();
        assert_eq!(
            dripped,
            (6, "it sends too slowly: 6 bytes in 60 seconds".to_owned())
        );
        assert_eq!(reads(None, 1, 1023).unwrap().0, 60);
        assert_eq!(reads(None, 1, 1024), None);
        assert_eq!(reads(None, 50, 50 << 10), None);
        assert_eq!(
            reads(Some(300), 1, 2048).unwrap(),
            (301, "it has not come within 300 seconds".to_owned())
        );
        // What is fast at first and drips then.
        let mut pace = Pace::default();
        pace.count(SPAN, 1 << 30).unwrap();
        assert!(pace.count(SPAN, 1).is_err());
    }

    #[test]
    fn what_is_read_is_what_is_there() {
        let mut text = String::new();
        Paced::new(&b"all of it"[..], Some(DOCUMENT))
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "all of it");
    }
}
