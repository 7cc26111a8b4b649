//! `build`: a Dockerfile becomes an image, an archive, or files; and what Docker's plugin buildx has beside it.
//!
//! - `flags`: what is declared · `order`: from there to plain values · `outputs`: where it all goes
//! - `output_flag`, `cache_flag`, `secret`, `attest`, `annotation`: values of flags · `proxy`: those of Docker's configuration
//! - `check`: `--check`, `--call` · `metadata`: the files that are written beside it
//! - `buildx`, `cache`: the other commands · `layout`: a command for `build` itself

pub mod buildx;
pub mod cache;
pub mod layout;

mod annotation;
mod attest;
mod cache_flag;
mod cache_output;
mod check;
mod flags;
mod metadata;
mod order;
mod output_flag;
mod outputs;
mod proxy;
mod secret;

pub use flags::Build;

use crate::build::build;
use crate::build::output::Destination;
use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::image::limit;
use crate::cli::output::build::{Mode, Progress};
use crate::cli::output::visible;
use crate::error::bad_input;
use crate::image::reference::Reference;
use anyhow::Result;
use attest::Attestations;

/// What the manual says beside the options.
pub const MANUAL: &str = r#".SH CONTEXTS
.BI \-\-build\-context " NAME" = PLACE
is for
.BI FROM " NAME"
and
.BI \-\-from= NAME\fR,
in place of a stage or an image of that name too.
.TP
.IR DIRECTORY ", git repository, address of a tar archive"
Files; they are root's.
.TP
.BI docker\-image:// NAME
An image of the store or of a registry.
.TP
.BI oci\-layout:// DIRECTORY\fR[\fB:\fITAG\fR][\fB@\fIDIGEST\fR]
An image in an OCI layout; without both the one that is called
.BR latest ,
or the only one. It does not become an image of the store.
.PP
A git repository over HTTP that is private is fetched with the secret
.B GIT_AUTH_TOKEN
or
.BR GIT_AUTH_HEADER ,
or either with
.BI . HOST
behind it, as given by
.BR "\-\-secret id=" .
.SH OUTPUTS
Without
.B \-\-output
the image goes into the store, under the names of
.BR \-\-tag .
.TP
.B type=image
An image: into the store, and with
.B push=true
to the registry of its names.
.B name=
adds a name;
.B push\-by\-digest=true
pushes without one.
.TP
.B type=registry
The same with
.BR push=true .
.TP
.B type=docker\fR[\fB,dest=\fIFILE\fR]
An archive as of
.BR "docker save" ;
without
.B dest
the image goes into the store.
.TP
.B type=oci,dest=\fIFILE
An OCI layout in an archive; with
.B tar=false
a directory.
.TP
.B type=tar,dest=\fIFILE
The files of the image as an archive.
.TP
.B type=local,dest=\fIDIRECTORY
The files of the image, as the caller's own; devices are left out. A file that is there is replaced, never written to.
.TP
.I DIRECTORY
The same.
.TP
.B \-
The files as an archive on standard output.
.PP
.B compression=gzip\fR, \fBzstd\fR or \fBuncompressed\fR and
.B compression\-level=\fIN
say how layers are packed,
.B oci\-mediatypes=false
asks for Docker's manifests,
.BI annotation. KEY = VALUE
adds an annotation. Times in layers are never later than the newest input, or than
.BR SOURCE_DATE_EPOCH .
Several outputs may be asked for. Several platforms come into one index; the store holds images for one platform only, so that
the name leads to the one for this machine, and
.B onggi manifest push
pushes all of them.
.SH CACHES
What steps have come to stays in the store, for all builds of the user. Other machines know it from a cache that
.B \-\-cache\-to
has written and
.B \-\-cache\-from
reads; both may be given several times. A layer comes only if its files are needed, and is refused unless its digests are right;
what cannot be had is done again. Whoever may write a cache decides what is in the images of those who read it: it serves only builds
that ask for it, and the policy for images
.RB ( "onggi trust" )
holds for it.
.TP
.B type=registry,ref=\fINAME
In a registry;
.I NAME
alone is the same.
.B registry.insecure=true
does without TLS. An image with an inline cache is read as one.
.TP
.B type=local,dest=\fIDIRECTORY\fR, \fBtype=local,src=\fIDIRECTORY
An OCI layout, in it as
.BR latest ,
or as
.BI tag= NAME
says; to be read also by
.BI digest= DIGEST \fR.\fP
What was in the directory before stays.
.TP
.B type=inline
In the config of the image, for whoever pushes it
.RB ( \-\-cache\-to
only).
.PP
With
.B mode=min
the layers of the image go, with
.B mode=max
those of all its stages; what is known of the steps goes in both.
.B compression
and
.B compression\-level
are as for outputs,
.B oci\-mediatypes=false
asks for Docker's media types,
.B image\-manifest=false
for an index around the manifest. With
.B ignore\-error=true
it is a warning that a cache cannot be written; that one cannot be read is never more. Caches of BuildKit's are not read, since
their keys are made otherwise.
.SH MODES
How steps are carried out is found by trying, and told by the progress and by
.BR "onggi buildx inspect" .
.TP
.BR root ", " "user namespace" ", " "user namespace with a single id"
In containers, whose files are
.B overlay
or
.BR copies .
.TP
.B chroot only
Where root may make no namespaces, as in a container with Docker's default profile: a program has a root directory of its own and
otherwise runs with the network, the processes and the privileges around; do not build there what you would not run there as root.
Without
.B CAP_SYS_ADMIN
it has no
.IR /proc .
Networks other than the one around, devices and limits of resources are errors; mounts are copies, and a secret is on the disk of the
store while its step runs.
.TP
.B files only, no RUN
Where nothing of that is possible:
.BR COPY ", " ADD " and " WORKDIR
work.
.SH ENVIRONMENT
.TP
.B BUILDKIT_PROGRESS
How to show what happens where
.B \-\-progress
is not given.
.TP
.B DOCKER_DEFAULT_PLATFORM
What to build for where
.B \-\-platform
is not given.
.TP
.B SOURCE_DATE_EPOCH
Seconds since 1970: no time in the image is later. Without it this is when a git context was committed, else when the newest
input of each step was changed; of the Dockerfile, when it was changed before the first build with what stands in it, so that to
touch files makes no other image as long as the cache is there.
"#;

impl Verb for Build {
    fn execute(mut self, context: &mut Context) -> Result<u8> {
        let names = self.names()?;
        let mode = self.mode()?;
        let outputs = self.outputs(&names)?;
        let caches = self.cache_to()?;
        let attestations = Attestations::parse(&self.attest, &self.provenance, &self.sbom)?;
        if attestations.sbom {
            let why = "--sbom has no effect: nothing here looks for packages in images";
            context.output.warn(why);
        }
        for (flag, why) in self.without_effect(&caches) {
            context
                .output
                .warn(format!("--{flag} has no effect: {why}"));
        }
        if let Some(call) = self.call()? {
            let order = self.order(context, false)?;
            return check::call(context, &order, &call);
        }
        let (iidfile, metadata) = (self.iidfile.take(), self.metadata_file.take());
        let options = self.registries(context)?;
        let quiet = mode == Mode::Quiet;
        let order = self.order(context, caches.inline)?;
        let targets = outputs::Targets::open(&outputs, &options)?;
        let caches = cache_output::open(caches.outputs, &options)?;
        let (engine, global) = (context.engine()?, context.global_options());
        let mut progress = Progress::new(&mut context.output, mode)?;
        let built = build(&engine, &order, &mut progress);
        let outcome = built.inspect_err(|error| progress.failed(error))?;
        let request = outputs::Request {
            order: &order,
            outcome: &outcome,
            outputs: &outputs,
            targets: &targets,
            caches: &caches,
            attestations: &attestations,
        };
        let written = outputs::write(engine, &global, &request, &mut progress);
        let written = written.inspect_err(|error| progress.failed(error))?;
        progress.finish(true);
        progress.warn();
        metadata::write(iidfile.as_deref(), metadata.as_deref(), &request, &written)?;
        // What goes there is an archive, which the id would spoil.
        let is_taken = outputs
            .iter()
            .any(|output| output.destination == Some(Destination::Standard));
        if quiet && !is_taken {
            progress.output().line(metadata::id(&request, &written))?;
        }
        drop(progress);
        let complaints = &outcome.steps.imports.complaints;
        for warning in complaints.iter().chain(&written.warnings) {
            context.output.warn(warning);
        }
        if let Some(engine) = &written.engine {
            limit::enforce(context, engine, &written.kept)?;
        }
        for found in &outcome.differences {
            let what: Vec<&str> = found.what.iter().map(|what| what.name()).collect();
            let line = format!("{}: {}: {}", found.step, found.path, what.join(", "));
            context.output.line(visible(&line))?;
        }
        Ok(u8::from(!outcome.differences.is_empty()))
    }
}

impl Build {
    /// The names of `--tag`.
    fn names(&self) -> Result<Vec<Reference>> {
        let name = |name: &Reference| match name.digest() {
            Some(_) => Err(bad_input(format!("invalid tag \"{name}\": it has a digest")).into()),
            None => Ok(name.clone().or_latest()),
        };
        self.tag.iter().map(name).collect()
    }

    fn mode(&self) -> Result<Mode> {
        let text = match &self.progress {
            Some(text) => text.clone(),
            None => std::env::var("BUILDKIT_PROGRESS").unwrap_or_default(),
        };
        let mode: Mode = text.parse()?;
        Ok(if self.quiet { Mode::Quiet } else { mode })
    }
}
