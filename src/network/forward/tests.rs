//! Who may have how much of what is there for all.

use super::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

#[test]
fn nobody_takes_the_descriptors_of_all_others() {
    let mut forwarder = Forwarder::new(Inside::Here).unwrap();
    forwarder.room = 60;
    let enroll = |forwarder: &mut Forwarder, name: &str| {
        let id = name.to_owned();
        forwarder.enroll(Target {
            id,
            ..Target::default()
        })
    };
    let fill = |forwarder: &mut Forwarder, owner| {
        let mut others = Vec::new();
        while forwarder.has_room(owner, 0, 0) {
            let flags = SocketFlags::NONBLOCK;
            let [one, other] =
                [(); 2].map(|()| socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None));
            let ((one, far), (other, beyond)) = (one.unwrap(), other.unwrap());
            others.extend([far, beyond]);
            let streams = &mut forwarder.streams;
            streams
                .insert(&forwarder.events, one, other, owner)
                .unwrap();
        }
        others
    };
    let first = enroll(&mut forwarder, "first");
    let all = fill(&mut forwarder, first);
    assert_eq!(forwarder.streams.of(first), 20);
    // Those whose ends are gone are given back.
    drop(all);
    forwarder.turn().unwrap();
    assert_eq!(
        (forwarder.streams.of(first), forwarder.streams.len()),
        (0, 0)
    );
    let second = enroll(&mut forwarder, "second");
    let _half = fill(&mut forwarder, first);
    assert_eq!(forwarder.streams.of(first), 10);
    let _half_of_the_rest = fill(&mut forwarder, second);
    assert_eq!(forwarder.streams.of(second), 5);
    forwarder.unpublish("first");
    assert_eq!(forwarder.streams.of(first), 0);
    assert!(forwarder.has_room(second, 0, 0));
}
