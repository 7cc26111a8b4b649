//! Those who lie, flood and send rubbish to a container's resolver, from either side.

use crate::resolver::{
    PATIENCE, Reply, Step, Upstream, World, answer, by_datagram, by_stream, connect, endpoint,
    failure, query, read_message, write_message,
};
use crate::support::{Need, requires};
use simple_dns::{PacketFlag, RCODE, TYPE};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

fn world() -> World {
    World::with(vec![endpoint("web", &[], &["172.18.0.2"])])
}

fn is_well(world: &World) {
    assert_eq!(world.addresses("web").len(), 1);
    let reply = world.inside(|| by_stream(&query("web", TYPE::A.into())));
    assert_eq!(reply.addresses().len(), 1);
}

#[test]
fn lies_are_passed_over() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let _upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let truth = answer(&asked.query, &["192.0.2.1"]);
        let lie = answer(&asked.query, &["192.0.2.66"]);
        let with = |change: fn(&mut Vec<u8>)| {
            let mut lie = lie.clone();
            change(&mut lie);
            Step::Send(lie)
        };
        vec![
            with(|lie| lie[0] ^= 1),
            with(|lie| lie[1] ^= 1),
            with(|lie| lie[2] &= 0x7f),
            with(|lie| lie[13] ^= 1),
            with(|lie| lie[5] = 2),
            with(|lie| lie[5] = 0),
            with(|lie| lie.truncate(11)),
            Step::Send(Vec::new()),
            Step::Send(vec![0xff; 9000]),
            // Names of records that point to themselves, to what follows and nowhere, and records that are not there.
            with(|lie| *lie = unreadable(lie)),
            with(|lie| point(lie, u16::MAX)),
            with(|lie| point(lie, 3)),
            with(|lie| lie[7] = 2),
            with(|lie| lie[11] = 1),
            with(|lie| lie.truncate(lie.len() - 1)),
            Step::SendFromElsewhere(lie.clone()),
            Step::Wait(Duration::from_millis(20)),
            Step::Send(truth),
        ]
    });
    let reply = world.ask("example.org", TYPE::A);
    assert_eq!(
        reply.addresses(),
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]
    );
    is_well(&world);
}

/// Where the name of the only record begins: behind it are ten bytes and an address.
fn record(answer: &[u8]) -> usize {
    answer.len() - 16
}

fn point(answer: &mut [u8], to: u16) {
    let at = record(answer);
    answer[at..at + 2].copy_from_slice(&(0xc000 | to).to_be_bytes());
}

fn unreadable(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let itself = record(&answer) as u16;
    point(&mut answer, itself);
    answer
}

#[test]
fn answers_that_cannot_be_read_are_none() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world =
        World::forwarding("nameserver 127.0.0.53\nnameserver 127.0.0.54\noptions timeout:1\n");
    let _hostile = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let mut reply = unreadable(&answer(&asked.query, &["192.0.2.66"]));
        if asked.query[13..].starts_with(b"long") {
            reply[2] |= 2;
        }
        vec![Step::Send(reply)]
    });
    let _honest = Upstream::giving(&world.host, "127.0.0.54", &["192.0.2.1"]);
    let honest: Vec<std::net::IpAddr> = vec!["192.0.2.1".parse().unwrap()];
    assert_eq!(world.addresses("example.org"), honest);
    let question = query("example.org", TYPE::A.into());
    assert_eq!(world.inside(|| by_stream(&question)).addresses(), honest);
    // What is cut off is told to be so, without what cannot be read.
    let cut = world.ask("long.example.org", TYPE::A);
    assert!(cut.packet().has_flags(PacketFlag::TRUNCATION));
    assert_eq!(cut.addresses(), Vec::<std::net::IpAddr>::new());
}

#[test]
fn long_answers_fit_who_asked() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let _upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let mut reply = answer(&asked.query, &["192.0.2.1"]);
        let length = if asked.by_stream { 65535 } else { 4000 };
        reply.resize(length, 0x55);
        vec![Step::Send(reply)]
    });
    let question = query("example.org", TYPE::A.into());
    let short = world.inside(|| by_datagram(&question));
    assert!(short.packet().has_flags(PacketFlag::TRUNCATION) && short.0.len() <= 512);
    let mut with_edns = question.clone();
    with_edns[11] = 1;
    with_edns.extend_from_slice(b"\0\0\x29\x20\0\0\0\0\0\0\0");
    assert_eq!(world.inside(|| by_datagram(&with_edns)).0.len(), 4000);
    assert_eq!(world.inside(|| by_stream(&question)).0.len(), 65535);
}

#[test]
fn truncation_is_passed_on() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let _upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        let mut reply = failure(&asked.query, RCODE::NoError);
        reply[2] |= 2;
        let reply = match asked.by_stream {
            true => answer(&asked.query, &["192.0.2.1"]),
            false => reply,
        };
        vec![Step::Send(reply)]
    });
    let question = query("example.org", TYPE::A.into());
    let reply = world.inside(|| by_datagram(&question));
    assert!(reply.packet().has_flags(PacketFlag::TRUNCATION));
    assert_eq!(world.inside(|| by_stream(&question)).addresses().len(), 1);
}

#[test]
fn rubbish_from_the_container_does_no_harm() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let mut seed = 7_u32;
    let mut random = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    let mut messages: Vec<Vec<u8>> = (0..300)
        .map(|length| (0..length).map(|_| random()).collect())
        .collect();
    // A name that points to itself, one to the header, one that never ends, and one of the longest.
    for name in [
        &b"\xc0\x0c"[..],
        b"\xc0\x00",
        b"\x3f",
        &[63; 300],
        b"\x80a\0",
        b"\x01a\xc0\x0c",
    ] {
        let header = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0";
        messages.push([header, name, b"\0\x01\0\x01"].concat());
    }
    let flood = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for message in &messages {
            socket.send_to(message, "127.0.0.11:53").unwrap();
            let mut stream = connect();
            let _ = stream.write_all(message);
            let mut stream = connect();
            let length = u16::try_from(message.len()).unwrap();
            let _ = stream.write_all(&[&length.to_be_bytes(), message.as_slice()].concat());
        }
        // What cannot be read is said to be so.
        for (change, code) in [(4_usize, RCODE::FormatError), (2, RCODE::NotImplemented)] {
            let mut question = query("web", TYPE::A.into());
            question[change] = 0x10;
            let reply = by_datagram(&question);
            assert_eq!(Reply(reply.0).code(), code);
        }
    };
    world.inside(flood);
    is_well(&world);
}

#[test]
fn clients_that_do_not_leave_make_room() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let crowd = || {
        let streams: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
        let reply = by_stream(&query("web", TYPE::A.into()));
        assert_eq!(reply.addresses().len(), 1);
        streams
    };
    let mut streams = world.inside(crowd);
    assert_eq!(
        streams[0].read(&mut [0]).unwrap_or(0),
        0,
        "the first had to go"
    );
    is_well(&world);
}

#[test]
fn clients_that_do_not_read_are_not_read_from() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = world();
    let greedy = || {
        let mut stream = connect();
        stream
            .set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let question = query("web", TYPE::A.into());
        let length = u16::try_from(question.len()).unwrap();
        let many = [&length.to_be_bytes(), question.as_slice()]
            .concat()
            .repeat(1000);
        let mut written = 0;
        while let Ok(length) = stream.write(&many) {
            written += length;
            assert!(written < 64 << 20, "it takes questions without end");
        }
        stream
    };
    let mut stream = world.inside(greedy);
    is_well(&world);
    let mut answers = 0;
    while answers < 1000 {
        assert!(read_message(&mut stream).is_some());
        answers += 1;
    }
}

#[test]
fn flood_of_questions_gives_up_the_oldest() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::forwarding("nameserver 127.0.0.53\noptions timeout:30\n");
    let upstream = Upstream::new(&world.host, "127.0.0.53", |asked| {
        match asked.query[13..].starts_with(b"last") {
            true => vec![Step::Send(answer(&asked.query, &["192.0.2.1"]))],
            false => Vec::new(),
        }
    });
    let before = descriptors();
    let flood = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let first = query("first.example", TYPE::A.into());
        for at in 0..600 {
            let question = match at {
                0 => first.clone(),
                _ => query("silent.example", TYPE::A.into()),
            };
            socket.send_to(&question, "127.0.0.11:53").unwrap();
            // So that none is lost in a full buffer.
            std::thread::sleep(Duration::from_micros(200));
        }
        let mut reply = [0; 512];
        let length = socket.recv(&mut reply).unwrap();
        assert_eq!(reply[..2], first[..2]);
        assert_eq!(Reply(reply[..length].to_vec()).code(), RCODE::ServerFailure);
        let last = by_datagram(&query("last.example", TYPE::A.into()));
        assert_eq!(last.addresses().len(), 1);
    };
    world.inside(flood);
    assert!(descriptors() <= before + 256 + 16, "{}", descriptors());
    drop(upstream);
}

#[test]
fn clients_that_leave_take_their_questions_along() {
    if !requires(&[Need::Root]) {
        return;
    }
    let world = World::forwarding("nameserver 127.0.0.53\noptions timeout:30\n");
    let _upstream = Upstream::new(&world.host, "127.0.0.53", |_| Vec::new());
    let asker = || {
        let mut stream = connect();
        for _ in 0..50 {
            write_message(&mut stream, &query("silent.example", TYPE::A.into()));
        }
        // Rubbish ends the connection.
        let _ = stream.write_all(b"\0\x01x");
        assert!(read_message(&mut stream).is_none());
    };
    world.inside(asker);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
