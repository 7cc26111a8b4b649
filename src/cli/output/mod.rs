//! The only place that prints: data to standard output, everything about the program itself to standard
//! error.
//!
//! - `table`, `inspect`: lists and inspected objects, in the forms of `--format`
//! - `template`: the language of those forms; `tabwriter`: the columns
//! - `progress`: what is under way · `build`: what a build does · `log`: what happens while a command goes on
//! - `size`: numbers as people write and read them
//!
//! A reader that goes away (`onggi ps | head -1`) is not an error: from then on data lines go nowhere, and
//! the command ends as if they had been read. No colours: there is nothing a colour would say here.

pub mod archive;
pub mod build;
pub mod inspect;
pub mod log;
pub mod log_file;
pub mod progress;
pub mod size;
pub mod table;
mod tabwriter;
pub mod template;

use crate::error;
use crate::sys::terminal::{INTERRUPT, NoEcho};
use anyhow::{Context, Result};
use log_file::{Format, LogFile};
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

/// Standard output and standard error of the command.
pub struct Output {
    data: Box<dyn Write>,
    notes: Box<dyn Write>,
    closed: bool,
    program: String,
    warnings: bool,
    log: Option<LogFile>,
    /// Those of hints, see [`Error`](error::Error).
    hint: fn(&anyhow::Error) -> Option<&str>,
    /// How steps are told, if they are.
    steps: Option<Format>,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::standard()
    }
}

impl Output {
    /// Those of the process.
    pub fn standard() -> Self {
        Self::new(io::stdout(), io::stderr())
    }

    /// Any two writers, as for tests.
    pub fn new(data: impl Write + 'static, notes: impl Write + 'static) -> Self {
        Self {
            data: Box::new(data),
            notes: Box::new(notes),
            closed: false,
            program: "onggi".to_owned(),
            warnings: true,
            log: None,
            hint: error::hint,
            steps: None,
        }
    }

    /// Puts another name before errors: that which the program was called by.
    pub fn set_program(&mut self, program: &str) {
        program.clone_into(&mut self.program);
    }

    /// Warnings are not wanted (`--log-level error`).
    pub fn suppress_warnings(&mut self) {
        self.warnings = false;
    }

    /// Errors and warnings go to a file too.
    pub fn log_to(&mut self, path: &Path, format: Format) -> Result<()> {
        self.log = Some(LogFile::open(path, format)?);
        Ok(())
    }

    /// Hints are for who has written a bundle's configuration.
    pub fn hint_of_bundles(&mut self) {
        self.hint = error::bundle_hint;
    }

    /// Steps are wanted too (`runtime --debug`).
    pub fn tell_steps(&mut self, format: Format) {
        self.steps = Some(format);
    }

    /// Data as it is.
    pub fn write(&mut self, data: &[u8]) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.data.write_all(data).and_then(|()| self.data.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            // There the store is not what is full.
            result => result
                .context("write to standard output")
                .map_err(|error| archive::explain(error, None)),
        }
    }

    /// Data that belongs to standard error: what a program in a container has written there.
    pub fn write_error(&mut self, data: &[u8]) -> Result<()> {
        match self.notes.write_all(data).and_then(|()| self.notes.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            result => result.context("write to standard error"),
        }
    }

    /// One line of data.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Standard output as something to write much to; the last of it by [`Write::flush`].
    pub fn stream(&mut self) -> impl Write {
        io::BufWriter::with_capacity(1 << 20, Data(self))
    }

    /// Whether the reader of the data has gone: an endless command (`logs -f`, `stats`) may end.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Something the user should know although the command goes on. Where there is a log it is told there alone: then
    /// standard error is the program's that is started.
    pub fn warn(&mut self, message: impl fmt::Display) {
        if let Some(log) = &mut self.log {
            log.add("warning", &one_line(&message.to_string()));
        } else if self.warnings {
            self.note(&format!(
                "{}: warning: {}\n",
                self.program,
                one_line(&message.to_string())
            ));
        }
    }

    /// What has been done, for who looks for a fault ([`Self::tell_steps`]): to the log, or to standard error without one.
    pub fn step(&mut self, message: impl fmt::Display) {
        let Some(format) = self.steps else { return };
        let message = one_line(&message.to_string());
        match &mut self.log {
            Some(log) => log.add("debug", &message),
            None => self.note(&format.line("debug", &message)),
        }
    }

    /// What happens meanwhile (`Unable to find image … locally`), to standard error.
    pub fn progress(&mut self, message: impl fmt::Display) {
        self.note(&format!("{}\n", one_line(&message.to_string())));
    }

    /// Help that nobody asked for, to standard error.
    pub fn usage(&mut self, text: &str) {
        self.note(text);
    }

    /// A command line that was not understood: what is wrong with it, and how it goes.
    pub fn misuse(&mut self, message: &str, usage: &str) {
        if let Some(log) = &mut self.log {
            log.add("error", &one_line(message));
        }
        self.note(&format!("{message}\n\n{usage}"));
    }

    /// A failure with all its context on one line, and what to try on another.
    pub fn error(&mut self, error: &anyhow::Error) {
        let message = one_line(&format!("{error:#}"));
        if let Some(log) = &mut self.log {
            log.add("error", &message);
        }
        let mut text = format!("{}: {message}\n", self.program);
        if let Some(hint) = (self.hint)(error) {
            let _ = writeln!(text, "try: {}", one_line(hint));
        }
        self.note(&text);
    }

    /// Whether data would go to a terminal.
    pub fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Asks on standard output and reads a line from standard input; only `y` and `Y` are a yes.
    pub fn confirm(&mut self, question: &str) -> Result<bool> {
        self.confirm_from(&mut io::stdin().lock(), question)
    }

    /// Asks whoever sits at the terminal for a line; `None` where standard input is none.
    pub fn ask(&mut self, question: &str) -> Result<Option<String>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        self.write(question.as_bytes())?;
        let mut answer = String::new();
        let got = io::stdin().read_line(&mut answer);
        got.context("read the answer from standard input")?;
        Ok(Some(answer.trim().to_owned()))
    }

    /// Likewise, without showing what is typed.
    pub fn ask_secret(&mut self, question: &str) -> Result<Option<String>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let _silent = NoEcho::enter(rustix::stdio::stdin())?;
        self.write(question.as_bytes())?;
        let mut input = io::stdin().lock();
        let line = input
            .fill_buf()
            .context("read the answer from standard input")?
            .to_vec();
        input.consume(line.len());
        if line.contains(&INTERRUPT) {
            return Err(error::bad_input("interrupted").into());
        }
        Ok(Some(
            String::from_utf8_lossy(&line)
                .trim_end_matches(['\n', '\r'])
                .to_owned(),
        ))
    }

    fn confirm_from(&mut self, input: &mut dyn BufRead, question: &str) -> Result<bool> {
        self.write(format!("{question} [y/N] ").as_bytes())?;
        let mut answer = String::new();
        input
            .read_line(&mut answer)
            .context("read the answer from standard input")?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    /// Standard error is the last resort: where it cannot be written to, nobody is left to tell.
    fn note(&mut self, text: &str) {
        let _ = self
            .notes
            .write_all(text.as_bytes())
            .and_then(|()| self.notes.flush());
    }
}

/// Standard output as something to write to.
struct Data<'a>(&'a mut Output);

impl Write for Data<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        match self.0.closed {
            // An archive that is cut off must not pass for a whole one.
            true => Err(io::ErrorKind::BrokenPipe.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `text` without anything that a terminal would act on: names, labels and messages may come from an image.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// [`visible`], with the lines of a message that has several joined by spaces.
fn one_line(text: &str) -> String {
    visible(
        &text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(crate) struct Capture(Rc<RefCell<Vec<u8>>>);

    impl Capture {
        /// An [`Output`] whose data and notes are kept here and there.
        pub(crate) fn output() -> (Output, Capture, Capture) {
            let (data, notes) = (Capture::default(), Capture::default());
            (Output::new(data.clone(), notes.clone()), data, notes)
        }

        /// What was written since the last call.
        pub(crate) fn take(&self) -> String {
            String::from_utf8(self.0.take()).unwrap()
        }
    }

    impl Write for Capture {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(data);
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_is_quiet_and_a_full_disk_is_not() {
        let mut output = Output::new(Failing(io::ErrorKind::BrokenPipe), io::sink());
        output.line("x").unwrap();
        assert!(output.is_closed());
        output.line("y").unwrap();
        let mut output = Output::new(Failing(io::ErrorKind::StorageFull), io::sink());
        assert!(
            output
                .line("x")
                .unwrap_err()
                .to_string()
                .contains("standard output")
        );
    }

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        let (mut output, data, notes) = Capture::output();
        let error = error::not_found("No such container: a\u{1b}[31m\nb").hint("onggi ps -a");
        output.error(&anyhow::Error::from(error).context("start"));
        assert_eq!(
            notes.take(),
            "onggi: start: No such container: a\\x1b[31m b\ntry: onggi ps -a\n"
        );
        output.warn("no swap");
        assert_eq!(
            (notes.take().as_str(), data.take().as_str()),
            ("onggi: warning: no swap\n", "")
        );
    }

    #[test]
    fn only_y_is_a_yes() {
        for (answer, yes) in [
            ("y\n", true),
            (" Y \n", true),
            ("yes\n", false),
            ("\n", false),
            ("", false),
        ] {
            let (mut output, data, _) = Capture::output();
            assert_eq!(
                output
                    .confirm_from(&mut answer.as_bytes(), "Sure?")
                    .unwrap(),
                yes,
                "{answer:?}"
            );
            assert_eq!(data.take(), "Sure? [y/N] ");
        }
    }
}
