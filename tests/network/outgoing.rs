//! What containers of an ordinary user reach: `network::user::outgoing`.

use crate::scene::{Container, HOST, NOBODY, WORLD, at, echo, read_all, scene, tell_client};
use rustix::net::{AddressFamily, SendFlags, SocketType, bind, connect, socket, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

#[test]
fn connections_are_carried_and_half_closed() {
    scene(
        "outgoing::connections_are_carried_and_half_closed",
        |scene| {
            let (container, _) = scene.container(1, 2, &[]);
            for (side, world) in WORLD.iter().enumerate() {
                // The server speaks first and the client says nothing.
                let told = scene.world.serve(&at(world, 0), tell_client);
                let stream = container.place.connect(&told.to_string()).unwrap();
                let from: std::net::SocketAddr = read_all(&stream).parse().unwrap();
                assert_eq!(from.ip().to_string(), HOST[side]);
                // Much both ways, and the end of one way does not end the other.
                let echoed = scene.world.serve(&at(world, 0), |mut stream, _| {
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).unwrap();
                    stream.write_all(&all).unwrap();
                });
                let mut stream = container.place.connect(&echoed.to_string()).unwrap();
                let sent: Vec<u8> = (0..20_000_000u32)
                    .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                    .collect();
                stream.write_all(&sent).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut received = Vec::new();
                stream.read_to_end(&mut received).unwrap();
                assert!(sent == received, "{} bytes came back", received.len());
            }
        },
    );
}

#[test]
fn who_is_not_there_is_not_connected_to() {
    scene("outgoing::who_is_not_there_is_not_connected_to", |scene| {
        let (container, _) = scene.container(1, 2, &[]);
        let before = scene.open_files();
        for world in WORLD {
            let refused = container.place.connect(&at(world, 9)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused, "{world}");
        }
        // The world says that it has no way there.
        for far in ["203.0.113.7", "2001:db8:dead::7"] {
            let unreachable = container.place.connect(&at(far, 80)).unwrap_err();
            let kinds = [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
            assert!(kinds.contains(&unreachable.kind()), "{far}: {unreachable}");
        }
        // The host finds nobody on the link.
        for nobody in NOBODY {
            let unreachable = container.place.connect(&at(nobody, 80)).unwrap_err();
            assert_eq!(unreachable.kind(), ErrorKind::HostUnreachable, "{nobody}");
        }
        let nothing_is_left = (0..3000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            scene.open_files() == before
        });
        assert!(nothing_is_left);
    });
}

#[test]
fn a_reset_is_a_reset() {
    scene("outgoing::a_reset_is_a_reset", |scene| {
        let (container, _) = scene.container(1, 2, &[]);
        let server = scene.world.serve(&at(WORLD[0], 0), |mut stream, _| {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let mut stream = container.place.connect(&server.to_string()).unwrap();
        stream.write_all(b"x").unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn the_host_is_reached_by_the_gateway_and_its_loopback_is_not() {
    scene(
        "outgoing::the_host_is_reached_by_the_gateway_and_its_loopback_is_not",
        |scene| {
            let (container, _) = scene.container(1, 2, &[]);
            scene.host.serve("0.0.0.0:7001", tell_client);
            scene.host.serve("[2001:db8:5::1]:7001", tell_client);
            scene.host.serve("127.0.0.1:7002", tell_client);
            scene.host.serve("[::1]:7002", tell_client);
            for (gateway, host) in ["10.88.1.1", "fd00:88:1::1"].iter().zip(HOST) {
                let stream = container.place.connect(&at(gateway, 7001)).unwrap();
                assert!(!read_all(&stream).is_empty());
                let stream = container.place.connect(&at(host, 7001)).unwrap();
                assert!(!read_all(&stream).is_empty());
                for address in [*gateway, host] {
                    let error = container.place.connect(&at(address, 7002)).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
                }
            }
        },
    );
}

#[test]
fn networks_are_apart_and_strangers_are_not_carried() {
    scene(
        "outgoing::networks_are_apart_and_strangers_are_not_carried",
        |scene| {
            let (first, _) = scene.container(1, 2, &[]);
            let (other, _) = scene.container(2, 2, &[]);
            let (beside, _) = scene.container(1, 3, &[]);
            let stranger = scene.unleased(1, 4);
            scene.world.serve(&at(WORLD[0], 7003), echo);
            for container in [&other, &beside] {
                container.place.serve("[::]:7003", tell_client);
            }
            for side in [0, 1] {
                let stream = first
                    .place
                    .connect(&at(&beside.addresses[side], 7003))
                    .unwrap();
                assert!(read_all(&stream).contains(&first.addresses[side]));
            }
            let fails = |container: &crate::scene::Container, to: &str| {
                let to = at(to, 7003).parse().unwrap();
                let time = Duration::from_millis(1500);
                container
                    .place
                    .run(|| std::net::TcpStream::connect_timeout(&to, time))
                    .is_err()
            };
            assert!(fails(&first, &other.addresses[0]));
            assert!(fails(&first, &other.addresses[1]));
            assert!(fails(&stranger, WORLD[0]));
            assert!(!fails(&first, WORLD[0]));
        },
    );
}

#[test]
fn nobody_speaks_for_a_container_of_another_network() {
    scene(
        "outgoing::nobody_speaks_for_a_container_of_another_network",
        |scene| {
            let (first, _) = scene.container(1, 2, &[]);
            let mut inner = scene.unleased(2, 2);
            inner.lease.internal = true;
            scene.client.lease(&inner.lease, &[]).unwrap();
            for (side, world) in WORLD.iter().enumerate() {
                let address = &first.addresses[side];
                let length = if side == 0 { 32 } else { 128 };
                inner.place.ip(&format!(
                    "addr add {address}/{length} dev eth0 nodad preferred_lft 0"
                ));
                let server = scene.world.run(|| UdpSocket::bind(at(world, 0)).unwrap());
                let time = Some(Duration::from_millis(1500));
                server.set_read_timeout(time).unwrap();
                let listener = scene.world.run(|| TcpListener::bind(at(world, 0)).unwrap());
                listener.set_nonblocking(true).unwrap();
                let (datagrams, streams) =
                    (server.local_addr().unwrap(), listener.local_addr().unwrap());
                let send = |container: &Container| {
                    container.place.run(|| {
                        let socket = UdpSocket::bind(at(address, 0)).unwrap();
                        socket.send_to(b"let out", datagrams).unwrap();
                    });
                };
                let begin = |container: &Container| {
                    container.place.run(|| {
                        let family = [AddressFamily::INET, AddressFamily::INET6][side];
                        let socket = socket(family, SocketType::STREAM, None).unwrap();
                        let from: SocketAddr = at(address, 0).parse().unwrap();
                        bind(&socket, &from).unwrap();
                        let time = Some(Duration::from_millis(1500));
                        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, time).unwrap();
                        connect(&socket, &streams)
                    })
                };
                let mut buffer = [0; 16];
                send(&inner);
                let heard = server.recv(&mut buffer);
                assert!(heard.is_err(), "{address}");
                assert!(begin(&inner).is_err(), "{address}");
                let accepted = listener.accept();
                assert!(accepted.is_err(), "{address}");
                // Whose it is speaks for himself.
                send(&first);
                assert_eq!(server.recv(&mut buffer).unwrap(), 7);
                begin(&first).unwrap();
            }
        },
    );
}

#[test]
fn who_begins_anew_from_the_same_port_is_connected() {
    scene(
        "outgoing::who_begins_anew_from_the_same_port_is_connected",
        |scene| {
            let (container, _) = scene.container(1, 2, &[]);
            let nobody: SocketAddr = at(NOBODY[0], 7004).parse().unwrap();
            let begin = || {
                container.place.run(|| {
                    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
                    sockopt::set_socket_reuseaddr(&socket, true).unwrap();
                    let from: SocketAddr = at(&container.addresses[0], 40_000).parse().unwrap();
                    bind(&socket, &from).unwrap();
                    rustix::io::ioctl_fionbio(&socket, true).unwrap();
                    connect(&socket, &nobody).unwrap_err();
                    socket
                })
            };
            // One that is given up before anybody is there: its numbers are no longer those of the next one.
            drop(begin());
            let socket = begin();
            std::thread::sleep(Duration::from_millis(300));
            scene
                .world
                .ip(&format!("addr add {}/32 dev out", NOBODY[0]));
            scene.world.serve(&at(NOBODY[0], 7004), tell_client);
            rustix::io::ioctl_fionbio(&socket, false).unwrap();
            let stream = std::net::TcpStream::from(socket);
            stream
                .set_read_timeout(Some(Duration::from_secs(8)))
                .unwrap();
            assert!(!read_all(&stream).is_empty());
        },
    );
}

#[test]
fn what_follows_an_urgent_byte_arrives() {
    scene("outgoing::what_follows_an_urgent_byte_arrives", |scene| {
        let (container, _) = scene.container(1, 2, &[]);
        let server = scene.world.serve(&at(WORLD[0], 0), |mut stream, _| {
            let mut all = vec![0; 4_000_003];
            stream.read_exact(&mut all).unwrap();
            stream.write_all(b"all").unwrap();
        });
        for _ in 0..10 {
            let mut stream = container.place.connect(&server.to_string()).unwrap();
            stream.write_all(&[0; 4_000_000]).unwrap();
            rustix::net::send(&stream, b"!", SendFlags::OOB).unwrap();
            stream.write_all(b"end").unwrap();
            let mut answer = [0; 3];
            stream.read_exact(&mut answer).unwrap();
        }
    });
}

#[test]
fn datagrams_are_carried_answered_and_refused() {
    scene(
        "outgoing::datagrams_are_carried_answered_and_refused",
        |scene| {
            let (container, _) = scene.container(1, 2, &[]);
            for (side, world) in WORLD.iter().enumerate() {
                let server = scene.world.run(|| UdpSocket::bind(at(world, 0)).unwrap());
                let address = server.local_addr().unwrap();
                std::thread::spawn(move || {
                    let mut buffer = [0; 65536];
                    while let Ok((length, from)) = server.recv_from(&mut buffer) {
                        server.send_to(&buffer[..length], from).unwrap();
                    }
                });
                let any = if side == 0 { "0.0.0.0:0" } else { "[::]:0" };
                let client = container.place.run(|| UdpSocket::bind(any).unwrap());
                client
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                client.connect(address).unwrap();
                let mut buffer = [0; 65536];
                // One that has to be sent in pieces too.
                for length in [1, 1400, 9000, 40_000] {
                    let sent = vec![length as u8; length];
                    client.send(&sent).unwrap();
                    let received = client.recv(&mut buffer).unwrap();
                    assert_eq!(buffer[..received], sent, "{length}");
                }
                let client = container.place.run(|| UdpSocket::bind(any).unwrap());
                client
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                client.connect(at(world, 9)).unwrap();
                client.send(b"nobody").unwrap();
                let refused = client.recv(&mut buffer).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
        },
    );
}

#[test]
fn echo_requests_are_answered_by_who_is_there() {
    scene(
        "outgoing::echo_requests_are_answered_by_who_is_there",
        |scene| {
            let (container, _) = scene.container(1, 2, &[]);
            std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap();
            container
                .place
                .run(|| std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").unwrap());
            let ask = |to: &str, length: usize| ping(&container, to, length);
            for address in [WORLD[0], WORLD[1], HOST[0], "10.88.1.1", "fd00:88:1::1"] {
                for length in [0, 56, 1400, 4000] {
                    assert_eq!(ask(address, length), Ok(length + 8), "{address}");
                }
            }
            for far in ["203.0.113.7", "2001:db8:dead::7"] {
                let error = ask(far, 56).unwrap_err();
                let kinds = [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable];
                assert!(kinds.contains(&error), "{far}: {error}");
            }
        },
    );
}

/// Asks once by a socket for that; how long the answer was.
fn ping(container: &crate::scene::Container, to: &str, length: usize) -> Result<usize, ErrorKind> {
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketType, connect, ipproto, recv, send, socket,
        sockopt,
    };
    let to = std::net::SocketAddr::new(to.parse().unwrap(), 0);
    let (family, protocol, kind) = match to.is_ipv4() {
        true => (AddressFamily::INET, ipproto::ICMP, 8),
        false => (AddressFamily::INET6, ipproto::ICMPV6, 128),
    };
    container.place.run(|| {
        let socket = socket(family, SocketType::DGRAM, Some(protocol)).unwrap();
        sockopt::set_socket_timeout(
            &socket,
            sockopt::Timeout::Recv,
            Some(Duration::from_secs(5)),
        )
        .unwrap();
        // As ping(8) does: without it only what is final is told.
        onggi::sys::transparent::tell_errors(socket.as_fd(), to.is_ipv6()).unwrap();
        connect(&socket, &to).unwrap();
        let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 7];
        message.extend((0..length).map(|n| n as u8));
        let mut buffer = [0; 65536];
        let result = send(&socket, &message, SendFlags::empty())
            .and_then(|_| recv(&socket, &mut buffer[..], RecvFlags::empty()));
        let (_, received) = result.map_err(|error| std::io::Error::from(error).kind())?;
        assert_eq!(buffer[6..received], message[6..]);
        Ok(received)
    })
}
