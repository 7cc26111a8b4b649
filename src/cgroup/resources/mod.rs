//! Resource limits: from an OCI configuration (runtime-spec, config-linux.md, "Control groups") to the files of a
//! cgroup (Documentation/admin-guide/cgroup-v2.rst). [`settings`] is pure; [`apply`] writes.
//!
//! What exists in cgroup version 1 only is not converted; [`of_version_1`] says what is to be said of it.

mod apply;
mod before;
mod convert;
mod running;
mod version_1;

pub use apply::{apply, missing};
pub use before::Before;
pub use convert::settings;
pub use running::settings_of_running;
pub use version_1::of_version_1;

/// A resource controller of cgroup version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Time on processors.
    Cpu,
    /// Which processors and memory nodes.
    Cpuset,
    /// Memory and swap.
    Memory,
    /// Block devices.
    Io,
    /// How many processes.
    Pids,
    /// Huge pages.
    Hugetlb,
    /// Remote direct memory access.
    Rdma,
    /// Resources that are merely counted.
    Misc,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Cpuset,
        Self::Memory,
        Self::Io,
        Self::Pids,
        Self::Hugetlb,
        Self::Rdma,
        Self::Misc,
    ];

    /// As it stands in `cgroup.controllers`, and before the first dot of its files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
            Self::Hugetlb => "hugetlb",
            Self::Rdma => "rdma",
            Self::Misc => "misc",
        }
    }

    /// Whose file that is.
    pub fn of_file(file: &str) -> Option<Self> {
        let (name, _) = file.split_once('.')?;
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// One write to one file of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Which has to be enabled for the file to be there.
    pub controller: Controller,
    /// Its name, without a directory.
    pub file: String,
    /// What is written.
    pub value: String,
    /// Refused where more than these bytes are in use: the kernel would kill to keep to it.
    pub spares: Option<(Limited, u64)>,
}

/// What a limit of memory is one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Memory alone.
    Memory,
    /// Memory and swap together.
    MemoryAndSwap,
}

impl Setting {
    fn new(controller: Controller, file: impl Into<String>, value: impl ToString) -> Self {
        Self {
            controller,
            file: file.into(),
            value: value.to_string(),
            spares: None,
        }
    }
}
