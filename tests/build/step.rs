//! Options of steps: networks, names, memory, limits, what they may do.

use crate::namespaces::on_a_host;
use crate::support::{Store, User, everyone_with_alpine, skip};

/// Builds `RUN` with these lines; what their output was in the image's file `/told`.
#[track_caller]
fn told(store: &Store, options: &[&str], steps: &str) -> String {
    let file = format!("FROM alpine:3.20\n{steps}\n");
    store.file("context/Dockerfile", file);
    let build = ["build", "-q", "-t", "told"];
    store
        .onggi(build)
        .args(options)
        .args(["context"])
        .run()
        .code(0);
    store.ok(["run", "--rm", "told", "cat", "/told"])
}

#[test]
fn names_of_hosts_are_for_steps_alone() {
    for store in everyone_with_alpine() {
        let options = ["--add-host=one:10.1.2.3", "--add-host=two=2001:db8::1"];
        let told = told(
            &store,
            &options,
            "RUN grep -E 'one|two' /etc/hosts > /told; cp /etc/hosts /kept",
        );
        assert_eq!(told, "10.1.2.3\tone\n2001:db8::1\ttwo\n");
        let hosts = store.ok(["run", "--rm", "told", "cat", "/etc/hosts"]);
        assert!(!hosts.contains("10.1.2.3"), "{hosts}");
        let wrong = store.onggi(["build", "--add-host=x", "context"]).run();
        wrong.code(125).stderr_has("add-host");
    }
}

const NAMESPACE: &str = "readlink /proc/self/ns/net";

#[test]
fn steps_are_in_the_network_that_was_asked_for() {
    for store in everyone_with_alpine() {
        let host = store.command("readlink").arg("/proc/self/ns/net").output();
        let host = String::from_utf8(host.unwrap().stdout).unwrap();
        let at = |options: &[&str], flag: &str| {
            let step = format!("RUN {flag} {NAMESPACE} > /told; ls /sys/class/net >> /told");
            let told = told(&store, options, &step);
            let (namespace, interfaces) = told.split_once('\n').unwrap();
            let is_host = format!("{namespace}\n") == host;
            (is_host, interfaces == "lo\n")
        };
        assert_eq!(at(&["--network=none"], ""), (false, true));
        assert!(at(&["--network=host"], "").0);
        // The step's own word goes before the command's.
        let allowed = ["--network=none", "--allow=network.host"];
        assert!(at(&allowed, "--network=host").0);
        store
            .onggi(["build", "--network=none", "context"])
            .run()
            .code(1)
            .stderr_has("network.host is not allowed");
        assert_eq!(at(&["--network=host"], "--network=none"), (false, true));
        assert!(at(&["--network=host"], "--network=default").0);
        let missing = store.onggi(["build", "--no-cache", "--network=nowhere", "context"]);
        missing
            .without("ONGGI_NETWORK")
            .run()
            .code(1)
            .stderr_has("nowhere");
    }
}

#[test]
fn steps_find_containers_of_their_network_by_name() {
    for store in everyone_with_alpine() {
        on_a_host(move || {
            let onggi = |words: &[&str]| store.onggi(words).without("ONGGI_NETWORK").run();
            onggi(&["network", "create", "town"]).code(0);
            let serve = "while :; do echo page | nc -l -p 80; done";
            let server = [
                "run",
                "-d",
                "--name=server",
                "--network=town",
                "alpine:3.20",
            ];
            onggi(&[&server[..], &["sh", "-c", serve]].concat()).code(0);
            let fetch = "for i in $(seq 20); do nc server 80 > /told && break; sleep 0.1; done; grep nameserver /etc/resolv.conf >> /told";
            store.file(
                "context/Dockerfile",
                format!("FROM alpine:3.20\nRUN {fetch}\n"),
            );
            onggi(&["build", "-t=told", "--network=town", "context"]).code(0);
            let told = onggi(&["run", "--rm", "--network=none", "told", "cat", "/told"]);
            told.code(0).stdout_has("page\nnameserver ");
            // The network that is there when nothing is said has a way out, and a server of names that answers, be it
            // that nobody outside can be asked.
            let step = "ip route | grep -q ^default && nslookup localhost | grep -q 127.0.0.11";
            store.file(
                "context/Dockerfile",
                format!("FROM alpine:3.20\nRUN {step}\n"),
            );
            onggi(&["build", "-t=told", "context"]).code(0);
            onggi(&["rm", "-f", "server"]).code(0);
            onggi(&["network", "rm", "town"]).code(0);
            store.assert_no_process_is_left();
        });
    }
}

#[test]
fn shared_memory_and_limits_are_as_asked_for() {
    for store in everyone_with_alpine() {
        let options = [
            "--shm-size=32m",
            "--ulimit=nofile=100:200",
            "--ulimit=core=0",
        ];
        let step = "RUN df -k /dev/shm | awk 'END { print $2 }' > /told; \
                    (ulimit -Sn; ulimit -Hn; ulimit -Sc) >> /told";
        assert_eq!(told(&store, &options, step), "32768\n100\n200\n0\n");
        for (flag, part) in [
            ("--shm-size=much", "shm-size"),
            ("--ulimit=nofile=9:1", "ulimit"),
            ("--ulimit=nothing=1", "ulimit"),
        ] {
            let refused = store.onggi(["build", flag, "context"]).run();
            refused.code(125).stderr_has(part);
        }
    }
}

/// On a host whose cgroups cannot be ours the limit is no limit, which is told rather than ignored.
#[test]
fn limits_of_cgroups_hold_or_are_refused() {
    for store in everyone_with_alpine() {
        let step = "RUN cat /sys/fs/cgroup/memory.max > /told 2>&1";
        store.file("context/Dockerfile", format!("FROM alpine:3.20\n{step}\n"));
        let limits = [
            "--memory=64m",
            "--cpu-quota=50000",
            "--cpuset-cpus=0",
            "--cpu-shares=100",
            "--cpuset-mems=0",
            "--cpu-period=50000",
        ];
        for limit in limits {
            let built = store.onggi(["build", "-t=told", limit, "context"]).run();
            if built.succeeded() {
                // Which limits there are, and that they hold, is shown in the virtual machine.
                assert!(
                    limit != "--memory=64m" || store.user == User::Root,
                    "{limit}"
                );
                continue;
            }
            built.code(1).stderr_has("cgroup");
        }
        // That of swap is one with that of memory.
        let words = |memory: &'static [&'static str]| {
            ["build", "-t=told", "--memory-swap=128m", "context"]
                .iter()
                .chain(memory)
        };
        let alone = store.onggi(words(&[])).run();
        alone.code(1).stderr_has("set the Memory limit");
        let both = store.onggi(words(&["--memory=64m"])).run();
        if !both.succeeded() {
            both.code(1).stderr_has("cgroup");
        }
        for (flag, part) in [
            ("--memory-swap=much", "memory-swap"),
            ("--cpu-period=soon", "cpu-period"),
        ] {
            let refused = store.onggi(["build", flag, "context"]).run();
            refused.code(125).stderr_has(part);
        }
        let parent = store
            .onggi(["build", "-t=told", "--cgroup-parent=/of-builds", "context"])
            .run();
        match parent.succeeded() {
            true => skip("--cgroup-parent is shown in the virtual machine"),
            false => drop(parent.code(1).stderr_has("cgroup")),
        }
        store.assert_no_process_is_left();
    }
}

#[test]
fn a_step_has_the_devices_that_it_asks_for() {
    for store in everyone_with_alpine() {
        let described = "cdiVersion: 0.7.0\nkind: example.com/thing\ndevices:\n- name: full\n  containerEdits:\n    \
                         env: [WHICH=full]\n    deviceNodes:\n    - {path: /dev/thing, hostPath: /dev/full}\n";
        store.file("cdi/thing.yaml", described);
        let step = "echo x > /dev/thing || echo $WHICH > /told";
        let file = format!("FROM alpine:3.20\nRUN --device=example.com/thing=full {step}\n");
        store.file("context/Dockerfile", file);
        // Seen from where the caller is.
        let build = "onggi --cdi-spec-dir=cdi build -q -t told context";
        store.script(build).run().code(0);
        let told = store.ok([
            "run",
            "--rm",
            "told",
            "sh",
            "-c",
            "cat /told; ls /dev/thing; true",
        ]);
        assert_eq!(told, "full\n");
    }
}

#[test]
fn a_step_may_do_what_it_was_allowed() {
    for store in everyone_with_alpine() {
        let capabilities = "RUN --security=insecure grep CapEff /proc/self/status > /told";
        store.file(
            "context/Dockerfile",
            format!("FROM alpine:3.20\n{capabilities}\n"),
        );
        let refused = store.onggi(["build", "context"]).run();
        refused
            .code(1)
            .stderr_has("security.insecure")
            .stderr_has("--allow");
        let few = told(&store, &[], "RUN grep CapEff /proc/self/status > /told");
        let sandbox = told(
            &store,
            &[],
            "RUN --security=sandbox grep CapEff /proc/self/status > /told",
        );
        let all = told(&store, &["--allow=security.insecure"], capabilities);
        assert_eq!(few, sandbox);
        assert_eq!(few.trim(), "CapEff:\t00000000a80425fb");
        assert_ne!(all, few);
        let device = "FROM alpine:3.20\nRUN --device=vendor.example/thing=one true\n";
        store.file("context/Dockerfile", device);
        let missing = store.onggi(["build", "context"]).run();
        missing.code(1).stderr_has("vendor.example/thing");
        let without = store
            .onggi([
                "build",
                "--security-opt=seccomp=unconfined",
                "--check",
                "context",
            ])
            .run();
        without.stderr_has("--security-opt has no effect");
    }
}
