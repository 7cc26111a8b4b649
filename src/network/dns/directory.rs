//! The endpoints of a store as names. What was read of a network is remembered until its directory changes; whether an
//! endpoint is still held, which changes nothing there when a process is killed, is looked up each time.

use super::Names;
use crate::network::endpoint::{self, Endpoint};
use crate::paths::Paths;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// The clock of files may stand still for so long, so that two changes have the same time: what has changed so recently
/// is not remembered.
const TICK: Duration = Duration::from_millis(50);

/// All networks of a store.
#[derive(Debug)]
pub struct Directory {
    paths: Paths,
    remembered: RefCell<HashMap<String, Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    changed: SystemTime,
    endpoints: Vec<Endpoint>,
}

impl Directory {
    /// Of that store.
    pub fn new(paths: Paths) -> Self {
        Self {
            paths,
            remembered: RefCell::default(),
        }
    }

    fn changed(&self, network: &str) -> Option<SystemTime> {
        let metadata = std::fs::metadata(self.paths.endpoints(network)).ok()?;
        metadata.modified().ok()
    }
}

impl Names for Directory {
    fn visit(&self, network: &str, show: &mut dyn FnMut(&Endpoint)) {
        let Some(changed) = self.changed(network) else {
            return;
        };
        let mut remembered = self.remembered.borrow_mut();
        if let Some(known) = remembered.get(network)
            && known.changed == changed
        {
            return known.endpoints.iter().for_each(show);
        }
        remembered.remove(network);
        let now = SystemTime::now();
        // Whose directory cannot be read has no names.
        let endpoints = endpoint::live(&self.paths, network).unwrap_or_default();
        endpoints.iter().for_each(show);
        if now.duration_since(changed).is_ok_and(|age| age > TICK) {
            let known = Remembered { changed, endpoints };
            remembered.insert(network.to_owned(), known);
        }
    }

    fn is_live(&self, endpoint: &Endpoint) -> bool {
        endpoint::is_live(&self.paths, endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::endpoint::{Wanted, reserve};
    use crate::network::store;
    use std::fs::{File, FileTimes};

    #[test]
    fn what_is_remembered_is_never_wrong() {
        let root = tempfile::tempdir().unwrap();
        let paths = Paths::new(root.path().join("data"), root.path().join("run"));
        let network = store::find(&paths, "bridge").unwrap();
        let reserve = |number: usize| {
            let wanted = Wanted {
                container: format!("{number:064x}"),
                name: format!("c{number}"),
                ..Wanted::default()
            };
            reserve(&paths, &network, &wanted).unwrap()
        };
        let names = Directory::new(paths.clone());
        let live = || {
            let mut live = Vec::new();
            names.visit(&network.id, &mut |endpoint| {
                if names.is_live(endpoint) {
                    live.push(endpoint.name.clone());
                }
            });
            live
        };
        let is_remembered = || !names.remembered.borrow().is_empty();
        // As if the last change had been a minute ago.
        let age = || {
            let then = SystemTime::now() - Duration::from_secs(60);
            let directory = File::open(paths.endpoints(&network.id)).unwrap();
            let times = FileTimes::new().set_modified(then);
            directory.set_times(times).unwrap();
        };
        assert_eq!(live(), [""; 0]);
        let first = reserve(1);
        let second = reserve(2);
        assert_eq!(live(), ["c1", "c2"]);
        assert!(!is_remembered(), "another change could have the same time");
        age();
        assert_eq!(live(), ["c1", "c2"]);
        assert!(is_remembered());
        let third = reserve(3);
        assert_eq!(live(), ["c1", "c2", "c3"]);
        age();
        assert_eq!(live(), ["c1", "c2", "c3"]);
        // Its process is killed: nothing changes in the directory.
        drop(first.into_lock());
        assert_eq!(live(), ["c2", "c3"]);
        drop(second);
        assert_eq!(live(), ["c3"]);
        age();
        assert_eq!(live(), ["c3"]);
        drop(third);
        assert_eq!(live(), [""; 0]);
    }
}
