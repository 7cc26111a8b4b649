//! How fast a program may write when its output is kept: 1 GB of lines through the monitor, beside podman with conmon,
//! and without a log.
//!
//! `cargo bench --bench logs`. `ONGGI_BENCH_MEGABYTES` is how much the program writes. Everything is on one file
//! system (that of `ONGGI_TEST_TMP`, else `/var/tmp`); logs are limited to 10 MB a file for all.
#![allow(clippy::print_stderr, reason = "a bench says what it leaves out")]

#[path = "measure.rs"]
mod measure;
#[path = "start/pure.rs"]
mod pure;
#[path = "../support/mod.rs"]
mod support;

use measure::{Contender, race, rounds};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use support::{ALPINE, Store, User, images, store};

fn main() {
    pure::enter_cgroup2();
    let Some(store) = store(User::Root).filter(Store::alpine) else {
        return;
    };
    let asked = std::env::var("ONGGI_BENCH_MEGABYTES").ok();
    let megabytes: u32 = asked.map_or(1000, |text| text.parse().unwrap());
    for (title, line) in [
        ("lines of 16 bytes", "fifteen letters"),
        ("lines of 100 bytes", &"0123456789".repeat(10)[1..]),
    ] {
        let script = script(line, megabytes);
        let mut contenders = Vec::new();
        for driver in ["json-file", "local", "none"] {
            let script = script.clone();
            let store = &store;
            contenders.push(Contender::new(format!("onggi, {driver}"), move || {
                let mut command = store.command("sh");
                let size = match driver {
                    "none" => "",
                    _ => "--log-opt max-size=10m",
                };
                let run = format!(
                    "id=$($0 run -d --log-driver {driver} {size} {ALPINE} sh -c \"$1\") && $0 wait $id && $0 rm $id"
                );
                let program = support::store::program().display();
                let data = store.data().display().to_string();
                let run_root = store.run_root().display().to_string();
                command.args(["-c", &run, &format!("{program} --root {data} --runroot {run_root}")]);
                command.arg(&script);
                command
            }));
        }
        contenders.push(conmon(&store, line, megabytes));
        contenders.extend(podman(&store, &script));
        race(&format!("{megabytes} MB, {title}"), rounds(3), contenders);
    }
}

/// Ten megabytes of lines, made once, and written again and again as fast as a pipe takes them.
fn script(line: &str, megabytes: u32) -> String {
    let times = megabytes / 10;
    format!(
        "yes {line:?} | head -c 10000000 >/lines; i=0; while [ $i -lt {times} ]; do cat /lines; i=$((i+1)); done"
    )
}

/// Podman's monitor alone, for hosts on which podman itself does not start: what stands in for the runtime starts the
/// same program without a container.
fn conmon<'a>(store: &'a Store, line: &str, megabytes: u32) -> Contender<'a> {
    let home = store.home();
    let ended = home.join("ended");
    let lines = home.join("lines").display().to_string();
    let program = script(line, megabytes).replace("/lines", &lines);
    let program = store.file("program", format!("{program}; touch {}\n", ended.display()));
    let runtime = format!(
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --pid-file ] && file=$2; shift; done\n\
         sh {} </dev/null &\necho $! >$file\n",
        program.display()
    );
    let runtime = store.file("runtime-stand-in", runtime);
    let script = "rm -rf conmon $1; mkdir -p conmon/exit && cd conmon && chmod +x $0 && \
        conmon --api-version 1 --sync -c bench -u bench -n bench -r $0 -b $PWD -p $PWD/pid --exit-dir $PWD/exit \
        -l k8s-file:$PWD/log --log-size-max 10000000 --socket-dir-path $PWD || exit; \
        until [ -e $1 ]; do sleep 0.01; done";
    Contender::new("conmon alone, k8s-file", move || {
        let mut command = store.command("sh");
        command.args(["-c", script]).arg(&runtime).arg(&ended);
        command
    })
}

/// Its own form of lines, which it also calls `json-file`.
fn podman<'a>(store: &'a Store, script: &str) -> Option<Contender<'a>> {
    let containers = store.file(
        "containers.conf",
        "[containers]\npids_limit=0\ndefault_ulimits=[\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
         [engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\n",
    );
    let storage = store.file(
        "storage.conf",
        format!(
            "[storage]\ndriver=\"overlay\"\ngraphroot={:?}\nrunroot={:?}\n",
            store.home().join("podman"),
            store.path().join("runtime/podman"),
        ),
    );
    let command = move |program: &str| -> Command {
        let mut command = store.command(program);
        command
            .env("CONTAINERS_CONF", &containers)
            .env("CONTAINERS_STORAGE_CONF", &storage);
        command
    };
    let name = format!("alpine-minirootfs-3.20.3-{}.tar.gz", std::env::consts::ARCH);
    let archive: PathBuf = images().join("alpine-3.20.3-rootfs").join(name);
    let image = "localhost/alpine:3.20";
    let import = [
        OsStr::new("import"),
        OsStr::new("-q"),
        archive.as_os_str(),
        OsStr::new(image),
    ];
    let imported = command("podman").args(import).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        eprintln!("left out: podman: it cannot import an image here");
        return None;
    }
    let script = script.to_owned();
    Some(Contender::new("podman, json-file", move || {
        let mut command = command("sh");
        let run = format!(
            "id=$(podman run -d --network none --cgroups disabled --log-driver json-file \
             --log-opt max-size=10mb {image} sh -c \"$0\") && podman wait $id && podman rm $id"
        );
        command.args(["-c", &run]).arg(&script);
        command
    }))
}
