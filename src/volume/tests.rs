//! Making, finding, locking and removing volumes, in a store of its own.

use super::*;

fn store() -> (tempfile::TempDir, Paths) {
    let directory = tempfile::tempdir().unwrap();
    let paths = Paths::new(directory.path().join("data"), directory.path().join("run"));
    std::fs::create_dir_all(paths.staging()).unwrap();
    (directory, paths)
}

fn wanted(name: &str, options: &[(&str, &str)]) -> Wanted {
    let options = options
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Wanted {
        name: name.to_owned(),
        options: options.collect(),
        ..Wanted::default()
    }
}

#[test]
fn one_that_is_there_is_given_and_never_changed() {
    let (_store, paths) = store();
    let memory = [("type", "tmpfs"), ("device", "tmpfs")];
    let (made, new) = create(&paths, &wanted("db", &memory)).unwrap();
    assert!(new && !made.anonymous && made.driver == LOCAL);
    for again in [wanted("db", &[]), wanted("db", &memory)] {
        assert_eq!(create(&paths, &again).unwrap(), (made.clone(), false));
    }
    let error = create(&paths, &wanted("db", &[("type", "ramfs"), ("device", "x")])).unwrap_err();
    assert!(
        format!("{error:#}").starts_with("create db: conflict: volume name must be unique"),
        "{error:#}"
    );
    assert_eq!(list(&paths).unwrap(), [made]);
    assert_eq!(std::fs::read_dir(paths.staging()).unwrap().count(), 0);
}

#[test]
fn one_without_a_name_is_anonymous() {
    let (_store, paths) = store();
    let (made, _) = create(&paths, &Wanted::default()).unwrap();
    assert!(made.anonymous && made.name.len() == 64 && made.labels.contains_key(ANONYMOUS_LABEL));
    assert_eq!(find(&paths, &made.name).unwrap(), made);
}

#[test]
fn a_damaged_one_costs_only_itself() {
    let (_store, paths) = store();
    create(&paths, &wanted("good", &[])).unwrap();
    create(&paths, &wanted("bad", &[])).unwrap();
    std::fs::write(data(&paths, "bad").join("file"), "kept").unwrap();
    let record = crate::paths::volume_record_in(&paths.volume("bad"));
    for text in [
        "",
        "{",
        "{\"version\": 1}",
        "{\"version\": 1, \"name\": \"good\", \"created\": \"\", \"driver\": \"local\"}",
    ] {
        std::fs::write(&record, text).unwrap();
        assert_eq!(list(&paths).unwrap().len(), 1);
        assert!(format!("{:#}", find(&paths, "bad").unwrap_err()).contains("is damaged"));
        assert!(damage(&paths, "bad").is_some());
        assert!(create(&paths, &wanted("bad", &[])).is_err());
    }
    std::fs::write(&record, "{\"version\": 2, \"name\": {}}").unwrap();
    assert!(format!("{:#}", find(&paths, "bad").unwrap_err()).contains("is version 2"));
    assert!(damage(&paths, "bad").is_none() && damage(&paths, "gone").is_none());
    std::fs::remove_file(&record).unwrap();
    assert!(format!("{:#}", find(&paths, "bad").unwrap_err()).contains("it is missing"));
    repair(&paths, "bad").unwrap();
    assert_eq!(find(&paths, "bad").unwrap().name, "bad");
    assert!(data(&paths, "bad").join("file").exists());
}

#[test]
fn what_is_removed_is_gone_for_who_waits() {
    let (_store, paths) = store();
    let mapping = Mapping::detect().unwrap();
    create(&paths, &wanted("db", &[])).unwrap();
    let lock = lock_exclusive(&paths, &mapping, "db").unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| lock_shared(&paths, &mapping, "db").map(drop));
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::fs::create_dir_all(data(&paths, "db").join("a/b")).unwrap();
        remove(&paths, &mapping, "db", &lock).unwrap();
        drop(lock);
        let error = waiter.join().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "get db: no such volume");
    });
    assert!(!paths.volume("db").exists() && names(&paths).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(paths.staging()).unwrap().count(), 0);
}

#[test]
fn many_at_once_make_one() {
    let (_store, paths) = store();
    let made = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(|| create(&paths, &wanted("db", &[])).unwrap()));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(made.iter().filter(|(_, new)| *new).count(), 1);
    assert!(made.iter().all(|(volume, _)| volume == &made[0].0));
}

#[test]
fn what_a_killed_fill_has_left_is_swept_or_finished() {
    let (_store, paths) = store();
    let mapping = Mapping::detect().unwrap();
    create(&paths, &wanted("db", &[])).unwrap();
    let directory = paths.volume("db");
    let files = data(&paths, "db");
    let half = directory.join(crate::paths::VOLUME_FILLING);
    std::fs::create_dir_all(half.join("tree/half")).unwrap();
    drop(lock_shared(&paths, &mapping, "db").unwrap());
    assert!(!half.exists() && std::fs::read_dir(&files).unwrap().count() == 0);
    let whole = directory.join(crate::paths::VOLUME_FILLED);
    std::fs::create_dir_all(whole.join("a/b")).unwrap();
    std::fs::create_dir_all(half.join("links")).unwrap();
    std::fs::write(whole.join("file"), "of the image").unwrap();
    // Somebody who had it mounted was quicker.
    std::fs::write(files.join("file"), "of a container").unwrap();
    std::fs::set_permissions(&whole, Permissions::from_mode(0o1750)).unwrap();
    assert!(fill::is_pending(&paths, "db"));
    drop(lock_exclusive(&paths, &mapping, "db").unwrap());
    assert!(!half.exists() && !whole.exists() && files.join("a/b").exists());
    let text = std::fs::read_to_string(files.join("file")).unwrap();
    assert_eq!(text, "of a container");
    let mode = std::fs::metadata(&files).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o1750);
}
