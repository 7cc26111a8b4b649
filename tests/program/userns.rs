//! --userns and the flags beside it: which ids a container gets, and that its root is nobody outside
//! (user_namespaces(7), podman-run(1)).

use crate::support::{
    ALPINE, Need, Outcome, OwnMounts, Store, User, everyone_with_alpine, requires, store,
};

/// A line of an id map: first id inside, first id outside, how many.
type Map = Vec<[u32; 3]>;

fn map(text: &str) -> Map {
    let line = |line: &str| {
        let numbers: Vec<u32> = line
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        numbers.try_into().unwrap()
    };
    text.lines().map(line).collect()
}

/// The map of user ids in a new container.
fn uid_map(store: &Store, options: &[&str]) -> Map {
    map(&run(store, options, "cat /proc/self/uid_map"))
}

fn run(store: &Store, options: &[&str], script: &str) -> String {
    let outcome = store.shell(options, script).run();
    outcome.code(0).stdout_text()
}

pub fn detached(store: &Store, name: &str, options: &[&str]) -> Outcome {
    let words = ["run", "-d", "--name", name];
    let program = [ALPINE, "sleep", "100000"];
    store
        .onggi(words.iter().chain(options).chain(&program))
        .run()
}

pub fn as_user(user: User) -> Option<Store> {
    store(user).filter(Store::alpine)
}

/// A mount namespace in which `/etc/subuid` and `/etc/subgid` say this.
pub fn pool(store: &mut Store, lines: &str) -> Option<OwnMounts> {
    if !requires(&[Need::Root, Need::Program("nsenter")]) {
        return None;
    }
    let file = store.file("subordinate", lines);
    let script = "mount --bind \"$1\" /etc/subuid; mount --bind \"$1\" /etc/subgid";
    Some(OwnMounts::prepared(store, script, &[file]))
}

#[test]
fn the_ids_are_those_that_are_asked_for() {
    if let Some(store) = as_user(User::Root) {
        for (options, expected) in [
            (
                &["--uidmap", "0:100000:65536"][..],
                vec![[0, 100_000, 65536]],
            ),
            (&["--gidmap", "0:7:99"], vec![[0, 7, 99]]),
            (
                &[
                    "--uidmap",
                    "0:100000:10",
                    "--uidmap",
                    "20:5:1",
                    "--gidmap",
                    "0:3:100",
                ],
                vec![[0, 100_000, 10], [20, 5, 1]],
            ),
            (&["--subuidname", "onggi-subuid"], vec![[0, 100_000, 65536]]),
            (&["--userns", "host"], uid_map(&store, &[])),
        ] {
            assert_eq!(uid_map(&store, options), expected, "{options:?}");
        }
    }
    if let Some(store) = as_user(User::Subuid) {
        let (uid, gid) = (store.account.uid, store.account.gid);
        let count = uid_map(&store, &[])[1][2];
        for (options, expected) in [
            (
                &["--userns", "host"][..],
                vec![[0, uid, 1], [1, 100_000, count]],
            ),
            (
                &["--userns", "keep-id"],
                vec![[0, 1, uid], [uid, 0, 1], [uid + 1, uid + 1, count - uid]],
            ),
            (
                &["--userns", "keep-id:uid=5,gid=6"],
                vec![[0, 1, 5], [5, 0, 1], [6, 6, count - 5]],
            ),
            (
                &["--userns", "keep-id:uid=0,size=99"],
                vec![[0, 0, 1], [1, 1, 98]],
            ),
            (&["--userns", "nomap"], vec![[0, 1, count]]),
            (&["--userns", "auto"], vec![[0, 1, 1024]]),
            (&["--userns", "auto:size=2000"], vec![[0, 1, 2000]]),
            (
                &["--userns", "auto:size=99,uidmapping=2:0:1"],
                vec![[0, 1, 2], [2, 0, 1], [3, 3, 96]],
            ),
            (
                &["--uidmap", "0:1:1000", "--uidmap", "2000:0:1"],
                vec![[0, 1, 1000], [2000, 0, 1]],
            ),
            (
                &["--uidmap", "+u5:@100010:1"],
                vec![
                    [0, 0, 1],
                    [1, 1, 4],
                    [5, 11, 1],
                    [6, 6, 5],
                    [12, 12, count - 11],
                ],
            ),
            (&["--subuidname", "onggi-subuid"], vec![[0, 1, count]]),
        ] {
            assert_eq!(uid_map(&store, options), expected, "{options:?}");
        }
        let own = run(&store, &["--userns", "keep-id"], "id -u; id -g");
        assert_eq!(own, format!("{uid}\n{gid}\n"));
        let other = run(&store, &["--userns", "keep-id:uid=5,gid=6"], "id -u; id -g");
        assert_eq!(other, "5\n6\n");
    }
    if let Some(store) = as_user(User::Single) {
        let uid = store.account.uid;
        for (options, expected) in [
            (&["--userns", "keep-id"][..], uid),
            (&["--userns", "keep-id:uid=5"], 5),
            (&["--uidmap", "7:0:1", "--user", "7"], 7),
        ] {
            assert_eq!(uid_map(&store, options), [[expected, 0, 1]], "{options:?}");
            assert_eq!(run(&store, options, "id -u"), format!("{expected}\n"));
        }
        let other = store
            .shell(&["--userns", "keep-id", "--user", "12345"], "id -u")
            .run();
        other.code(0).stdout(&format!("{uid}\n")).stderr_has(&format!(
            "warning: the program runs as the user {uid} and not as `12345`: this host gives you a single id"
        ));
    }
}

#[test]
fn auto_gives_nobody_what_another_has() {
    let mut stores: Vec<Store> = [User::Root, User::Subuid]
        .into_iter()
        .filter_map(as_user)
        .collect();
    let mut pools = Vec::new();
    for store in &mut stores {
        let (first, size) = match store.user {
            User::Root => {
                let lines = "other:1:9\ncontainers:300000:100000\ncontainers:500000:200000\n";
                let Some(pool) = pool(store, lines) else {
                    continue;
                };
                pools.push(pool);
                (300_000, 65536)
            }
            _ => (1, 1024),
        };
        let ids = |name: &str| {
            let told = store
                .onggi(["exec", name, "cat", "/proc/self/uid_map"])
                .run();
            map(&told.code(0).stdout_text())
        };
        detached(store, "one", &["--userns", "auto"]).code(0);
        detached(store, "two", &["--userns", "auto"]).code(0);
        assert_eq!(ids("one"), [[0, first, size]]);
        match store.user {
            // What is left of the first line, and some of the second.
            User::Root => assert_eq!(ids("two"), [[0, 365_536, 34464], [34464, 500_000, 31072]]),
            _ => assert_eq!(ids("two"), [[0, 1 + size, size]]),
        }
        let too_many = detached(store, "three", &["--userns", "auto:size=300000"]);
        too_many.code(125).stderr_has(
            "not enough unused IDs in user namespace: 300000 are wanted of those in /etc/subuid that no container has\n",
        );
        // A container that does not run has them still, one that is gone has not.
        store.onggi(["kill", "one"]).run().code(0);
        detached(store, "three", &["--userns", "auto"]).code(0);
        assert!(!ids("three").contains(&[0, first, size]));
        store.onggi(["rm", "one"]).run().code(0);
        detached(store, "four", &["--userns", "auto"]).code(0);
        assert_eq!(ids("four"), [[0, first, size]]);
        // Twenty at once, and no id twice.
        let starting: Vec<_> = (0..20)
            .map(|_| {
                store
                    .onggi(["create", "--userns", "auto:size=1000", ALPINE, "true"])
                    .spawn()
            })
            .collect();
        for create in starting {
            Outcome::of("create", create.wait_with_output().unwrap()).code(0);
        }
        let all = store.onggi(["ps", "-aq"]).run().stdout_text();
        let format = "{{range .HostConfig.IDMappings.UidMap}}{{.}}\n{{end}}";
        let words = ["inspect", "--type", "container", "-f", format];
        let told = store.onggi(words.into_iter().chain(all.lines())).run();
        let mut ranges: Vec<(u32, u32)> = told
            .code(0)
            .stdout_text()
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| {
                let numbers: Vec<u32> = line.split(':').map(|n| n.parse().unwrap()).collect();
                (numbers[1], numbers[1] + numbers[2])
            })
            .collect();
        ranges.sort_unstable();
        assert!(ranges.len() >= 23, "{ranges:?}");
        assert!(
            ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
            "{ranges:?}"
        );
        // One that runs keeps its ids, whatever has become of its record.
        let words = ["inspect", "-f", "{{.Id}}", "four"];
        let id = store.onggi(words).run().stdout_text();
        let place = store.data().join("containers").join(id.trim());
        std::fs::write(place.join("container.json"), "{").unwrap();
        let unknown = detached(store, "five", &["--userns", "auto"]);
        unknown
            .code(125)
            .stderr_has(&format!("read the record of container {}: ", id.trim()))
            .stderr_has("is damaged")
            .stderr_has("try: `onggi system check`");
    }
}

#[test]
fn namespaces_of_others_are_joined() {
    const SHOW: &str = "readlink /proc/self/ns/user; stat -c %u /bin/busybox; id -u";
    for store in everyone_with_alpine() {
        for options in [&store.own_user_namespace()[..], &[]] {
            detached(&store, "web", options).code(0);
            let own = store
                .onggi(["exec", "web", "readlink", "/proc/self/ns/user"])
                .run();
            let own = own.code(0).stdout_text();
            let joined = run(&store, &["--userns", "container:web", "--user", "0"], SHOW);
            let single = store.user == User::Single && !options.is_empty();
            if !single {
                assert_eq!(joined, format!("{own}0\n0\n"), "{options:?}");
            }
            let pid = store
                .onggi(["inspect", "-f", "{{.State.Pid}}", "web"])
                .run()
                .stdout_text();
            let path = format!("ns:/proc/{}/ns/user", pid.trim());
            if store.user == User::Root || !options.is_empty() {
                let joined = run(
                    &store,
                    &["--userns", &path],
                    "readlink /proc/self/ns/user; cat /proc/self/uid_map",
                );
                let same = store
                    .onggi(["exec", "web", "cat", "/proc/self/uid_map"])
                    .run()
                    .stdout_text();
                assert_eq!(joined, format!("{own}{same}"), "{options:?}");
            }
            // One that has joined is there as long as it likes, and can be executed in.
            detached(&store, "guest", &["--userns", "container:web"]).code(0);
            store
                .onggi(["exec", "guest", "readlink", "/proc/self/ns/user"])
                .run()
                .code(0)
                .stdout(&own);
            let format = "{{.HostConfig.UsernsMode}}";
            let id = store
                .onggi(["inspect", "-f", "{{.Id}}", "web"])
                .run()
                .stdout_text();
            let mode = store
                .onggi(["inspect", "-f", format, "guest"])
                .run()
                .stdout_text();
            assert_eq!(mode, format!("container:{id}"));
            store.onggi(["kill", "guest", "web"]).run().code(0);
            if !options.is_empty() || store.user != User::Root {
                let refused = store.onggi(["start", "guest"]).run();
                refused.code(1).stderr_has(
                    "container web, whose user namespace is to be joined, is not running\n",
                );
                store.onggi(["start", "web"]).run().code(0);
            }
            store.onggi(["start", "guest"]).run().code(0);
            store.onggi(["rm", "-f", "web", "guest"]).run().code(0);
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    const EXCLUSIVE: &str =
        "--userns and --uidmap/--gidmap/--subuidname/--subgidname are mutually exclusive\n";
    for store in everyone_with_alpine() {
        let uid = store.account.uid;
        let free = onggi::id_mapping::first_free();
        let needs = |mode: &str| {
            format!(
                "--userns {mode} needs subordinate ids: /etc/subuid and /etc/subgid give none to uid {uid}\n\
                 try: more are to be had by a line in /etc/subuid and one in /etc/subgid: \
                 echo {uid}:{free}:65536 | sudo tee -a /etc/subuid /etc/subgid\n"
            )
        };
        let mut cases: Vec<(&[&str], String)> = vec![
            (&["--userns", "none"], "--userns: invalid USER mode".into()),
            (
                &["--userns", "keep-id:x=1"],
                "--userns: unknown option specified: \"x\"".into(),
            ),
            (&["--userns", "host", "--uidmap", "0:1:2"], EXCLUSIVE.into()),
            (&["--userns", "auto", "--subgidname", "x"], EXCLUSIVE.into()),
            (
                &["--uidmap", "0:1:2", "--subuidname", "x"],
                "--uidmap/--gidmap and --subuidname/--subgidname are mutually exclusive\n".into(),
            ),
            (
                &["--uidmap", "0:1:"],
                "ID setting is malformed expected [\"uint32:uint32:uint32\"]: [\"0:1:\"]\n".into(),
            ),
            (
                &["--uidmap", "0:0:1", "--uidmap", "0:1:1"],
                "the id 0 inside is in two ranges of the id map\n".into(),
            ),
            (
                &["--subuidname", "nobody-has-this"],
                "no subuid ranges found for user \"nobody-has-this\" in /etc/subuid\n".into(),
            ),
            (
                &["--userns", "container:nope"],
                "No such container: nope\n".into(),
            ),
            (
                &["--userns", "ns:/nope"],
                "open `/nope`: No such file or directory".into(),
            ),
            (
                &["--userns", "ns:/etc/passwd"],
                "`/etc/passwd` is not the file of a user namespace\ntry: that of a process is /proc/PID/ns/user\n"
                    .into(),
            ),
            (
                &["--userns", "ns:/proc/self/ns/net"],
                "`/proc/self/ns/net` is not the file of a user namespace\n".into(),
            ),
        ];
        match store.user {
            User::Root => {
                let lacks = "that the container's user namespace does not have: it has the";
                let try_map = |kind| format!("\ntry: map more of them: --{kind}map 0:100000:65536");
                cases.extend([
                    (
                        &["--uidmap", "0:100000:9"][..],
                        format!(
                            "user 0:0 is in the group 10 {lacks} gids 0 to 8{}",
                            try_map("gid")
                        ),
                    ),
                    (
                        &[
                            "--uidmap",
                            "0:100000:9",
                            "--gidmap",
                            "0:1:99",
                            "--user",
                            "guest",
                        ],
                        format!(
                            "user 405:100 has the uid 405 {lacks} uids 0 to 8{}",
                            try_map("uid")
                        ),
                    ),
                    (
                        &["--userns", "keep-id"],
                        "keep-id is only supported in rootless mode\n".to_owned(),
                    ),
                    (
                        &["--userns", "nomap"],
                        "nomap is only supported in rootless mode\n".to_owned(),
                    ),
                ]);
            }
            User::Subuid => cases.push((
                &["--uidmap", "0:65000:1000"],
                "the uid map asks for the id 65999, and there are 65537 of them (0 to 65536)\n"
                    .to_owned(),
            )),
            User::Single => cases.extend([
                (&["--userns", "auto"][..], needs("auto")),
                (&["--userns", "nomap"], needs("nomap")),
                (
                    &["--uidmap", "0:1:1"],
                    "the uid map asks for the id 1, and there are 1 of them (0 to 0)\n".to_owned(),
                ),
            ]),
        }
        let before = store.snapshot();
        for (options, message) in cases {
            let outcome = store.shell(options, "true").run();
            outcome.code(125).stdout("").stderr_has(&message);
        }
        let own: Vec<String> = store.snapshot();
        let new: Vec<&String> = own.iter().filter(|line| !before.contains(line)).collect();
        // The lock of `auto` stays for the next one.
        assert!(
            new.iter().all(|line| line.contains("/id-ranges ")),
            "{new:?}"
        );
    }
}

#[test]
fn without_a_line_for_containers_the_lines_are_named() {
    let Some(mut store) = as_user(User::Root) else {
        return;
    };
    let Some(_pool) = pool(&mut store, "somebody:100000:65536\n") else {
        return;
    };
    let outcome = store.shell(&["--userns", "auto"], "true").run();
    outcome.code(125).stderr(
        "onggi: --userns auto needs subordinate ids for containers: /etc/subuid and /etc/subgid have no line for `containers`\n\
         try: echo containers:2147483647:2147483648 | sudo tee -a /etc/subuid /etc/subgid\n",
    );
}

/// Whatever root of the container may do, it is nobody to what belongs to the host.
#[test]
fn root_inside_is_nobody_outside() {
    let Some(store) = as_user(User::Root) else {
        return;
    };
    // Written back as it is, so that nothing changes where the wall is missing.
    let script = "for file in kernel/core_pattern kernel/printk vm/swappiness; do \
                  cat /proc/sys/$file >/tmp/now; cat /tmp/now >/proc/sys/$file && echo $file; done; \
                  chown 0 /dev/null && echo device";
    let attempt = |options: &[&str]| {
        let options = [&["--privileged"], options].concat();
        store.shell(&options, script).run().stdout_text()
    };
    assert!(attempt(&[]).contains("vm/swappiness"));
    assert_eq!(attempt(&["--uidmap", "0:100000:65536"]), "");
    // The host's root is not among its ids, so it cannot become that either.
    let options = ["--uidmap", "0:100000:65536"];
    let become_root = store
        .shell(&options, "stat -c %u /dev/null; cat /proc/1/uid_map")
        .run();
    become_root
        .code(0)
        .stdout_has("65534\n")
        .stdout_lacks(" 0 65536");
}
