//! `runtime checkpoint`, `runtime restore`: a container's processes are written down, and made again.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::error::{Error, Kind, bad_input};
use crate::runtime::bundle;
use crate::runtime::criu::{self, Wishes};
use crate::runtime::lifecycle::{self, Access, Console, Order};
use crate::sys::namespace;
use crate::sys::signal::SignalFd;
use anyhow::Result;
use std::path::{Component, Path, PathBuf};

/// What both have.
#[derive(clap::Args)]
pub struct Images {
    /// Directory of the checkpoint
    #[arg(long, value_name = "directory", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Directory of criu's log
    #[arg(long, value_name = "directory")]
    work_path: Option<PathBuf>,
    /// Keep TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Keep connections of Unix sockets to the outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// The session of the program is that of another
    #[arg(long)]
    shell_job: bool,
    /// Move memory only when it is used
    #[arg(long)]
    lazy_pages: bool,
    /// Keep locks of files
    #[arg(long)]
    file_locks: bool,
    /// What criu does with control groups: soft, full, strict or ignore
    #[arg(long, value_name = "mode")]
    manage_cgroups_mode: Option<String>,
    /// A namespace that is made empty: network
    #[arg(long, value_name = "kind")]
    empty_ns: Vec<String>,
    /// Remove what is in a later checkpoint too
    #[arg(long)]
    auto_dedup: bool,
}

impl Images {
    fn wishes(&self) -> Result<Wishes, Error> {
        let all = [
            (self.tcp_established, "--tcp-established"),
            (self.ext_unix_sk, "--ext-unix-sk"),
            (self.shell_job, "--shell-job"),
            (self.lazy_pages, "--lazy-pages"),
            (self.file_locks, "--file-locks"),
            (self.auto_dedup, "--auto-dedup"),
        ];
        let wanted = all.into_iter().filter(|(is_wanted, _)| *is_wanted);
        let mut options = Vec::new();
        for kind in &self.empty_ns {
            match kind.as_str() {
                "network" => options.push(("--empty-ns", "net".to_owned())),
                kind => return Err(bad_input(format!("--empty-ns: `{kind}` is not `network`"))),
            }
        }
        let mode = &self.manage_cgroups_mode;
        if let Some(mode) = mode
            && !["soft", "full", "strict", "ignore"].contains(&mode.as_str())
        {
            let message =
                format!("--manage-cgroups-mode: `{mode}` is not soft, full, strict or ignore");
            return Err(bad_input(message));
        }
        Ok(Wishes {
            images: absolute(&self.image_path)?,
            work: self.work_path.as_deref().map(absolute).transpose()?,
            flags: wanted.map(|(_, flag)| flag).collect(),
            control_groups: mode.clone(),
            options,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|error| bad_input(format!("`{}`: {error}", path.display())))
}

/// Whether there is a directory of that name, as seen from `images`, which need not be there yet.
fn is_beside(images: &Path, name: &Path) -> bool {
    let mut place = images.to_owned();
    for part in name.components() {
        match part {
            Component::ParentDir => drop(place.pop()),
            part => place.push(part),
        }
    }
    name.is_relative() && place.is_dir()
}

/// Which criu there is, for who may use it.
fn program(context: &Context) -> Result<PathBuf> {
    if !lifecycle::is_root()? || !namespace::is_initial_user() {
        let message = "checkpoints take root: criu writes down what only root may see";
        return Err(Error::new(Kind::Unsupported, message).into());
    }
    let named = context.runtime.as_ref().map(|globals| globals.criu.clone());
    criu::find(named.as_deref().unwrap_or("criu"))
}

/// Options of `runtime checkpoint`.
#[derive(clap::Args)]
pub struct Checkpoint {
    #[command(flatten)]
    images: Images,
    /// Directory of an earlier checkpoint of it, relative to this one
    #[arg(long, value_name = "directory")]
    parent_path: Option<String>,
    /// Let it go on
    #[arg(long)]
    leave_running: bool,
    /// Write memory only, and let it go on
    #[arg(long)]
    pre_dump: bool,
    /// Keep files that were removed
    #[arg(long)]
    link_remap: bool,
    /// Send memory to a page server
    #[arg(long, value_name = "address:port")]
    page_server: Option<String>,
    /// Descriptor that is told when lazy pages can be asked for
    #[arg(long, value_name = "number")]
    status_fd: Option<u32>,
    #[arg(required = true)]
    id: String,
}

impl Verb for Checkpoint {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let containers = context.containers()?;
        let container = containers.find(&self.id)?;
        let program = program(context)?;
        let mut wishes = self.images.wishes()?;
        if self.pre_dump || self.parent_path.is_some() {
            wishes.flags.push("--track-mem");
        }
        if self.link_remap {
            wishes.flags.push("--link-remap");
        }
        if let Some(parent) = self.parent_path {
            if !is_beside(&wishes.images, Path::new(&parent)) {
                let message =
                    format!("--parent-path: `{parent}` is no directory relative to --image-path");
                return Err(bad_input(message).into());
            }
            wishes.options.push(("--prev-images-dir", parent));
        }
        if let Some(number) = self.status_fd {
            wishes.options.push(("--status-fd", number.to_string()));
        }
        if let Some(server) = &self.page_server {
            let parts = server
                .rsplit_once(':')
                .filter(|(_, port)| port.parse::<u16>().is_ok());
            let (address, port) = parts.ok_or_else(|| {
                bad_input(format!("--page-server: `{server}` is not ADDRESS:PORT"))
            })?;
            // Lazily criu is that server itself.
            if !self.images.lazy_pages {
                wishes.flags.push("--page-server");
            }
            wishes.options.push(("--address", address.to_owned()));
            wishes.options.push(("--port", port.to_owned()));
        }
        let verb = if self.pre_dump { "pre-dump" } else { "dump" };
        let stays = self.leave_running || self.pre_dump;
        let how = (verb, stays);
        for error in lifecycle::checkpoint(&containers, &container, &program, &wishes, how)? {
            context.output.warn(format!("{error:#}"));
        }
        Ok(0)
    }
}

/// Options of `runtime restore`.
#[derive(clap::Args)]
pub struct Restore {
    #[command(flatten)]
    images: Images,
    /// Directory of the bundle
    #[arg(short, long, value_name = "directory", default_value = ".")]
    bundle: PathBuf,
    /// Refused: there are no checkpoints of containers with a terminal
    #[arg(long, value_name = "path")]
    console_socket: Option<PathBuf>,
    /// Write the number of the first process to this file
    #[arg(long, value_name = "path")]
    pid_file: Option<PathBuf>,
    /// Leave it running
    #[arg(short, long)]
    detach: bool,
    /// Do not become the parent of its processes, whose exit status is then unknown
    #[arg(long)]
    no_subreaper: bool,
    /// Accepted: criu changes the root
    #[arg(long)]
    no_pivot: bool,
    /// Profile of AppArmor or label of SELinux that its processes get (apparmor:NAME, selinux:LABEL)
    #[arg(long, value_name = "profile")]
    lsm_profile: Option<String>,
    /// SELinux context of its mounts
    #[arg(long, value_name = "context")]
    lsm_mount_context: Option<String>,
    #[arg(required = true)]
    id: String,
}

impl Verb for Restore {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let program = program(context)?;
        if self.console_socket.is_some() {
            return Err(bad_input(
                "--console-socket: there are no checkpoints of containers with a terminal",
            )
            .into());
        }
        let containers = context.containers()?;
        let mut wishes = self.images.wishes()?;
        let more = [
            ("--lsm-profile", self.lsm_profile),
            ("--lsm-mount-context", self.lsm_mount_context),
        ];
        let more = more
            .into_iter()
            .filter_map(|(option, value)| Some((option, value?)));
        wishes.options.extend(more);
        let signals = match self.detach {
            true => None,
            false => Some(SignalFd::block_all()?),
        };
        let order = Order {
            id: self.id,
            console: Console::Nobody,
            pid_file: self.pid_file,
            pidfd_socket: None,
            preserved: 0,
            group_manager: context.group_manager(),
            keeps_keyring: false,
            moves_root: false,
            access: context.access().unwrap_or(Access::Own),
            starts: true,
        };
        let opened = bundle::read(&self.bundle, None)?;
        let adopts = !self.detach && !self.no_subreaper;
        let criu = (program.as_path(), &wishes);
        let mut warnings = Vec::new();
        let restored = lifecycle::restore(&containers, opened, &order, criu, adopts, &mut warnings);
        for warning in &warnings {
            context.output.warn(warning);
        }
        let (_, child) = restored?;
        let Some(signals) = signals.filter(|_| adopts) else {
            return Ok(0);
        };
        let ended = lifecycle::attend(&child, None, &signals, None)?;
        for error in lifecycle::delete(&containers, &order.id, true)? {
            context.output.warn(format!("{error:#}"));
        }
        Ok(ended.code())
    }
}
