//! What is inconsistent in volumes, and in what containers say of them.

use crate::container::engine::Engine;
use crate::container::list;
use crate::image::check::{Finding, Repair};
use crate::paths::volume_record_in;
use crate::store::lock::Lock;
use crate::volume::{self, Files};
use anyhow::Result;

/// What this file finds and mends.
pub const KINDS: &[&str] = &[
    "damaged-volume",
    "half-filled-volume",
    "lost-files",
    "lost-volume",
];

/// Everything, without a lock.
pub fn look(engine: &Engine) -> Result<Vec<Finding>> {
    let paths = &engine.paths;
    let mut found = Vec::new();
    for name in volume::names(paths)? {
        let directory = paths.volume(&name);
        if let Err(error) = volume::find(paths, &name)
            && directory.exists()
        {
            let record = volume_record_in(&directory);
            let repair = match volume::damage(paths, &name) {
                Some(_) => {
                    Repair::Does("writes it again, without labels and options; its files stay")
                }
                None => Repair::User(
                    "leave it as it is: it may be read later, or by a newer onggi".to_owned(),
                ),
            };
            let problem = format!("{error:#}");
            found.push(Finding::new(
                "damaged-volume",
                &name,
                record,
                problem,
                repair,
            ));
        }
        let lost = match volume::files(paths, &name) {
            Files::There => None,
            Files::Gone => Some((
                "the directory of its files was removed",
                Repair::Does("makes it again, empty"),
            )),
            Files::Other => Some((
                "what has the name of the directory of its files is none",
                Repair::User("put the directory back, or remove the volume".to_owned()),
            )),
        };
        if let Some((problem, repair)) = lost.filter(|_| directory.exists()) {
            let path = volume::data(paths, &name);
            found.push(Finding::new("lost-files", &name, path, problem, repair));
        }
        if volume::fill::is_pending(paths, &name) && !Lock::is_held(&directory) {
            let problem = "a killed command has left it half filled";
            let repair = Repair::Does("finishes it");
            found.push(Finding::new(
                "half-filled-volume",
                &name,
                directory,
                problem,
                repair,
            ));
        }
    }
    for container in list::list(engine)? {
        for name in container.record.volumes() {
            if !volume::exists(paths, name) {
                let text = format!("make it again, empty: `onggi volume create {name}`");
                let problem = "it cannot start without this volume";
                let id = &container.record.id;
                let repair = Repair::User(text);
                found.push(Finding::new(
                    "lost-volume",
                    id,
                    paths.volume(name),
                    problem,
                    repair,
                ));
            }
        }
    }
    Ok(found)
}

/// Mends one finding under the lock of its volume, if it still holds there.
pub fn mend(engine: &Engine, finding: &Finding) -> Result<()> {
    let name = &finding.object;
    if finding.kind == "lost-files" {
        return volume::make_files(&engine.paths, name);
    }
    // To take it finishes what was half filled.
    let _lock = volume::lock_exclusive(&engine.paths, &engine.mapping, name)?;
    match finding.kind {
        "damaged-volume" if volume::damage(&engine.paths, name).is_some() => {
            volume::repair(&engine.paths, name).map(drop)
        }
        _ => Ok(()),
    }
}
