//! Gives orders to a worker as a user of the tests, and prints what it answers.

use super::support::{ALPINE, Store};
use onggi::build::copy::plan::Part;
use onggi::build::worker::Worker;
use onggi::build::worker::order::{Answer, Layer, Layers, Mount, Network, Order, Run, Source};
use onggi::container::engine::{Engine, GlobalOptions};
use onggi::container::resources::Resources;
use onggi::image::store;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// First argument of this program when it is to give orders.
pub const DRIVE: &str = "drive";

/// Orders that one worker gets, each on what the one before has made.
#[derive(Serialize, Deserialize, Default)]
pub struct Script {
    /// The image that the first begins with; none: nothing.
    pub image: Option<String>,
    /// What is done.
    pub orders: Vec<Order>,
    /// Directories and files that are handed over with each.
    pub files: Vec<PathBuf>,
    /// They all begin with the image.
    pub apart: bool,
}

/// What came of one.
#[derive(Serialize, Deserialize, Debug)]
pub struct Outcome {
    /// What the program has written: standard output, standard error.
    pub output: [String; 2],
    /// What was to be told to the user.
    pub warnings: Vec<String>,
    /// The end.
    pub last: Answer,
    /// How long it took.
    pub milliseconds: f64,
}

impl Outcome {
    /// The layer of one that has changed something.
    #[track_caller]
    pub fn layer(&self) -> &Layer {
        match &self.last {
            Answer::Done(Some(layer)) => layer,
            other => panic!("no layer was made: {other:?} {:?}", self.output),
        }
    }

    /// That it was done and nothing has changed.
    #[track_caller]
    pub fn nothing(&self) {
        let is_nothing = matches!(self.last, Answer::Done(None));
        assert!(is_nothing, "{:?} {:?}", self.last, self.output);
    }

    /// Why it was not done.
    #[track_caller]
    pub fn failure(&self) -> &str {
        match &self.last {
            Answer::Failed { message, .. } => message,
            other => panic!("it did not fail: {other:?} {:?}", self.output),
        }
    }
}

/// Orders on Alpine.
pub fn on_alpine(orders: Vec<Order>) -> Script {
    Script {
        image: Some(ALPINE.to_owned()),
        orders,
        ..Script::default()
    }
}

/// `RUN` of a shell script on nothing yet.
pub fn shell(script: &str) -> Run {
    Run {
        base: Layers::default(),
        words: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        device_directories: Vec::new(),
        environment: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
        working_directory: "/".to_owned(),
        user: String::new(),
        mounts: Vec::new(),
        network: Network::None,
        insecure: false,
        devices: Vec::new(),
        hosts: Vec::new(),
        shm_size: None,
        ulimits: Vec::new(),
        resources: Resources::default(),
        cgroup_parent: None,
        epoch: 1_000_000_000,
    }
}

/// That as an order.
pub fn order(run: Run) -> Order {
    Order::Run(Box::new(run))
}

/// A mount of an order.
pub fn mount(target: &str, source: Source, read_only: bool) -> Mount {
    Mount {
        target: target.to_owned(),
        source,
        read_only,
    }
}

/// Has a worker of that user execute orders.
pub fn give(store: &Store, script: &Script) -> Vec<Outcome> {
    let mut command = command(store);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(&serde_json::to_vec(script).unwrap())
        .unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    text.lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// This program, as one who gives orders in that store.
pub fn command(store: &Store) -> Command {
    let own = super::support::store::reachable_copy(&std::env::current_exe().unwrap());
    let mut command = store.command(own);
    command.arg(DRIVE).arg(store.data()).arg(store.run_root());
    command
}

/// Gives the orders of the script on standard input.
pub fn main(words: &[String]) -> ExitCode {
    let engine = Engine::open(&GlobalOptions {
        root: Some(words[0].clone().into()),
        runroot: Some(words[1].clone().into()),
        ..GlobalOptions::default()
    })
    .unwrap();
    let mut text = Vec::new();
    std::io::stdin().read_to_end(&mut text).unwrap();
    let mut script: Script = serde_json::from_slice(&text).unwrap();
    let base = script.image.as_ref().map_or_else(Layers::default, |name| {
        let image = store::find(&engine.paths, name).unwrap();
        Layers {
            diff_ids: image.config.rootfs.diff_ids.clone(),
            names: image.layers.clone(),
        }
    });
    let mut now = base.clone();
    let files: Vec<File> = script
        .files
        .iter()
        .map(|path| File::open(path).unwrap())
        .collect();
    let handed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let mut worker = Worker::start(&engine, None).unwrap();
    println!("worker {}", worker.identity().unwrap().pid);
    for order in &mut script.orders {
        begin_with(order, &now, &base);
        let begun = Instant::now();
        worker.order(order, &handed).unwrap();
        let mut outcome = listen(&mut worker);
        outcome.milliseconds = begun.elapsed().as_secs_f64() * 1e3;
        if let Answer::Done(Some(layer)) = &outcome.last
            && !script.apart
        {
            now.diff_ids.push(layer.diff_id.clone());
            now.names.push(layer.name.clone());
        }
        println!("{}", serde_json::to_string(&outcome).unwrap());
    }
    ExitCode::SUCCESS
}

/// What is below a step; layers that are mounted are the same where none are named.
fn begin_with(order: &mut Order, now: &Layers, base: &Layers) {
    match order {
        Order::Run(run) => {
            run.base = now.clone();
            for mount in &mut run.mounts {
                if let Source::Layers(shown) = &mut mount.source
                    && shown.layers.names.is_empty()
                {
                    shown.layers = now.clone();
                }
            }
        }
        Order::Copy(copy) => {
            if copy.base.is_some() {
                copy.base = Some(now.clone());
            }
            for part in &mut copy.plan.parts {
                if let Part::Layers { layers, .. } = part {
                    *layers = base.clone();
                }
            }
        }
        Order::Directory { base, .. } | Order::Layer { base, .. } => *base = now.clone(),
        Order::Select(select) => select.layers = base.clone(),
    }
}

fn listen(worker: &mut Worker) -> Outcome {
    let mut output = [Vec::new(), Vec::new()];
    let mut warnings = Vec::new();
    loop {
        match worker.receive() {
            Ok(Answer::Output { error, bytes }) => output[usize::from(error)].extend(bytes),
            Ok(Answer::Warning(warning)) => warnings.push(warning),
            last => {
                let last = last.unwrap_or_else(|error| Answer::Failed {
                    message: format!("{error:#}"),
                    hint: None,
                });
                return Outcome {
                    output: output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
                    warnings,
                    last,
                    milliseconds: 0.0,
                };
            }
        }
    }
}

/// The names in the tar of a layer with what is told of each, sorted: mode, owner, time, length.
pub fn members(store: &Store, layer: &Layer) -> Vec<String> {
    use onggi::image::layer::stream_tar;
    let directory = store.data().join("layers").join(&layer.name);
    let mut tar = Vec::new();
    stream_tar(&directory, &mut tar).unwrap();
    let mut archive = tar::Archive::new(&tar[..]);
    let entries = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let header = entry.header();
        let path = entry.path().unwrap().into_owned();
        format!(
            "{} {:o} {}:{} {} {}",
            path.display(),
            header.mode().unwrap(),
            header.uid().unwrap(),
            header.gid().unwrap(),
            header.mtime().unwrap(),
            header.size().unwrap()
        )
    });
    entries.collect()
}

/// The names alone.
pub fn names(store: &Store, layer: &Layer) -> Vec<String> {
    let all = members(store, layer);
    let name = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    all.iter().map(name).collect()
}

/// What is in a directory.
pub fn listed(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
