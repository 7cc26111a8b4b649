//! The manager against a peer that says what it wants: refusals, signals of others, lies and silence.

use super::connection::Connection;
use super::message::{FIXED, Message};
use super::*;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

const SCOPE: Scope<'static> = Scope {
    name: "onggi-x.scope",
    description: "a\nb",
    slice: Some("a.slice"),
    patience: None,
    properties: &[],
};

/// The other side.
struct Peer(UnixStream);

impl Peer {
    /// Reads one message of ours.
    fn hears(&mut self) -> Message {
        let mut fixed = [0; FIXED];
        self.0.read_exact(&mut fixed).unwrap();
        let (length, _) = Message::length(&fixed).unwrap();
        let mut bytes = fixed.to_vec();
        bytes.resize(length, 0);
        self.0.read_exact(&mut bytes[FIXED..]).unwrap();
        Message::parse(&bytes).unwrap()
    }

    /// Sends a message: its kind, its header fields, its body.
    fn says(&mut self, kind: u8, fields: &[Field<'_>], body: &Writer) {
        let mut message = Writer::default();
        for byte in [b'l', kind, 0, 1] {
            message.byte(byte);
        }
        message.number(body.bytes().len() as u32);
        message.number(1);
        message.array(8, |writer| {
            for (code, value) in fields {
                writer.align(8);
                writer.byte(*code);
                match value {
                    Value::Number(number) => {
                        writer.signature("u");
                        writer.number(*number);
                    }
                    Value::Text(kind, text) => {
                        writer.signature(kind);
                        writer.text(text);
                    }
                    Value::Signature(text) => {
                        writer.signature("g");
                        writer.signature(text);
                    }
                }
            }
        });
        message.align(8);
        message.append(body);
        self.0.write_all(message.bytes()).unwrap();
    }

    fn returns(&mut self, serial: u32, signature: &'static str, body: &Writer) {
        let fields = [
            (5, Value::Number(serial)),
            (8, Value::Signature(signature)),
            (7, Value::Text("s", ":1.1")),
        ];
        self.says(2, &fields, body);
    }

    fn refuses(&mut self, serial: u32, name: &str, text: &str) {
        let fields = [
            (5, Value::Number(serial)),
            (4, Value::Text("s", name)),
            (8, Value::Signature("s")),
        ];
        self.says(3, &fields, &texts(&[text]));
    }

    fn signals(&mut self, sender: &str, member: &str, signature: &'static str, body: &Writer) {
        let fields = [
            (1, Value::Text("o", MANAGER_PATH)),
            (2, Value::Text("s", MANAGER)),
            (3, Value::Text("s", member)),
            (7, Value::Text("s", sender)),
            (8, Value::Signature(signature)),
        ];
        self.says(4, &fields, body);
    }

    fn removes_job(&mut self, sender: &str, job: &str, result: &str) {
        let mut body = Writer::default();
        body.number(7);
        for text in [job, "onggi-x.scope", result] {
            body.text(text);
        }
        self.signals(sender, "JobRemoved", "uoss", &body);
    }
}

type Field<'a> = (u8, Value<'a>);

enum Value<'a> {
    Number(u32),
    Text(&'static str, &'a str),
    Signature(&'static str),
}

fn texts(values: &[&str]) -> Writer {
    let mut body = Writer::default();
    values.iter().for_each(|value| body.text(value));
    body
}

/// A manager and what becomes of `ours` while the other side does `theirs`.
fn with_peer<T>(
    theirs: impl FnOnce(&mut Peer) + Send + 'static,
    ours: impl FnOnce(&mut Manager) -> T,
) -> T {
    let (socket, peer) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || {
        let mut peer = Peer(peer);
        let mut hello = [0; 28];
        peer.0.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"\0AUTH EXTERNAL 3430\r\nBEGIN\r\n");
        peer.0
            .write_all(b"OK 00112233445566778899aabbccddeeff\r\n")
            .unwrap();
        theirs(&mut peer);
    });
    let connection =
        Connection::authenticate(OwnedFd::from(socket), "socket".into(), 40, PATIENCE).unwrap();
    let mut manager = Manager {
        connection,
        user: Some(40),
    };
    let result = ours(&mut manager);
    // A peer may stay until we are gone.
    drop(manager);
    server.join().unwrap();
    result
}

fn start_with(theirs: impl FnOnce(&mut Peer) + Send + 'static) -> anyhow::Error {
    let pid = std::process::id();
    with_peer(theirs, |manager| manager.start_scope(&SCOPE, &[pid])).unwrap_err()
}

fn start(theirs: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    format!("{:#}", start_with(theirs))
}

#[test]
fn a_start_waits_for_the_end_of_its_own_job() {
    let error = start(|peer| {
        let call = peer.hears();
        assert_eq!(
            (&*call.member, &*call.interface),
            ("StartTransientUnit", MANAGER)
        );
        let mut body = call.body("ssa(sv)a(sa(sv))").unwrap();
        assert_eq!(body.text().unwrap(), "onggi-x.scope");
        assert_eq!(body.text().unwrap(), "fail");
        body.number().unwrap();
        body.align(8).unwrap();
        assert_eq!(body.text().unwrap(), "Description");
        assert_eq!(
            (body.signature().unwrap(), body.text().unwrap()),
            ("s", "a b")
        );
        peer.removes_job(":1.1", "/job/1", "early");
        peer.returns(1, "o", &texts(&["/job/1"]));
        peer.removes_job(":1.1", "/job/2", "another");
        peer.removes_job(":1.666", "/job/1", "forged");
        peer.signals(":1.1", "UnitRemoved", "so", &texts(&["x", "/x"]));
        peer.removes_job(":1.1", "/job/1", "done");
    });
    // The one thing that this peer cannot do.
    assert!(
        error.ends_with("is not in the control group of `onggi-x.scope`"),
        "{error}"
    );
    let error = start(|peer| {
        peer.hears();
        peer.returns(1, "o", &texts(&["/job/1"]));
        peer.removes_job(":1.1", "/job/1", "failed");
    });
    assert_eq!(error, "systemd could not start `onggi-x.scope`: failed");
}

#[test]
fn a_scope_whose_namesake_vanishes_is_started_again() {
    const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
    let error = start(|peer| {
        peer.hears();
        peer.refuses(1, EXISTS, "it exists");
        peer.signals(":1.1", "UnitRemoved", "so", &texts(&["other.scope", "/x"]));
        peer.signals(
            ":1.1",
            "UnitRemoved",
            "so",
            &texts(&["onggi-x.scope", "/x"]),
        );
        assert_eq!(peer.hears().member, "StartTransientUnit");
        peer.refuses(2, "org.freedesktop.DBus.Error.AccessDenied", "no");
    });
    assert_eq!(
        error,
        "start `onggi-x.scope` through systemd: systemd refuses at `socket`: no"
    );
    let error = start_with(|peer| {
        peer.hears();
        peer.refuses(1, EXISTS, "it exists");
        assert_eq!(
            peer.0.read(&mut [0]).unwrap(),
            0,
            "it stays, and we do not ask again"
        );
    });
    assert_eq!(
        crate::error::kind(&error),
        Some(Failure::Conflict),
        "{error:#}"
    );
}

#[test]
fn what_is_no_answer_is_an_error_that_names_the_socket() {
    let mut long = Writer::default();
    long.text(&"x".repeat(100_000));
    for (answer, says) in [
        (&b""[..], "`socket` has closed the connection"),
        (
            b"nonsense, and more than sixteen bytes",
            "read from `socket`: a message is not in little-endian order",
        ),
        (
            b"l\x02\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0",
            "read from `socket`: a message is longer",
        ),
        (
            b"l\x02\0\x01\0\0\x02\0\x01\0\0\0\0\0\0\0",
            "`socket` answers with 131088 bytes",
        ),
        (
            b"l\x02\0\x01\0\0\0\0\x01\0\0\0\x08\0\0\0\x05\x01u",
            "`socket` has closed the connection",
        ),
    ] {
        let error = start(move |peer| {
            peer.hears();
            peer.0.write_all(answer).unwrap();
        });
        assert!(
            error.starts_with("start `onggi-x.scope` through systemd: "),
            "{error}"
        );
        assert!(error.contains(says), "{says}: {error}");
    }
    let error = start(move |peer| {
        peer.hears();
        peer.signals(":1.9", "Long", "s", &long);
        peer.returns(1, "u", &Writer::default());
    });
    assert_eq!(
        error, "a message holds `u` where `o` belongs",
        "a long signal is passed over"
    );
}

#[test]
fn who_is_taken_for_another_is_told() {
    for (answer, says) in [
        (
            b"REJECTED EXTERNAL\r\n".to_vec(),
            "`socket` does not take us for the user 40: REJECTED EXTERNAL",
        ),
        (vec![b'x'; 9000], "`socket` does not speak D-Bus"),
        (Vec::new(), "`socket` has closed the connection"),
    ] {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(&answer).unwrap();
        peer.shutdown(std::net::Shutdown::Write).unwrap();
        let error = Connection::authenticate(OwnedFd::from(socket), "socket".into(), 40, PATIENCE)
            .unwrap_err();
        assert_eq!(format!("{error:#}"), says);
    }
}

#[test]
fn silence_comes_to_an_end() {
    let nothing = with_peer(
        |peer| {
            // Half a message is no message either.
            peer.0.write_all(b"l\x04\0\x01\0").unwrap();
            let _ = peer.0.read(&mut [0]);
        },
        |manager| {
            let soon = || Instant::now() + Duration::from_millis(20);
            (
                manager.connection.receive(soon()).unwrap(),
                manager.connection.receive(soon()).unwrap(),
            )
        },
    );
    assert!(matches!(nothing, (None, None)));
}

#[test]
fn processes_are_put_below_a_scope() {
    with_peer(
        |peer| {
            let call = peer.hears();
            assert_eq!(call.member, "AttachProcessesToUnit");
            let mut body = call.body("ssau").unwrap();
            assert_eq!(
                (body.text().unwrap(), body.text().unwrap()),
                ("onggi-x.scope", "/container")
            );
            assert_eq!(
                [
                    body.number().unwrap(),
                    body.number().unwrap(),
                    body.number().unwrap()
                ],
                [8, 5, 6]
            );
            peer.returns(1, "", &Writer::default());
        },
        |manager| {
            manager
                .attach("onggi-x.scope", "container", &[5, 6])
                .unwrap();
            let scope = Scope {
                name: "x/../y.scope",
                ..SCOPE
            };
            for error in [
                manager.start_scope(&scope, &[1]).unwrap_err(),
                manager
                    .start_scope(
                        &Scope {
                            slice: Some("a"),
                            ..SCOPE
                        },
                        &[1],
                    )
                    .unwrap_err(),
                manager.attach("x\0.scope", "/", &[1]).unwrap_err(),
                manager.attach("x.scope", "\0", &[1]).unwrap_err(),
            ] {
                assert_eq!(
                    crate::error::kind(&error),
                    Some(Failure::BadInput),
                    "{error:#}"
                );
            }
        },
    );
}
