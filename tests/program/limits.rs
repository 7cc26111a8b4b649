//! Limits: what is refused and in which words, what `inspect` shows, what `update` changes, and what becomes of a limit
//! that this host cannot apply. That limits hold is shown where cgroups of version 2 are, in `tests/vm/limits`.

use crate::support::life::OBEDIENT;
use crate::support::store::program;
use crate::support::{ALPINE, Call, everyone_with_alpine, skip};
use std::process::Command;

/// Docker's words for numbers that make no sense, by the options that ask for them.
const REFUSED: &[(&[&str], &str)] = &[
    (&["--memory", "5m"], "Minimum memory limit allowed is 6MB"),
    (
        &["-m", "50m", "--memory-swap", "40m"],
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        &["--memory-swap", "40m"],
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    (
        &["--memory-reservation", "1m"],
        "Minimum memory reservation allowed is 6MB",
    ),
    (
        &["--memory=50m", "--memory-reservation=60m"],
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    (
        &["--memory", "lots"],
        "invalid argument \"lots\" for \"-m, --memory\" flag: invalid size: 'lots'",
    ),
    (
        &["--memory-swap", "-2"],
        "invalid argument \"-2\" for \"--memory-swap\" flag: invalid size: '-2'",
    ),
    (
        &["--memory-swappiness", "101"],
        "invalid value: 101. Valid memory swappiness range is 0-100",
    ),
    (
        &["--cpus", "1", "--cpu-period", "1000"],
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    ),
    (
        &["--cpus", "1", "--cpu-quota", "1000"],
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    ),
    (&["--cpus", "-1"], "range of CPUs is from 0.01 to "),
    (&["--cpus", "100000"], "CPUs available"),
    (
        &["--cpus", "many"],
        "invalid argument \"many\" for \"--cpus\" flag: failed to parse many as a rational number",
    ),
    (
        &["--cpus", "0.0000000001"],
        "invalid argument \"0.0000000001\" for \"--cpus\" flag: value is too precise",
    ),
    (
        &["--cpu-period", "999"],
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    (
        &["--cpu-period", "1000001"],
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    (
        &["--cpu-quota", "999"],
        "CPU cfs quota can not be less than 1ms (i.e. 1000)",
    ),
    (
        &["--cpu-shares", "-1"],
        "--cpu-shares -1: shares: invalid argument",
    ),
    (
        &["--cpuset-cpus", "0,8000"],
        "Requested CPUs are not available - requested 0,8000, available: 0",
    ),
    (
        &["--cpuset-cpus", "1-0"],
        "Invalid value 1-0 for cpuset cpus",
    ),
    (
        &["--cpuset-mems", "1-9223372036854775807"],
        "Invalid value 1-9223372036854775807 for cpuset mems",
    ),
    (
        &["--cpuset-mems", "8000"],
        "Requested memory nodes are not available - requested 8000, available: 0",
    ),
    (
        &["--blkio-weight", "9"],
        "Range of blkio weight is from 10 to 1000",
    ),
    (
        &["--blkio-weight", "70000"],
        "invalid argument \"70000\" for \"--blkio-weight\" flag: strconv.ParseUint: parsing \"70000\": value out of range",
    ),
    (
        &["--blkio-weight-device", "/dev/null:5"],
        "invalid argument \"/dev/null:5\" for \"--blkio-weight-device\" flag: invalid weight for device: /dev/null:5",
    ),
    (
        &["--device-read-bps", "/dev/null:1mb"],
        "`/dev/null` is no block device",
    ),
    (
        &["--device-write-iops", "/dev/none:1"],
        "stat `/dev/none`: No such file or directory",
    ),
    (
        &["--device-write-iops", "none:1"],
        "bad format for device path: none:1",
    ),
    (
        &["--oom-score-adj", "1001"],
        "Invalid value 1001, range for oom score adj is [-1000, 1000]",
    ),
    (
        &["--cgroup-conf", "../memory.max=1"],
        "unified resource \"../memory.max\" must be a file name (no slashes)",
    ),
    (
        &["--cgroup-conf", "cgroup.procs=1"],
        "unified resource \"cgroup.procs\" belongs to no resource controller",
    ),
    (
        &["--limits", "maybe"],
        "invalid argument \"maybe\" for \"--limits\" flag: must be one of \"strict\" or \"best-effort\"",
    ),
];

#[test]
fn what_makes_no_sense_is_refused_in_dockers_words() {
    for store in everyone_with_alpine() {
        let before = store.snapshot();
        for (options, message) in REFUSED {
            let create = ["create"].iter().chain(*options).chain(&[ALPINE, "true"]);
            store.onggi(create).run().code(125).stderr_has(message);
        }
        store.assert_unchanged(&before);
    }
}

#[test]
fn what_version_1_had_is_discarded_in_dockers_words() {
    for store in everyone_with_alpine() {
        let options = [
            "--memory-swappiness=60",
            "--oom-kill-disable",
            "--cpu-rt-period=1000",
            "--kernel-memory=1g",
        ];
        let outcome = store.shell(&options, "echo done").run();
        outcome.code(0).stdout("done\n");
        for warning in [
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory \
             swappiness discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "--cpu-rt-period has no effect",
            "--kernel-memory has no effect",
        ] {
            outcome.stderr_has(warning);
        }
        let options = ["--memory-swappiness=-1", "--oom-kill-disable=false"];
        store.shell(&options, "true").run().code(0).stderr("");
    }
}

#[test]
fn all_of_it_is_shown() {
    for store in everyone_with_alpine() {
        let words = "create --name all -m 64m --memory-reservation 32m --cpus 0.5 -c 512 --cpuset-cpus 0 --cpuset-mems 0 \
                     --pids-limit 100 --blkio-weight 300 --oom-score-adj 100 --shm-size 1m --ulimit nofile=5:6";
        let create = words.split_ascii_whitespace().chain([ALPINE, "true"]);
        store.onggi(create).run().code(0);
        let shown = store.onggi(["inspect", "all"]).run().json();
        let host = &shown[0]["HostConfig"];
        for (field, value) in [
            ("Memory", 64 << 20),
            ("MemorySwap", 128 << 20),
            ("MemoryReservation", 32 << 20),
            ("NanoCpus", 500_000_000),
            ("CpuShares", 512),
            ("PidsLimit", 100),
            ("BlkioWeight", 300),
            ("OomScoreAdj", 100),
            ("ShmSize", 1 << 20),
        ] {
            assert_eq!(host[field], value, "{field}");
        }
        assert_eq!(host["CpusetCpus"], "0");
        assert_eq!(host["CpusetMems"], "0");
        store.ok([
            "create",
            "--name",
            "none",
            "--pids-limit",
            "-1",
            ALPINE,
            "true",
        ]);
        assert_eq!(
            store.field(
                "none",
                "{{.HostConfig.PidsLimit}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}"
            ),
            "<nil> 0 0"
        );
    }
}

#[test]
fn one_that_does_not_run_is_updated() {
    for store in everyone_with_alpine() {
        let limits = ["-m", "64m", "--cpus", "1"];
        let create = ["create", "--name", "one"].iter().chain(&limits);
        store.onggi(create.chain(&[ALPINE, "true"])).run().code(0);
        let memory = || {
            store.field(
                "one",
                "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.PidsLimit}}",
            )
        };
        assert_eq!(memory(), "67108864 134217728 <nil>");
        assert_eq!(
            store.ok(["update", "-m", "100m", "--pids-limit", "7", "one"]),
            "one\n"
        );
        assert_eq!(memory(), "104857600 134217728 7");
        store.ok(["update", "--pids-limit", "-1", "one"]);
        assert_eq!(memory(), "104857600 134217728 0");
        let id = store.field("one", "{{.Id}}");
        for (options, message) in [
            (
                &["-m", "200m"][..],
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ),
            (
                &["--cpu-quota", "5000"],
                "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
            ),
            (
                &["--cpu-period", "5000"],
                "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
            ),
        ] {
            let update = ["update"].iter().chain(options).chain(&["one"]);
            let outcome = store.onggi(update).run();
            outcome
                .code(1)
                .stdout("")
                .stderr_has(&format!("Cannot update container {id}: {message}"));
        }
        store.refused(
            ["update", "-m", "1m", "one"],
            "Minimum memory limit allowed is 6MB",
        );
        assert_eq!(memory(), "104857600 134217728 0");
        let outcome = store
            .onggi(["update", "--cpus", "0.5", "missing", "one"])
            .run();
        outcome
            .code(1)
            .stdout("one\n")
            .stderr_has("No such container: missing");
        assert_eq!(store.field("one", "{{.HostConfig.NanoCpus}}"), "500000000");
        // What the kernel will not take is not there for ever.
        store.ok(["create", "--name", "wrong", ALPINE, "true"]);
        store.ok(["update", "--cgroup-conf", "memory.hihg=1", "wrong"]);
        store.onggi(["start", "-a", "wrong"]).run().code(1);
        store.ok(["update", "--cgroup-conf", "memory.hihg=", "wrong"]);
        store.ok(["start", "-a", "wrong"]);
        // Swap without limit is no reason to refuse what has nothing to do with it.
        store.ok(["update", "-m", "64m", "--memory-swap", "-1", "one"]);
        store.ok(["update", "--pids-limit", "9", "one"]);
        assert_eq!(memory(), "67108864 -1 9");
    }
}

#[test]
fn what_an_update_does_not_name_may_be_gone() {
    for store in everyone_with_alpine() {
        store.ok(["create", "--name", "one", "-m", "64m", ALPINE, "true"]);
        let id = store.field("one", "{{.Id}}");
        let path = store
            .data()
            .join("containers")
            .join(id)
            .join("container.json");
        let text = std::fs::read_to_string(&path).unwrap();
        // A device cannot be taken away from the host for this.
        let (none, gone) = (
            r#""device_read_bps":[]"#,
            r#""device_read_bps":[{"path":"/dev/onggi-gone","rate":5}]"#,
        );
        assert!(text.contains(none), "{text}");
        std::fs::write(&path, text.replace(none, gone)).unwrap();
        store.ok(["update", "--restart", "always", "one"]);
        store.ok(["update", "--pids-limit", "9", "one"]);
        let fields = "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.PidsLimit}}";
        assert_eq!(store.field("one", fields), "always 9");
        store.refused(["start", "one"], "/dev/onggi-gone");
    }
}

/// Whether limits cannot be applied here at all.
fn host_has_no_version_2() -> bool {
    let kind = Command::new("stat")
        .args(["-f", "-c", "%T", "/sys/fs/cgroup"])
        .output()
        .unwrap();
    let found = kind.stdout == b"cgroup2fs\n";
    if found {
        skip("this host has cgroups of version 2");
    }
    !found
}

const MISSING: &str = "the limits of the `memory` controller cannot be applied in `/sys/fs/cgroup`: this host has control \
                       groups of version 1";

#[test]
fn a_limit_that_cannot_be_applied_is_an_error() {
    if !host_has_no_version_2() {
        return;
    }
    for store in everyone_with_alpine() {
        let before = store.snapshot();
        let outcome = store.shell(&["-m", "50m"], "echo started").run();
        outcome
            .code(125)
            .stdout("")
            .stderr_has(MISSING)
            .stderr_has("systemd.unified_cgroup_hierarchy=1");
        store.assert_unchanged(&before);
        store.ok([
            "create", "--name", "one", "-m", "50m", ALPINE, "echo", "started",
        ]);
        let outcome = store.onggi(["start", "-a", "one"]).run();
        outcome.code(1).stdout("").stderr_has(MISSING);
        store.ok(["update", "--limits", "best-effort", "one"]);
        let outcome = store.onggi(["start", "-a", "one"]).run();
        outcome
            .code(0)
            .stdout("started\n")
            .stderr_has(&format!("warning: {MISSING}"));
    }
}

#[test]
fn a_manager_that_was_asked_for_is_needed_and_a_parent_is_not() {
    if !host_has_no_version_2() {
        return;
    }
    for store in everyone_with_alpine() {
        for manager in ["systemd", "cgroupfs"] {
            let manager = format!("--cgroup-manager={manager}");
            let cannot = "cannot make a control group: this host has control groups of version 1";
            let refused = store.shell(&[&manager], "true").run();
            refused
                .code(125)
                .stdout("")
                .stderr_has(&format!("{cannot}\ntry: leave out --cgroup-manager"));
            let softened = store
                .shell(&[&manager, "--limits=best-effort"], "true")
                .run();
            softened.code(0).stderr_has(&format!(
                "warning: the container has no control group: {}",
                &manager[17..]
            ));
        }
        let parent = store
            .shell(&["--cgroup-parent=ci.slice"], "echo started")
            .run();
        parent.code(0).stdout("started\n").stderr(
            "onggi: warning: --cgroup-parent ci.slice has no effect: this host has control groups of version 1\n",
        );
        let property = "--annotation=org.systemd.property.CPUWeight";
        let scope = store
            .shell(&[&format!("{property}=uint64 5")], "true")
            .run();
        scope.code(0).stderr(
            "onggi: warning: the annotation `org.systemd.property.CPUWeight` needs a scope of systemd's, and changes nothing\n",
        );
        let wrong = store.shell(&[&format!("{property}=uint64")], "true").run();
        wrong
            .code(125)
            .stderr_has("annotation `org.systemd.property.CPUWeight`: ");
    }
}

#[test]
fn without_a_group_there_is_no_limit() {
    for store in everyone_with_alpine() {
        let outcome = store
            .shell(&["--cgroups=disabled", "--pids-limit", "5"], "true")
            .run();
        outcome.code(125).stdout("").stderr_has(
            "the limits of the `pids` controller cannot be applied in `/sys/fs/cgroup`: --cgroups=disabled contradicts \
             them\ntry: leave out one of the two, the limit or --cgroups=disabled\n",
        );
    }
}

#[test]
fn with_best_effort_it_is_a_warning() {
    if !host_has_no_version_2() {
        return;
    }
    for store in everyone_with_alpine() {
        let options = ["--limits=best-effort", "-m", "50m", "--pids-limit", "9"];
        let outcome = store.shell(&options, "echo started").run();
        outcome
            .code(0)
            .stdout("started\n")
            .stderr_has(&format!("warning: {MISSING}"));
        store.detached("two", &options, OBEDIENT);
        let warned = store.onggi(["update", "-m", "70m", "two"]).run();
        warned
            .code(0)
            .stdout("two\n")
            .stderr_has("the container runs without a control group of its own");
        assert_eq!(store.field("two", "{{.HostConfig.Memory}}"), "73400320");
        let strict = store
            .onggi(["update", "-m", "80m", "--limits=strict", "two"])
            .run();
        strict
            .code(1)
            .stdout("")
            .stderr_has("the container runs without a control group of its own");
        assert_eq!(store.field("two", "{{.HostConfig.Memory}}"), "73400320");
    }
}

#[test]
fn what_is_inherited_cannot_be_raised() {
    for store in everyone_with_alpine() {
        let run = |options: &str, script: &str| {
            // Root may raise it, unless it lacks one capability.
            let line = format!(
                "ulimit -n 500; exec $(test $(id -u) != 0 || echo setpriv --bounding-set=-sys_resource) {} --root {} \
                 --runroot {} run --rm {options} {ALPINE} sh -c '{script}'",
                program().display(),
                store.data().display(),
                store.run_root().display()
            );
            let mut shell = store.command("sh");
            shell.args(["-c", &line]);
            Call::new(shell).run()
        };
        let limit = "--ulimit nofile=100:501";
        let refused = run(limit, "true");
        refused
            .code(125)
            .stderr_has("set the resource limit `nofile`: ")
            .stderr_has("--limits=best-effort");
        let softened = run(
            &format!("{limit} --limits=best-effort"),
            "ulimit -n; ulimit -Hn",
        );
        softened.code(0).stdout("100\n500\n");
        softened.stderr_has("the hard limit `nofile` stays 500, which is the caller's own");
        let score = "--oom-score-adj=-1000";
        let refused = run(score, "true");
        refused
            .code(125)
            .stderr_has("set the OOM score adjustment -1000: Permission denied");
        let softened = run(
            &format!("{score} --limits=best-effort"),
            "cat /proc/self/oom_score_adj",
        );
        softened
            .code(0)
            .stderr_has("the OOM score adjustment stays ");
        assert_ne!(softened.stdout_text(), "-1000\n");
        run("--oom-score-adj=1000", "cat /proc/self/oom_score_adj")
            .code(0)
            .stdout("1000\n");
    }
}
