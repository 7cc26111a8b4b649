//! What the process of a container finds: environment, user, directory, limits, identity of the host.

use crate::support::{ALPINE, User, everyone_with_alpine, store};

#[test]
fn environment_is_the_images_and_ours() {
    for store in everyone_with_alpine() {
        let file = store.file("variables", "# comment\nFROM_FILE=1\nCALLER\nUNSET_HERE\n");
        let file = file.to_str().unwrap();
        let options = [
            "-h",
            "box",
            "-e",
            "A=1",
            "-e",
            "A=two words",
            "-e",
            "CALLER",
            "-e",
            "MISSING",
            "--env-file",
            file,
        ];
        let outcome = store.shell(&options, "env | sort").env("CALLER", "c").run();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let expected = format!(
            "A=two words\nCALLER=c\nFROM_FILE=1\nHOME=/root\nHOSTNAME=box\nPATH={path}\nPWD=/\nSHLVL=1\n"
        );
        outcome.code(0).stdout(&expected);
    }
}

/// A variable that has no value outside is taken away, also the last one.
#[test]
fn a_bare_name_takes_a_variable_away() {
    for store in everyone_with_alpine() {
        let image = ["import", "-", "bare"];
        let tar = store.home().join("bare.tar");
        let files = store
            .command("tar")
            .args(["-cf"])
            .arg(&tar)
            .args(["--files-from", "/dev/null"])
            .status();
        assert!(files.unwrap().success());
        store
            .onggi(image)
            .stdin(std::fs::read(&tar).unwrap())
            .run()
            .code(0);
        store
            .onggi(["create", "--name", "bare", "-e", "PATH", "bare", "/x"])
            .without("PATH")
            .run()
            .code(0);
        let format = ["inspect", "-f", "{{json .Config.Env}}", "bare"];
        let shown = store.onggi(format).without("PATH").run().stdout_text();
        assert!(!shown.contains("PATH"), "{shown}");
        let script = "/usr/bin/env";
        let run = ["run", "--rm", "-h", "jar", "-e", "PATH", ALPINE, script];
        let variables = store.onggi(run).without("PATH").run();
        variables
            .code(0)
            .stdout_has("HOSTNAME=jar")
            .stdout_lacks("PATH=");
    }
}

#[test]
fn user_by_number_and_by_name() {
    for store in [User::Root, User::Subuid].into_iter().filter_map(store) {
        if !store.alpine() {
            return;
        }
        let id = |user| {
            store
                .shell(&["-u", user], "echo $(id -u):$(id -g):$(id -G) $HOME")
                .run()
        };
        id("1000").code(0).stdout("1000:0:0 /\n");
        id("1000:1001").code(0).stdout("1000:1001:1001 /\n");
        id("guest").code(0).stdout("405:100:100 /dev/null\n");
        id("nobody:mail").code(0).stdout("65534:12:12 /\n");
        // It would leave root's.
        for user in ["4294967295", "1000:4294967295"] {
            id(user)
                .code(125)
                .stdout("")
                .stderr_has("4294967295 is nobody's id");
        }
        let with_group = [
            "-u",
            "1000:1001",
            "--group-add",
            "mail",
            "--group-add",
            "77",
        ];
        store
            .shell(&with_group, "id -G")
            .run()
            .code(0)
            .stdout("1001 12 77\n");
    }
}

#[test]
fn working_directory_is_made() {
    for store in everyone_with_alpine() {
        store
            .shell(&["-w", "/a/b c"], "pwd")
            .run()
            .code(0)
            .stdout("/a/b c\n");
        store
            .shell(&["-w", "/etc/passwd"], "pwd")
            .run()
            .code(126)
            .stdout("");
    }
}

#[test]
fn entrypoint_comes_before_the_words() {
    for store in everyone_with_alpine() {
        let run = |words: &[&str]| store.onggi(["run", "--rm"].iter().chain(words)).run();
        run(&["--entrypoint", "echo", ALPINE, "a", "b"])
            .code(0)
            .stdout("a b\n");
        run(&["--entrypoint", "", ALPINE, "echo", "c"])
            .code(0)
            .stdout("c\n");
    }
}

#[test]
fn options_end_at_the_image() {
    for store in everyone_with_alpine() {
        store
            .onggi(["run", "--rm", ALPINE, "echo", "--rm", "-i"])
            .run()
            .code(0)
            .stdout("--rm -i\n");
        store
            .onggi(["run", "--rm=true", "-eA=1", ALPINE, "sh", "-c", "echo $A"])
            .run()
            .code(0)
            .stdout("1\n");
    }
}

#[test]
fn resource_limits() {
    for store in everyone_with_alpine() {
        let script = "ulimit -n; ulimit -Hn; ulimit -c";
        store
            .shell(&["--ulimit", "nofile=64:128", "--ulimit", "core=0"], script)
            .run()
            .code(0)
            .stdout("64\n128\n0\n");
    }
}

#[test]
fn kernel_parameters_of_its_namespaces() {
    for store in everyone_with_alpine() {
        let key = "net.ipv4.ip_unprivileged_port_start";
        let script = format!("cat /proc/sys/{}", key.replace('.', "/"));
        store
            .shell(&["--sysctl", &format!("{key}=81")], &script)
            .run()
            .code(0)
            .stdout("81\n");
        // One of the whole host: refused, and not written.
        let before = std::fs::read("/proc/sys/vm/swappiness").unwrap();
        store
            .shell(&["--sysctl", "vm.swappiness=7"], "true")
            .run()
            .code(125)
            .stderr_has("vm.swappiness");
        assert_eq!(before, std::fs::read("/proc/sys/vm/swappiness").unwrap());
    }
}

#[test]
fn init_reaps_orphans_and_forwards_signals() {
    for store in everyone_with_alpine() {
        let script = "sh -c 'sleep 0.1 & exit'; sleep 0.5; ps -o stat,comm | grep -c ^Z; cat /proc/self/stat | cut -d' ' -f4";
        store.shell(&["--init"], script).run().stdout_has("0\n");
        let client = store
            .shell(
                &["--init"],
                "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done",
            )
            .spawn();
        crate::life_cycle::assert_signal_ends_with(client, "TERM", 9);
    }
}

#[test]
fn init_tells_of_a_program_that_is_not_there() {
    for store in everyone_with_alpine() {
        for (program, code, why) in [
            ("nope", 127, "No such file or directory"),
            ("/etc/passwd", 126, "Permission denied"),
        ] {
            let run = ["run", "--rm", "--init", ALPINE, program];
            store
                .onggi(run)
                .run()
                .code(code)
                .stderr_has(&format!("onggi: --init: {program}: {why}"));
        }
    }
}

#[test]
fn with_the_hosts_network_the_host_name_is_the_hosts() {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    for store in everyone_with_alpine() {
        let run = ["run", "--rm", "--network", "host", ALPINE, "hostname"];
        store.onggi(run).run().code(0).stdout(&format!("{name}\n"));
    }
}
