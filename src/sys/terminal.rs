//! Terminals: the raw mode of the caller's and the pseudo-terminal of a container (termios(3), pty(7)).

use anyhow::{Context, Result, bail};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr,
    tcsetwinsize,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A terminal and how it is set.
#[derive(Debug)]
pub struct Settings {
    terminal: OwnedFd,
    before: Termios,
}

impl Settings {
    /// Remembers how a terminal is set now.
    pub fn of(terminal: OwnedFd) -> Result<Self> {
        let before = tcgetattr(&terminal).context("read the terminal's settings")?;
        Ok(Self { terminal, before })
    }

    /// Sets it as it was.
    pub fn restore(&self) {
        // Nothing can be done, or said, about a terminal that is gone.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Raw mode, as long as it lives.
#[derive(Debug)]
pub struct RawMode(Settings);

impl RawMode {
    /// Puts a terminal into raw mode.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Self> {
        let settings = Settings::of(
            terminal
                .try_clone_to_owned()
                .context("duplicate the terminal")?,
        )?;
        let mut raw = settings.before.clone();
        raw.make_raw();
        tcsetattr(&settings.terminal, OptionalActions::Now, &raw)
            .context("put the terminal into raw mode")?;
        Ok(Self(settings))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Has what is printed to a pseudo-terminal come out as it is, lines without a carriage return (termios(3), ONLCR).
pub fn end_lines_without_return(controller: BorrowedFd<'_>) -> Result<()> {
    let mut settings = tcgetattr(controller).context("read the terminal's settings")?;
    settings.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(controller, OptionalActions::Now, &settings).context("set the terminal")
}

/// What Ctrl-C types.
pub const INTERRUPT: u8 = 3;

/// What is typed is not shown, as long as it lives.
#[derive(Debug)]
pub struct NoEcho(Settings);

impl NoEcho {
    /// Lets a terminal show nothing but the end of a line. Ctrl-C ends a line with its own byte (3), since a signal
    /// would leave the terminal as it is.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Self> {
        use rustix::termios::{LocalModes, SpecialCodeIndex};
        let terminal = terminal
            .try_clone_to_owned()
            .context("duplicate the terminal")?;
        let settings = Settings::of(terminal)?;
        let mut silent = settings.before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ECHONL);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(&settings.terminal, OptionalActions::Flush, &silent)
            .context("let the terminal show nothing")?;
        Ok(Self(settings))
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Rows and columns of a terminal.
pub fn size(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    let size = tcgetwinsize(terminal).ok()?;
    (size.ws_row != 0 || size.ws_col != 0).then_some((size.ws_row, size.ws_col))
}

/// Sets rows and columns; programs in the foreground get SIGWINCH.
pub fn set_size(terminal: BorrowedFd<'_>, (ws_row, ws_col): (u16, u16)) -> Result<()> {
    tcsetwinsize(
        terminal,
        Winsize {
            ws_row,
            ws_col,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .context("set the terminal's size")
}

/// Opens a new pseudo-terminal of the devpts instance that is mounted at `points`, as (controller, terminal).
///
/// A container may have put something else there by the time: what is not the kernel's is refused, and the other
/// side is taken from the controller itself, not looked up by its number.
pub fn open_pair(points: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd)> {
    use rustix::fs::{Mode, OFlags, fstat, fstatfs, major, minor, openat};
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    const PTMX: (u32, u32) = (5, 2);
    let is_devpts = |file: BorrowedFd<'_>| -> Result<bool> {
        Ok(fstatfs(file).context("fstatfs")?.f_type as u64 == DEVPTS_SUPER_MAGIC)
    };
    if !is_devpts(points)? {
        bail!("`/dev/pts` of the container is not a devpts file system");
    }
    let flags =
        OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let controller =
        openat(points, "ptmx", flags, Mode::empty()).context("open `/dev/pts/ptmx`")?;
    let device = fstat(&controller).context("fstat")?.st_rdev;
    if !is_devpts(controller.as_fd())? || (major(device), minor(device)) != PTMX {
        bail!("`/dev/pts/ptmx` of the container is covered by something else");
    }
    rustix::io::ioctl_fionbio(&controller, false).context("make the pseudo-terminal blocking")?;
    unlockpt(&controller).context("unlock the pseudo-terminal")?;
    let terminal = ioctl_tiocgptpeer(
        &controller,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .context("open the pseudo-terminal")?;
    Ok((controller, terminal))
}

/// Makes a terminal the controlling one of a new session (setsid(2), TIOCSCTTY).
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<()> {
    rustix::process::setsid().context("setsid")?;
    rustix::process::ioctl_tiocsctty(terminal.as_fd()).context("set the controlling terminal")
}
