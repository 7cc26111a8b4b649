//! Who reaches the published ports of containers of an ordinary user: `network::forward`.

use crate::scene::{HOST, WORLD, at, echo, read_all, scene, tell_client, wanted};
use onggi::network::endpoint::Protocol::{Tcp, Udp};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

#[test]
fn the_server_sees_who_the_client_is() {
    scene("forward::the_server_sees_who_the_client_is", |scene| {
        let (container, published) = scene.container(1, 2, &[wanted(None, 8080, 80, Tcp)]);
        assert_eq!(
            (
                published[0].host,
                published[0].container,
                published[0].count
            ),
            (8080, 80, 1)
        );
        container.place.serve("[::]:80", tell_client);
        for side in [0, 1] {
            let stream = scene.world.connect(&at(HOST[side], 8080)).unwrap();
            let own = stream.local_addr().unwrap();
            let seen: SocketAddr = read_all(&stream).parse().unwrap();
            let seen = SocketAddr::new(seen.ip().to_canonical(), seen.port());
            assert_eq!(seen, own);
            assert_eq!(own.ip().to_string(), WORLD[side]);
        }
        // Those whose address means something else inside are seen as the gateway.
        for (own, gateway) in [("127.0.0.1", "10.88.1.1"), ("::1", "fd00:88:1::1")] {
            let stream = scene.host.connect(&at(own, 8080)).unwrap();
            let seen: SocketAddr = read_all(&stream).parse().unwrap();
            assert_eq!(seen.ip().to_canonical().to_string(), gateway);
        }
        // The container itself, by the host's address.
        let stream = container.place.connect(&at(HOST[0], 8080)).unwrap();
        assert!(!read_all(&stream).is_empty());
        // And by its gateway.
        let stream = container.place.connect(&at("10.88.1.1", 8080)).unwrap();
        assert!(!read_all(&stream).is_empty());
    });
}

#[test]
fn a_port_without_a_server_resets_and_a_released_one_refuses() {
    scene(
        "forward::a_port_without_a_server_resets_and_a_released_one_refuses",
        |scene| {
            let (container, _) = scene.container(
                1,
                2,
                &[wanted(None, 8081, 80, Tcp), wanted(None, 8082, 82, Tcp)],
            );
            let result = scene
                .world
                .connect(&at(HOST[0], 8081))
                .and_then(|mut stream| stream.read(&mut [0; 8]));
            assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
            container.place.serve("0.0.0.0:82", echo);
            let mut stream = scene.world.connect(&at(HOST[0], 8082)).unwrap();
            stream.write_all(b"here").unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            scene.client.release(&container.lease.endpoint).unwrap();
            assert_eq!(
                stream.read(&mut [0; 8]).unwrap_err().kind(),
                ErrorKind::ConnectionReset
            );
            let refused = scene.world.connect(&at(HOST[0], 8082)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        },
    );
}

#[test]
fn a_port_that_is_taken_is_told_by_whom() {
    scene("forward::a_port_that_is_taken_is_told_by_whom", |scene| {
        let _first = scene.container(1, 2, &[wanted(None, 8083, 80, Tcp)]);
        let second = scene.unleased(1, 3);
        scene.host.serve("127.0.0.1:8084", echo);
        let refusal = |port| {
            // What was had already is given back with it.
            let ports = [wanted(None, 8090, 90, Udp), wanted(None, port, 80, Tcp)];
            scene.client.lease(&second.lease, &ports).unwrap_err()
        };
        let error = refusal(8083);
        assert_eq!(
            error.to_string(),
            "Bind for 0.0.0.0:8083 failed: port is already allocated"
        );
        assert!(onggi::error::hint(&error).unwrap().contains("c1x2"));
        let error = refusal(8084);
        assert!(onggi::error::hint(&error).unwrap().contains("ss -tlnp"));
        let monitor = scene.another_client();
        let published = monitor
            .lease(&second.lease, &[wanted(None, 8090, 90, Udp)])
            .unwrap();
        assert_eq!(published[0].host, 8090);
        // Its end is the end of its leases.
        drop(monitor);
        let again = (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            scene
                .client
                .lease(&second.lease, &[wanted(None, 8090, 90, Udp)])
                .is_ok()
        });
        assert!(again);
    });
}

#[test]
fn datagrams_are_answered_from_the_address_that_was_asked() {
    scene(
        "forward::datagrams_are_answered_from_the_address_that_was_asked",
        |scene| {
            let (container, _) = scene.container(1, 2, &[wanted(None, 8085, 85, Udp)]);
            for (side, any) in ["0.0.0.0", "::"].iter().enumerate() {
                let address = &container.addresses[side];
                let server = container
                    .place
                    .run(|| UdpSocket::bind(at(address, 85)).unwrap());
                std::thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((_, from)) = server.recv_from(&mut buffer) {
                        server.send_to(from.to_string().as_bytes(), from).unwrap();
                    }
                });
                let mut buffer = [0; 2048];
                let mut ask = |place: &crate::scene::Place, to: &str| {
                    let client = place.run(|| UdpSocket::bind(at(any, 0)).unwrap());
                    client
                        .set_read_timeout(Some(Duration::from_secs(10)))
                        .unwrap();
                    // It hears only whom it has asked.
                    client.connect(at(to, 8085)).unwrap();
                    client.send(b"who am I").unwrap();
                    let length = client.recv(&mut buffer).unwrap();
                    let seen: SocketAddr = std::str::from_utf8(&buffer[..length])
                        .unwrap()
                        .parse()
                        .unwrap();
                    (seen, client.local_addr().unwrap())
                };
                let (seen, own) = ask(&scene.world, HOST[side]);
                assert_eq!(seen, own);
                let loopback = ["127.0.0.1", "::1"][side];
                let (seen, _) = ask(&scene.host, loopback);
                assert_eq!(seen.ip().to_string(), ["10.88.1.1", "fd00:88:1::1"][side]);
            }
        },
    );
}

#[test]
fn thousands_of_connections_leave_nothing() {
    scene("forward::thousands_of_connections_leave_nothing", |scene| {
        let (container, _) = scene.container(1, 2, &[wanted(None, 8086, 86, Tcp)]);
        container.place.serve("0.0.0.0:86", tell_client);
        let told = scene.world.serve(&at(WORLD[0], 0), tell_client);
        let round = |count: usize| {
            for _ in 0..count {
                let stream = scene.world.connect(&at(HOST[0], 8086)).unwrap();
                assert!(read_all(&stream).contains(WORLD[0]));
                let stream = container.place.connect(&told.to_string()).unwrap();
                assert!(read_all(&stream).contains(HOST[0]));
            }
        };
        round(10);
        std::thread::sleep(Duration::from_millis(200));
        let before = scene.open_files();
        round(2000);
        std::thread::sleep(Duration::from_millis(200));
        // There may be more sockets in stock.
        assert!(
            scene.open_files() <= before + 32,
            "{} then {}",
            before,
            scene.open_files()
        );
    });
}

#[test]
fn the_process_ends_after_the_last_lease_and_another_one_begins() {
    let name = "forward::the_process_ends_after_the_last_lease_and_another_one_begins";
    scene(name, |scene| {
        let monitor = scene.start_another();
        let (mut second, client) = monitor;
        // There is one already, so that one had nothing to do.
        assert!(second.wait().unwrap().success());
        drop(client);
        scene.end_first();
        let (mut next, client) = scene.start_another();
        assert!(next.try_wait().unwrap().is_none());
        drop(client);
        assert!(next.wait().unwrap().success());
    });
}
