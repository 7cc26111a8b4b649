//! What makes a process a container: takes a bundle (runtime-spec `config.json` and a root file system) and
//! knows nothing of images, networks or Docker's options.

pub mod annotations;
pub mod bundle;
pub mod capabilities;
pub mod criu;
pub mod device_nodes;
pub mod features;
pub mod hooks;
pub mod lifecycle;
pub mod lsm;
pub mod mount_options;
pub mod namespaces;
pub mod net_devices;
pub mod plan;
pub mod process;
pub mod processes;
pub mod resctrl;
pub mod rootfs;
pub mod scheduling;
pub mod seccomp;
pub mod template;
pub mod user;
