//! What comes from the net while a build goes on: at once, shown, and given up with the build.

use crate::support::everyone_with_alpine;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Of each file of [`slow_server`], in bytes.
const SIZE: usize = 2_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// How many downloads have begun, and whether they may end.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut (usize, bool))) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    /// Whether that came to be in time.
    fn until(&self, holds: impl Fn(&(usize, bool)) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !holds(state));
        !waited.unwrap().1.timed_out()
    }
}

/// Sends the first half of a file, a piece at a time, and the rest when it may.
fn send_slowly(mut stream: TcpStream, gate: &Gate) {
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
    while head
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    gate.set(|state| state.0 += 1);
    for _ in 0..5 {
        stream.write_all(&[7; SIZE / 10]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    if gate.until(|(_, may_end)| *may_end) {
        let _ = stream.write_all(&[7; SIZE / 2]);
    }
}

fn slow_server(gate: Arc<Gate>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || send_slowly(stream.unwrap(), &gate));
        }
    });
    address
}

#[test]
fn downloads_and_steps_go_on_at_once() {
    for store in everyone_with_alpine() {
        let gate = Arc::new(Gate::default());
        let at = slow_server(Arc::clone(&gate));
        let file = format!(
            "FROM alpine:3.20 AS one\nADD {at}/one /one\nFROM alpine:3.20 AS two\nADD {at}/two /two\n\
             FROM alpine:3.20\nRUN echo it has begun\nCOPY --from=one /one /\nCOPY --from=two /two /\nADD {at}/one /again\n"
        );
        store.file("context/Dockerfile", file);
        let words = ["build", "--progress", "plain", "-t", "app", "context"];
        let mut command = store.onggi(words).into_command();
        let mut build = command.stderr(Stdio::piped()).spawn().unwrap();
        let (mut told, mut has_run) = (String::new(), false);
        for line in BufReader::new(build.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            told += &format!("{line}\n");
            has_run |= line.ends_with(" it has begun");
            // Both have begun, how far they are is shown, and the step has run, while neither has ended.
            if has_run && told.matches(" / 2MB").count() == 2 {
                assert!(gate.until(|(begun, _)| *begun == 2));
                gate.set(|state| state.1 = true);
            }
        }
        assert!(build.wait().unwrap().success(), "{told}");
        for part in [
            &format!("[internal] load {at}/one\n"),
            "transferring: 2MB done",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        // What two steps want comes once.
        assert!(gate.until(|(begun, _)| *begun == 2));
        let sum = [
            "run",
            "--rm",
            "app",
            "sh",
            "-c",
            "cat /one /two /again | wc -c",
        ];
        assert_eq!(store.ok(sum), format!("{}\n", 3 * SIZE));
    }
}

#[test]
fn what_is_on_its_way_is_given_up_with_the_build() {
    for store in everyone_with_alpine() {
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = silent.local_addr().unwrap();
        let file = format!(
            "FROM alpine:3.20 AS one\nADD http://{at}/x /\nFROM alpine:3.20 AS two\nADD git://{at}/x.git /\n\
             FROM alpine:3.20\nRUN sleep 1; exit 3\nCOPY --from=one / /\nCOPY --from=two / /\n"
        );
        store.file("context/Dockerfile", file);
        let begun = Instant::now();
        let failed = store
            .onggi(["build", "--progress", "plain", "context"])
            .run();
        failed
            .code(1)
            .stderr_has("exit code: 3")
            .stderr_has(&format!("[internal] load git://{at}/x.git\n"))
            .stderr_has("CANCELED")
            .expect(
                begun.elapsed() < Duration::from_secs(30),
                "it waits for nobody",
            );
        store.assert_no_process_is_left();
        store.file("context/Dockerfile", "FROM scratch\nLABEL a=b\n");
        store.onggi(["build", "context"]).run().code(0);
        let staging = std::fs::read_dir(store.data().join("staging"));
        assert_eq!(staging.map_or(0, Iterator::count), 0);
    }
}

#[test]
fn a_context_that_comes_from_a_server_is_shown() {
    for store in everyone_with_alpine().take(1) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://user:word@{}/c", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let body = "FROM scratch\nLABEL a=b\n";
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        let built = store.onggi(["build", "--progress", "plain", &at]).run();
        built
            .code(0)
            .stderr_has("[internal] load remote build context http://127.0.0.1:")
            .stderr_lacks("word");
        let file = ["build", "--progress", "plain", "-f", &at, "context"];
        store.file("context/x", "");
        let built = store.onggi(file).run();
        built
            .code(0)
            .stderr_has("[internal] load remote Dockerfile http://127.0.0.1:")
            .stderr_lacks("word");
        let named = ["build", "--build-context", &format!("c={at}"), "context"];
        store.file("context/Dockerfile", "FROM scratch\nCOPY --from=c x /\n");
        let failed = store.onggi(named).run();
        failed
            .code(1)
            .stderr_has("the context c is no archive")
            .stderr_has("[context c] load http");
    }
}

#[test]
fn what_does_not_come_is_told_once() {
    for store in everyone_with_alpine().take(1) {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("http://{}/x", closed.local_addr().unwrap());
        drop(closed);
        let file = format!("FROM alpine:3.20\nADD {at} /\n");
        store.file("context/Dockerfile", file);
        let words = ["build", "--progress", "plain", "context"];
        let failed = store.onggi(words).run();
        failed
            .code(1)
            .stderr_has(&format!("   2 | >>> ADD {at} /"))
            .stderr_has(&format!("onggi: download {at}: "));
        let told = failed.stderr_text().matches(" ERROR: ").count();
        assert_eq!(told, 1, "{}", failed.stderr_text());
    }
}
