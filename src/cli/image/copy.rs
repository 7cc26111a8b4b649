//! `image copy`: images go from one place to another as they are.

use super::limit;
use super::registry::RegistryFlags;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::progress::Bars;
use crate::container::engine::Engine;
use crate::container::event;
use crate::error::{Error, Kind, bad_input};
use crate::image::copy::layout::{Directory, NAME, WHOLE_NAME};
use crate::image::copy::location::{Form, Location};
use crate::image::copy::open::Opening;
use crate::image::copy::packed::Packed;
use crate::image::copy::registry::Registry;
use crate::image::copy::stored::take_in;
use crate::image::copy::{Order, Source, copy};
use crate::image::digest::Digest;
use crate::image::intake::Displaced;
use crate::image::limit::note_use;
use crate::image::platform::Platform;
use crate::image::pull::{Request, pull};
use crate::image::push::push;
use crate::image::reference::Reference;
use crate::image::registry::{Options, Repository};
use crate::image::store;
use crate::image::trust::{Asked, Trust};
use crate::progress::{Progress, Silent};
use crate::store::atomic;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What the manual says beside the options.
pub const MANUAL: &str = r#".SH PLACES
.TP
.B docker://\fINAME\fR[:\fITAG\fR|@\fIDIGEST\fR]
In a registry.
.TP
.B oci:\fIDIRECTORY\fR[:\fINAME\fR]
In an OCI layout. A new directory becomes one.
.TP
.B oci\-archive:\fIFILE\fR[:\fINAME\fR]
In a tar archive of one. As a destination it must not be there yet.
.TP
.B docker\-archive:\fIFILE\fR[:\fINAME\fR]
In a tar archive as of
.BR "docker save" .
One that has no manifest gets one; one that is written has the compressed layers as they are.
.TP
.B store:\fINAME
In the store of this machine, by name or id.
.TP
.IR /PATH ", " ./PATH ", " ../PATH
A layout or an archive: whatever it is, or a new archive where the name ends in
.BR .tar ,
else a new layout.
.TP
.I NAME
In the store, unless a file of that name is there. Where both are it is an error.
.PP
Manifests and blobs are copied byte for byte, and so all digests stay. Only an image of the store whose layers came compressed
is packed anew, which is told, unless the setting
.B storage.keep\-blobs
has kept them. What the destination has is not copied again; what another repository of the same registry has is mounted.
What a copy that fails has brought into a layout stays there for the next one, and nothing leads to it.
What comes into the store has to be what the policy wants
.RB ( "onggi trust" ).
"#;

/// Options of `image copy`.
#[derive(clap::Args)]
pub struct Copy {
    /// Copy the images for all platforms
    #[arg(short, long)]
    all: bool,
    /// Copy the image for this platform ("os/arch[/variant]") instead of this machine's
    #[arg(long)]
    platform: Option<Platform>,
    /// Print the digest only
    #[arg(short, long)]
    quiet: bool,
    /// Copy signatures and other things that refer to the image, too
    #[arg(long, alias = "referrers")]
    signatures: bool,
    #[command(flatten)]
    registry: RegistryFlags,
    source: String,
    destination: String,
}

impl Verb for Copy {
    fn execute(self, context: &mut Context) -> Result<u8> {
        if self.all && self.platform.is_some() {
            return Err(bad_input("--all and --platform exclude each other").into());
        }
        let engine = context.engine()?;
        let is_here = |name: &str| store::find(&engine.paths, name).is_ok();
        let from = self.source.parse::<Location>()?.settled(is_here)?;
        let to = self.destination.parse::<Location>()?.settled(is_here)?;
        if matches!((&from, &to), (Location::Store(_), Location::Store(_))) {
            return Err(bad_input("both are names in the store here")
                .hint("`docker://NAME` is in a registry; `onggi tag` gives another name")
                .into());
        }
        let call = Call {
            options: self.registry.options(context)?,
            order: Order {
                all: self.all,
                platform: self.platform,
                referrers: self.signatures,
            },
            engine: &engine,
        };
        let bars = (!self.quiet).then(Bars::new);
        let progress: &dyn Progress = match &bars {
            Some(bars) => bars,
            None => &Silent,
        };
        let copied = call
            .copy(&from, &to, progress)
            .with_context(|| format!("copy `{}` to `{}`", self.source, self.destination));
        bars.iter().for_each(Bars::finish);
        let Copied {
            digest,
            taken_in,
            displaced,
            repacked,
        } = copied?;
        if !repacked.is_empty() {
            let repacked: Vec<&str> = repacked.iter().map(Digest::short).collect();
            context.output.warn(format_args!(
                "packed anew, and so under other digests: {} (the setting storage.keep-blobs keeps the originals of what \
                 is pulled from then on)",
                repacked.join(", ")
            ));
        }
        if self.quiet {
            context.output.line(digest)?;
        } else {
            super::tell_displaced(context, &displaced)?;
            context.output.line(format_args!("Digest: {digest}"))?;
            context.output.line(format_args!(
                "Status: Copied {} to {}",
                self.source, self.destination
            ))?;
        }
        if let Some(id) = taken_in {
            limit::enforce(context, &engine, &[id])?;
        }
        Ok(0)
    }
}

struct Call<'a> {
    engine: &'a Engine,
    options: Options,
    order: Order,
}

/// What came of it.
struct Copied {
    digest: Digest,
    /// The image of the store that has come.
    taken_in: Option<Digest>,
    /// Names that have gone over.
    displaced: Vec<Displaced>,
    /// Layers that were packed anew, by the digests that they came with.
    repacked: Vec<Digest>,
}

impl Call<'_> {
    fn copy(&self, from: &Location, to: &Location, progress: &dyn Progress) -> Result<Copied> {
        if let Location::Store(name) = to {
            return self.to_store(from, name, progress);
        }
        if let (Location::Store(name), Location::Registry(there, typed)) = (from, to) {
            return self.push(name, there, typed, progress);
        }
        // Who the caller is to registries, and what files he may read, is found out before the namespace changes it.
        let opening = Opening {
            paths: &self.engine.paths,
            max_bytes: self.engine.layer_rules()?.max_bytes,
            registries: &self.options,
        };
        let target = match to {
            Location::Registry(name, typed) => {
                Some(Registry::open_to_push(name, typed, &self.options)?)
            }
            _ => None,
        };
        if matches!(from, Location::Store(_)) {
            self.engine.enter_user_namespace()?;
        }
        let source = opening.source(from)?;
        let digest = match (to, &target) {
            (_, Some(target)) => copy(&*source, target, &self.order, progress)?.digest,
            (Location::Files { path, form, name }, _) => {
                self.to_files(&*source, path, *form, name.as_deref(), progress)?
            }
            _ => return Err(bad_input("there is no such place").into()),
        };
        Ok(Copied {
            digest,
            taken_in: None,
            displaced: Vec::new(),
            repacked: source.repacked(),
        })
    }

    /// What goes from the store to a registry goes as by `push`, under another name.
    fn push(
        &self,
        name: &str,
        there: &Reference,
        typed: &str,
        progress: &dyn Progress,
    ) -> Result<Copied> {
        if there.digest().is_some() {
            return Err(bad_input("cannot push a digest reference")
                .hint("name a tag: the digest follows from the image")
                .into());
        }
        let paths = &self.engine.paths;
        let image = store::find(paths, name)?;
        if let Some(wanted) = &self.order.platform {
            let found = image.config.platform();
            if !wanted.matches(&found) {
                let message = format!("the image is for {found}, not for {wanted}");
                return Err(bad_input(message).into());
            }
        }
        let repository = Repository::open_to_push(there, typed, &self.options)?;
        self.engine.enter_user_namespace()?;
        let tag = there.tag().unwrap_or("latest");
        let pushed = push(paths, &repository, &image.id, tag, progress)?;
        event::image(self.engine, &image.id, &there.to_string(), "push");
        Ok(Copied {
            digest: pushed.digest,
            taken_in: None,
            displaced: Vec::new(),
            repacked: pushed
                .changed
                .into_iter()
                .map(|(before, _)| before)
                .collect(),
        })
    }

    fn to_files(
        &self,
        source: &dyn Source,
        path: &Path,
        form: Option<Form>,
        name: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Digest> {
        let annotations = annotations(name, source.name())?;
        let form = match form {
            Some(form) => form,
            None if path.is_dir() => Form::Layout,
            None => Form::of_new(path),
        };
        let names = match form {
            Form::Layout => {
                let target = Directory::open(path.to_owned(), annotations)?;
                return Ok(copy(source, &target, &self.order, progress)?.digest);
            }
            Form::OciArchive => None,
            Form::DockerArchive => {
                let name = annotations.get(WHOLE_NAME);
                Some(
                    name.into_iter()
                        .map(|name| Ok(name.parse::<Reference>()?.to_string()))
                        .collect::<Result<_>>()?,
                )
            }
        };
        refuse_to_replace(path)?;
        let mut digest = None;
        atomic::stream(path, |out| {
            let target = Packed::new(out, annotations, names)?;
            digest = Some(copy(source, &target, &self.order, progress)?.digest);
            target.finish()
        })?;
        digest.context("write the archive")
    }

    /// What comes from a registry comes as by `pull`, under another name.
    fn to_store(&self, from: &Location, name: &str, progress: &dyn Progress) -> Result<Copied> {
        if self.order.all || self.order.referrers {
            let what = if self.order.all {
                "--all"
            } else {
                "--signatures"
            };
            let message =
                format!("{what}: the store holds images for one platform, and nothing beside them");
            return Err(bad_input(message)
                .hint("`oci:DIRECTORY` holds all of it")
                .into());
        }
        let name = name.parse::<Reference>()?.or_latest();
        if name.digest().is_some() {
            return Err(bad_input("a name in the store has a tag and no digest").into());
        }
        let rules = self.engine.layer_rules()?;
        let trust = Trust::load(Asked::Nothing)?;
        let paths = &self.engine.paths;
        let (id, digest, displaced) = match from {
            Location::Registry(there, typed) => {
                let repository = Repository::open(there, typed, &self.options)?;
                self.engine.enter_user_namespace()?;
                let request = Request {
                    name: there,
                    called: Some(&name),
                    platform: self.order.platform.as_ref(),
                };
                let pulled = pull(paths, &rules, &repository, &request, &trust, progress)?;
                (pulled.id, pulled.digest, pulled.displaced)
            }
            _ => {
                let opening = Opening {
                    paths,
                    max_bytes: rules.max_bytes,
                    registries: &self.options,
                };
                let source = opening.source(from)?;
                if let (Location::Files { form, .. }, Some(place)) = (from, source.place()) {
                    for transport in transports(*form, place) {
                        trust.accept_file(transport, place)?;
                    }
                }
                self.engine.enter_user_namespace()?;
                let names = vec![name.clone()];
                let taken = take_in(&*source, &self.order, (paths, &rules), names, progress)?;
                (taken.id, taken.digest, taken.displaced)
            }
        };
        let what = match from {
            Location::Registry(..) => "pull",
            _ => "load",
        };
        note_use(paths, &id);
        event::image(self.engine, &id, &name.to_string(), what);
        Ok(Copied {
            digest,
            taken_in: Some(id),
            displaced,
            repacked: Vec::new(),
        })
    }
}

/// An archive holds what one copy has put there. What is in one that is there might be all that there is of it.
fn refuse_to_replace(path: &Path) -> Result<(), Error> {
    let found = std::fs::metadata(path);
    match found.is_ok_and(|found| found.is_file() && found.len() > 0) {
        false => Ok(()),
        true => {
            let shown = path.display();
            let message = format!("`{shown}` is there already, and nothing is added to an archive");
            Err(Error::new(Kind::Conflict, message).hint(format!(
                "`rm {shown}` if it may go; `oci:DIRECTORY` takes several images"
            )))
        }
    }
}

/// What an image is called among files: as somebody says, or as it was called before.
fn annotations(name: Option<&str>, before: Option<&Reference>) -> Result<BTreeMap<String, String>> {
    let named = |name: String, whole: Option<String>| {
        let whole = whole.map(|whole| (WHOLE_NAME.to_owned(), whole));
        std::iter::once((NAME.to_owned(), name))
            .chain(whole)
            .collect()
    };
    match (
        name,
        before.filter(|before| before.tag().is_some() && before.digest().is_none()),
    ) {
        (Some(name), _) => {
            let whole = name.contains([':', '/']).then(|| name.parse::<Reference>());
            let whole = whole
                .transpose()?
                .map(|whole| whole.or_latest().canonical());
            Ok(named(name.to_owned(), whole))
        }
        (None, Some(before)) => {
            let tag = before.tag().unwrap_or_default().to_owned();
            Ok(named(tag, Some(before.canonical())))
        }
        (None, None) => Ok(BTreeMap::new()),
    }
}

/// What policies call files of a form; a file that may be of two forms must be let in as either
/// (containers-policy.json(5)).
fn transports(form: Option<Form>, path: &Path) -> &'static [&'static str] {
    match form {
        None if path.is_dir() => &["oci"],
        Some(Form::Layout) => &["oci"],
        Some(Form::OciArchive) => &["oci-archive"],
        Some(Form::DockerArchive) => &["docker-archive"],
        None => &["oci-archive", "docker-archive"],
    }
}
