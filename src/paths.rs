//! Every path on disk, with the lock that guards it. No other file knows where things lie.
//!
//! Two roots (`--root`, `--runroot`, `ONGGI_ROOT`, `ONGGI_RUNROOT` override them):
//!
//! | what | root | ordinary user |
//! |---|---|---|
//! | data, survives a reboot | `/var/lib/onggi` | `$XDG_DATA_HOME/onggi` (`~/.local/share/onggi`) |
//! | run, of this boot only | `/run/onggi` | `$XDG_RUNTIME_DIR/onggi`, else `/tmp/onggi-UID` |
//!
//! | path below the data root | content | guarded by |
//! |---|---|---|
//! | `store.json` | format version, id mapping that everything here was made with, what the file system can do | `lock` |
//! | `lock` | taken exclusively by whoever adds or removes an image, a layer or a tag | flock |
//! | `images/ID/…` | the image's own bytes, and our record | `lock` |
//! | `images/tags.json` | reference → image id, and since when | `lock` |
//! | `layers/KEY/{tree,journal}` | unpacked layer, immutable once it is here | `lock`; flock of `layers/KEY/`, shared: a user of another store who needs it, so that it stays |
//! | `layers/KEY/mapped-HEX` | its files again with the owners of one id mapping, immutable | renamed into place |
//! | `layers/KEY/blobs.json` | the blobs that it is known to come from, and where those were seen; nothing needs it | `lock` |
//! | `layers/KEY/blob-HEX` | one of those, kept (`storage.keep-blobs`), immutable | renamed into place |
//! | `layers/KEY/cached` | says that the build cache needs it, whether an image does or not | `lock` |
//! | `layers/KEY/unsynced` | the boot in which it was made; after another one nothing of it is believed. Goes when an image needs it | `lock` |
//! | `images/ID/origins.json` | the manifests that it is known to have come by; nothing needs it | `lock` |
//! | `staging/RANDOM/` | half-made things, swept when nobody holds their lock | flock of the directory, held while its maker lives |
//! | `downloads/HEX` | as much of a blob as has come, by the digest it is to have; goes with the image that it was for | flock of the file: who downloads |
//! | `registry/` | what `registry serve` keeps, see [`registry`] | `registry/lock` |
//! | `manifests/HEX.json` | a list of manifests that is being put together, by the digest of its name | flock of `manifests/` |
//! | `containers/ID/` | one container | flock of the directory: its maker, its monitor as long as it lives, whoever removes it |
//! | `containers/ID/container.json` | the record; a directory without it is half made | `containers/ID/lock` |
//! | `containers/ID/state.json` | monitor and init as (pid, start time, boot id), exit status | flock of `containers/ID/` |
//! | `containers/ID/{upper,work}` | what the container has written (overlay) | flock of `containers/ID/` |
//! | `containers/ID/exec/EXEC` | who an exec'd program is, as long as it runs | written once by the process that holds it; anyone may remove that of a dead one |
//! | `containers/ID/{hosts,hostname,resolv.conf}` | mounted into the container | flock of `containers/ID/` |
//! | `containers/ID/attach` | socket of the monitor while there is one | flock of `containers/ID/` |
//! | `containers/ID/lock` | taken by whoever changes `container.json` | flock |
//! | `containers/ID/health.json` | how healthy it says it is, with the last probes | the monitor writes it |
//! | `events/{current,previous}` | what has happened, a line each; the older file goes when the newer is full | one write(2) a line; flock of the directory to turn over |
//! | `containers/ID/ID-json.log{,.N,.N.gz}` | the log of the driver `json-file`, newest without a number | written by the monitor only; readers notice when it is rotated |
//! | `containers/ID/local-logs/container.log{,.N,.N.gz}` | that of the driver `local` | likewise |
//! | `projects` | taken by whoever chooses a project id for what a container writes (`--storage-opt`) | flock |
//! | `turns` | taken by an ordinary user's container that has a volume with a file system of its own, while it starts | flock |
//! | `id-ranges` | taken by whoever makes a container with ids that no other has | flock |
//! | `names/NAME` | a link whose target is the container's id: it is there whole or not at all, and only one maker can win | the link itself |
//! | `volumes/NAME/` | one volume | flock of the directory: shared by who makes a container that names it, until the record of that is written; exclusively by who fills or removes it |
//! | `volumes/NAME/volume.json` | the record, written before the directory gets its name | never changes; `system check --repair` writes a damaged one anew |
//! | `volumes/NAME/_data` | the files; here a volume with a `device` is mounted while somebody uses it | flock of `volumes/NAME/` to fill it |
//! | `volumes/NAME/{filling,filled}` | what an image has there, half copied and on its way into `_data`; a volume with a `device` has them in its root, as `.onggi-filling` and `.onggi-filled` | flock of `volumes/NAME/` |
//! | `volumes/NAME/mounting` | taken by whoever mounts or unmounts it | flock |
//! | `volumes/NAME/importing` | taken by whoever unpacks an archive into it | flock |
//! | `volumes/NAME/users` | held by the monitors of containers that have it mounted | flock, shared |
//! | `networks/lock` | taken by whoever makes or removes a network, or looks for a subnet that is free | flock |
//! | `networks/unique-local` | the first 48 bits of the store's own IPv6 addresses | `networks/lock` |
//! | `networks/ID/` | one network | flock of the directory: who gives out one of its addresses, takes back what a killed process had, or removes it |
//! | `networks/ID/network.json` | the record, written before the directory gets its name | never changes |
//! | `build/cache/KEY` | what a build's step came to, by the key of the step | `build/locks/KEY`: who takes the step |
//! | `build/digests/HEX` | digests of files of a build context, by the digest of its path; nothing needs it | renamed into place |
//! | `build/downloads/HEX{,.json}` | what an address of an `ADD` or a context gave, by the digest of that, and what its server said of it; nothing needs it | renamed into place |
//! | `build/locks/KEY` | taken by whoever takes a step; goes with its holder | flock |
//! | `build/mounts/KEY/` | a cache mount (`RUN --mount=type=cache`), by the digest of its id | flock of the directory: shared or alone, as `sharing` says |
//! | `build/mounts/KEY/files` | what steps have written there | likewise |
//! | `build/mounts/KEY/mount.json` | what it is called and when it was used | likewise |
//! | `pending/ID` | marks a container that is being made or removed, runs, or goes when it ends (`--rm`): where to look for what a killed process has left | the container's lock |
//!
//! | path below the run root | content | guarded by |
//! |---|---|---|
//! | `shared/USER/NAME/` | a mount that shows `images` and `layers` of a store to an ordinary user as his own | root makes and removes it |
//! | `mounts/ID` | where `mount` shows the root of a container; not there, or empty, when it does not | `containers/ID/` for a container that does not run |
//! | `network/lock` | held by the network process of an ordinary user from before it listens until it is gone | flock |
//! | `network/socket` | where it listens | `network/lock` |
//! | `networks/ID/CONTAINER` | the endpoint of a container in a network; replaced, never changed | flock of the file, held by who keeps the container running: one that nobody holds is nobody's. Its name moves on to a new file that is locked already, so who finds the old one free looks again |
//! | `networks/ID/CONTAINER.new` | what is about to become that | likewise |
//! | `networks/ID/ADDRESS` | a link whose target is the container that has the address; one that leads nowhere, or to a container with another address, is nobody's | the other `networks/ID/` |
//! | `networks/ID/last` | the addresses that were given last, one a line | the other `networks/ID/` |

pub mod network;
pub mod registry;

mod build;
pub mod bundle;
mod configuration;

pub use build::{MOUNT_FILES, mount_data_in, mount_record_in};
pub use configuration::{
    credential_file_is_named, credential_files, docker_configuration, host_certificates,
    policy_files, registries_configuration, user_policy,
};

use crate::error::bad_input;
use anyhow::{Context, Result};
use std::path::{Component, Path, PathBuf};

/// The configuration in the directory of an OCI bundle (runtime-spec, bundle.md). No lock: it is the caller's.
pub const BUNDLE_CONFIGURATION: &str = "config.json";

/// In a layer's directory: its unpacked files.
pub const LAYER_TREE: &str = "tree";
/// In a layer's directory: what of its tar stream the files do not hold.
pub const LAYER_JOURNAL: &str = "journal";
/// In a layer's directory: how the name of a blob begins that is kept.
pub const KEPT_BLOB: &str = "blob-";
/// In a layer's directory while it is being unpacked: entries that later ones of the same layer replace.
pub const LAYER_REPLACED: &str = "replaced";

/// In a container's directory: where its monitor listens.
pub const MONITOR_SOCKET: &str = "attach";

/// In a container's directory: taken by whoever changes its record.
pub const RECORD_LOCK: &str = "lock";

/// Root's data root.
const ROOTS_DATA: &str = "/var/lib/onggi";
/// Root's run root.
const ROOTS_RUN: &str = "/run/onggi";

/// The two roots of one store, and the other stores whose images it uses.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    run: PathBuf,
    image_stores: Vec<ImageStore>,
}

/// Another store, whose images are used and which is never written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageStore {
    /// Its data root.
    pub data: PathBuf,
    /// How its layers are used.
    pub layers: Usable,
}

impl ImageStore {
    /// Where its things lie; it has no run root that would be known.
    pub fn paths(&self) -> Paths {
        Paths::new(&self.data, "")
    }
}

/// How layers of another store are used: that depends on the owners of their files and on how they mark what they hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// As they lie there.
    InPlace,
    /// As they lie there, unless they hide something by marks that this store's overlays do not look for.
    InPlaceUnmarked,
    /// Only to be copied.
    ByCopy,
}

impl Paths {
    /// The caller's store: what was asked for, else the variables, else the usual places.
    ///
    /// `user` is the uid of an ordinary user, `None` for root.
    pub fn find(data: Option<PathBuf>, run: Option<PathBuf>, user: Option<u32>) -> Result<Self> {
        let data = match (data.or_else(|| variable("ONGGI_ROOT")), user) {
            (Some(asked), _) => asked,
            (None, None) => PathBuf::from(ROOTS_DATA),
            (None, Some(_)) => {
                match (variable("XDG_DATA_HOME"), variable("HOME")) {
                    (Some(directory), _) => directory.join("onggi"),
                    (None, Some(home)) => home.join(".local/share/onggi"),
                    (None, None) => {
                        return Err(bad_input("neither HOME nor XDG_DATA_HOME is set, so there is no place for images")
                        .hint("set HOME, or name a directory with --root or ONGGI_ROOT")
                        .into());
                    }
                }
            }
        };
        let run = match (run.or_else(|| variable("ONGGI_RUNROOT")), user) {
            (Some(asked), _) => asked,
            (None, None) => PathBuf::from(ROOTS_RUN),
            (None, Some(uid)) => match variable("XDG_RUNTIME_DIR") {
                Some(directory) if directory.is_dir() => directory.join("onggi"),
                _ => std::env::temp_dir().join(format!("onggi-{uid}")),
            },
        };
        let absolute = |path: PathBuf| {
            std::path::absolute(&path)
                .with_context(|| format!("find the current directory for `{}`", path.display()))
        };
        Ok(Self {
            data: absolute(data)?,
            run: absolute(run)?,
            image_stores: Vec::new(),
        })
    }

    /// A store at the given roots.
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            run: run.into(),
            image_stores: Vec::new(),
        }
    }

    /// With other stores, in the order in which images are looked for after the own ones.
    pub fn with_image_stores(mut self, stores: Vec<ImageStore>) -> Self {
        self.image_stores = stores;
        self
    }

    /// The other stores.
    pub fn image_stores(&self) -> &[ImageStore] {
        &self.image_stores
    }

    /// Where root shows a store to an ordinary user if nobody says otherwise.
    pub fn shared_by_root(uid: u32, data: &Path) -> PathBuf {
        Self::shared(Path::new(ROOTS_RUN), uid, data)
    }

    /// Where root shows a store to an ordinary user, from that run root.
    pub fn shared(run: &Path, uid: u32, data: &Path) -> PathBuf {
        let name = data.to_string_lossy();
        let name = name.trim_matches('/').replace('/', "-");
        run.join("shared").join(uid.to_string()).join(name)
    }

    /// The data root itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The run root itself.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Where containers are mounted for their users to look at.
    pub fn mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }

    /// Format version and id mapping of the store.
    pub fn store_record(&self) -> PathBuf {
        self.data.join("store.json")
    }

    /// The lock of images, layers and tags.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// Taken by whoever chooses a project id.
    pub fn quota_lock(&self) -> PathBuf {
        self.data.join("projects")
    }

    /// All images.
    pub fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// One image; `hex` is the digest of its config without the algorithm.
    pub fn image(&self, hex: &str) -> PathBuf {
        self.images().join(hex)
    }

    /// The config of an image, byte for byte as it came.
    pub fn image_config(&self, hex: &str) -> PathBuf {
        config_in(&self.image(hex))
    }

    /// What we know of an image beside its config.
    pub fn image_record(&self, hex: &str) -> PathBuf {
        image_record_in(&self.image(hex))
    }

    /// Reference → image id.
    pub fn tags(&self) -> PathBuf {
        self.images().join("tags.json")
    }

    /// Where earlier versions kept them.
    pub fn old_tags(&self) -> PathBuf {
        self.data.join("tags.json")
    }

    /// All layers.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// One layer: of this store by its key, of another one by the path of its directory there, which ends with the same
    /// key. Of two places that have it the own one counts.
    pub fn layer(&self, name: &str) -> PathBuf {
        let layers = self.layers();
        match name.rsplit_once('/') {
            None => layers.join(name),
            Some((_, key)) => Some(layers.join(key))
                .filter(|own| own.exists())
                .unwrap_or_else(|| PathBuf::from(name)),
        }
    }

    /// What a layer is called in the store that it lies in.
    pub fn layer_key(name: &str) -> &str {
        name.rsplit_once('/').map_or(name, |(_, key)| key)
    }

    /// Whether a layer of that name lies in another store.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        name.contains('/') && !self.layer(name).starts_with(&self.data)
    }

    /// The unpacked files of a layer.
    pub fn layer_tree(&self, hex: &str) -> PathBuf {
        tree_in(&self.layer(hex))
    }

    /// A layer's files again, with the owners of the id mapping that has this digest.
    pub fn layer_copy(&self, key: &str, mapping: &str) -> PathBuf {
        self.layer(key).join(format!("mapped-{mapping}"))
    }

    /// Whether that is the name of such a copy.
    pub fn is_layer_copy(name: &str) -> bool {
        name.starts_with("mapped-")
    }

    /// Whether it is that of one of an earlier version, `keep-UID-GID`.
    pub fn is_old_layer_copy(name: &str) -> bool {
        name.starts_with("keep-")
    }

    /// Taken by whoever starts a container whose volumes are mounted in the user namespace of the first that has them.
    pub fn turns(&self) -> PathBuf {
        self.data.join("turns")
    }

    /// Taken by whoever gives a container ids that no other has.
    pub fn id_ranges(&self) -> PathBuf {
        self.data.join("id-ranges")
    }

    /// What is half made.
    pub fn staging(&self) -> PathBuf {
        self.data.join("staging")
    }

    /// Blobs on their way from registries.
    pub fn downloads(&self) -> PathBuf {
        self.data.join("downloads")
    }

    /// One of them; `hex` is the digest that it is to have, without the algorithm.
    pub fn download(&self, hex: &str) -> PathBuf {
        self.downloads().join(hex)
    }

    /// What `registry serve` keeps unless another folder is named.
    pub fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// Lists of manifests.
    pub fn manifest_lists(&self) -> PathBuf {
        self.data.join("manifests")
    }

    /// One of them; `hex` is the digest of its name without the algorithm.
    pub fn manifest_list(&self, hex: &str) -> PathBuf {
        self.manifest_lists().join(format!("{hex}.json"))
    }

    /// All containers.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// One container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// All volumes.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// One volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// Places to mount on that images lack, by a digest of what they are.
    pub fn mount_points(&self) -> PathBuf {
        self.data.join("mount-points")
    }

    /// What has happened.
    pub fn events(&self) -> PathBuf {
        self.data.join("events")
    }

    /// Container names.
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }

    /// What a store has from its beginning.
    pub fn directories(&self) -> [PathBuf; 6] {
        [
            self.images(),
            self.layers(),
            self.staging(),
            self.containers(),
            self.names(),
            self.pending(),
        ]
    }

    /// The mark of one container.
    pub fn mark(&self, id: &str) -> PathBuf {
        self.pending().join(id)
    }

    /// Marks of containers that are being made or removed, run, or go when they end.
    pub fn pending(&self) -> PathBuf {
        self.data.join("pending")
    }
}

/// A variable of the environment that is not empty.
fn variable(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name)?;
    (!value.is_empty()).then(|| PathBuf::from(value))
}

/// An absolute path without `.` and `..`, each of which takes back the name before it, as in Docker; links count for
/// nothing.
pub fn cleaned(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

/// The file of a ring that lines are added to.
pub fn ring_current(ring: &Path) -> PathBuf {
    ring.join("current")
}

/// The file of a ring that was full.
pub fn ring_previous(ring: &Path) -> PathBuf {
    ring.join("previous")
}

/// Layers on their way into the store.
pub fn staged_layers(staging: &Path) -> PathBuf {
    staging.join("layers")
}

/// Images on their way into the store.
pub fn staged_images(staging: &Path) -> PathBuf {
    staging.join("images")
}

/// Blobs on their way into layers that are here.
pub fn staged_blobs(staging: &Path) -> PathBuf {
    staging.join("blobs")
}

/// Names of the layers that somebody builds on and nobody may remove meanwhile.
pub fn staging_pins(staging: &Path) -> PathBuf {
    staging.join("pins")
}

/// The files of a layer, in the store or on its way there.
pub fn tree_in(layer: &Path) -> PathBuf {
    layer.join(LAYER_TREE)
}

/// What of a layer's tar stream its files do not hold.
pub fn journal_in(layer: &Path) -> PathBuf {
    layer.join(LAYER_JOURNAL)
}

/// The blobs that a layer is known to come from.
pub fn blobs_in(layer: &Path) -> PathBuf {
    layer.join("blobs.json")
}

/// The mark of a layer that the build cache needs.
pub fn cached_in(layer: &Path) -> PathBuf {
    layer.join("cached")
}

/// The mark of a layer that is perhaps not on the disk yet.
pub fn unsynced_in(layer: &Path) -> PathBuf {
    layer.join("unsynced")
}

/// A blob that a layer came from, kept.
pub fn kept_blob_in(layer: &Path, hex: &str) -> PathBuf {
    layer.join(format!("{KEPT_BLOB}{hex}"))
}

/// How an image is known to have come.
pub fn origins_in(image: &Path) -> PathBuf {
    image.join("origins.json")
}

/// What we know of a layer.
pub fn layer_record_in(layer: &Path) -> PathBuf {
    layer.join("layer.json")
}

/// The config of an image, in the store or on its way there.
pub fn config_in(image: &Path) -> PathBuf {
    image.join("config.json")
}

/// What we know of an image beside its config.
pub fn image_record_in(image: &Path) -> PathBuf {
    image.join("image.json")
}

/// The log of a container with the driver `json-file`.
pub fn json_log_in(container: &Path, id: &str) -> PathBuf {
    container.join(format!("{id}-json.log"))
}

/// The log of a container with the driver `local`.
pub fn local_log_in(container: &Path) -> PathBuf {
    container.join("local-logs").join("container.log")
}

/// In a volume's directory, and in its half-made one: its files.
pub const VOLUME_DATA: &str = "_data";
/// In a volume's directory: what is being copied into it.
pub const VOLUME_FILLING: &str = "filling";
/// In a volume's directory: what was copied and is being moved to its files.
pub const VOLUME_FILLED: &str = "filled";
/// In the root of a volume that is mounted: the same two.
pub const MOUNTED_FILLING: &str = ".onggi-filling";
/// See [`MOUNTED_FILLING`].
pub const MOUNTED_FILLED: &str = ".onggi-filled";

/// A volume on its way into the store.
pub fn staged_volume(staging: &Path) -> PathBuf {
    staging.join("volume")
}

/// The record of a volume.
pub fn volume_record_in(volume: &Path) -> PathBuf {
    volume.join("volume.json")
}

/// The files of a volume.
pub fn volume_data_in(volume: &Path) -> PathBuf {
    volume.join(VOLUME_DATA)
}

/// Taken by whoever mounts or unmounts a volume.
pub fn volume_mounting_in(volume: &Path) -> PathBuf {
    volume.join("mounting")
}

/// Taken by whoever unpacks an archive into a volume.
pub fn volume_importing_in(volume: &Path) -> PathBuf {
    volume.join("importing")
}

/// Held by who has a volume mounted.
pub fn volume_users_in(volume: &Path) -> PathBuf {
    volume.join("users")
}
