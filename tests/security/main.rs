//! The known ways out of a container, each tried: one file per CVE or wall, named by its number.
//!
//! Every test shows two things: that the attempt fails here, and that the test can fail. For the latter the same
//! attempt is made where the wall is taken away (`--privileged`, `--security-opt systempaths=unconfined`, …) or was
//! never there: in what [`unwalled`] makes out of unshare(1) and chroot(1), or by a plain program of the host.
//!
//! Not here yet: mounts of a build (CVE-2024-1753, CVE-2024-9407), as there is no `build`. Whoever adds it resolves the
//! source and the target of `RUN --mount` inside their roots ([`onggi::sys::openat2`]) and tries both numbers here.

#[path = "../support/mod.rs"]
mod support;

mod probe;
mod situation;
mod unwalled;

mod archive_bombs;
mod cve_2014_9357;
mod cve_2016_9962;
mod cve_2018_15664;
mod cve_2018_20699;
mod cve_2019_14271;
mod cve_2019_16884;
mod cve_2019_19921;
mod cve_2019_5736;
mod cve_2020_15257;
mod cve_2021_30465;
mod cve_2021_41091;
mod cve_2022_0492;
mod cve_2022_24769;
mod cve_2022_29162;
mod cve_2022_36109;
mod cve_2023_27561;
mod cve_2023_28642;
mod cve_2024_21626;
mod cve_2025_31133;
mod cve_2025_52565;
mod cve_2025_52881;
mod device_nodes;
mod full_disk;
mod host_files;
mod hostile_files;
mod injections;
mod kernel_files;
mod log;
mod process_table;
mod read_only_mounts;
mod root;
mod setuid;
mod system_calls;
