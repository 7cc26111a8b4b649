//! `pull`: images come in from registries.

use super::limit;
use super::registry::{RegistryFlags, complete};
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::progress::Bars;
use crate::cli::trust::asked;
use crate::cli::value::{self, Pull as Policy};
use crate::container::engine::Engine;
use crate::container::event;
use crate::error::{self, Kind, bad_input, not_found};
use crate::image::layer::Rules;
use crate::image::limit::note_use;
use crate::image::platform::Platform;
use crate::image::pull::{Later, Pulled, Request, pull};
use crate::image::reference::Reference;
use crate::image::registry::Repository;
use crate::image::store;
use crate::image::trust::Trust;
use crate::progress::{Progress, Silent};
use anyhow::Result;

/// Options of `pull`.
#[derive(clap::Args)]
pub struct Pull {
    /// Pull all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Take the image for this platform ("os/arch[/variant]") instead of this machine's
    #[arg(long)]
    platform: Option<Platform>,
    /// When to ask the registry ("always", "missing", "newer", "never")
    #[arg(long, default_value = "always", value_parser = value::pull)]
    policy: Policy,
    /// Print the digest only
    #[arg(short, long)]
    quiet: bool,
    /// Insist on a signature by the key in this file, or else by one that the policy names
    #[arg(long, value_name = "file", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    verify: Option<String>,
    #[command(flatten)]
    registry: RegistryFlags,
    name: String,
}

impl Verb for Pull {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let (name, bare) = complete(&self.name)?;
        if self.all_tags && !bare {
            return Err(bad_input("tag can't be used with --all-tags/-a").into());
        }
        let trust = Trust::load(asked(self.verify.as_deref())?)?;
        let engine = context.engine()?;
        if self.verify.is_none()
            && !self.all_tags
            && is_enough(&engine, &name, self.platform.as_ref(), self.policy)?
        {
            return tell_here(context, &engine, &name, self.quiet);
        }
        let rules = engine.layer_rules()?;
        let options = self.registry.options(context)?;
        // Who the caller is to registries is found out before the namespace changes who he is here.
        let repository = Repository::open(&name, &self.name, &options)?;
        engine.enter_user_namespace()?;
        if bare && !self.quiet && !self.all_tags {
            context.output.line("Using default tag: latest")?;
        }
        let call = One {
            engine: &engine,
            rules: &rules,
            platform: self.platform.as_ref(),
            quiet: self.quiet,
            trust: &trust,
        };
        if !self.all_tags {
            let pulled = call.pull(context, &repository, &name);
            return match pulled {
                Err(error)
                    if self.policy == Policy::Newer
                        && error::kind(&error) != Some(Kind::Refused)
                        && self.verify.is_none()
                        && store::find(&engine.paths, &name.canonical()).is_ok() =>
                {
                    context
                        .output
                        .warn(format_args!("the image that is here stays: {error:#}"));
                    Ok(0)
                }
                pulled => {
                    let pulled = pulled?;
                    tell(context, &name, &pulled, self.quiet)?;
                    if pulled.newer {
                        limit::enforce(context, &engine, &[pulled.id])?;
                    }
                    Ok(0)
                }
            };
        }
        call.pull_all(context, &repository, &self.name)
    }
}

/// Whether what is here is all that the policy asks for.
fn is_enough(
    engine: &Engine,
    name: &Reference,
    platform: Option<&Platform>,
    policy: Policy,
) -> Result<bool> {
    if matches!(policy, Policy::Always | Policy::Newer) {
        return Ok(false);
    }
    let found = match store::find(&engine.paths, &name.canonical()) {
        Err(error) if error::kind(&error) == Some(Kind::NotFound) => None,
        found => Some(found?),
    };
    let fits = found.is_some_and(|image| {
        platform.is_none_or(|wanted| wanted.matches(&image.config.platform()))
    });
    match (fits, policy) {
        (false, Policy::Never) => Err(not_found(format!("No such image: {name}")).into()),
        (fits, _) => Ok(fits),
    }
}

fn tell_here(context: &mut Context, engine: &Engine, name: &Reference, quiet: bool) -> Result<u8> {
    let image = store::find(&engine.paths, &name.canonical())?;
    let digest = image
        .digests()
        .find(|other| other.same_repository(name))
        .and_then(Reference::digest)
        .cloned();
    let digest = digest.unwrap_or(image.id);
    match quiet {
        true => context.output.line(digest)?,
        false => context
            .output
            .line(format_args!("Status: Image is up to date for {name}"))?,
    }
    Ok(0)
}

fn tell(context: &mut Context, name: &Reference, pulled: &Pulled, quiet: bool) -> Result<u8> {
    if quiet {
        context.output.line(&pulled.digest)?;
        return Ok(0);
    }
    context.output.line(status(name, pulled.newer))?;
    context.output.line(written(name))?;
    Ok(0)
}

fn status(name: &Reference, newer: bool) -> String {
    match newer {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    }
}

/// The whole name with all that was asked for.
fn written(name: &Reference) -> String {
    match (name.tag(), name.digest()) {
        (Some(tag), Some(digest)) => format!("{}/{}:{tag}@{digest}", name.domain(), name.path()),
        _ => name.canonical(),
    }
}

/// What is the same for each image of a call.
struct One<'a> {
    engine: &'a Engine,
    rules: &'a Rules,
    platform: Option<&'a Platform>,
    quiet: bool,
    trust: &'a Trust,
}

impl One<'_> {
    fn pull(
        &self,
        context: &mut Context,
        repository: &Repository,
        name: &Reference,
    ) -> Result<Pulled> {
        if !self.quiet {
            let what = match (name.tag(), name.digest()) {
                (Some(tag), None) => tag.to_owned(),
                _ => name.canonical(),
            };
            context
                .output
                .line(format_args!("{what}: Pulling from {}", name.path()))?;
        }
        let bars = (!self.quiet).then(Bars::new);
        let progress: &dyn Progress = match &bars {
            Some(bars) => bars,
            None => &Silent,
        };
        let pulled = pull(
            &self.engine.paths,
            self.rules,
            repository,
            &Request {
                name,
                called: None,
                platform: self.platform,
            },
            self.trust,
            progress,
        );
        bars.iter().for_each(Bars::finish);
        let pulled = pulled?;
        note_use(&self.engine.paths, &pulled.id);
        event::image(self.engine, &pulled.id, &name.to_string(), "pull");
        if !self.quiet {
            context
                .output
                .line(format_args!("Digest: {}", pulled.digest))?;
        }
        Ok(pulled)
    }

    fn pull_all(&self, context: &mut Context, repository: &Repository, typed: &str) -> Result<u8> {
        let mut later = Later::default();
        let pulled = self.pull_each(context, repository, typed, &mut later);
        let new: Vec<_> = later.images().cloned().collect();
        // Also those before the one that fails.
        let given = later.give(&self.engine.paths);
        let newer = pulled? | given?;
        if newer {
            limit::enforce(context, self.engine, &new)?;
        }
        if !self.quiet {
            let name: Reference = typed.parse()?;
            context.output.line(status(&name, newer))?;
            context.output.line(name.canonical())?;
        }
        Ok(0)
    }

    fn pull_each(
        &self,
        context: &mut Context,
        repository: &Repository,
        typed: &str,
        later: &mut Later,
    ) -> Result<bool> {
        let mut newer = false;
        for tag in repository.tags()? {
            let name: Reference = format!("{typed}:{tag}").parse()?;
            let digest = match later.take(repository, &name, self.trust)? {
                Some((digest, id)) => {
                    event::image(self.engine, &id, &name.to_string(), "pull");
                    if !self.quiet {
                        let from =
                            format_args!("{tag}: Pulling from {}\nDigest: {digest}", name.path());
                        context.output.line(from)?;
                    }
                    digest
                }
                None => {
                    let pulled = self.pull(context, repository, &name)?;
                    later.know(&pulled);
                    newer |= pulled.newer;
                    pulled.digest
                }
            };
            if self.quiet {
                context.output.line(&digest)?;
            }
        }
        Ok(newer)
    }
}
