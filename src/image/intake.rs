//! How images and layers come to be visible: everything is made in a staging directory, and renamed into place
//! under the store's lock when all of it is verified and on disk.
//!
//! ```text
//! layer() … layer()   unpack into staging/X/layers/, or pin a layer that is here already
//! image()             write staging/X/images/ID/
//! commit()            syncfs · lock · rename layers · rename images · names · unlock
//! commit_for_now()             lock · rename layers, each with the mark of this boot · unlock
//! ```
//!
//! What a build makes on its way is not worth a sync of the whole file system each time: such layers are believed until the
//! machine goes down ([`store::layer_is_complete`]), and are as all others from the first image on that needs them.
//!
//! Invariant: a layer directory that an image or a name leads to is whole. A failure before the end of
//! `commit()` leaves the store as it was; a killed maker leaves at most layers that no image uses, and those go
//! with the next [`super::remove::sweep`].

mod commit;

pub use commit::Displaced;
pub(super) use commit::give_names;

use super::compression;
use super::config::{Config, chain_id};
use super::digest::{Digest, Hashing};
use super::layer::{self, Rules};
use super::origin::{self, Blob, Origin};
use super::reference::Reference;
use super::remove;
use super::shared;
use super::store::{self, ImageRecord};
use crate::error::bad_input;
use crate::paths::{self, Paths, staged_blobs, staged_images, staged_layers, staging_pins};
use crate::store::atomic::{self, Durability};
use crate::store::lock::Lock;
use crate::store::staging::Staging;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Images on their way into the store.
pub struct Intake<'a> {
    paths: &'a Paths,
    rules: &'a Rules,
    staging: Staging,
    /// Layer directories that `commit` moves, by the name they will have.
    layers: BTreeMap<String, PathBuf>,
    images: BTreeMap<Digest, PathBuf>,
    names: Vec<(Reference, Digest)>,
    unpacked: usize,
    /// Blobs that `commit` puts beside what was unpacked of them, by the layer's name.
    kept: BTreeSet<(String, Digest)>,
    /// What `commit` remembers: where else blobs were seen, if they are known.
    blobs: Vec<(String, Blob)>,
    /// Likewise of blobs that were read.
    checked: Vec<(String, Blob)>,
    origins: Vec<(Digest, Origin)>,
    /// Layers of the images that are added.
    needed: BTreeSet<String>,
    /// What a build makes stays without an image: the layers that `commit` marks so.
    cached: Option<Vec<String>>,
}

/// The layers of one image as far as they are here, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    names: Vec<String>,
    trees: Vec<PathBuf>,
    diff_ids: Vec<Digest>,
    id: Option<Digest>,
    size: u64,
}

impl Chain {
    /// The digests of the uncompressed layers.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// The names of its layers in the store.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Bytes of the files in all its layers.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// What somebody says a blob is; all of it is checked.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Of the tar within.
    pub diff_id: Option<Digest>,
    /// Of the blob itself and its length in bytes.
    pub blob: Option<(Digest, u64)>,
    /// What to remember of the blob.
    pub remembered: Option<Blob>,
}

impl Expected {
    /// The blob, where it is one to be kept: what is not compressed can be had from the layer at any time.
    fn kept(&self, rules: &Rules) -> Option<&Digest> {
        let (digest, _) = self.blob.as_ref().filter(|_| rules.keep_blobs)?;
        (self.diff_id.as_ref() != Some(digest)).then_some(digest)
    }
}

impl<'a> Intake<'a> {
    /// Makes the staging directory, after sweeping what dead makers left.
    pub fn new(paths: &'a Paths, rules: &'a Rules) -> Result<Self> {
        make_directories(paths)?;
        remove::sweep(paths)?;
        Self::next(paths, rules)
    }

    /// Likewise of who takes in one after the other, and has swept before the first.
    pub fn next(paths: &'a Paths, rules: &'a Rules) -> Result<Self> {
        make_directories(paths)?;
        let staging = Staging::new(&paths.staging())?;
        for directory in [staged_layers, staged_images, staging_pins, staged_blobs] {
            let directory = directory(staging.path());
            std::fs::create_dir(&directory)
                .with_context(|| format!("create `{}`", directory.display()))?;
        }
        Ok(Self {
            paths,
            rules,
            staging,
            layers: BTreeMap::new(),
            images: BTreeMap::new(),
            names: Vec::new(),
            unpacked: 0,
            kept: BTreeSet::new(),
            blobs: Vec::new(),
            checked: Vec::new(),
            origins: Vec::new(),
            needed: BTreeSet::new(),
            cached: None,
        })
    }

    /// From here on, layers that are taken in stay although no image needs them, until the build cache gives them up.
    pub fn cache_layers(&mut self) {
        self.cached.get_or_insert_default();
    }

    /// A directory that vanishes with the intake, for whatever its maker must put down meanwhile.
    pub fn scratch(&self) -> &Path {
        self.staging.path()
    }

    /// The most bytes a layer, or an archive of layers, may inflate to.
    pub fn max_bytes(&self) -> u64 {
        self.rules.max_bytes
    }

    /// Puts a layer that is here on top of the chain, where it is all one has.
    pub fn present(
        &mut self,
        chain: &mut Chain,
        diff_id: &Digest,
        remembered: Option<&Blob>,
    ) -> Result<()> {
        let found = self.find(chain, diff_id, store::layer_is_complete)?;
        let missing = || anyhow::anyhow!("the layer {diff_id} of its image is missing");
        let found = found.ok_or_else(missing)?;
        self.blobs
            .extend(remembered.map(|blob| (found.0.clone(), blob.clone())));
        put(chain, found, diff_id.clone())
    }

    /// Puts a layer on top of the chain. `open` is called only if it has to be unpacked: one of that diff id that is
    /// here already was verified when it came, and lacks no file since.
    pub fn layer<R: Read + Send>(
        &mut self,
        chain: &mut Chain,
        expected: &Expected,
        open: impl FnOnce() -> Result<R>,
    ) -> Result<()> {
        let known = match &expected.diff_id {
            Some(diff_id) => self
                .find(chain, diff_id, store::layer_is_whole)?
                .map(|found| (found, diff_id.clone())),
            None => None,
        };
        let (found, diff_id) = match known {
            Some(known) => {
                let kept = expected.kept(self.rules);
                let kept = kept.filter(|digest| self.lacks(&known.0, digest));
                let blob = expected.remembered.iter();
                let blob = blob.map(|blob| (known.0.0.clone(), blob.clone()));
                if let Some(digest) = kept {
                    self.checked.extend(blob);
                    self.keep(&known.0.0, digest, expected, open()?)?;
                } else {
                    self.blobs.extend(blob);
                }
                known
            }
            None => {
                let unpacked = self.unpack(chain, expected, open()?)?;
                let blob = expected.remembered.iter();
                self.checked
                    .extend(blob.map(|blob| (unpacked.0.0.clone(), blob.clone())));
                unpacked
            }
        };
        if let Some(cached) = &mut self.cached {
            cached.push(found.0.clone());
        }
        put(chain, found, diff_id)
    }

    /// Whether a blob is to be kept.
    pub fn keeps(&self, expected: &Expected) -> bool {
        expected.kept(self.rules).is_some()
    }

    /// Whether a blob is to be kept and is not there, although its layer may be.
    pub fn wants_blob(&self, names: &[String; 2], expected: &Expected) -> bool {
        let lacks = |digest: &Digest| {
            let directory = |name: &String| (name.clone(), self.paths.layer(name));
            names
                .iter()
                .all(|name| self.lacks(&directory(name), digest))
        };
        expected.kept(self.rules).is_some_and(lacks)
    }

    fn lacks(&self, (name, directory): &(String, PathBuf), digest: &Digest) -> bool {
        !self.kept.contains(&(name.clone(), digest.clone()))
            && !paths::kept_blob_in(directory, digest.hex()).exists()
    }

    /// Keeps the blob of a layer that is here.
    fn keep<R: Read>(
        &mut self,
        name: &str,
        digest: &Digest,
        expected: &Expected,
        blob: R,
    ) -> Result<()> {
        let mut hashing = Hashing::default();
        let mut tee = self.tee(Some(digest), blob)?;
        io::copy(&mut tee, &mut hashing).context("read the blob that is to be kept")?;
        let got = hashing.finish();
        if expected.blob.as_ref() != Some(&got) {
            let (got, size) = got;
            return Err(bad_input(format!("it is {got} with {size} bytes")).into());
        }
        let path = staged_blobs(self.staging.path()).join(digest.hex());
        let context = || format!("read `{}`", path.display());
        let (compression, packed) =
            compression::peek(File::open(&path).with_context(context)?).with_context(context)?;
        let mut tar = compression.unpack(packed)?.take(self.rules.max_bytes);
        let mut hashing = Hashing::default();
        io::copy(&mut tar, &mut hashing)
            .map_err(|error| compression::read_error(error, compression))?;
        let (diff_id, _) = hashing.finish();
        if expected.diff_id.as_ref() != Some(&diff_id) {
            return Err(bad_input(format!("{digest} holds another layer, {diff_id}")).into());
        }
        self.kept.insert((name.to_owned(), digest.clone()));
        Ok(())
    }

    /// What is read, and written down on the way if it is `kept`.
    fn tee<R: Read>(&self, kept: Option<&Digest>, blob: R) -> Result<Tee<R>> {
        let path = kept.map(|digest| staged_blobs(self.staging.path()).join(digest.hex()));
        let file = path.as_ref().map(File::create).transpose();
        let copy = file.with_context(|| format!("create `{}`", path.unwrap_or_default().display()));
        Ok(Tee { blob, copy: copy? })
    }

    /// Likewise a layer that lies in another store and cannot be used there: its tar is streamed out of that.
    pub fn copied(&mut self, chain: &mut Chain, diff_id: &Digest, from: &Path) -> Result<()> {
        let expected = Expected {
            diff_id: Some(diff_id.clone()),
            ..Expected::default()
        };
        let (reader, writer) = std::io::pipe().context("pipe")?;
        std::thread::scope(|scope| {
            let streaming = std::thread::Builder::new()
                .name("stream".to_owned())
                .spawn_scoped(scope, move || {
                    let mut out = BufWriter::with_capacity(1 << 20, writer);
                    layer::stream_tar(from, &mut out)?;
                    out.flush().context("write the tar of a layer")
                })
                .context("start a thread")?;
            let taken = self.layer(chain, &expected, || Ok(reader));
            let streamed = streaming
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // When one side fails the other's complaint is a consequence: a pipe that breaks, a stream that is cut off.
            match (streamed, taken) {
                (_, Ok(())) => Ok(()),
                (Err(error), Err(_)) if !is_broken_pipe(&error) => Err(error),
                (_, taken) => taken,
            }
        })
        .with_context(|| format!("copy the layer `{}`", from.display()))
    }

    /// Whether a layer is here under one of its names; then it stays until `commit`.
    pub fn pins(&self, names: &[String; 2]) -> Result<bool> {
        for name in names {
            if self.reuse(name, store::layer_is_whole)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory of a layer, under either name it may have.
    fn find(
        &self,
        chain: &Chain,
        diff_id: &Digest,
        is_good: fn(&Path) -> bool,
    ) -> Result<Option<(String, PathBuf)>> {
        let chain_id = chain_id(chain.id.as_ref(), diff_id);
        match self.reuse(diff_id.hex(), is_good)? {
            None if chain_id != *diff_id => self.reuse(chain_id.hex(), is_good),
            found => Ok(found),
        }
    }

    /// A layer that was unpacked before, here or by another; pinned, so that nobody removes it before `commit`.
    fn reuse(&self, name: &str, is_good: fn(&Path) -> bool) -> Result<Option<(String, PathBuf)>> {
        if let Some(directory) = self.layers.get(name) {
            return Ok(Some((name.to_owned(), directory.clone())));
        }
        let directory = self.paths.layer(name);
        // A damaged one is unpacked again, and replaced by `commit`.
        if !is_good(&directory) {
            return match shared::layer(self.paths, &[name], is_good) {
                // There is no place there to keep its blob.
                _ if self.rules.keep_blobs => Ok(None),
                Some(layer) if layer.in_place && shared::hold(&layer.directory)? => {
                    Ok(Some((layer.name, layer.directory)))
                }
                _ => Ok(None),
            };
        }
        let _lock = Lock::exclusive(&self.paths.lock())?;
        let pin = staging_pins(self.staging.path()).join(name);
        File::create(&pin).with_context(|| format!("create `{}`", pin.display()))?;
        Ok(directory.exists().then(|| (name.to_owned(), directory)))
    }

    fn unpack<R: Read + Send>(
        &mut self,
        chain: &Chain,
        expected: &Expected,
        blob: R,
    ) -> Result<((String, PathBuf), Digest)> {
        let directory = self.staged()?;
        let kept = expected.kept(self.rules);
        let blob = self.tee(kept, blob)?;
        let unpacked = layer::unpack(blob, &directory, &chain.trees, self.rules)?;
        verify(expected, &unpacked)?;
        if let Some(blob) = &expected.remembered {
            origin::add_blob(&directory, blob, Durability::Volatile)?;
        }
        let name = self.admit(chain, &directory, &unpacked)?;
        self.kept
            .extend(kept.map(|digest| (name.clone(), digest.clone())));
        Ok(((name, directory), unpacked.diff_id))
    }

    /// A directory for a layer.
    fn staged(&mut self) -> Result<PathBuf> {
        let directory = staged_layers(self.staging.path()).join(self.unpacked.to_string());
        self.unpacked += 1;
        std::fs::create_dir(&directory)
            .with_context(|| format!("create `{}`", directory.display()))?;
        Ok(directory)
    }

    /// A layer that is made, but for its record; gives its name.
    fn admit(
        &mut self,
        chain: &Chain,
        directory: &Path,
        unpacked: &layer::Unpacked,
    ) -> Result<String> {
        let record = store::LayerRecord {
            version: store::VERSION,
            diff_id: unpacked.diff_id.clone(),
            size: unpacked.size,
            tar_size: unpacked.tar_size,
            marked: Some(unpacked.marked),
        };
        atomic::write(
            &paths::layer_record_in(directory),
            &serde_json::to_vec(&record)?,
            Durability::Volatile,
        )?;
        let name = match unpacked.depends_on_parents {
            true => chain_id(chain.id.as_ref(), &unpacked.diff_id)
                .hex()
                .to_owned(),
            false => unpacked.diff_id.hex().to_owned(),
        };
        self.layers.insert(name.clone(), directory.to_owned());
        Ok(name)
    }

    /// Puts the changes in an upper directory, which nobody uses any more, on top of the chain; gives what is to be told to
    /// the user. `None`: it lies where it cannot be taken from, and stays as it is.
    pub fn adopted(
        &mut self,
        chain: &mut Chain,
        adopted: layer::Adopted<'_>,
    ) -> Result<Option<Vec<String>>> {
        let directory = self.staged()?;
        let Some(upper) = layer::take(adopted.upper, &directory)? else {
            return Ok(None);
        };
        let adopted = layer::Adopted {
            upper: &upper,
            ..adopted
        };
        let (unpacked, warnings) = layer::adopt(adopted, &directory, &chain.trees, self.rules)?;
        std::fs::remove_dir(&upper).with_context(|| format!("remove `{}`", upper.display()))?;
        let name = self.admit(chain, &directory, &unpacked)?;
        if let Some(cached) = &mut self.cached {
            cached.push(name.clone());
        }
        put(chain, (name, directory), unpacked.diff_id)?;
        Ok(Some(warnings))
    }

    /// Adds an image of the layers of `chain`; `config` is kept byte for byte.
    pub fn image(&mut self, config: &[u8], chain: &Chain, names: Vec<Reference>) -> Result<Digest> {
        let parsed = Config::parse(config).context("read the config")?;
        if parsed.rootfs.diff_ids != chain.diff_ids {
            return Err(bad_input("the layers are not those the config lists").into());
        }
        if config.len() as u64 > store::DOCUMENT_LIMIT {
            let (length, most) = (config.len(), store::DOCUMENT_LIMIT);
            let message = format!("the config has {length} bytes, the most is {most}");
            let hint = "large values belong into files";
            return Err(bad_input(message).hint(hint).into());
        }
        let id = Digest::of(config);
        // Also when it is here already: it may be removed before `commit`.
        if !self.images.contains_key(&id) {
            let directory = staged_images(self.staging.path()).join(id.hex());
            std::fs::create_dir(&directory)
                .with_context(|| format!("create `{}`", directory.display()))?;
            let record = serde_json::to_vec(&ImageRecord::new(chain.names.clone(), chain.size))?;
            atomic::write(&paths::config_in(&directory), config, Durability::Volatile)?;
            atomic::write(
                &paths::image_record_in(&directory),
                &record,
                Durability::Volatile,
            )?;
            self.images.insert(id.clone(), directory);
        }
        self.needed.extend(chain.names.iter().cloned());
        self.names.extend(
            names
                .into_iter()
                .map(|name| (store::as_stored(name), id.clone())),
        );
        Ok(id)
    }

    /// Remembers how an image came that was added.
    pub fn came_by(&mut self, id: &Digest, origin: Origin) -> Result<()> {
        if let Some(directory) = self.images.get(id) {
            origin::add_origin(directory, &origin, Durability::Volatile)?;
        }
        self.origins.push((id.clone(), origin));
        Ok(())
    }
}

fn make_directories(paths: &Paths) -> Result<()> {
    for directory in [paths.data().to_owned(), paths.layers(), paths.images()] {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("create `{}`", directory.display()))?;
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause: &std::io::Error| cause.kind() == ErrorKind::BrokenPipe)
}

fn put(chain: &mut Chain, found: (String, PathBuf), diff_id: Digest) -> Result<()> {
    let (name, directory) = found;
    chain.size += store::layer_record(&directory)?.size;
    chain.id = Some(chain_id(chain.id.as_ref(), &diff_id));
    chain.trees.push(paths::tree_in(&directory));
    chain.names.push(name);
    chain.diff_ids.push(diff_id);
    Ok(())
}

/// A blob that is copied while it is read.
struct Tee<R> {
    blob: R,
    copy: Option<File>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.blob.read(buffer)?;
        if let Some(copy) = &mut self.copy {
            copy.write_all(&buffer[..got])?;
        }
        Ok(got)
    }
}

fn verify(expected: &Expected, unpacked: &layer::Unpacked) -> Result<()> {
    if let Some((digest, size)) = &expected.blob {
        if unpacked.blob_size != *size {
            let got = unpacked.blob_size;
            return Err(bad_input(format!("it should be {size} bytes long and is {got}")).into());
        }
        if unpacked.blob_digest != *digest {
            let got = &unpacked.blob_digest;
            return Err(bad_input(format!("its digest should be {digest} and is {got}")).into());
        }
    }
    match &expected.diff_id {
        Some(diff_id) if unpacked.diff_id != *diff_id => {
            let got = &unpacked.diff_id;
            Err(bad_input(format!("its diff id should be {diff_id} and is {got}")).into())
        }
        _ => Ok(()),
    }
}
