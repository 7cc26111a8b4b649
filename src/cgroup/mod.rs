//! Control groups, version 2 (cgroups(7)): their files. Not who lives in them.

pub mod devices;
