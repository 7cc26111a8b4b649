//! Writer, files and reader together: what goes in comes out once, in order, whatever happens to the files meanwhile.

use super::config::Driver;
use super::reader::{self, Receiver, Wanted};
use super::writer::Writer;
use super::{Entry, Stream, files, frames, path, rotation};
use crate::container::engine::Engine;
use crate::container::list::Container;
use crate::container::record::{Directory, Record, State};
use crate::id_mapping::Mapping;
use crate::paths::Paths;
use crate::store::atomic::Durability;
use crate::sys::process::Identity;
use anyhow::Result;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;

const DRIVERS: [&str; 2] = ["json-file", "local"];

/// A container that runs, as far as its records say, with this process as its monitor.
struct Running {
    _home: tempfile::TempDir,
    directory: Directory,
    container: Container,
}

impl Running {
    fn new(driver: &str, options: serde_json::Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine {
            paths: Paths::new(home.path(), home.path()),
            mapping: Mapping::detect().unwrap(),
            file_system: None,
            news: Vec::new(),
        };
        let id = "0123456789abcdef".repeat(4);
        let directory = Directory::of(&engine, &id);
        std::fs::create_dir_all(directory.path()).unwrap();
        let record: Record = serde_json::from_value(json!({
            "version": 1, "id": id, "name": "web", "created": "", "image": format!("sha256:{}", "ab".repeat(32)),
            "image_name": "alpine:3.20", "layers": [], "labels": { "a.b": "c d", "x": "y" },
            "options": { "log": { "driver": driver, "options": options } },
            "program": { "entrypoint": [], "command": [], "environment": ["E=1"], "working_directory": "",
                         "user": "", "stop_signal": "" },
        }))
        .unwrap();
        let own = Identity::of(std::process::id() as i32).unwrap();
        let mut state = State::beginning(own.clone(), 0);
        state.program = Some(own);
        state.started = "2024-01-01T00:00:00Z".to_owned();
        directory.write_state(&state, Durability::Volatile).unwrap();
        Self {
            _home: home,
            directory,
            container: Container {
                record,
                state: Some(state),
            },
        }
    }

    fn writer(&self) -> Writer {
        Writer::open(&self.container.record, &self.directory)
            .unwrap()
            .unwrap()
    }

    fn end(&self) {
        let mut state = self.container.state.clone().unwrap();
        state.finished = "2024-01-01T00:00:01Z".to_owned();
        self.directory
            .write_state(&state, Durability::Volatile)
            .unwrap();
    }

    fn log(&self) -> std::path::PathBuf {
        path(&self.container.record, &self.directory).unwrap()
    }

    fn read(&self, wanted: &Wanted) -> Collected {
        let mut collected = Collected::default();
        reader::read(&self.container, &self.directory, wanted, &mut collected).unwrap();
        collected
    }
}

#[derive(Debug, Default)]
struct Collected {
    text: String,
    times: Vec<i64>,
    damage: Vec<String>,
    ready: Option<std::sync::mpsc::Sender<()>>,
}

impl Receiver for Collected {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<ControlFlow<()>> {
        self.text.push_str(str::from_utf8(&entry.line)?);
        self.times.push(entry.time);
        Ok(ControlFlow::Continue(()))
    }

    fn damage(&mut self, what: &str) {
        self.damage.push(what.to_owned());
    }

    fn pause(&mut self) -> Result<ControlFlow<()>> {
        if let Some(ready) = self.ready.take() {
            ready.send(())?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

/// The log is rotated some hundred times below the reader, which is given every line once. Without packing, which
/// needs a process with one thread; `tests/program/logs.rs` has that.
#[test]
fn a_follower_misses_nothing_and_sees_nothing_twice() {
    for (driver, options) in [
        ("json-file", json!({ "max-size": "40k" })),
        ("json-file", json!({ "max-size": "40k", "max-file": "2" })),
        ("local", json!({ "max-size": "40k", "compress": "false" })),
    ] {
        let running = Running::new(driver, options.clone());
        let text = numbers(0..100_000);
        let mut writer = running.writer();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let wanted = Wanted {
            follow: true,
            ..Wanted::default()
        };
        let follower = || {
            let mut collected = Collected {
                ready: Some(ready),
                ..Collected::default()
            };
            reader::read(
                &running.container,
                &running.directory,
                &wanted,
                &mut collected,
            )
            .unwrap();
            collected
        };
        std::thread::scope(|scope| {
            let follower = scope.spawn(follower);
            is_ready.recv().unwrap();
            for chunk in text.as_bytes().chunks(3000) {
                writer.write(Stream::Output, chunk);
            }
            writer.finish();
            running.end();
            let found = follower.join().unwrap();
            assert!(
                found.damage.is_empty(),
                "{driver} {options}: {:?}",
                found.damage
            );
            assert!(
                found.text == text,
                "{driver} {options}: {} bytes of {}",
                found.text.len(),
                text.len()
            );
        });
        let kept = files::open_all(&running.log(), 5).unwrap();
        let largest = kept
            .iter()
            .filter(|file| !file.is_packed)
            .map(|file| file.size)
            .max();
        assert!(largest.unwrap() < 40_200, "{largest:?}");
    }
}

#[test]
fn the_last_lines_are_found_across_files() {
    for (driver, packed) in [
        ("json-file", false),
        ("json-file", true),
        ("local", false),
        ("local", true),
    ] {
        let options = json!({ "max-size": "10k", "max-file": "4", "compress": "false" });
        let running = Running::new(driver, options);
        let mut writer = running.writer();
        writer.write(Stream::Output, numbers(0..1000).as_bytes());
        writer.finish();
        running.end();
        if packed {
            for number in 2..4 {
                let from = files::numbered(&running.log(), number);
                rotation::pack(&from, &files::packed(&running.log(), number)).unwrap();
                assert!(!from.exists());
            }
        }
        let all = running.read(&Wanted::default()).text;
        let lines: Vec<_> = all.split_inclusive('\n').collect();
        assert!(
            lines.len() > 200 && all.ends_with("\n999\n"),
            "{} lines",
            lines.len()
        );
        for tail in (0..=lines.len() + 2).step_by(7) {
            let expected = lines[lines.len().saturating_sub(tail)..].concat();
            let wanted = Wanted {
                tail: Some(tail as u64),
                ..Wanted::default()
            };
            assert_eq!(
                running.read(&wanted).text,
                expected,
                "{driver} {packed} {tail}"
            );
        }
    }
}

#[test]
fn times_limit_what_is_shown() {
    for driver in DRIVERS {
        let running = Running::new(driver, json!({}));
        let mut writer = running.writer();
        for line in ["one\n", "two\n", "three\n"] {
            writer.write(Stream::Error, line.as_bytes());
        }
        writer.finish();
        running.end();
        let times = running.read(&Wanted::default()).times;
        let read = |since, until, tail| {
            running
                .read(&Wanted {
                    since,
                    until,
                    tail,
                    follow: false,
                })
                .text
        };
        assert_eq!(read(times[1], i64::MAX, None), "two\nthree\n");
        assert_eq!(read(i64::MIN, times[1], None), "one\ntwo\n");
        assert_eq!(read(times[0], times[0], None), "one\n");
        assert_eq!(read(i64::MIN, times[1], Some(1)), "");
    }
}

/// What kill -9, a power cut or a full disk leave of a last record.
#[test]
fn a_torn_tail_costs_one_line() {
    for driver in DRIVERS {
        for cut in [1, 2, 5, 20] {
            let running = Running::new(driver, json!({}));
            let mut writer = running.writer();
            writer.write(Stream::Output, b"one\ntwo\n");
            writer.finish();
            let file = File::options().write(true).open(running.log()).unwrap();
            file.set_len(file.metadata().unwrap().len() - cut).unwrap();
            let torn = running.read(&Wanted::default());
            assert_eq!(
                (torn.text.as_str(), torn.damage.len()),
                ("one\n", 1),
                "{driver} {cut}"
            );
            let mut writer = running.writer();
            writer.write(Stream::Output, b"three\n");
            writer.finish();
            let mended = running.read(&Wanted::default());
            assert_eq!(
                (mended.text.as_str(), mended.damage.len()),
                ("one\nthree\n", 0),
                "{driver} {cut}"
            );
        }
    }
}

/// ext4 may leave zeros where data was on its way.
#[test]
fn zeros_at_the_end_are_cut_off_and_damage_in_the_middle_is_told() {
    for driver in DRIVERS {
        let running = Running::new(driver, json!({}));
        let mut writer = running.writer();
        writer.write(Stream::Output, b"one\n");
        writer.finish();
        let mut file = File::options().append(true).open(running.log()).unwrap();
        file.write_all(&[0; 5000]).unwrap();
        let mut writer = running.writer();
        writer.write(Stream::Output, b"two\n");
        writer.finish();
        assert_eq!(
            running.read(&Wanted::default()).text,
            "one\ntwo\n",
            "{driver}"
        );
        file.write_all(b"garbage\0\0\0\x10\n").unwrap();
        writer.write(Stream::Output, b"three\n");
        writer.finish();
        let damaged = running.read(&Wanted::default());
        assert_eq!(damaged.text, "one\ntwo\nthree\n", "{driver}");
        assert_eq!(damaged.damage.len(), 1, "{driver}: {:?}", damaged.damage);
        let tail = |tail| {
            running
                .read(&Wanted {
                    tail: Some(tail),
                    ..Wanted::default()
                })
                .text
        };
        assert_eq!(tail(1), "three\n");
        if driver == "local" {
            assert_eq!(tail(2), "two\nthree\n");
        }
    }
}

#[test]
fn a_log_that_somebody_empties_goes_on() {
    for driver in DRIVERS {
        let running = Running::new(driver, json!({ "max-size": "1k", "max-file": "1" }));
        let mut writer = running.writer();
        writer.write(Stream::Output, b"one\n");
        File::options()
            .write(true)
            .open(running.log())
            .unwrap()
            .set_len(0)
            .unwrap();
        writer.write(Stream::Output, b"two\n");
        assert_eq!(running.read(&Wanted::default()).text, "two\n");
        // The only file there may be is emptied when it is full.
        writer.write(Stream::Output, numbers(0..100).as_bytes());
        writer.finish();
        let left = running.read(&Wanted::default()).text;
        assert!(left.len() < 200 && left.ends_with("\n99\n"), "{left}");
    }
}

#[test]
fn labels_variables_and_tags_go_with_each_line() {
    for driver in DRIVERS {
        let running = Running::new(
            driver,
            json!({ "labels": "a.b,none", "env-regex": "^E", "tag": "t-{{.Name}}" }),
        );
        let mut writer = running.writer();
        writer.write(Stream::Output, b"one\n");
        writer.finish();
        let bytes = std::fs::read(running.log()).unwrap();
        let format = match Driver::named(driver).unwrap() {
            Driver::Local => frames::Format::Local,
            _ => frames::Format::JsonFile,
        };
        let mut frames = frames::Frames::new(&bytes[..], format, 0);
        let frames::Frame::Entry(entry) = frames.next_frame().unwrap() else {
            panic!()
        };
        let expected = [("E", "1"), ("a.b", "c d"), ("tag", "t-web")];
        assert_eq!(
            entry.attributes,
            expected.map(|(key, value)| (key.into(), value.into()))
        );
    }
}
