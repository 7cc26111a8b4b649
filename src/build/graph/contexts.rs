//! The contexts of a build while it goes: each opened when somebody needs it, its files looked for as steps take them, by
//! threads. What steps take from the net comes likewise.
//!
//! Invariant: what was brought stays as it was until the build ends.

use super::gather::{Gathering, Said, Work};
use super::selected::Selected;
use super::wanted::{self, Brought, Wanted};
use super::{Part, stage};
use crate::build::context::address::{Address, shown};
use crate::build::context::definition::Definition;
use crate::build::context::{Context as BuildContext, Host, Watch, definition};
use crate::build::diagnostics::Diagnostics;
use crate::build::dockerfile::instruction::Dockerfile;
use crate::build::dockerfile::parse;
use crate::build::ignore::Ignore;
use crate::build::order::Order;
use crate::build::output::material::Material;
use crate::build::report::Event;
use crate::build::vertex::Vertices;
use crate::image::digest::Digest;
use crate::paths::Paths;
use anyhow::{Context, Result, anyhow};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a server may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// All contexts of a build.
pub struct Contexts<'a> {
    host: Arc<Host>,
    order: &'a Order,
    gathering: Gathering<Brought>,
    /// What threads do, by their numbers.
    jobs: BTreeMap<usize, Job>,
    /// How many were asked for.
    asked: usize,
    found: BTreeMap<Wanted, State>,
    /// When the Dockerfile was changed, seconds since 1970.
    time: i64,
    /// What stands in it.
    digest: Digest,
    /// The number of what loads it.
    definition: usize,
}

/// How far something is that is wanted.
enum State {
    Coming,
    Here(Brought),
    /// Why it does not come, until somebody has asked.
    Failed(Option<Missing>),
}

/// What does not come.
pub struct Missing {
    /// Why.
    pub error: anyhow::Error,
    /// Progress has shown that already, at a step of its own.
    pub is_shown: bool,
}

impl From<anyhow::Error> for Missing {
    fn from(error: anyhow::Error) -> Self {
        Self {
            error,
            is_shown: false,
        }
    }
}

/// What a thread does.
struct Job {
    wanted: Wanted,
    /// The number of the step that shows it, and whether that is about nothing else.
    step: Option<(usize, bool)>,
    started: Instant,
}

impl<'a> Contexts<'a> {
    /// Opens the main one.
    pub fn open(order: &'a Order, paths: &Paths, vertices: &mut Vertices<'_>) -> Result<Self> {
        let input = rustix::stdio::stdin().try_clone_to_owned();
        let input = input.ok().map(|input| Box::new(File::from(input)) as _);
        let host = Host {
            paths: paths.clone(),
            silence: SILENCE,
            secrets: order.secrets.clone(),
            input: Mutex::new(input),
        };
        let mut contexts = Self {
            host: Arc::new(host),
            order,
            gathering: Gathering::new()?,
            jobs: BTreeMap::new(),
            asked: 0,
            found: BTreeMap::new(),
            time: 0,
            digest: Digest::of(b""),
            definition: 0,
        };
        contexts.wait_for(&Wanted::Context(String::new()), vertices)?;
        Ok(contexts)
    }

    fn wait_for(&mut self, wanted: &Wanted, vertices: &mut Vertices<'_>) -> Result<()> {
        while !self
            .has(wanted, vertices)
            .map_err(|missing| missing.error)?
        {
            vertices.wait(&[self.as_fd()], None)?;
            self.hear(vertices)?;
        }
        Ok(())
    }

    /// The Dockerfile, where `--file` is an address.
    fn download(
        &mut self,
        asked: Option<&str>,
        vertices: &mut Vertices<'_>,
    ) -> Result<Option<Definition>> {
        let Some(address) = asked.filter(|asked| definition::is_address(asked)) else {
            return Ok(None);
        };
        let wanted = Wanted::Definition(address.to_owned());
        self.wait_for(&wanted, vertices)?;
        match self.found.remove(&wanted) {
            Some(State::Here(Brought::Definition(found))) => Ok(Some(found)),
            _ => Err(anyhow!("find the Dockerfile that was downloaded")),
        }
    }

    /// Reads the Dockerfile.
    pub fn dockerfile(&mut self, vertices: &mut Vertices<'_>) -> Result<Dockerfile> {
        let started = Instant::now();
        let asked = self.order.dockerfile.as_deref();
        let downloaded = self.download(asked, vertices)?;
        let main = match self.found.get_mut(&Wanted::Context(String::new())) {
            Some(State::Here(Brought::Context(main))) => Arc::get_mut(main),
            _ => None,
        };
        let main = main.context("find the main context")?;
        let found = definition::read(main, asked, downloaded, &self.host)?;
        self.time = found.modified;
        self.digest = Digest::of(&found.bytes);
        let name = format!("[internal] load build definition from {}", found.name);
        let number = vertices.start(&name);
        self.definition = number;
        let parsed = parse(&found.name, &found.bytes).map_err(|wrong| {
            let error = Diagnostics::error(wrong);
            vertices.tell_own(number, Event::Failed(&error.to_string()));
            error
        })?;
        for warning in &parsed.warnings {
            vertices.tell_own(number, Event::Check(warning));
        }
        vertices.tell_own(number, Event::Done(started.elapsed()));
        Ok(parsed)
    }

    /// When the Dockerfile was changed, seconds since 1970.
    pub fn dockerfile_time(&self) -> i64 {
        self.time
    }

    /// What stands in the Dockerfile.
    pub fn dockerfile_digest(&self) -> &Digest {
        &self.digest
    }

    /// The number of what loads the Dockerfile.
    pub fn definition(&self) -> usize {
        self.definition
    }

    /// What is left out of the main context.
    pub fn ignored(&self) -> Result<&Ignore> {
        Ok(self.context("")?.ignored())
    }

    /// When the main context was committed, seconds since 1970.
    pub fn epoch(&self) -> Option<i64> {
        self.context("").ok().and_then(|main| main.epoch())
    }

    /// What the main context is in the net, if it is from there.
    pub fn material(&self) -> Option<Material> {
        self.context("")
            .ok()
            .and_then(|main| main.material().cloned())
    }

    /// Whether all that a part takes from contexts and from the net is here; what is not is on its way from now on. Files of
    /// contexts are looked for only where the step could begin: until then they may change.
    pub fn has_files(
        &mut self,
        part: &Part,
        is_ready: bool,
        vertices: &mut Vertices<'_>,
    ) -> Result<bool, Missing> {
        let Some(wanted) = Wanted::of(part) else {
            return Ok(true);
        };
        if let Wanted::Files(name, _) = &wanted {
            let is_open = self.has(&Wanted::Context(name.clone()), vertices)?;
            if !is_open || !is_ready {
                return Ok(false);
            }
        }
        self.has(&wanted, vertices)
    }

    /// What such a part has come to.
    pub fn selected(&self, part: &Part) -> Result<&Selected> {
        let found = Wanted::of(part).and_then(|wanted| self.found.get(&wanted));
        match found {
            Some(State::Here(Brought::Files(found))) => Ok(found),
            _ => Err(anyhow!("find what was selected")),
        }
    }

    fn context(&self, name: &str) -> Result<&Arc<BuildContext>> {
        match self.found.get(&Wanted::Context(name.to_owned())) {
            Some(State::Here(Brought::Context(context))) => Ok(context),
            _ => Err(anyhow!("find the context {name}")),
        }
    }

    /// The root of one that is open.
    pub fn root(&self, name: &str) -> Result<OwnedFd> {
        let root = self.context(name)?.root().try_clone_to_owned();
        root.context("duplicate a descriptor")
    }

    /// Whether it is here; if not, it comes.
    fn has(&mut self, wanted: &Wanted, vertices: &mut Vertices<'_>) -> Result<bool, Missing> {
        match self.found.get_mut(wanted) {
            Some(State::Here(_)) => return Ok(true),
            Some(State::Coming) => return Ok(false),
            Some(State::Failed(missing)) => {
                return Err(missing.take().context("bring it again")?);
            }
            None => {}
        }
        let (step, work) = self.work(wanted)?;
        // Steps take many files of one context.
        let step = step.map(|step| match wanted {
            Wanted::Files(..) => vertices.same(&step),
            _ => (vertices.start(&step), true),
        });
        let job = Job {
            wanted: wanted.clone(),
            step,
            started: Instant::now(),
        };
        self.gathering.ask(self.asked, wanted.lane(), work)?;
        self.jobs.insert(self.asked, job);
        self.asked += 1;
        self.found.insert(wanted.clone(), State::Coming);
        Ok(false)
    }

    /// How something is brought, and what progress calls that.
    fn work(&self, wanted: &Wanted) -> Result<(Option<String>, Work<Brought>)> {
        let host = Arc::clone(&self.host);
        Ok(match wanted {
            Wanted::Context(name) => {
                let address = match name.as_str() {
                    "" => Address::parse(&self.order.context)?,
                    name => {
                        let text = stage::context(self.order, name);
                        Address::parse_named(text.context("find the context")?)?
                    }
                };
                let (name, step) = (name.clone(), wanted::opening(name, &address));
                let open = move |watch: Watch<'_>| {
                    wanted::open(&name, &address, &host, watch).map(Brought::Context)
                };
                (step, Box::new(open))
            }
            Wanted::Files(name, selector) => {
                let (context, selector) = (Arc::clone(self.context(name)?), selector.clone());
                let select =
                    move |_: Watch<'_>| Selected::of(&context, &selector).map(Brought::Files);
                let step = match name.as_str() {
                    "" => "[internal] load build context".to_owned(),
                    name => format!("[context {name}] load from client"),
                };
                (Some(step), Box::new(select))
            }
            Wanted::Net(remote) => {
                let (remote, step) = (remote.clone(), remote.address.shown());
                let bring = move |watch: Watch<'_>| {
                    Selected::remote(&remote, &host, watch).map(Brought::Files)
                };
                (Some(format!("[internal] load {step}")), Box::new(bring))
            }
            Wanted::Definition(address) => {
                let step = format!("[internal] load remote Dockerfile {}", shown(address));
                let address = address.clone();
                let bring = move |watch: Watch<'_>| {
                    definition::download(&address, &host, watch).map(Brought::Definition)
                };
                (Some(step), Box::new(bring))
            }
        })
    }

    /// Whether something is on its way.
    pub fn is_busy(&self) -> bool {
        self.gathering.is_busy()
    }

    /// Takes what has come.
    pub fn hear(&mut self, vertices: &mut Vertices<'_>) -> Result<()> {
        for (number, said) in self.gathering.hear()? {
            match said {
                Said::Progress(current, total) => {
                    let step = self.jobs.get(&number).and_then(|job| job.step);
                    if let Some((step, _)) = step {
                        vertices
                            .tell_own(step, transferring("transferring", current, total, false));
                    }
                }
                Said::Ended(ended) => {
                    let job = self.jobs.remove(&number).context("find what has ended")?;
                    self.ended(job, ended, vertices);
                }
            }
        }
        Ok(())
    }

    fn ended(&mut self, job: Job, ended: Result<Brought>, vertices: &mut Vertices<'_>) {
        let mut tell = |event: Event<'_>| {
            if let Some((step, _)) = job.step {
                vertices.tell_own(step, event);
            }
        };
        let is_first = job.step.is_some_and(|(_, is_first)| is_first);
        let warnings = match (&ended, &job.wanted) {
            // What an archive has that no context can have, told once.
            (Ok(Brought::Files(files)), Wanted::Files(name, _)) => {
                let context = self.context(name).ok().filter(|_| is_first);
                let left_out = context.map_or(&[][..], |context| context.warnings());
                [left_out, files.warnings()].concat()
            }
            _ => Vec::new(),
        };
        for warning in &warnings {
            tell(Event::Warning(warning));
        }
        // What is wrong with files is the affair of the step that takes them.
        let is_shown = is_first && !matches!(job.wanted, Wanted::Files(..));
        match (&ended, &job.wanted) {
            (Err(error), _) if is_shown => tell(Event::Failed(&format!("{error:#}"))),
            _ if !is_first => {}
            (ended, wanted) => {
                if let Ok(Brought::Files(files)) = ended {
                    let item = match wanted {
                        Wanted::Files(..) => "transferring context",
                        _ => "transferring",
                    };
                    let size = files.size();
                    tell(transferring(item, size, Some(size), true));
                }
                tell(Event::Done(job.started.elapsed()));
            }
        }
        let state = match ended {
            Ok(brought) => State::Here(brought),
            Err(error) => State::Failed(Some(Missing { error, is_shown })),
        };
        self.found.insert(job.wanted, state);
    }

    /// Nobody waits any more for what is on its way.
    pub fn cancel(&mut self, vertices: &mut Vertices<'_>) {
        for job in std::mem::take(&mut self.jobs).into_values() {
            if let Some((step, true)) = job.step {
                vertices.tell_own(step, Event::Canceled);
            }
        }
    }
}

impl AsFd for Contexts<'_> {
    /// Readable when something has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.gathering.as_fd()
    }
}

fn transferring(item: &str, current: u64, total: Option<u64>, done: bool) -> Event<'_> {
    Event::Progress {
        item,
        current,
        total,
        done,
    }
}
