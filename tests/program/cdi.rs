//! Devices that files of the Container Device Interface describe, with made-up ones of `example.com/thing`.

use crate::support::{ALPINE, Outcome, Store, everyone_with_alpine};
use std::path::PathBuf;

/// A directory with one file in it.
fn described(store: &Store, name: &str, file: &str, text: &str) -> PathBuf {
    let directory = store.home().join(name);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(file), text).unwrap();
    directory
}

fn run(store: &Store, directories: &[&PathBuf], options: &[&str], script: &str) -> Outcome {
    let mut words = Vec::new();
    for directory in directories {
        words.extend(["--cdi-spec-dir", directory.to_str().unwrap()]);
    }
    words.extend(["run", "--rm"]);
    words.extend(options);
    words.extend([ALPINE, "sh", "-c", script]);
    store.onggi(words).run()
}

const THING: &str = r#"
cdiVersion: 0.7.0
kind: example.com/thing
devices:
- name: full
  containerEdits:
    env: [WHICH=full, PATH=/special:/bin:/usr/bin]
    deviceNodes:
    - {path: /dev/thing/full, hostPath: /dev/full}
- name: numbers
  containerEdits:
    deviceNodes:
    - {path: /dev/numbers, hostPath: /dev/full, type: c, major: 1, minor: 7, fileMode: 0640}
containerEdits:
  env: [THING=yes]
  additionalGids: [0, 12345]
  mounts:
  - hostPath: DIRECTORY
    containerPath: /usr/share/thing
    options: [ro, nosuid, nodev, rbind, rprivate]
  hooks:
  - hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
    args: [nvidia-cdi-hook, create-symlinks, --link, "../../share/thing/thing.yaml::/usr/lib/thing/link"]
"#;

fn thing(store: &Store) -> PathBuf {
    let place = store.home().join("cdi");
    let text = THING.replace("DIRECTORY", place.to_str().unwrap());
    described(store, "cdi", "thing.yaml", &text)
}

#[test]
fn everything_that_is_described_is_there() {
    for store in everyone_with_alpine() {
        let directory = thing(&store);
        let script = "echo $THING $WHICH $PATH; (echo x >/dev/thing/full) 2>&1 | grep -o 'No space left'; \
                      grep -c kind /usr/lib/thing/link; touch /usr/share/thing/x 2>&1 | grep -o 'Read-only'; test ! -e /dev/numbers";
        let outcome = run(
            &store,
            &[&directory],
            &["--device", "example.com/thing=full"],
            script,
        );
        outcome
            .code(0)
            .stdout("yes full /special:/bin:/usr/bin\nNo space left\n1\nRead-only\n");
        // The other device, by an option of the command; nothing of the first.
        let option = format!("--cdi-spec-dir={}", directory.display());
        let script = "echo $THING $WHICH; stat -c %t:%T /dev/numbers; test -e /dev/thing";
        let outcome = run(
            &store,
            &[],
            &[&option, "--device=example.com/thing=numbers"],
            script,
        );
        outcome.code(1).stdout("yes\n1:7\n");
        // All of them.
        let script = "ls /dev/numbers /dev/thing/full";
        let outcome = run(
            &store,
            &[&directory],
            &["--device=example.com/thing=all"],
            script,
        );
        outcome.code(0).stdout("/dev/numbers\n/dev/thing/full\n");
    }
}

#[test]
fn groups_are_joined() {
    for store in everyone_with_alpine().filter(|store| store.user != crate::support::User::Single) {
        let directory = thing(&store);
        let device = ["--device", "example.com/thing=full"];
        let outcome = run(&store, &[&directory], &device, "id -G");
        outcome.code(0);
        let text = outcome.stdout_text();
        let has = text.split_whitespace().any(|group| group == "12345");
        outcome.expect(has, "the group 12345");
    }
}

#[test]
fn a_description_is_read_at_each_start() {
    for store in everyone_with_alpine() {
        let directory = thing(&store);
        let option = directory.to_str().unwrap();
        let device = "example.com/thing=full";
        let create = [
            "create",
            "--name",
            "box",
            "--cdi-spec-dir",
            option,
            "--device",
            device,
        ];
        let create = create
            .iter()
            .copied()
            .chain([ALPINE, "sh", "-c", "echo $THING"]);
        store.onggi(create).run().code(0);
        store
            .onggi(["start", "-a", "box"])
            .run()
            .code(0)
            .stdout("yes\n");
        let text = THING
            .replace("THING=yes", "THING=new")
            .replace("DIRECTORY", option);
        described(&store, "cdi", "thing.yaml", &text);
        store
            .onggi(["start", "-a", "box"])
            .run()
            .code(0)
            .stdout("new\n");
        let format = "{{json .HostConfig.DeviceRequests}}";
        let shown = store.onggi(["inspect", "--format", format, "box"]).run();
        shown.code(0).stdout(
            "[{\"Driver\":\"cdi\",\"Count\":0,\"DeviceIDs\":[\"example.com/thing=full\"],\"Capabilities\":null,\"Options\":null}]\n",
        );
        std::fs::remove_file(directory.join("thing.yaml")).unwrap();
        let outcome = store.onggi(["start", "-a", "box"]).run();
        outcome
            .code(1)
            .stderr_has("unresolvable CDI devices example.com/thing=full");
    }
}

#[test]
fn what_is_wrong_is_told() {
    for store in everyone_with_alpine() {
        let directory = thing(&store);
        let unresolvable = "CDI device injection failed: unresolvable CDI devices";
        let device = ["--device", "example.com/thing=none"];
        run(&store, &[&directory], &device, "true")
            .code(125)
            .stderr_has(&format!("{unresolvable} example.com/thing=none"))
            .stderr_has("--cdi-spec-dir");
        // The same device twice, with the same right.
        let twice = THING.replace("DIRECTORY", "/");
        let second = described(&store, "cdi", "second.json", "{");
        let device = ["--device", "example.com/thing=full"];
        // A broken file does no harm to others.
        run(&store, &[&second], &device, "true").code(0);
        described(&store, "cdi", "second.yaml", &twice);
        run(&store, &[&second], &device, "true")
            .code(125)
            .stderr_has(&format!("{unresolvable} example.com/thing=full"))
            .stderr_has("thing.yaml");
        // A later directory wins.
        let high = described(
            &store,
            "high",
            "a.yaml",
            &twice.replace("THING=yes", "THING=high"),
        );
        run(&store, &[&directory, &high], &device, "echo $THING")
            .code(0)
            .stdout("high\n");
        let hook = r#"{"cdiVersion": "0.3.0", "kind": "example.com/hook", "devices": [{"name": "x", "containerEdits":
            {"hooks": [{"hookName": "createRuntime", "path": "/usr/bin/tool", "args": ["tool"]}]}}]}"#;
        let hooks = described(&store, "hooks", "hook.json", hook);
        run(
            &store,
            &[&hooks],
            &["--device", "example.com/hook=x"],
            "true",
        )
        .code(125)
        .stderr_has("needs the hook `/usr/bin/tool` (createRuntime), and hooks are not run");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    }
}

#[test]
fn gpus_are_what_nvidia_or_amd_describe() {
    for store in everyone_with_alpine() {
        let none = described(&store, "none", "readme.txt", "");
        run(&store, &[&none], &["--gpus", "all"], "true")
            .code(125)
            .stderr_has("could not select device driver \"\" with capabilities: [[gpu]]")
            .stderr_has("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml");
        let gpus = r#"{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
            {"name": "0", "containerEdits": {"env": ["ZERO=0"]}},
            {"name": "1", "containerEdits": {"env": ["ONE=1"]}},
            {"name": "GPU-5", "containerEdits": {"env": ["FIVE=5"]}},
            {"name": "all", "containerEdits": {"env": ["ALL=all"]}}]}"#;
        let directory = described(&store, "gpus", "nvidia.json", gpus);
        for (option, found) in [
            ("all", "all\n"),
            ("1", "0\n"),
            ("2", "0 1\n"),
            ("device=1", "1\n"),
            ("\"device=1,GPU-5\"", "1 5\n"),
            ("driver=nvidia,count=all", "all\n"),
        ] {
            run(
                &store,
                &[&directory],
                &["--gpus", option],
                "echo $ALL $ZERO $ONE $FIVE",
            )
            .code(0)
            .stdout(found);
        }
        run(&store, &[&directory], &["--gpus", "3"], "true")
            .code(125)
            .stderr_has("3 GPUs are asked for, and `nvidia.com/gpu` has 2");
    }
}

#[test]
fn links_of_a_description_stay_inside() {
    for store in everyone_with_alpine() {
        let outside = store.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        let trap = format!("ln -s {} /trap", outside.display());
        let make = store.onggi(["run", "--name", "traps", ALPINE, "sh", "-c", &trap]);
        make.run().code(0);
        store.onggi(["commit", "traps", "hostile"]).run().code(0);
        let text = r#"{"cdiVersion": "0.3.0", "kind": "example.com/link", "devices": [{"name": "x", "containerEdits":
            {"hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-ctk",
             "args": ["nvidia-ctk", "hook", "create-symlinks", "--link=a::/trap/b"]}]}}]}"#;
        let directory = described(&store, "links", "link.json", text);
        let option = directory.to_str().unwrap();
        let run = [
            "run",
            "--rm",
            "--cdi-spec-dir",
            option,
            "--device",
            "example.com/link=x",
            "hostile",
            "readlink",
        ];
        // It is made where the link of the image leads, as seen from the container's root.
        let made = outside.join("b");
        let words = run.iter().copied().chain(made.to_str());
        store.onggi(words).run().code(0).stdout("a\n");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    }
}

/// What a program of this host needs beside glibc: where the libraries are.
fn libraries_of(program: &str) -> Vec<String> {
    let output = std::process::Command::new("ldd").arg(program).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let paths = text
        .lines()
        .filter_map(|line| line.split("=> ").nth(1)?.split(' ').next());
    let of_glibc = |path: &str| path.ends_with("/libc.so.6");
    paths
        .filter(|path| !of_glibc(path))
        .map(str::to_owned)
        .collect()
}

#[test]
fn libraries_of_a_description_are_found() {
    let libraries = libraries_of("/bin/ls");
    let loader = "/lib64/ld-linux-x86-64.so.2";
    if libraries.is_empty() || !std::path::Path::new(loader).exists() {
        return crate::support::skip("/bin/ls of this host needs no library but glibc");
    }
    for store in crate::support::everyone() {
        // A root file system with the program, the loader and the library of C, and nothing else.
        let tar = store.home().join("root.tar");
        let libc = "/lib/x86_64-linux-gnu/libc.so.6";
        let made = std::process::Command::new("tar")
            .args([
                "--create",
                "--dereference",
                "--absolute-names",
                "--transform=s,^/,,",
                "--file",
            ])
            .arg(&tar)
            .args(["/bin/ls", loader, libc])
            .status();
        assert!(made.unwrap().success());
        std::fs::set_permissions(&tar, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        store
            .onggi(["import", tar.to_str().unwrap(), "small"])
            .run()
            .code(0);
        let run = |options: &[&str]| {
            let words =
                ["run", "--rm"]
                    .iter()
                    .chain(options)
                    .chain(&["small", "/bin/ls", "/opt/driver"]);
            store.onggi(words).run()
        };
        run(&[])
            .code(127)
            .stderr_has("cannot open shared object file");
        // Under names that nobody asks for, where the loader does not look.
        let mounts: Vec<String> = libraries
            .iter()
            .enumerate()
            .map(|(number, path)| {
                format!(r#"{{"hostPath": "{path}", "containerPath": "/opt/driver/{number}.so.real", "options": ["ro", "bind"]}}"#)
            })
            .collect();
        let text = format!(
            r#"{{"cdiVersion": "0.3.0", "kind": "example.com/driver", "devices": [{{"name": "x", "containerEdits": {{
                "mounts": [{}], "hooks": [{{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook",
                "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/opt/driver"]}}]}}}}]}}"#,
            mounts.join(", ")
        );
        let directory = described(&store, "driver", "driver.json", &text);
        let option = directory.to_str().unwrap();
        run(&["--cdi-spec-dir", option, "--device", "example.com/driver=x"])
            .code(0)
            .stdout_has("0.so.real\n");
    }
}
