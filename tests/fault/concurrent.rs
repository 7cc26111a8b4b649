//! Two hundred random commands on ten names by eight processes at once, over and over the same seed if it is given:
//! `ONGGI_TEST_SEED`.

use crate::check::assert_clean;
use crate::support::{ALPINE, Outcome, Store, everyone_in_memory};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PROCESSES: u64 = 8;
const COMMANDS: usize = 25;

/// xorshift64: what is drawn follows from the seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end
    }
}

/// `NAME` is one of ten names, `IMAGE` one of three.
const WORDS: &[&str] = &[
    "run -d --name NAME alpine:3.20 sleep 1000",
    "run -d --name NAME alpine:3.20 sleep 1000",
    "run -d --rm --name NAME alpine:3.20 sleep 0.05",
    "run --rm --name NAME alpine:3.20 echo done",
    "run -d --restart always --name NAME alpine:3.20 sleep 0.2",
    "create --name NAME alpine:3.20 true",
    "start NAME",
    "stop -t 0 NAME",
    "kill NAME",
    "restart -t 0 NAME",
    "pause NAME",
    "unpause NAME",
    "rm NAME",
    "rm -f NAME",
    "rm -f NAME",
    "rename NAME NAME",
    "exec NAME true",
    "logs NAME",
    "commit NAME IMAGE",
    "run --rm IMAGE true",
    "tag alpine:3.20 IMAGE",
    "rmi IMAGE",
    "rmi -f IMAGE",
    "image prune -f",
    "container prune -f",
    "load -i archive.tar",
    "ps -a",
    "images",
    "inspect NAME",
    "info",
    "system check",
];

fn command(random: &mut Random) -> Vec<String> {
    let line = WORDS[random.below(WORDS.len())];
    let mut word = |word: &str| match word {
        "NAME" => format!("name{}", random.below(10)),
        "IMAGE" => format!("image:{}", random.below(3)),
        word => word.to_owned(),
    };
    line.split(' ').map(&mut word).collect()
}

/// Nothing hangs, breaks, or finds something damaged. That what was meant has just gone is an answer.
fn assert_understood(words: &[String], outcome: &Outcome) {
    let stderr = outcome.stderr_text();
    let reads = ["ps", "images", "info"].contains(&words[0].as_str());
    outcome.expect(
        outcome
            .exit_code()
            .is_some_and(|code| code != 101 && (code == 0 || !reads)),
        "an exit code of its own",
    );
    for word in ["damaged", "panicked"] {
        outcome.expect(!stderr.contains(word), "no surprise");
    }
    if words[0] == "system" {
        outcome.code(0);
    }
}

/// What is paused goes on after a while: a client that waits for a paused program does not hang, it waits.
fn unpause_until(store: &Store, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let paused = ["ps", "-q", "--filter", "status=paused"];
        for id in store.onggi(paused).run().stdout_text().lines() {
            store.onggi(["unpause", id]).run();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn at_once(store: &Store, seed: u64) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| unpause_until(store, &over));
        let done = scope.spawn(|| random_commands(store, seed)).join();
        over.store(true, Ordering::Relaxed);
        done.unwrap();
    });
}

fn random_commands(store: &Store, seed: u64) {
    std::thread::scope(|scope| {
        for process in 0..PROCESSES {
            scope.spawn(move || {
                let mut random = Random(seed.wrapping_mul(PROCESSES).wrapping_add(process) | 1);
                for _ in 0..COMMANDS {
                    let words = command(&mut random);
                    // A command that hangs is ended after two minutes, and then has no exit code.
                    assert_understood(&words, &store.onggi(&words).run());
                }
            });
        }
    });
}

#[test]
fn two_hundred_commands_on_ten_names() {
    let seed = match std::env::var("ONGGI_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64,
    };
    eprintln!("ONGGI_TEST_SEED={seed}");
    for store in everyone_in_memory() {
        crate::cases::make_archive(&store);
        at_once(&store, seed);
        assert_clean(&store);
        let ids = store
            .onggi(["ps", "-aq", "--no-trunc"])
            .run()
            .code(0)
            .stdout_text();
        if !ids.is_empty() {
            store.onggi(["rm", "-f"]).args(ids.lines()).run().code(0);
        }
        store.onggi(["image", "prune", "-af"]).run().code(0);
        assert_clean(&store);
        for directory in [
            "containers",
            "names",
            "pending",
            "images",
            "layers",
            "staging",
        ] {
            let left = std::fs::read_dir(store.data().join(directory)).unwrap();
            let left = left.map(|entry| entry.unwrap().path());
            // The names are kept there, of which there are none.
            let left: Vec<_> = left
                .filter(|path| !path.ends_with("images/tags.json"))
                .collect();
            assert!(left.is_empty(), "{left:?}");
        }
        store.assert_no_process_is_left();
        assert!(store.alpine());
        store.onggi(["run", "--rm", ALPINE, "true"]).run().code(0);
    }
}
