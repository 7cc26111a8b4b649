//! systemd as the manager of control groups: a transient scope for processes that run already, over D-Bus
//! (org.freedesktop.systemd1(5), systemd.scope(5)).
//!
//! It is not a D-Bus library: it knows the few messages below, waits for each, and has no thread, since it stands in
//! the way of every start and in a monitor that stays small. systemd's private socket needs no bus and no handshake
//! with one; where it does not open, the bus is asked.
//!
//! ```text
//! we → systemd   StartTransientUnit(onggi-ID.scope, "fail", PIDs, Delegate, …)
//! we ← systemd   the path of a job
//! we ← systemd   JobRemoved(…, that path, …, "done"): the processes are in the scope's control group
//! ```

mod address;
mod connection;
mod limits;
mod message;
mod property;
pub mod session;
mod slice;
#[cfg(test)]
mod tests;
mod wire;

use crate::error::{Error, Kind as Failure, bad_input};
use anyhow::{Context, Result, ensure};
use connection::{Connection, PATIENCE, Refusal};
pub use limits::{others, properties};
use message::{Call, Kind, Message};
pub use property::Property;
use slice::check_slice;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wire::Writer;

const BUS: &str = "org.freedesktop.DBus";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
/// How long a scope whose processes have ended may take to vanish: systemd needs one turn of its loop.
const VANISHING: Duration = Duration::from_secs(2);

/// A connection to a service manager.
#[derive(Debug)]
pub struct Manager {
    connection: Connection,
    /// `None` for the system's.
    user: Option<u32>,
}

/// What a transient scope is to be.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The unit's name with `.scope` at its end.
    pub name: &'a str,
    /// One line for people, which `systemctl status` shows beside the name.
    pub description: &'a str,
    /// The slice it lies in; `None` for the manager's usual one (`system.slice`, or a user's `app.slice`).
    pub slice: Option<&'a str>,
    /// How long its processes have from SIGTERM to SIGKILL when the scope is stopped, as when the machine goes down;
    /// `None`: for ever.
    pub patience: Option<Duration>,
    /// What it is to be besides; these win.
    pub properties: &'a [Property],
}

impl Manager {
    /// The system's manager (`None`), or that of the user with this uid outside of any user namespace.
    ///
    /// `Ok(None)`: there is no systemd here, or it does not listen; [`Self::absent`] says so in words.
    pub fn connect(user: Option<u32>) -> Result<Option<Self>> {
        Self::connect_within(user, PATIENCE)
    }

    /// The same for who has less time: an answer may take that long.
    pub fn connect_within(user: Option<u32>, patience: Duration) -> Result<Option<Self>> {
        if !is_booted() {
            return Ok(None);
        }
        // Without a uid to be known by, we are whom our own user namespace says.
        let identity = user.unwrap_or_else(|| rustix::process::geteuid().as_raw());
        let mut failure = None;
        for address in address::candidates(user) {
            let found = Connection::open(&address, identity, patience).and_then(|connection| {
                match connection {
                    Some(connection) if address.bus => through_bus(connection),
                    connection => Ok(connection),
                }
            });
            match found {
                Ok(Some(connection)) => return Ok(Some(Self { connection, user })),
                Ok(None) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Why [`Self::connect`] has found nobody, and what to do about it.
    pub fn absent(user: Option<u32>) -> Error {
        match user {
            _ if !is_booted() => {
                let message = format!(
                    "there is no systemd here: `{}` does not exist",
                    address::BOOTED
                );
                Error::new(Failure::NotFound, message)
                    .hint("leave --cgroup-manager out, or say cgroupfs")
                    .bundle_hint("leave --systemd-cgroup out")
            }
            None => Error::new(
                Failure::NotFound,
                "systemd does not listen for us at any socket",
            ),
            Some(uid) => Error::new(
                Failure::NotFound,
                format!("no systemd runs for the user {uid}"),
            )
            .hint(linger(uid)),
        }
    }

    /// Starts a transient scope around processes, of which there is at least one, and waits until they are in it.
    ///
    /// Its control group is delegated: whoever this manager is for may make others in it, but should move the
    /// processes into one before it hands controllers on (cgroups(7), "no internal processes"). The scope goes by
    /// itself when its last process has ended. The path is below the mount of the hierarchy.
    pub fn start_scope(&mut self, scope: &Scope<'_>, pids: &[u32]) -> Result<PathBuf> {
        let what = || format!("start `{}` through systemd", scope.name);
        ensure!(
            scope.name.ends_with(".scope") && slice::is_unit_name(scope.name),
            bad_input(format!("`{}` is no name of a scope", scope.name))
        );
        scope.slice.map(check_slice).transpose()?;
        let first = *pids.first().context("a scope needs a process")?;
        let reply = loop {
            match self
                .connection
                .call(start_transient_unit(scope, pids))
                .with_context(what)?
            {
                Ok(reply) => break reply,
                // Its namesake's last process has just ended, and systemd is about to notice.
                Err(refusal)
                    if refusal.is_taken()
                        && self.has_vanished(scope.name).with_context(what)? => {}
                Err(refusal) => return Err(self.refused(refusal)).with_context(what),
            }
        };
        let job = reply.body("o")?.text()?;
        let result = self.await_job(job, &reply.sender).with_context(what)?;
        if result != "done" {
            let user = self.user.map_or("", |_| "--user ");
            let message = format!("systemd could not start `{}`: {result}", scope.name);
            let hint = format!("`journalctl {user}-u {}` says why", scope.name);
            return Err(Error::new(Failure::Denied, message).hint(hint).into());
        }
        control_group(first, scope.name)
    }

    /// Puts processes into a scope or service of this manager, at `subgroup` below its control group (`/` for that
    /// itself); systemd makes that group where it is missing.
    pub fn attach(&mut self, unit: &str, subgroup: &str, pids: &[u32]) -> Result<()> {
        ensure!(
            slice::is_unit_name(unit),
            bad_input(format!("`{unit}` is no name of a unit"))
        );
        ensure!(
            !subgroup.contains('\0'),
            bad_input("the name of a control group contains NUL")
        );
        let mut body = Writer::default();
        body.text(unit);
        body.text(&format!("/{}", subgroup.trim_matches('/')));
        write_pids(&mut body, pids);
        let call = manager_call("AttachProcessesToUnit", "ssau", body);
        let what = || format!("put a process into `{unit}` through systemd");
        let answer = self.connection.call(call).with_context(what)?;
        answer
            .map_err(|refusal| self.refused(refusal))
            .with_context(what)?;
        Ok(())
    }

    /// Changes properties of a unit until it ends or the machine does; `false` where there is no such unit.
    pub fn set_properties(&mut self, unit: &str, properties: &[Property]) -> Result<bool> {
        let mut body = Writer::default();
        body.text(unit);
        // Not for the next boot too.
        body.boolean(true);
        body.array(8, |list| properties.iter().for_each(|one| one.write(list)));
        let what = || format!("change `{unit}` through systemd");
        let call = manager_call("SetUnitProperties", "sba(sv)", body);
        match self.connection.call(call).with_context(what)? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.name == "org.freedesktop.systemd1.NoSuchUnit" => Ok(false),
            Err(refusal) => Err(self.refused(refusal)).with_context(what),
        }
    }

    /// Where the groups of a slice's units lie, below the mount of the hierarchy; without one of those that a scope comes
    /// to lie in by itself.
    pub fn directory_of(&self, slice: Option<&str>) -> PathBuf {
        let (own, usual) = match self.user {
            None => (PathBuf::from("/"), "system.slice"),
            Some(uid) => {
                let own = format!("/user.slice/user-{uid}.slice/user@{uid}.service");
                (own.into(), "app.slice")
            }
        };
        own.join(slice::path(slice.unwrap_or(usual)))
    }

    /// Waits for the end of a job that was told to us by `sender`, and gives its result.
    fn await_job(&mut self, job: &str, sender: &str) -> Result<String> {
        let until = self.connection.deadline();
        loop {
            let received = self.connection.receive(until)?;
            let message = received.ok_or_else(|| self.connection.silent())?;
            // On a bus anybody can send us a signal; its sender is the bus's word.
            if message.sender != sender || !is_signal(&message, "JobRemoved") {
                continue;
            }
            let mut body = message.body("uoss")?;
            let _id = body.number()?;
            if body.text()? != job {
                continue;
            }
            let _unit = body.text()?;
            return Ok(body.text()?.to_owned());
        }
    }

    /// Waits a moment for the end of a unit; false when it stays.
    fn has_vanished(&mut self, unit: &str) -> Result<bool> {
        let until = Instant::now() + VANISHING;
        while let Some(message) = self.connection.receive(until)? {
            // A false signal costs one more try only.
            if is_signal(&message, "UnitRemoved") && message.first_text() == Some(unit) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn refused(&self, refusal: Refusal) -> anyhow::Error {
        let name = self.connection.name();
        let Refusal { name: error, text } = &refusal;
        let said = if text.is_empty() { error } else { text };
        let kind = if refusal.is_taken() {
            Failure::Conflict
        } else {
            Failure::Denied
        };
        let message = Error::new(kind, format!("systemd refuses at `{name}`: {said}"));
        let user = self.user.map_or("", |_| "--user ");
        match &**error {
            _ if refusal.is_taken() => message.hint(format!(
                "`systemctl {user}list-units 'onggi-*'` shows what is there"
            )),
            "org.freedesktop.DBus.Error.AccessDenied"
            | "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
                if self.user.is_none() =>
            {
                message.hint("the system's manager takes orders from root only")
            }
            _ => message,
        }
        .into()
    }
}

/// Whether systemd is the first process here (sd_booted(3)).
pub fn is_booted() -> bool {
    Path::new(address::BOOTED).is_dir()
}

/// What gives a user a manager, for people.
pub fn linger(uid: u32) -> String {
    format!("`sudo loginctl enable-linger {uid}` starts it now and at every boot")
}

impl Refusal {
    /// There is a unit of that name.
    fn is_taken(&self) -> bool {
        self.name == "org.freedesktop.systemd1.UnitExists"
    }

    /// Nobody has that name on the bus, and nobody can be started for it.
    fn is_nobody(&self) -> bool {
        let name = self.name.strip_prefix("org.freedesktop.DBus.Error.");
        matches!(name, Some("ServiceUnknown" | "NameHasNoOwner"))
    }
}

/// Makes ourselves known to a bus and asks for the signals that concern us; `None` when systemd is not on it.
fn through_bus(mut connection: Connection) -> Result<Option<Connection>> {
    let of_bus = |member, signature, body| Call {
        destination: BUS,
        path: "/org/freedesktop/DBus",
        interface: BUS,
        member,
        signature,
        body,
    };
    let mut rule = Writer::default();
    rule.text(&format!(
        "type='signal',sender='{SYSTEMD}',path='{MANAGER_PATH}',interface='{MANAGER}'"
    ));
    // systemd sends its signals only to those who have asked itself, too.
    let first = connection.call_all(&[
        of_bus("Hello", "", Writer::default()),
        of_bus("AddMatch", "s", rule),
        manager_call("Subscribe", "", Writer::default()),
    ])?;
    for serial in first..first + 3 {
        match connection.answer(serial)? {
            Ok(_) => {}
            Err(refusal) if refusal.is_nobody() => return Ok(None),
            Err(Refusal { name, text }) => {
                let message = format!("the bus at `{}` refuses: {name}: {text}", connection.name());
                return Err(Error::new(Failure::Denied, message).into());
            }
        }
    }
    Ok(Some(connection))
}

fn manager_call(member: &'static str, signature: &'static str, body: Writer) -> Call<'static> {
    Call {
        destination: SYSTEMD,
        path: MANAGER_PATH,
        interface: MANAGER,
        member,
        signature,
        body,
    }
}

fn start_transient_unit(scope: &Scope<'_>, pids: &[u32]) -> Call<'static> {
    let mut body = Writer::default();
    body.text(scope.name);
    // The mode: what to do when there is another job for it.
    body.text("fail");
    body.array(8, |properties| {
        let line = scope.description.replace(char::is_control, " ");
        properties.property("Description", "s", |value| value.text(&line));
        if let Some(slice) = scope.slice {
            properties.property("Slice", "s", |value| value.text(slice));
        }
        properties.property("PIDs", "au", |value| write_pids(value, pids));
        properties.property("Delegate", "b", |value| value.boolean(true));
        // Without this a scope that has failed keeps its name until somebody resets it.
        properties.property("CollectMode", "s", |value| value.text("inactive-or-failed"));
        let patience = scope
            .patience
            .and_then(|patience| patience.as_micros().try_into().ok());
        properties.property("TimeoutStopUSec", "t", |value| {
            value.long(patience.unwrap_or(u64::MAX));
        });
        // What a container may use is set in the groups below; systemd's own default is a limit nobody asked for.
        properties.property("TasksMax", "t", |value| value.long(u64::MAX));
        scope
            .properties
            .iter()
            .for_each(|one| one.write(properties));
    });
    // No further units.
    body.array(8, |_| {});
    manager_call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
}

fn write_pids(body: &mut Writer, pids: &[u32]) {
    body.array(4, |numbers| {
        pids.iter().for_each(|pid| numbers.number(*pid))
    });
}

fn is_signal(message: &Message, member: &str) -> bool {
    message.kind == Kind::Signal
        && message.path == MANAGER_PATH
        && message.interface == MANAGER
        && message.member == member
}

/// The control group of a process that systemd has put into that scope.
fn control_group(pid: u32, scope: &str) -> Result<PathBuf> {
    // The kernel's word costs less than asking systemd, and is seen from our own cgroup namespace.
    let group = super::of_process(Some(pid))?;
    group
        .filter(|group| group.file_name().is_some_and(|name| name == scope))
        .with_context(|| format!("the process {pid} is not in the control group of `{scope}`"))
}
