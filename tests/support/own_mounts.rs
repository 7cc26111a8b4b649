//! A mount namespace for all commands on a store: what is mounted in it is seen by nobody else, and goes with it.

use super::Store;
use std::ffi::OsStr;
use std::io::Read;
use std::process::{Child, Command, Stdio};

/// The process that holds it.
pub struct OwnMounts(Child);

impl OwnMounts {
    /// Makes one; needs root.
    pub fn of(store: &mut Store) -> Self {
        Self::prepared::<&str>(store, "", &[])
    }

    /// Makes one in which a shell has done what `script` says with these arguments; needs root.
    pub fn prepared<T: AsRef<OsStr>>(store: &mut Store, script: &str, arguments: &[T]) -> Self {
        let script = format!("set -e; {script}\necho; exec sleep 100000");
        let mut holder = Command::new("unshare");
        holder
            .args(["-m", "sh", "-c", &script, "sh"])
            .args(arguments);
        let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0];
        holder
            .stdout
            .take()
            .unwrap()
            .read_exact(&mut ready)
            .unwrap();
        store.set_namespace(Some(holder.id()));
        Self(holder)
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for OwnMounts {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
