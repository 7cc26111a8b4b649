//! Hooks: programs that the configuration wants to be run at moments of a container's life (runtime-spec config.md,
//! "POSIX-platform Hooks"; runtime.md, "Lifecycle").
//!
//! | when | who runs them, and where |
//! |---|---|
//! | `prestart`, `createRuntime` | the parent, in the caller's namespaces, while init waits to change the root |
//! | `createContainer` | init, in the container's namespaces, with the caller's root |
//! | `startContainer` | init, with the container's root, and all that confines the program, before it |
//! | `poststart`, `poststop` | whoever starts and deletes it, in the caller's namespaces |
//!
//! Each gets the container's state on its standard input: it is "creating" while it is made, but for `prestart` hooks "created"
//! (config.md, "Summary": those come after the start operation is called), as it is for `startContainer`.

use super::annotations::Annotations;
use crate::error::{Error, Kind, bad_input};
use crate::sys::process::Child;
use crate::sys::signal;
use anyhow::{Context, Result, bail};
use oci_spec::runtime::{ContainerState, Hook, Hooks as Lists, State};
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How much of what a hook says is told, from the end, in bytes.
const TAIL: usize = 2048;

/// Those of one container.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    lists: Lists,
    /// Of the container, without status and pid.
    state: State,
    /// Where its annotations want what hooks print to go: standard output, standard error.
    outputs: [Option<Arc<File>>; 2],
}

impl Hooks {
    /// Those of a configuration.
    ///
    /// Errors: a path that is not absolute, a timeout that is none, a file for their output that cannot be opened.
    pub fn new(lists: Option<&Lists>, state: &State) -> Result<Self> {
        let Some(lists) = lists else {
            return Ok(Self::default());
        };
        let [output, error] = Annotations::of(state.annotations())?.hooks;
        let hooks = Self {
            lists: lists.clone(),
            state: state.clone(),
            outputs: [append(output)?, append(error)?],
        };
        for (name, list) in hooks.named() {
            for hook in list {
                check(name, hook)?;
            }
        }
        Ok(hooks)
    }

    /// With their names in the configuration, in the order in which they come.
    fn named(&self) -> [(&'static str, &[Hook]); 6] {
        let lists = &self.lists;
        [
            ("prestart", lists.prestart()),
            ("createRuntime", lists.create_runtime()),
            ("createContainer", lists.create_container()),
            ("startContainer", lists.start_container()),
            ("poststart", lists.poststart()),
            ("poststop", lists.poststop()),
        ]
        .map(|(name, list)| (name, list.as_deref().unwrap_or_default()))
    }

    /// Each with what it is called in errors, as by runc.
    fn of(&self, wanted: &'static str) -> impl Iterator<Item = (String, &Hook)> {
        let mut named = self.named().into_iter();
        let found = named.find(|(name, _)| *name == wanted);
        let hooks = found.into_iter().flat_map(|(_, list)| list).enumerate();
        hooks.map(move |(number, hook)| (format!("{wanted} hook #{number}"), hook))
    }

    /// Those that the parent runs while init waits.
    pub fn of_runtime(&self) -> impl Iterator<Item = (String, &Hook)> {
        self.of("prestart").chain(self.of("createRuntime"))
    }

    /// Those that init runs while the container is made.
    pub fn of_creation(&self) -> impl Iterator<Item = (String, &Hook)> {
        self.of("createContainer")
    }

    /// Those that init runs once the container is to start.
    pub fn of_container(&self) -> impl Iterator<Item = (String, &Hook)> {
        self.of("startContainer")
    }

    /// In the parent, before init changes the root; `pid` is that of init.
    pub fn create_runtime(&self, pid: i32) -> Result<()> {
        let bundle = Some(self.state.bundle().as_path());
        [
            ("prestart", ContainerState::Created),
            ("createRuntime", ContainerState::Creating),
        ]
        .into_iter()
        .try_for_each(|(moment, status)| {
            let state = self.state(status, pid);
            let mut hooks = self.of(moment);
            hooks.try_for_each(|(name, hook)| self.run(&name, hook, &state, bundle))
        })
    }

    /// In init, while the root is that of the caller.
    pub fn create_container(&self) -> Result<()> {
        let state = self.state(ContainerState::Creating, std::process::id() as i32);
        let bundle = Some(self.state.bundle().as_path());
        let mut hooks = self.of_creation();
        hooks.try_for_each(|(name, hook)| self.run(&name, hook, &state, bundle))
    }

    /// In init, once the container is to start. Who names no variables has those of the program, as with runc.
    pub fn start_container(&self, environment: &[String]) -> Result<()> {
        let state = self.state(ContainerState::Created, std::process::id() as i32);
        let mut hooks = self.of_container();
        hooks.try_for_each(|(name, hook)| {
            let mut hook = hook.clone();
            if hook.env().is_none() {
                hook.set_env(Some(environment.to_vec()));
            }
            self.run(&name, &hook, &state, None)
        })
    }

    /// Once the program runs; `pid` is that of init.
    pub fn poststart(&self, pid: i32) -> Result<()> {
        let state = self.state(ContainerState::Running, pid);
        let bundle = Some(self.state.bundle().as_path());
        let mut hooks = self.of("poststart");
        hooks.try_for_each(|(name, hook)| self.run(&name, hook, &state, bundle))
    }

    /// Once the container is gone. One that fails keeps no other from being run: the errors come out.
    pub fn poststop(&self) -> Vec<anyhow::Error> {
        let mut state = self.state(ContainerState::Stopped, 0);
        state.set_pid(None);
        let bundle = Some(self.state.bundle().as_path());
        let hooks = self.of("poststop");
        let failed = hooks.filter_map(|(name, hook)| self.run(&name, hook, &state, bundle).err());
        failed.collect()
    }

    /// Files that whoever runs them has to keep open.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.outputs.iter().flatten().map(AsFd::as_fd)
    }

    fn run(&self, name: &str, hook: &Hook, state: &State, directory: Option<&Path>) -> Result<()> {
        run(name, hook, state, directory, &self.outputs)
    }

    fn state(&self, status: ContainerState, pid: i32) -> State {
        let mut state = self.state.clone();
        state.set_status(status).set_pid(Some(pid));
        state
    }
}

fn check(name: &str, hook: &Hook) -> Result<(), Error> {
    let path = hook.path().display();
    if !hook.path().is_absolute() {
        return Err(bad_input(format!(
            "the path of the {name} hook `{path}` is not absolute"
        )));
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        return Err(bad_input(format!(
            "the timeout of the {name} hook `{path}` is not greater than zero"
        )));
    }
    Ok(())
}

/// Runs one to its end, in `directory` if it has one; what it prints goes to `outputs` where there are such.
///
/// Errors: it cannot be executed, does not succeed, or takes longer than its timeout (seconds); what it has said is told.
fn run(
    name: &str,
    hook: &Hook,
    state: &State,
    directory: Option<&Path>,
    outputs: &[Option<Arc<File>>; 2],
) -> Result<()> {
    let path = hook.path().display();
    let say = || format!("error running {name}: `{path}`");
    let mut input = in_memory().with_context(say)?;
    serde_json::to_writer(&mut input, state).with_context(say)?;
    seek(&input, SeekFrom::Start(0)).with_context(say)?;
    let output = in_memory().with_context(say)?;
    let mut command = Command::new(hook.path());
    if let Some([own_name, rest @ ..]) = hook.args().as_deref() {
        command.arg0(own_name).args(rest);
    }
    command.env_clear();
    for entry in hook.env().iter().flatten() {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        command.env(key, value);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.stdin(Stdio::from(input));
    let [printed, complained] = outputs
        .each_ref()
        .map(|file| file.as_deref().unwrap_or(&output).try_clone());
    command.stdout(printed.with_context(say)?);
    command.stderr(complained.with_context(say)?);
    if hook.timeout().is_some() {
        // Whoever it has started is ended with it; without an end the keys of a terminal reach it with its caller.
        command.process_group(0);
    }
    let mut child = command.spawn().with_context(say)?;
    if let Some(seconds) = hook.timeout() {
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).with_context(say)?;
        let own = Child {
            pid: pid.as_raw_nonzero().get(),
            pidfd,
        };
        if !own.has_ended_within(Duration::from_secs(seconds.unsigned_abs())) {
            // Before it is waited for: until then the number is that of its group.
            let _ = kill_process_group(pid, Signal::KILL);
            own.end();
            bail!("error running {name}: `{path}` has not ended within {seconds} s");
        }
    }
    let status = child.wait().with_context(say)?;
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, number) => {
            let number = number.unwrap_or_default();
            format!("signal {number} ({})", signal::description(number))
        }
    };
    let message = format!("error running {name}: `{path}`: {how}{}", said(output));
    Err(Error::new(Kind::Denied, message).into())
}

/// Opens a file to add to.
fn append(path: Option<PathBuf>) -> Result<Option<Arc<File>>> {
    let open = |path: PathBuf| {
        let opened = File::options().append(true).create(true).open(&path);
        opened.with_context(|| format!("open `{}` for the output of hooks", path.display()))
    };
    Ok(path.map(open).transpose()?.map(Arc::new))
}

/// A file that nobody else sees.
fn in_memory() -> Result<File> {
    let file = memfd_create("hook", MemfdFlags::CLOEXEC).context("memfd_create")?;
    Ok(file.into())
}

/// The end of what was written to it, as a part of a sentence.
fn said(mut output: File) -> String {
    let mut bytes = Vec::new();
    let read = seek(&output, SeekFrom::Start(0))
        .map_err(std::io::Error::from)
        .and_then(|_| output.read_to_end(&mut bytes));
    let start = bytes.len().saturating_sub(TAIL);
    let text = String::from_utf8_lossy(&bytes[start..]);
    match (read, text.trim()) {
        (Err(_), _) | (_, "") => String::new(),
        (Ok(_), text) => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hooks(lists: serde_json::Value) -> Result<Hooks> {
        let lists: Lists = serde_json::from_value(lists).unwrap();
        let mut state = State::default();
        state.set_id("web".to_owned()).set_bundle("/tmp".into());
        Hooks::new(Some(&lists), &state)
    }

    #[test]
    fn a_hook_gets_the_state_its_words_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let told = directory.path().join("told");
        let script = format!("(echo \"$0 $A $HOME\"; pwd; cat) > {}", told.display());
        let list =
            json!([{"path": "/bin/sh", "args": ["own", "-c", script, "zero"], "env": ["A=b"]}]);
        let hooks = hooks(json!({"createRuntime": list, "poststart": [{"path": "/bin/false"}]}));
        let hooks = hooks.unwrap();
        hooks.create_runtime(42).unwrap();
        let told = std::fs::read_to_string(told).unwrap();
        let mut lines = told.lines();
        assert_eq!(lines.next(), Some("zero b "));
        assert_eq!(lines.next(), Some("/tmp"));
        let state: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(state["id"], "web");
        assert_eq!(
            (&state["pid"], &state["status"]),
            (&json!(42), &json!("creating"))
        );
        assert!(hooks.start_container(&[]).is_ok() && hooks.create_container().is_ok());
    }

    #[test]
    fn what_fails_hangs_or_is_missing_is_told() {
        for (hook, message) in [
            (
                json!({"path": "/bin/sh", "args": ["sh", "-c", "echo out; echo why >&2; exit 3"]}),
                "exit status 3: out\nwhy",
            ),
            (
                json!({"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $$"]}),
                "signal 9 (killed)",
            ),
            (
                json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}),
                "has not ended within 1 s",
            ),
            (json!({"path": "/nowhere/at/all"}), "No such file"),
        ] {
            let hooks = hooks(json!({"prestart": [hook]})).unwrap();
            let error = format!("{:#}", hooks.create_runtime(1).unwrap_err());
            assert!(error.contains(message), "{error}");
        }
        let hooks = hooks(
            json!({"poststop": [{"path": "/bin/false"}, {"path": "/bin/true"}, {"path": "/bin/false"}]}),
        );
        assert_eq!(hooks.unwrap().poststop().len(), 2);
    }

    #[test]
    fn hooks_that_cannot_be_are_refused() {
        for hook in [
            json!({"path": "true"}),
            json!({"path": "/bin/true", "timeout": 0}),
        ] {
            assert!(hooks(json!({"startContainer": [hook]})).is_err());
        }
    }
}
