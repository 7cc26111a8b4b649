//! Every path on disk, with the lock that guards it. No other file knows where things lie.
//!
//! Two roots (`--root`, `--runroot`, `ONGGI_ROOT`, `ONGGI_RUNROOT` override them):
//!
//! | what | root | ordinary user |
//! |---|---|---|
//! | data, survives a reboot | `/var/lib/onggi` | `$XDG_DATA_HOME/onggi` (`~/.local/share/onggi`) |
//! | run, of this boot only | `/run/onggi` | `$XDG_RUNTIME_DIR/onggi`, else `/tmp/onggi-UID-BOOTID` |
//!
//! | path below the data root | content | guarded by |
//! |---|---|---|
//! | `store.json` | format version, id mapping the layers were unpacked with | `lock` |
//! | `lock` | taken exclusively by whoever adds or removes an image, a layer or a name | flock |
//! | `images/ID/{config,manifest,image}.json` | the image's own bytes, and our record | `lock` |
//! | `tags.json` | reference → image id | `lock` |
//! | `layers/DIFFID/{tree,journal,layer.json}` | unpacked layer, immutable once it is here | `lock` |
//! | `staging/RANDOM/` | half-made layers, images, containers; `staging/RANDOM/lock` is held while its maker lives, swept when free | own flock |
//! | `containers/ID/container.json` | the record | `containers/ID/lock` |
//! | `containers/ID/{upper,work,merged,hosts,hostname,resolv.conf}` | what the container writes, what is mounted into it | the monitor |
//! | `names/NAME` | container id; made with `O_EXCL`, so that two makers cannot both win | the file itself |
//!
//! | path below the run root | content |
//! |---|---|
//! | `ID/state.json` | monitor and init as (pid, start time, boot id), exit status |
//! | `ID/attach` | the monitor's unix socket |

use std::path::{Path, PathBuf};

/// The two roots of one store.
#[derive(Clone, Debug)]
pub struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// A store at the given roots.
    pub fn new(data: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            run: run.into(),
        }
    }

    /// The data root itself.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The run root itself.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Format version and id mapping of the store.
    pub fn store_record(&self) -> PathBuf {
        self.data.join("store.json")
    }

    /// The lock of images, layers and tags.
    pub fn lock(&self) -> PathBuf {
        self.data.join("lock")
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
        self.image(hex).join("config.json")
    }

    /// What we know of an image beside its config.
    pub fn image_record(&self, hex: &str) -> PathBuf {
        self.image(hex).join("image.json")
    }

    /// Reference → image id.
    pub fn tags(&self) -> PathBuf {
        self.data.join("tags.json")
    }

    /// All layers.
    pub fn layers(&self) -> PathBuf {
        self.data.join("layers")
    }

    /// One layer; `hex` is its diff id without the algorithm.
    pub fn layer(&self, hex: &str) -> PathBuf {
        self.layers().join(hex)
    }

    /// The unpacked files of a layer.
    pub fn layer_tree(&self, hex: &str) -> PathBuf {
        self.layer(hex).join("tree")
    }

    /// What is half made.
    pub fn staging(&self) -> PathBuf {
        self.data.join("staging")
    }

    /// All containers.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// One container.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// Container names.
    pub fn names(&self) -> PathBuf {
        self.data.join("names")
    }

    /// What is known of a container in this boot only.
    pub fn container_run(&self, id: &str) -> PathBuf {
        self.run.join(id)
    }
}

/// What the maker of a staging directory holds while it lives.
pub fn staging_lock(directory: &Path) -> PathBuf {
    directory.join("lock")
}
