//! What `run` and `create` are asked of networks and ports, where nothing has to be connected for it: how it is shown,
//! what is refused, and what is only told.

use crate::support::{ALPINE, everyone_with_alpine};
use serde_json::json;

#[test]
fn ports_are_kept_as_they_were_asked_for() {
    for store in everyone_with_alpine() {
        let create = [
            "create",
            "--name",
            "web",
            "--network",
            "none",
            "-p",
            "8080:80",
            "-p",
            "[::1]:9000-9001:90-91/udp",
            "-p",
            "7000-7009:70",
            "-P",
            "--expose",
            "443-444",
            ALPINE,
            "true",
        ];
        let created = store.onggi(create).run();
        let warning = "Published ports are discarded when using none network mode";
        created.code(0).stderr_has(warning);
        let web = &store.onggi(["inspect", "web"]).run().code(0).json()[0];
        let host = &web["HostConfig"];
        assert_eq!(
            host["PortBindings"],
            json!({
                "70/tcp": [{"HostIp": "", "HostPort": "7000-7009"}],
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
                "90/udp": [{"HostIp": "::1", "HostPort": "9000"}],
                "91/udp": [{"HostIp": "::1", "HostPort": "9001"}],
            })
        );
        assert_eq!(
            (&host["PublishAllPorts"], &host["NetworkMode"]),
            (&json!(true), &json!("none"))
        );
        let exposed = web["Config"]["ExposedPorts"].as_object().unwrap();
        let exposed: Vec<&str> = exposed.keys().map(String::as_str).collect();
        let expected = ["70/tcp", "80/tcp", "90/udp", "91/udp", "443/tcp", "444/tcp"];
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(exposed, expected);
        assert_eq!(web["NetworkSettings"]["Ports"], json!({}));
        for (filter, expected) in [
            ("publish=80", "web\n"),
            ("publish=91/udp", "web\n"),
            ("publish=8080", ""),
            ("expose=440-450", "web\n"),
            ("expose=80", "web\n"),
            ("expose=445", ""),
            ("network=none", "web\n"),
        ] {
            let ps = ["ps", "-a", "-f", filter, "--format", "{{.Names}}"];
            store.onggi(ps).run().code(0).stdout(expected);
        }
    }
}

#[test]
fn contradictions_make_nothing() {
    for store in everyone_with_alpine() {
        let before = store.snapshot();
        let container = "container:other";
        for (options, message) in [
            (
                &["--network", container, "-p", "80"][..],
                "conflicting options: port publishing and the container type network mode",
            ),
            (
                &["--network", container, "-h", "web"],
                "conflicting options: hostname and the network mode",
            ),
            (
                &["--network", container, "--dns", "10.0.0.1"],
                "conflicting options: dns and the network mode",
            ),
            (
                &["--network", container, "--add-host", "a:10.0.0.1"],
                "conflicting options: custom host-to-IP mapping and the network mode",
            ),
            (
                &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
                "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace",
            ),
            (
                &["--network", "bridge", "--ip", "172.17.0.9"],
                "user specified IP address is supported on user defined networks only",
            ),
            (&["-p", "80-81:80-82"], "invalid ranges specified"),
        ] {
            store
                .shell(options, "true")
                .run()
                .code(125)
                .stdout("")
                .stderr_has(message);
            store.assert_unchanged(&before);
        }
    }
}
