//! Bundles in directories: those that other programs write, and what each fault of one is called.

use super::*;
use crate::error;
use serde_json::{Value, json};

/// The least that can be started.
fn least() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": ["sh"], "cwd": "/" },
        "root": { "path": "rootfs" },
        "linux": { "namespaces": [{ "type": "mount" }] },
    })
}

fn bundle(configuration: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("rootfs")).unwrap();
    std::fs::write(directory.path().join(BUNDLE_CONFIGURATION), configuration).unwrap();
    directory
}

fn read_value(configuration: &Value) -> Result<Opened> {
    read(bundle(&configuration.to_string()).path(), None)
}

/// The least with a value at a JSON pointer; `Null` takes it away.
fn with(pointer: &str, value: Value) -> Value {
    let mut whole = least();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = whole.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => parent.remove(key),
        value => parent.insert(key.to_owned(), value),
    };
    whole
}

#[test]
fn a_sound_one_is_read_and_its_paths_are_absolute() {
    let mounts = json!([
        { "destination": "/data", "source": "data", "options": ["rbind"] },
        { "destination": "cache", "type": "tmpfs", "source": "tmpfs" },
        { "destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts" },
    ]);
    let directory = bundle(&with("/mounts", mounts).to_string());
    let opened = read(directory.path(), None).unwrap();
    let real = std::fs::canonicalize(directory.path()).unwrap();
    assert_eq!(
        (&opened.directory, &opened.root),
        (&real, &real.join("rootfs"))
    );
    let mounts = opened.spec.mounts().as_ref().unwrap();
    let source = |at: usize| mounts[at].source().clone().unwrap();
    assert_eq!(source(0), real.join("data"));
    assert_eq!(
        (mounts[1].destination().as_path(), source(1).as_path()),
        (Path::new("/cache"), Path::new("tmpfs"))
    );
    assert_eq!(source(2), Path::new("/etc/hosts"));
    assert_eq!(opened.warnings.len(), 1);
    assert!(
        opened.warnings[0].contains("`cache`"),
        "{:?}",
        opened.warnings
    );
}

#[test]
fn the_root_may_lie_elsewhere_and_be_reached_by_a_link() {
    let root = tempfile::tempdir().unwrap();
    let real = std::fs::canonicalize(root.path()).unwrap();
    let opened = read_value(&with("/root/path", json!(root.path()))).unwrap();
    assert_eq!(opened.root, real);
    let directory = bundle(&with("/root/path", json!("link")).to_string());
    std::os::unix::fs::symlink(root.path(), directory.path().join("link")).unwrap();
    assert_eq!(read(directory.path(), None).unwrap().root, real);
}

#[test]
fn what_is_not_a_bundle_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let kind = |path: &Path| {
        let error = read(path, None).unwrap_err();
        (
            error::kind(&error),
            error.to_string(),
            error::hint(&error).is_some(),
        )
    };
    let missing = kind(&directory.path().join("nowhere"));
    assert!(
        missing.0 == Some(Kind::NotFound)
            && missing.1.starts_with("there is no bundle")
            && missing.2
    );
    let none = kind(directory.path());
    assert!(
        none.0 == Some(Kind::NotFound) && none.1.starts_with("there is no configuration") && none.2,
        "{none:?}"
    );
    let place = directory.path().join(BUNDLE_CONFIGURATION);
    std::fs::create_dir(&place).unwrap();
    assert!(kind(directory.path()).1.ends_with("is not a regular file"));
    assert!(
        kind(Path::new("/dev/null"))
            .1
            .ends_with("is not a directory")
    );
    std::fs::remove_dir(&place).unwrap();
    nix::unistd::mkfifo(&place, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(kind(directory.path()).1.ends_with("is not a regular file"));
    std::fs::remove_file(&place).unwrap();
    File::create(&place).unwrap().set_len(LIMIT + 1).unwrap();
    assert!(kind(directory.path()).1.ends_with("is larger than 16 MiB"));
    std::fs::write(&place, least().to_string()).unwrap();
    assert!(kind(directory.path()).1.ends_with("is not there"));
    std::fs::write(directory.path().join("rootfs"), "").unwrap();
    assert!(kind(directory.path()).1.ends_with("is not a directory"));
}

#[test]
fn text_that_is_no_configuration_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "",
            "`config.json` is no JSON: EOF while parsing a value at line 1 column 0",
        ),
        (
            "{\n \"ociVersion\": \"1.0.0\",\n}",
            "`config.json` is no JSON: trailing comma at line 3 column 1",
        ),
        (
            "{} {}",
            "`config.json` is no JSON: trailing characters at line 1 column 4",
        ),
        (
            "{\"hostname\": 5}",
            "`hostname` of `config.json`: invalid type: integer `5`, expected a string at line 1 column 14",
        ),
        (
            "{\"linux\": {\"namespaces\": [{\"type\": \"pid\"},\n {\"type\": \"dream\"}]}}",
            "`linux.namespaces[1].type` of `config.json`: unknown variant `dream`",
        ),
    ] {
        let error = read(bundle(text).path(), None).unwrap_err();
        assert_eq!(error::kind(&error), Some(Kind::BadInput), "{text}");
        assert!(error.to_string().starts_with(expected), "{text}: {error}");
    }
}

fn assert_refused(cases: &[(Value, &str)]) {
    for (configuration, expected) in cases {
        let error = read_value(configuration).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
}

#[test]
fn each_fault_has_its_name() {
    assert_refused(&[
        (
            with("/ociVersion", Value::Null),
            "the configuration has no `ociVersion`",
        ),
        (
            with("/ociVersion", json!("1.0")),
            "`ociVersion` is no version of three numbers: `1.0`",
        ),
        (
            with("/ociVersion", json!("1.x.0")),
            "`ociVersion` is no version of three numbers: `1.x.0`",
        ),
        (
            with("/ociVersion", json!("01.0.0")),
            "`ociVersion` is no version of three numbers: `01.0.0`",
        ),
        (
            with("/ociVersion", json!("1.0.0-")),
            "`ociVersion` is no version of three numbers: `1.0.0-`",
        ),
        (
            with("/ociVersion", json!("2.0.0")),
            "`ociVersion` is 2.0.0, and this runtime knows version 1",
        ),
        (
            with("/ociVersion", json!("0.9.0")),
            "`ociVersion` is 0.9.0, and this runtime knows version 1",
        ),
        (
            with("/root", Value::Null),
            "the configuration has no `root`",
        ),
        (with("/root/path", json!("")), "`root.path` is empty"),
        (
            with("/windows", json!({})),
            "the configuration has a section `windows`, and this is a Linux runtime",
        ),
        (
            with("/vm", json!({})),
            "the configuration has a section `vm`, and this is a Linux runtime",
        ),
        (
            with("/solaris", json!({})),
            "the configuration has a section `solaris`, and this is a Linux runtime",
        ),
        (
            with("/zos", json!({})),
            "the configuration has a section `zos`, and this is a Linux runtime",
        ),
        (
            with("/mounts", json!([{ "destination": "" }])),
            "a mount has an empty `destination`",
        ),
        (
            with("/annotations", json!({ "": "x" })),
            "`annotations` has an empty key",
        ),
    ]);
}

#[test]
fn faults_of_processes_have_their_names() {
    let process = |key: &str, value: Value| with(&format!("/process/{key}"), value);
    let hook = |hook: Value| {
        with(
            "/hooks",
            json!({ "createRuntime": [{ "path": "/bin/true" }, hook] }),
        )
    };
    assert_refused(&[
        (
            process("cwd", Value::Null),
            "`process` of `config.json`: missing field `cwd`",
        ),
        (
            process("cwd", json!("tmp")),
            "`process.cwd` is not an absolute path: `tmp`",
        ),
        (process("args", json!([])), "`process.args` is empty"),
        (process("args", Value::Null), "`process.args` is empty"),
        (
            process("commandLine", json!("x")),
            "`process.commandLine` is for Windows",
        ),
        (
            process(
                "rlimits",
                json!([
                    { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 }, { "type": "RLIMIT_CORE", "hard": 1, "soft": 1 },
                ]),
            ),
            "`process.rlimits` has RLIMIT_CORE twice",
        ),
        (
            process(
                "rlimits",
                json!([{ "type": "RLIMIT_DREAMS", "hard": 0, "soft": 0 }]),
            ),
            "`process.rlimits[0].type` of `config.json`: unknown variant `RLIMIT_DREAMS`",
        ),
        (
            hook(json!({ "path": "true" })),
            "`hooks.createRuntime[1].path` is not an absolute path: `true`",
        ),
        (
            hook(json!({ "path": "/x", "timeout": 0 })),
            "`hooks.createRuntime[1].timeout` is not greater than 0",
        ),
    ]);
}

#[test]
fn faults_of_the_linux_section_have_their_names() {
    let linux = |key: &str, value: Value| with(&format!("/linux/{key}"), value);
    assert_refused(&[
        (
            linux("maskedPaths", json!(["proc"])),
            "`linux.maskedPaths` is not an absolute path: `proc`",
        ),
        (
            linux("readonlyPaths", json!(["proc"])),
            "`linux.readonlyPaths` is not an absolute path: `proc`",
        ),
        (
            linux(
                "devices",
                json!([{ "path": "null", "type": "c", "major": 1, "minor": 3 }]),
            ),
            "`linux.devices[].path` is not an absolute path: `null`",
        ),
        (
            linux("devices", json!([{ "path": "/dev/x", "type": "z" }])),
            "`linux.devices[0].type` of `config.json`: unknown variant `z`",
        ),
        (
            linux(
                "namespaces",
                json!([{ "type": "mount" }, { "type": "mount" }]),
            ),
            "`linux.namespaces` has the type `mnt` twice",
        ),
        (
            linux(
                "namespaces",
                json!([{ "type": "mount" }, { "type": "network", "path": "netns" }]),
            ),
            "`linux.namespaces[].path` is not an absolute path: `netns`",
        ),
        (
            linux(
                "uidMappings",
                json!([{ "containerID": 0, "hostID": 0, "size": 1 }]),
            ),
            "`linux.uidMappings` and `linux.gidMappings` need a namespace of type `user`",
        ),
        (
            linux(
                "namespaces",
                json!([{ "type": "mount" }, { "type": "user" }]),
            ),
            "a new namespace of type `user` needs `linux.uidMappings` and `linux.gidMappings`",
        ),
        (
            linux(
                "seccomp",
                json!({ "defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x" }),
            ),
            "`linux.seccomp.listenerMetadata` needs a `listenerPath`",
        ),
        (
            linux("seccomp", json!({ "defaultAction": "SCMP_ACT_DREAM" })),
            "`linux.seccomp.defaultAction` of `config.json`: unknown variant `SCMP_ACT_DREAM`",
        ),
        (
            linux("resources", json!({ "network": { "classID": 1 } })),
            "`linux.resources.network.classID` is for cgroup version 1",
        ),
    ]);
}

#[test]
fn what_is_harmless_is_passed_over_with_a_word() {
    let process = json!({
        "user": { "uid": 0, "gid": 0, "username": "root" }, "args": ["sh"], "cwd": "/",
        "capabilities": { "bounding": ["CAP_CHOWN", "CAP_DREAM"], "effective": ["CAP_DREAM"], "ambient": null },
    });
    let opened = read_value(&with("/process", process.clone())).unwrap();
    assert_eq!(
        opened.warnings,
        [
            "there is no capability \"CAP_DREAM\", which `process.capabilities` has",
            "`process.user.username` is for Windows: `root` is ignored",
        ]
    );
    let process_alone = opened.spec.process().clone().unwrap();
    let bounding = process_alone
        .capabilities()
        .as_ref()
        .unwrap()
        .bounding()
        .clone();
    assert_eq!(
        bounding.unwrap().into_iter().collect::<Vec<_>>(),
        [Capability::Chown]
    );
    let (parsed, warnings) = parse_process(process.to_string().as_bytes(), "p.json").unwrap();
    assert_eq!((parsed, warnings), (process_alone, opened.warnings));
    let error = parse_process(br#"{"cwd": 5}"#, "p.json")
        .unwrap_err()
        .message;
    assert!(
        error.starts_with("`cwd` of `p.json`: invalid type"),
        "{error}"
    );
}

#[test]
fn unknown_properties_are_ignored_and_versions_of_the_first_taken() {
    let more = with("/linux/dream", json!({ "depth": 1 }));
    assert_eq!(read_value(&more).unwrap().warnings, Vec::<String>::new());
    for version in [
        "1.0.0",
        "1.0.2-dev",
        "1.1.0-rc.3",
        "1.3.0+build.5",
        "1.99.0",
    ] {
        read_value(&with("/ociVersion", json!(version))).unwrap();
    }
    // Only what starts a process needs one.
    assert!(
        read_value(&with("/process", Value::Null))
            .unwrap()
            .spec
            .process()
            .is_none()
    );
    let empty = json!([{ "type": "mount" }, { "type": "network", "path": "" }]);
    let opened = read_value(&with("/linux/namespaces", empty)).unwrap();
    let linux = opened.spec.linux().as_ref().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap()[1].path(), &None);
}

/// Kept from real runs, with the paths of the machine taken out.
#[test]
fn configurations_of_other_programs_are_taken() {
    for name in ["runc", "runc-rootless", "podman", "buildah"] {
        let path = format!(
            "{}/tests/data/bundles/{name}.json",
            env!("CARGO_MANIFEST_DIR")
        );
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut value: Value = serde_json::from_str(&text).unwrap();
        value["root"]["path"] = json!("rootfs");
        let opened = read_value(&value).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert_eq!(opened.warnings, Vec::<String>::new(), "{name}");
    }
}
