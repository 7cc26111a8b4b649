//! What goes wrong: damaged and missing files, processes killed at any point, a full disk, many at once. Nothing
//! acknowledged is lost, nothing half-made is visible, no debris stays, and no command is in another's way.

mod damage;
#[path = "../support/mod.rs"]
mod support;
