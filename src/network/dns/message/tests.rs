//! Messages against what others write and read, and against what nobody should write.

use super::*;
use proptest::prelude::*;
use simple_dns::rdata::{A, AAAA, CNAME, MX, NS, PTR, RData, SOA, SRV, TXT};
use simple_dns::{CLASS, Name, Packet, QTYPE, ResourceRecord, TYPE};

fn question(name: &str, kind: u16) -> Question {
    Question {
        name: name.to_owned(),
        kind,
        class: 1,
        end: HEADER + name.len() + 2 + 4,
    }
}

/// A header that announces so many of each.
fn header(counts: [u16; 4]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0];
    counts
        .iter()
        .for_each(|count| bytes.extend_from_slice(&count.to_be_bytes()));
    bytes
}

#[test]
fn questions_are_read() {
    for (wire, expect) in [
        (&b"\x03Web\0\0\x01\0\x01"[..], Some("web")),
        (b"\0\0\x01\0\x01", Some("")),
        (b"\x03a.b\x01\\\0\0\x01\0\x01", Some("a\\046b.\\092")),
        (b"\x02\x00\xff\0\0\x01\0\x01", Some("\\000\\255")),
        (b"\x03Web\0\0\x01\0", None),
        (b"\x03We", None),
        (b"\x40Web\0\0\x01\0\x01", None),
        (b"\xc0\x0c\0\x01\0\x01", None),
        (b"\x01a\xc0\x0c\0\x01\0\x01", None),
        (b"\xc0\x00\0\x01\0\x01", None),
        (b"\xc0", None),
        (b"", None),
    ] {
        let message = [&header([1, 0, 0, 0]), wire].concat();
        let read = Question::read(&message);
        assert_eq!(
            read.as_ref().map(|read| read.name.as_str()),
            expect,
            "{wire:?}"
        );
        if let Some(read) = read {
            assert_eq!((read.kind, read.end), (kind::A, message.len()));
        }
        for count in [0, 2, 65535] {
            let message = [&header([count, 0, 0, 0]), wire].concat();
            assert_eq!(Question::read(&message), None);
        }
    }
    let label = [&[63][..], &[b'a'; 63]].concat();
    let long = |labels: usize, rest: &[u8]| {
        [
            &header([1, 0, 0, 0]),
            &label.repeat(labels),
            rest,
            b"\0\0\x01\0\x01",
        ]
        .concat()
    };
    assert!(Question::read(&long(3, &[&[61][..], &[b'a'; 61]].concat())).is_some());
    assert!(Question::read(&long(3, &[&[62][..], &[b'a'; 62]].concat())).is_none());
    assert!(Question::read(&long(1000, b"")).is_none());
}

#[test]
fn pointers_lead_back_and_end() {
    // 12: `b.c`, 17: `a` and a pointer to 12, 21: a pointer to 17, 23: one to itself, 25: one ahead.
    let message = [
        &header([0; 4])[..],
        b"\x01b\x01c\0",
        b"\x01a\xc0\x0c\xc0\x11\xc0\x17\xc0\x1b\0",
    ];
    let message = message.concat();
    assert_eq!(name(&message, 17), Some(("a.b.c".to_owned(), 21)));
    assert_eq!(name(&message, 21), Some(("a.b.c".to_owned(), 23)));
    assert_eq!(name(&message, 23), None);
    assert_eq!(name(&message, 25), None);
    // Two that would chase each other.
    let message = [&header([0; 4])[..], b"\x01a\xc0\x10\x01b\xc0\x0c"].concat();
    assert_eq!(name(&message, 12), None);
    assert_eq!(name(&message, 16), None);
}

#[test]
fn addresses_follow_other_names() {
    let query = [&header([1, 0, 0, 0])[..], b"\x03www\0\0\x01\0\x01"].concat();
    let query = Packet::parse(&query).unwrap().into_reply();
    let name = |text: &str| Name::new(text).unwrap().into_owned();
    let record = |owner: &str, ttl, data| ResourceRecord::new(name(owner), CLASS::IN, ttl, data);
    let ipv4 = |last| RData::A(A::from(Ipv4Addr::new(10, 0, 0, last)));
    let mut reply = query.clone();
    reply.answers = vec![
        record("WWW", 60, RData::CNAME(CNAME(name("cdn.Example")))),
        record("cdn.example", 20, ipv4(1)),
        record("other.example", 5, ipv4(66)),
        record(
            "cdn.example",
            30,
            RData::AAAA(AAAA::from(Ipv6Addr::LOCALHOST)),
        ),
    ];
    let bytes = reply.build_bytes_vec_compressed().unwrap();
    let asked = Question::read(&bytes).unwrap();
    let expect = vec!["10.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    assert_eq!(addresses(&bytes, &asked), Some((expect, 20)));
    for length in asked.end..bytes.len() {
        assert_eq!(addresses(&bytes[..length], &asked), None, "cut at {length}");
    }
}

#[test]
fn records_are_read_as_others_write_them() {
    let query = [&header([1, 0, 0, 0])[..], b"\x03www\0\0\xff\0\x01"].concat();
    let name = |text: &str| Name::new(text).unwrap().into_owned();
    let soa = SOA {
        mname: name("ns.www"),
        rname: name("root.www"),
        serial: 1,
        refresh: 2,
        retry: 3,
        expire: 4,
        minimum: 5,
    };
    let all = [
        RData::A(A::from(Ipv4Addr::LOCALHOST)),
        RData::AAAA(AAAA::from(Ipv6Addr::LOCALHOST)),
        RData::NS(NS(name("ns.www"))),
        RData::CNAME(CNAME(name("x.www"))),
        RData::PTR(PTR(name("y.www"))),
        RData::MX(MX {
            preference: 1,
            exchange: name("mx.www"),
        }),
        RData::SRV(SRV {
            priority: 1,
            weight: 2,
            port: 3,
            target: name("srv.www"),
        }),
        RData::SOA(soa),
        RData::TXT(TXT::new().with_string("text").unwrap()),
    ];
    for data in all {
        let mut reply = Packet::parse(&query).unwrap().into_reply();
        let record = ResourceRecord::new(name("www"), CLASS::IN, 60, data.clone());
        reply.answers = vec![record.clone()];
        reply.name_servers = vec![record.clone()];
        reply.additional_records = vec![record];
        let bytes = reply.build_bytes_vec_compressed().unwrap();
        let asked = Question::read(&bytes).unwrap();
        assert!(is_readable(&bytes, &asked), "{data:?}");
        for length in asked.end..bytes.len() {
            assert!(
                !is_readable(&bytes[..length], &asked),
                "{data:?} cut at {length}"
            );
        }
    }
}

#[test]
fn pointers_are_few() {
    let mut message = header([0; 4]);
    message.extend_from_slice(b"\x01a\0\0");
    for at in (12..).step_by(2).take(MOST_POINTERS + 2) {
        message.extend_from_slice(&(0xc000_u16 | if at == 12 { 12 } else { at + 2 }).to_be_bytes());
    }
    let last = 16 + 2 * (MOST_POINTERS - 1);
    assert_eq!(name(&message, last), Some(("a".to_owned(), last + 2)));
    assert_eq!(name(&message, last + 2), None);
}

#[test]
fn answers_stay_within_the_limit() {
    let query = [
        &header([1, 0, 0, 1])[..],
        b"\x03web\0\0\x01\0\x01",
        b"\0\0\x29\x10\0\0\0\0\0\0\0",
    ];
    let query = query.concat();
    let question = Question::read(&query).unwrap();
    assert_eq!(edns(&query, &question), Some(4096));
    let all: Vec<Data> = (0..3000_u16)
        .map(|at| Data::Address(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, at).into()))
        .collect();
    let answer = |records| Answer {
        query: &query,
        question: Some(&question),
        code: Code::NoError,
        records,
        ttl: 0,
    };
    for limit in [0, 12, 21, 32, 60, 61, 512, 4096, 65535] {
        let bytes = answer(&all).write(limit);
        // Header, question and EDNS are always there.
        assert!(bytes.len() <= limit.max(32), "{} of {limit}", bytes.len());
        let packet = Packet::parse(&bytes).unwrap();
        let is_whole = packet.answers.len() == all.len();
        assert_ne!(
            packet.has_flags(simple_dns::PacketFlag::TRUNCATION),
            is_whole
        );
        assert!(packet.opt().is_some());
    }
    let some = answer(&all[..3]).write(512);
    let packet = Packet::parse(&some).unwrap();
    assert_eq!((packet.id(), packet.answers.len()), (0x1234, 3));
    assert_eq!(truncated(&some, &question).len(), question.end);
}

#[test]
fn reverse_names_are_addresses() {
    let six = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
    for (name, expect) in [
        ("4.3.2.10.in-addr.arpa", Some("10.2.3.4")),
        (six, Some("4321:0:1:2:3:4:567:89ab")),
        ("3.2.10.in-addr.arpa", None),
        ("5.4.3.2.10.in-addr.arpa", None),
        ("256.3.2.10.in-addr.arpa", None),
        ("+4.3.2.10.in-addr.arpa", None),
        ("in-addr.arpa", None),
        (&six[2..], None),
        ("4.3.2.10", None),
    ] {
        let expect = expect.map(|address| address.parse().unwrap());
        assert_eq!(reverse(name), expect, "{name}");
    }
    let long = "x".repeat(70) + ".net";
    let mut bytes = Vec::new();
    write_name(&mut bytes, &[long.as_str(); 20].join("."));
    assert!(bytes.len() <= LONGEST_NAME && bytes.ends_with(&[0]));
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let question = Question::read(&bytes).unwrap_or_else(|| question("web", kind::A));
        addresses(&bytes, &question);
        edns(&bytes, &question);
        is_reply(&bytes);
        is_query(&bytes);
        code(&bytes);
        is_without_question(&bytes);
        for at in 0..bytes.len() {
            name(&bytes, at);
            Record::read(&bytes, at);
        }
    }

    /// As above, but with a header and question that lead further into it.
    #[test]
    fn nothing_behind_a_question_makes_it_panic(
        counts in any::<[u16; 3]>(),
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(0xc0), Just(12), any::<u8>()], 0..600),
    ) {
        let header = header([1, counts[0], counts[1], counts[2]]);
        let message = [&header[..], b"\x03web\0\0\x01\0\x01", &bytes].concat();
        let question = Question::read(&message).unwrap();
        addresses(&message, &question);
        is_readable(&message, &question);
        if let Some(size) = edns(&message, &question) {
            prop_assert!(size >= UDP_LIMIT);
        }
        let answer = Answer {
            query: &message,
            question: Some(&question),
            code: Code::ServerFailure,
            records: &[],
            ttl: 0,
        };
        prop_assert!(Packet::parse(&answer.write(UDP_LIMIT)).is_ok());
    }

    /// Another implementation reads what is written, and the other way round.
    #[test]
    fn others_agree(
        labels in prop::collection::vec("[a-z0-9_-]{1,20}", 1..6),
        octets in prop::collection::vec(any::<[u8; 4]>(), 0..20),
    ) {
        let text = labels.join(".");
        let name = Name::new(&text).unwrap();
        let mut query = Packet::new_query(7);
        let class = CLASS::IN.into();
        query.questions.push(simple_dns::Question::new(name, QTYPE::TYPE(TYPE::A), class, false));
        let query = query.build_bytes_vec().unwrap();
        let read = Question::read(&query).unwrap();
        prop_assert_eq!(&read.name, &text);
        prop_assert_eq!(read.end, query.len());
        let all: Vec<IpAddr> = octets.iter().map(|octets| (*octets).into()).collect();
        let records: Vec<Data> = all.iter().copied().map(Data::Address).collect();
        let answer = Answer {
            query: &query,
            question: Some(&read),
            code: Code::NoError,
            records: &records,
            ttl: 9,
        };
        let bytes = answer.write(4096);
        let packet = Packet::parse(&bytes).unwrap();
        for (record, octets) in packet.answers.iter().zip(&octets) {
            prop_assert_eq!(record.name.to_string(), text.clone());
            prop_assert_eq!(&record.rdata, &RData::A(A::from(Ipv4Addr::from(*octets))));
        }
        prop_assert_eq!(packet.answers.len(), octets.len());
        let ttl = if all.is_empty() { u32::MAX } else { 9 };
        prop_assert_eq!(addresses(&bytes, &read), Some((all, ttl)));
    }
}
