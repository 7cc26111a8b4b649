//! `onggi runtime`: containers of bundles, as the runtime-spec has them and as other programs start them.

#[path = "../support/mod.rs"]
mod support;

mod scene;

mod bad_bundles;
mod exec;
mod hooks;
mod life_cycle;
mod log;
mod podman;
