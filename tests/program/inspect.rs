//! inspect: the whole document of a container, objects of several kinds at once, and what is missing among them.

use crate::support::{ALPINE, Store, everyone_with_alpine};
use serde_json::{Value, json};

fn inspect(store: &Store, words: &[&str]) -> Value {
    let outcome = store.onggi(["inspect"].iter().chain(words)).run();
    outcome.code(0).stderr("").json()
}

fn keys(value: &Value) -> String {
    let keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.join(" ")
}

#[test]
fn a_container_has_all_fields_of_docker() {
    for store in everyone_with_alpine() {
        let create = [
            "create",
            "--name",
            "web",
            "--init",
            "--label",
            "a=b",
            "--cap-drop",
            "CHOWN",
            "--tmpfs",
            "/run",
            "--sysctl",
            "net.ipv4.ip_forward=1",
            "--annotation",
            "k=v",
            ALPINE,
            "echo",
            "hi",
        ];
        let id = store.onggi(create).run().code(0).stdout_text();
        let all = inspect(&store, &["web"]);
        let web = &all[0];
        assert_eq!(web["Id"], id.trim());
        assert_eq!(
            keys(web),
            "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver \
             Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver Mounts Config \
             NetworkSettings"
        );
        assert_eq!(
            keys(&web["State"]),
            "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt"
        );
        assert_eq!(
            keys(&web["HostConfig"]),
            "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver \
             VolumesFrom ConsoleSize Annotations CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts \
             GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt \
             Tmpfs UTSMode UsernsMode ShmSize Sysctls Runtime Isolation CpuShares Memory NanoCpus CgroupParent \
             BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps \
             BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems \
             Devices DeviceCgroupRules DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable \
             PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth MaskedPaths ReadonlyPaths Init"
        );
        assert_eq!(
            keys(&web["Config"]),
            "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd Image \
             Volumes WorkingDir Entrypoint OnBuild Labels"
        );
        let host = &web["HostConfig"];
        assert_eq!(
            (
                &host["CapAdd"],
                &host["CapDrop"],
                &host["Tmpfs"],
                &host["Sysctls"]
            ),
            (
                &Value::Null,
                &json!(["CAP_CHOWN"]),
                &json!({"/run": ""}),
                &json!({"net.ipv4.ip_forward": "1"})
            )
        );
        assert!(
            host["MaskedPaths"]
                .as_array()
                .unwrap()
                .contains(&"/proc/kcore".into())
        );
        assert_eq!(keys(&web["NetworkSettings"]["Networks"]), "none");
        assert_eq!(web["GraphDriver"]["Data"]["ID"], web["Id"]);
        let plain = store.onggi(["create", "--name", "plain", "--privileged", ALPINE, "true"]);
        plain.run().code(0);
        let plain = inspect(&store, &["plain"]);
        let host = keys(&plain[0]["HostConfig"]);
        for absent in ["Init", "Tmpfs", "Sysctls", "Annotations"] {
            assert!(
                !host.split(' ').any(|key| key == absent),
                "{absent} in {host}"
            );
        }
        assert_eq!(plain[0]["HostConfig"]["MaskedPaths"], Value::Null);
    }
}

#[test]
fn the_state_is_that_of_the_moment() {
    for store in everyone_with_alpine() {
        let state = |template: &str| {
            let outcome = store.onggi(["inspect", "-f", template, "web"]).run();
            outcome.code(0).stdout_text().trim().to_owned()
        };
        let words = "{{.State.Status}} {{.State.Running}} {{.State.Paused}} {{.State.ExitCode}}";
        let run = |words: &[&str]| {
            store.onggi(words).run().code(0);
        };
        run(&["create", "--name", "web", ALPINE, "sleep", "1000"]);
        assert_eq!(state(words), "created false false 0");
        run(&["start", "web"]);
        assert_eq!(state(words), "running true false 0");
        assert!(state("{{.State.Pid}}").parse::<u32>().unwrap() > 1);
        run(&["pause", "web"]);
        assert_eq!(state(words), "paused true true 0");
        let status = store
            .onggi(["ps", "--format", "{{.State}} {{.Status}}"])
            .run();
        assert!(
            status.stdout_text().starts_with("paused Up "),
            "{}",
            status.stdout_text()
        );
        status.stdout_has(" (Paused)\n");
        run(&["unpause", "web"]);
        run(&["kill", "web"]);
        run(&["wait", "web"]);
        assert_eq!(state(words), "exited false false 137");
        assert_eq!(state("{{.State.Pid}}"), "0");
    }
}

#[test]
fn health_is_taken_from_its_file() {
    for store in everyone_with_alpine() {
        let id = store
            .onggi(["run", "-d", "--name", "web", "--health-cmd", "true"])
            .args(["--health-interval", "1h", ALPINE, "sleep", "1000"])
            .run();
        let id = id.code(0).stdout_text();
        let health = json!({
            "Status": "starting", "FailingStreak": 1,
            "Log": [{"Start": "2026-01-02T03:04:05Z", "End": "2026-01-02T03:04:06Z", "ExitCode": 1, "Output": "no"}],
        });
        let path = store
            .data()
            .join("containers")
            .join(id.trim())
            .join("health.json");
        std::fs::write(&path, health.to_string()).unwrap();
        std::os::unix::fs::chown(&path, Some(store.account.uid), Some(store.account.gid)).unwrap();
        assert_eq!(inspect(&store, &["web"])[0]["State"]["Health"], health);
        let told = |filter: &str| {
            let outcome = store
                .onggi(["ps", "-f", filter, "--format", "{{.Status}}"])
                .run();
            outcome.code(0).stderr("").stdout_text()
        };
        assert!(told("health=starting").ends_with(" (health: starting)\n"));
        assert_eq!(told("health=healthy"), "");
        std::fs::write(&path, "{").unwrap();
        let ps = store.onggi(["ps", "--format", "{{.Names}}"]).run();
        ps.code(0)
            .stdout("web\n")
            .stderr_has("health.json` is damaged");
    }
}

#[test]
fn what_is_there_is_shown_and_what_is_not_is_told() {
    for store in everyone_with_alpine() {
        store
            .onggi(["create", "--name", "web", ALPINE, "true"])
            .run()
            .code(0);
        let names = "{{len .Id}}";
        let mixed = store
            .onggi(["inspect", "-f", names, "web", "nobody", ALPINE])
            .run();
        mixed
            .code(1)
            .stdout("64\n71\n")
            .stderr("Error: No such object: nobody\n");
        let kinds = store
            .onggi(["inspect", "--type", "image", "web", ALPINE])
            .run();
        kinds.code(1).stderr("Error: No such image: web\n");
        assert_eq!(kinds.json().as_array().unwrap().len(), 1);
        for (words, stdout, stderr) in [
            (
                &["inspect", "nobody"][..],
                "[]\n",
                "Error: No such object: nobody\n",
            ),
            (
                &["container", "inspect", ALPINE],
                "[]\n",
                "Error: No such container: alpine:3.20\n",
            ),
            (
                &["inspect", "--type", "container", ALPINE],
                "[]\n",
                "Error: No such container: alpine:3.20\n",
            ),
            (
                &["inspect", "--type", "volume", "x"],
                "[]\n",
                "Error: No such volume: x\n",
            ),
            (
                &["inspect", "--type", "network", "x"],
                "[]\n",
                "Error: No such network: x\n",
            ),
        ] {
            store
                .onggi(words)
                .run()
                .code(1)
                .stdout(stdout)
                .stderr(stderr);
        }
        let unknown = store.onggi(["inspect", "--type", "pod", "x"]).run();
        unknown
            .code(1)
            .stderr_has("unknown type: \"pod\": must be one of \"container\", \"image\"");
        let size = inspect(&store, &["-s", "web"]);
        let (own, all) = (&size[0]["SizeRw"], &size[0]["SizeRootFs"]);
        assert!(
            *own == 0 && all.as_u64().unwrap() > 1_000_000,
            "{own} {all}"
        );
        let image = store
            .onggi(["inspect", "-s", "--type", "image", "-f", "{{.Os}}", ALPINE])
            .run();
        image
            .code(0)
            .stdout("linux\n")
            .stderr("WARNING: --size ignored for image\n");
        let only = store
            .onggi(["image", "inspect", "-f", "{{.RepoTags}}", ALPINE, "web"])
            .run();
        only.code(1)
            .stdout(&format!("[{ALPINE}]\n"))
            .stderr_has("No such image: web");
    }
}
