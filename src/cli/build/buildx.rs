//! What tools ask Docker's plugin buildx: its version, and its builders, of which there is one here and always will be.
//! <https://docs.docker.com/reference/cli/docker/buildx/>

use crate::build::dockerfile::check;
use crate::build::graph::emulator;
use crate::build::worker::Worker;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::table::{Column, Listing, Row};
use crate::cli::output::visible;
use crate::error::{Error, Kind, bad_input};
use crate::image::platform::Platform;
use anyhow::Result;

/// The builder's name.
pub const NAME: &str = "default";
const DRIVER: &str = "onggi";
/// The version of buildx whose command line this is.
const VERSION: &str = "v0.29.1";
/// The version of BuildKit whose language of Dockerfiles this is.
const BUILDKIT: &str = "v0.25.1";

/// Whatever a builder is called, it is this one: scripts of continuous integration make one under a name of theirs and go on
/// with that. An error for what Docker takes for no name.
pub fn only(name: &str) -> Result<(), Error> {
    let is_known = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let begins = name
        .chars()
        .next()
        .is_none_or(|first| first.is_ascii_alphanumeric());
    match begins && name.chars().all(is_known) {
        true => Ok(()),
        false => Err(bad_input(format!("invalid builder name \"{name}\""))
            .hint("there is one builder, this program itself: leave --builder out")),
    }
}

/// Options of `buildx version`.
#[derive(clap::Args)]
pub struct Version {}

impl Verb for Version {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let own = env!("CARGO_PKG_VERSION");
        let line = format!("github.com/docker/buildx {VERSION} onggi-{own}");
        context.output.line(line)?;
        Ok(0)
    }
}

/// Options of `buildx inspect`.
#[derive(clap::Args)]
pub struct Inspect {
    /// Builder to show
    #[arg(long)]
    builder: Option<String>,
    /// Have it run, which it always does
    #[arg(long)]
    bootstrap: bool,
    name: Option<String>,
}

impl Verb for Inspect {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let _always = self.bootstrap;
        let named = self.name.or(self.builder).filter(|name| !name.is_empty());
        let name = named.as_deref().unwrap_or(NAME);
        only(name)?;
        let checks = check::rule::ALL.len();
        let engine = context.engine()?;
        // Whoever only asks is told of it, and does not fail for it.
        let mode = match Worker::start(&engine, None) {
            Ok(worker) => worker.mode.describe(&engine),
            Err(error) => format!("none: {error:#}"),
        };
        let mode = visible(&mode);
        let text = format!(
            "Name:          {name}\nDriver:        {DRIVER}\n\nNodes:\nName:             {NAME}\nEndpoint:         {NAME}\nStatus:           \
             running\nMode:             {mode}\nBuildKit version: {BUILDKIT}\nPlatforms:        {}\nLabels:\n org.mobyproject.buildkit.worker.executor:    \
             oci\n org.mobyproject.buildkit.worker.snapshotter: overlayfs\nBuild checks:     {checks}\n",
            platforms().join(", ")
        );
        context.output.write(text.as_bytes())?;
        Ok(0)
    }
}

/// What steps can be run for: this machine, and what programs the kernel is told to start by others (binfmt_misc).
fn platforms() -> Vec<String> {
    let mut platforms = vec![Platform::host()];
    for platform in [
        "linux/amd64",
        "linux/arm64",
        "linux/arm/v7",
        "linux/386",
        "linux/riscv64",
        "linux/ppc64le",
        "linux/s390x",
        "linux/loong64",
    ] {
        if let Ok(platform) = platform.parse::<Platform>()
            && !platforms.contains(&platform)
            && emulator::can_run(&platform)
        {
            platforms.push(platform);
        }
    }
    platforms.iter().map(ToString::to_string).collect()
}

/// Options of `buildx ls`.
#[derive(clap::Args)]
pub struct Ls {
    /// Print "table", "json", or by a Go template
    #[arg(long)]
    format: Option<String>,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
}

const fn column(name: &'static str, header: &'static str) -> Column {
    Column { name, header }
}

const COLUMNS: &[Column] = &[
    column("Name", "NAME/NODE"),
    column("DriverEndpoint", "DRIVER/ENDPOINT"),
    column("Status", "STATUS"),
    column("Buildkit", "BUILDKIT"),
    column("Platforms", "PLATFORMS"),
];

impl Verb for Ls {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let _nothing_is_cut = self.no_trunc;
        let row = |name: String, driver: &str, status: &str, version: &str, platforms: String| {
            Row::new()
                .with("Name", name)
                .with("DriverEndpoint", driver)
                .with("Status", status)
                .with("Buildkit", version)
                .with("Platforms", platforms)
        };
        let platforms = platforms().join(", ");
        let builder = row(format!("{NAME}*"), DRIVER, "", "", String::new());
        let node = row(
            format!(" \\_ {NAME}"),
            NAME,
            "running",
            BUILDKIT,
            platforms.clone(),
        );
        let whole = row(NAME.to_owned(), DRIVER, "running", BUILDKIT, platforms);
        let is_table = matches!(self.format.as_deref(), None | Some("" | "table"));
        let rows = if is_table {
            vec![builder, node]
        } else {
            vec![whole]
        };
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        let listing = Listing {
            format: self.format.as_deref(),
            columns: COLUMNS,
            table: &names,
            quiet: None,
        };
        listing.render(&mut context.output, &rows)?;
        Ok(0)
    }
}

/// Options of `buildx create`, as scripts of continuous integration call it.
#[derive(clap::Args)]
pub struct Create {
    /// Add to the builder that is there
    #[arg(long)]
    append: bool,
    /// Have it run, which it always does
    #[arg(long)]
    bootstrap: bool,
    /// Configuration of BuildKit, which is not read
    #[arg(long, alias = "config")]
    buildkitd_config: Option<String>,
    /// Options of BuildKit, which do nothing
    #[arg(long)]
    buildkitd_flags: Option<String>,
    /// Driver ("onggi"; "docker-container" and "docker" mean the same here)
    #[arg(long)]
    driver: Option<String>,
    /// Options of the driver, which do nothing
    #[arg(long)]
    driver_opt: Vec<String>,
    /// Remove a node
    #[arg(long)]
    leave: bool,
    /// Name of the builder
    #[arg(long)]
    name: Option<String>,
    /// Name of the node
    #[arg(long)]
    node: Option<String>,
    /// Platforms of the node
    #[arg(long)]
    platform: Vec<String>,
    /// Use it, which is what happens anyway
    #[arg(long = "use")]
    used: bool,
    endpoint: Option<String>,
}

impl Verb for Create {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let driver = self.driver.as_deref().unwrap_or_default();
        if !["", DRIVER, "docker", "docker-container"].contains(&driver) {
            let message = format!(
                "--driver {driver} is not supported: there is one builder, this program itself"
            );
            return Err(Error::new(Kind::Unsupported, message).into());
        }
        let told = self.buildkitd_config.is_some()
            || self.buildkitd_flags.is_some()
            || !self.driver_opt.is_empty()
            || !self.platform.is_empty()
            || self
                .endpoint
                .as_deref()
                .is_some_and(|endpoint| endpoint != NAME)
            || self.append
            || self.leave
            || self.node.is_some();
        if told {
            context.output.warn(
                "no builder is made: there is one, this program itself, and what was said of another has no effect",
            );
        }
        let _always = (self.bootstrap, self.used);
        // Scripts go on with the name that is printed.
        let name = self.name.filter(|name| !name.is_empty());
        let name = name.as_deref().unwrap_or(NAME);
        only(name)?;
        context.output.line(name)?;
        Ok(0)
    }
}

/// Options of `buildx use`.
#[derive(clap::Args)]
pub struct Use {
    /// Builder to use
    #[arg(long)]
    builder: Option<String>,
    /// Use it for this context by default
    #[arg(long)]
    default: bool,
    /// Use it for all contexts
    #[arg(long)]
    global: bool,
    name: String,
}

impl Verb for Use {
    fn execute(self, _: &mut Context) -> Result<u8> {
        let _always = (self.default, self.global);
        only(self.builder.as_deref().unwrap_or_default())?;
        only(&self.name)?;
        Ok(0)
    }
}

/// Options of `buildx stop`.
#[derive(clap::Args)]
pub struct Stop {
    /// Builder to stop
    #[arg(long)]
    builder: Option<String>,
    names: Vec<String>,
}

impl Verb for Stop {
    fn execute(self, _: &mut Context) -> Result<u8> {
        only(self.builder.as_deref().unwrap_or_default())?;
        // It runs only while something is built.
        self.names.iter().try_for_each(|name| only(name))?;
        Ok(0)
    }
}

/// Options of `buildx rm`.
#[derive(clap::Args)]
pub struct Rm {
    /// Remove all builders that do not run
    #[arg(long)]
    all_inactive: bool,
    /// Builder to remove
    #[arg(long)]
    builder: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Let BuildKit run
    #[arg(long)]
    keep_daemon: bool,
    /// Keep what BuildKit has cached
    #[arg(long)]
    keep_state: bool,
    names: Vec<String>,
}

impl Verb for Rm {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let _nothing_to_keep = (self.keep_daemon, self.keep_state);
        if self.all_inactive && self.names.is_empty() {
            return Ok(0);
        }
        for name in self.names.iter().chain(&self.builder) {
            only(name)?;
            if name == NAME && !self.force {
                let message =
                    format!("builder {NAME} cannot be removed: it is this program itself");
                return Err(bad_input(message)
                    .hint("`builder prune` empties its cache")
                    .into());
            }
            context.output.progress(format!("{name} removed"));
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_means_the_one_builder() {
        for name in ["", NAME, "builder-1f2e", "a.b_c"] {
            assert!(only(name).is_ok(), "{name}");
        }
        for name in ["-x", "a b", "a/b", "tcp://host"] {
            assert!(only(name).is_err(), "{name}");
        }
        assert_eq!(platforms()[0], Platform::host().to_string());
    }
}
