//! Images: references, configs, the store of images and layers, and the ways in and out of it.
//!
//! - `reference`, `digest`, `platform`: what images are called and what they are for
//! - `config`, `manifest`, `history`: what images say of themselves · `manifest_list`: lists of them in the making
//! - `store`: which images are here · `intake`: how they come, `moved` into place · `remove`, `prune`, `limit`: how they go · `filter`
//! - `check`: what of it is inconsistent, and how that is mended
//! - `layer`: a tar archive becomes a directory that overlayfs can stack, and the reverse
//! - `load` from an `archive` that is an `oci_layout`, a `docker_archive` or a `v1_archive`; `save` writes one
//! - `pull` from a `registry`, by way of `download`s · `copy` between registries, archives, layouts and the store
//! - `push` to a `registry`, by way of a `spool` · `package`: an image as registries take it · `origin`: what is remembered of how images came and went
//! - `serve`: a registry of our own
//! - `trust`: whose images are taken in
//! - `shared`: images of other stores
//! - `import` of a root file system, with `change`s · `tag` · `hold` · `hello`, the image inside the program

pub mod archive;
pub mod change;
pub mod check;
pub mod compression;
pub mod config;
pub mod copy;
pub mod digest;
pub mod docker_archive;
pub mod download;
pub mod filter;
pub mod hello;
pub mod history;
pub mod hold;
pub mod import;
pub mod inspect;
pub mod intake;
pub mod layer;
pub mod limit;
pub mod load;
pub mod manifest;
pub mod manifest_list;
mod moved;
pub mod oci_layout;
pub mod origin;
pub mod package;
pub mod platform;
pub mod prune;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod remove;
pub mod save;
pub mod serve;
pub mod shared;
pub mod shift;
mod spool;
pub mod store;
pub mod tag;
mod tar_writer;
pub mod trust;
pub mod v1_archive;
