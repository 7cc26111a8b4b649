//! A pull that is cut again and again, at random places, over several commands, some of them killed: what has come once
//! is not sent again.

use crate::made::{Layer, Made, Numbers};
use crate::server::Reply;
use crate::{Server, somebody};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often the connection is cut, and after how many bytes at most.
const CUTS: usize = 200;
const PIECE: u64 = 64 << 10;
/// A process is killed after each so many cuts.
const KILLED_EACH: usize = 18;

fn image() -> Made {
    let mut numbers = Numbers(20_261_121);
    let layer = |numbers: &mut Numbers, index: usize| {
        let length = 800_000 + numbers.below(800_000) as usize;
        let content = numbers.bytes(length);
        Layer::gzip(&[(&format!("data/{index}"), &content)])
    };
    let layers: Vec<_> = (0..7).map(|index| layer(&mut numbers, index)).collect();
    Made::new(&layers)
}

#[test]
fn two_hundred_cuts_cost_nothing_but_what_was_on_its_way() {
    let made = Arc::new(image());
    let behind = made.clone();
    let registry = Server::start(None, move |request| behind.reply(request));
    let (cuts, numbers) = (Arc::new(AtomicUsize::new(0)), Mutex::new(Numbers(7)));
    let (counted, front) = (cuts.clone(), made.clone());
    let server = Server::start(Some(registry.port), move |request| {
        let layer = front
            .layers
            .iter()
            .find(|(digest, _)| request.path.ends_with(digest));
        let Some((_, size)) = layer.filter(|_| counted.load(Ordering::SeqCst) < CUTS) else {
            return Reply::Forward;
        };
        let from = request.header("range").strip_prefix("bytes=");
        let from = from.and_then(|from| from.trim_end_matches('-').parse::<u64>().ok());
        let length = 1 + numbers.lock().unwrap().below(PIECE);
        if length < size - from.unwrap_or(0) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        Reply::Cut(usize::try_from(length).unwrap())
    });
    let Some(store) = somebody() else {
        return;
    };
    let name = server.name("cut:often");
    let mut kills = 0;
    while cuts.load(Ordering::SeqCst) < CUTS {
        kills += 1;
        let arguments = [["pull", &name], ["create", &name]][kills % 2];
        let mut child = store.onggi(arguments).spawn();
        let end = Instant::now() + Duration::from_secs(60);
        while cuts.load(Ordering::SeqCst) < (kills * KILLED_EACH).min(CUTS) {
            assert!(Instant::now() < end, "nothing comes");
            assert!(child.try_wait().unwrap().is_none(), "it ends too early");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    store.onggi(["pull", &name]).run().code(0);
    assert_eq!(cuts.load(Ordering::SeqCst), CUTS);
    assert!(kills >= CUTS / KILLED_EACH, "{kills} kills");
    let total: u64 = made.layers.iter().map(|(_, size)| size).sum();
    // A process that is killed loses what is on its way to it by up to three connections; each of the last of them may
    // bring its whole layer. The config comes by the same way.
    let most = total + kills as u64 * 3 * PIECE + 3 * PIECE;
    let sent = server.sent();
    assert!(
        sent <= most,
        "{sent} bytes were sent for {total}, {kills} kills"
    );
    store.onggi(["system", "check", "--deep"]).run().code(0);
    let left = std::fs::read_dir(store.data().join("downloads")).unwrap();
    assert_eq!(left.count(), 0);
}

/// Without a kill not a byte is sent twice.
#[test]
fn cuts_alone_cost_nothing() {
    let made = Arc::new(image());
    let behind = made.clone();
    let registry = Server::start(None, move |request| behind.reply(request));
    let numbers = Mutex::new(Numbers(11));
    let layers = made.layers.clone();
    let server = Server::start(Some(registry.port), move |request| {
        let is_layer = layers
            .iter()
            .any(|(digest, _)| request.path.ends_with(digest));
        match is_layer && request.earlier < 40 {
            true => Reply::Cut(1 + numbers.lock().unwrap().below(PIECE) as usize),
            false => Reply::Forward,
        }
    });
    let Some(store) = somebody() else {
        return;
    };
    let name = server.name("cut:often");
    store.onggi(["pull", &name]).run().code(0);
    let total: u64 = made.layers.iter().map(|(_, size)| size).sum();
    let is_layer = |path: &str| made.layers.iter().any(|(digest, _)| path.ends_with(digest));
    let asked: Vec<_> = server.seen();
    let config: u64 = 1000;
    let requests = asked.iter().filter(|one| is_layer(&one.path)).count();
    assert!(requests > 150, "{requests} requests");
    assert!(
        (total..=total + config).contains(&server.sent()),
        "{} bytes for {total}",
        server.sent()
    );
}
