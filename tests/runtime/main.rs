//! `onggi runtime`: containers of bundles, as the runtime-spec has them and as other programs start them.

#[path = "../support/mod.rs"]
mod support;

mod engine;
mod scene;

mod annotations;
mod bad_bundles;
mod buildah;
mod capabilities;
mod checkpoint;
mod containerd;
mod dockerd;
mod examples;
mod exec;
mod features;
mod hooks;
mod id_mappings;
mod life_cycle;
mod linux;
mod log;
mod mounts;
mod namespaces;
mod notify;
mod pidfd;
mod podman;
mod process;
mod remains;
mod root;
mod seccomp;
mod usage;
mod user;
