//! What a set of files makes of requests, and what is wrong with a file.

use super::*;
use crate::container::device::Rest;
use crate::runtime::plan::FileEdit;

/// A file that describes the given devices of `example.com/thing`, each with a variable that tells where it is from.
fn file(devices: &[&str], from: &str) -> String {
    let devices: Vec<String> = devices
        .iter()
        .map(|name| {
            format!(r#"{{"name": "{name}", "containerEdits": {{"env": ["{name}={from}"]}}}}"#)
        })
        .collect();
    format!(
        r#"{{"cdiVersion": "0.5.0", "kind": "example.com/thing", "devices": [{}],
            "containerEdits": {{"env": ["FROM={from}"]}}}}"#,
        devices.join(", ")
    )
}

fn request(names: &[&str]) -> DeviceRequest {
    DeviceRequest {
        driver: "cdi".to_owned(),
        device_ids: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DeviceRequest::default()
    }
}

/// The variables that all edits set, or the message and the hint.
fn resolved(request: &DeviceRequest, directories: &[&tempfile::TempDir]) -> Result<String, String> {
    let directories: Vec<PathBuf> = directories
        .iter()
        .map(|one| one.path().to_owned())
        .collect();
    let edits = resolve(std::slice::from_ref(request), &directories);
    edits
        .map(|edits| {
            let variables = edits.iter().flat_map(Edits::environment);
            variables.cloned().collect::<Vec<_>>().join(" ")
        })
        .map_err(|error| {
            let hint = crate::error::hint(&error).unwrap_or_default();
            format!("{error}; {hint}")
        })
}

#[test]
fn later_directories_win_and_equal_ones_conflict() {
    let (low, high) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(low.path().join("a.json"), file(&["one", "two"], "a")).unwrap();
    std::fs::write(high.path().join("b.json"), file(&["two", "three"], "b")).unwrap();
    std::fs::write(high.path().join("c.json"), file(&["three"], "c")).unwrap();
    std::fs::write(high.path().join("d.txt"), "not looked at").unwrap();
    let both = [&low, &high];
    for (names, variables) in [
        (&["example.com/thing=one"][..], "FROM=a one=a"),
        (&["example.com/thing=two"], "FROM=b two=b"),
        (
            &[
                "example.com/thing=one",
                "example.com/thing=two",
                "example.com/thing=one",
            ],
            "FROM=a one=a FROM=b two=b",
        ),
    ] {
        assert_eq!(resolved(&request(names), &both).unwrap(), variables);
    }
    let conflict = resolved(&request(&["example.com/thing=three"]), &both).unwrap_err();
    let message = "CDI device injection failed: unresolvable CDI devices example.com/thing=three";
    assert!(conflict.starts_with(message), "{conflict}");
    assert!(conflict.contains("b.json` and `"), "{conflict}");
    let missing = resolved(&request(&["example.com/other=x"]), &both).unwrap_err();
    assert!(missing.contains("describes it"), "{missing}");
}

#[test]
fn all_means_each_one_unless_it_is_described() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.json");
    let all = request(&["example.com/thing=all"]);
    std::fs::write(&path, file(&["one", "two"], "a")).unwrap();
    assert_eq!(resolved(&all, &[&directory]).unwrap(), "FROM=a one=a two=a");
    std::fs::write(&path, file(&["one", "all"], "a")).unwrap();
    assert_eq!(resolved(&all, &[&directory]).unwrap(), "FROM=a all=a");
}

#[test]
fn requests_for_gpus() {
    let directory = tempfile::tempdir().unwrap();
    let gpus = |driver: &str, count, ids: &[&str]| DeviceRequest {
        driver: driver.to_owned(),
        count,
        device_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        capabilities: vec![vec!["gpu".to_owned()]],
        ..DeviceRequest::default()
    };
    let none = resolved(&gpus("", -1, &[]), &[&directory]).unwrap_err();
    assert!(
        none.starts_with("could not select device driver \"\" with capabilities: [[gpu]]: no CDI ")
            && none.contains("nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"),
        "{none}"
    );
    let text =
        file(&["0", "1", "GPU-x", "all"], "n").replace("example.com/thing", "nvidia.com/gpu");
    std::fs::write(directory.path().join("n.json"), text).unwrap();
    let text = file(&["0"], "a").replace("example.com/thing", "amd.com/gpu");
    std::fs::write(directory.path().join("a.json"), text).unwrap();
    for (request, variables) in [
        (gpus("", -1, &[]), "FROM=n all=n"),
        (gpus("", 1, &[]), "FROM=n 0=n"),
        (gpus("", 2, &[]), "FROM=n 0=n 1=n"),
        (gpus("nvidia", 0, &["GPU-x", "1"]), "FROM=n GPU-x=n 1=n"),
        (gpus("amd", -1, &[]), "FROM=a 0=a"),
        (gpus("", 0, &[]), ""),
    ] {
        assert_eq!(resolved(&request, &[&directory]).unwrap(), variables);
    }
    for (request, message) in [
        (
            gpus("", 3, &[]),
            "3 GPUs are asked for, and `nvidia.com/gpu` has 2",
        ),
        (
            gpus("tpu", 1, &[]),
            "could not select device driver \"tpu\"",
        ),
        (gpus("", 1, &["0"]), "cannot set both Count and DeviceIDs"),
        (
            gpus("", 0, &["7"]),
            "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=7",
        ),
    ] {
        let error = resolved(&request, &[&directory]).unwrap_err();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn names() {
    for (text, is) in [
        ("vendor.com/class=name", true),
        ("v/c=0", true),
        ("nvidia.com/gpu=GPU-8a:1", true),
        ("/dev/a=b", false),
        ("vendor.com=name", false),
        ("vendor.com/class", false),
        ("vendor.com/class=", false),
        ("0vendor/class=a", false),
        ("vendor/class-=a", false),
        ("vendor/class=a-", false),
        ("vendor/class=a/b", false),
    ] {
        assert_eq!(is_qualified(text), is, "{text}");
    }
}

const YAML: &str = r#"---
cdiVersion: 0.6.0
kind: example.com/thing
annotations: {a: b}
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/thing
      type: c
      major: 1
      minor: 7
      fileMode: 0640
      permissions: none
    - {path: /dev/nothing, hostPath: /dev/null}
    mounts:
    - hostPath: /lib/x
      containerPath: /lib/x
      options: [ro, nosuid]
    hooks:
    - hookName: createContainer
      path: /usr/bin/nvidia-ctk
      args: [nvidia-ctk, hook, create-symlinks, --link, "a.so.1::/lib/a.so", --link=b::/c]
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, chmod, --mode, "755", --path, /dev/dri]
      env: [DEBUG=false]
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, update-ldcache, --folder, /lib/x]
    - hookName: createContainer
      path: /usr/bin/nvidia-cdi-hook
      args: [nvidia-cdi-hook, enable-cuda-compat, --host-driver-version=1]
containerEdits:
"#;

#[test]
fn edits_of_a_file() {
    let mut specification = format::parse(YAML, false).unwrap();
    let found = std::mem::take(&mut specification.devices[0].container_edits);
    let edits = Edits::new("example.com/thing=0", Path::new("/x.yaml"), found);
    let devices = edits.devices().unwrap();
    let shown: Vec<String> = devices
        .iter()
        .map(|one| {
            let node = &one.node;
            let (path, mode) = (node.path().display(), node.file_mode().unwrap());
            let (host, access) = (one.host.display(), &one.access);
            format!(
                "{path} {host} {}:{} {mode:o} {access}",
                node.major(),
                node.minor()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "/dev/thing /dev/thing 1:7 640 ",
            "/dev/nothing /dev/null 1:3 666 rwm"
        ]
    );
    let mounts = edits.mounts();
    assert_eq!(
        mounts[0].options().as_deref().unwrap(),
        ["ro", "nosuid", "bind"]
    );
    let mut rest = Rest::default();
    edits.files(&mut rest).unwrap();
    let link = |target: &str, path: &str| FileEdit::SymbolicLink {
        target: target.into(),
        path: path.into(),
    };
    assert_eq!(
        rest.edits,
        [
            link("a.so.1", "/lib/a.so"),
            link("b", "/c"),
            FileEdit::Mode {
                path: "/dev/dri".into(),
                mode: 0o755
            },
            FileEdit::Libraries {
                directories: vec!["/lib/x".into()]
            },
        ]
    );
    assert_eq!(rest.warnings.len(), 1);
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (edits, what) in [
        (
            r#""hooks": [{"hookName": "createRuntime", "path": "/bin/tool", "args": ["tool"]}]"#,
            "`/bin/tool` (createRuntime)",
        ),
        (
            r#""intelRdt": {"closID": "x"}"#,
            "Intel's resource director",
        ),
        (
            r#""netDevices": [{"hostInterfaceName": "a", "name": "b"}]"#,
            "network interfaces",
        ),
    ] {
        let text = format!(
            r#"{{"cdiVersion": "1.1.0", "kind": "a/b", "devices": [{{"name": "x", "containerEdits": {{{edits}}}}}]}}"#
        );
        let mut specification = format::parse(&text, true).unwrap();
        let found = std::mem::take(&mut specification.devices[0].container_edits);
        let edits = Edits::new("a/b=x", Path::new("/x.json"), found);
        let error = edits.files(&mut Rest::default()).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("a/b=x"), "{error}");
    }
}

#[test]
fn wrong_files() {
    let good = r#"{"cdiVersion": "0.3.0", "kind": "a/b", "devices": [{"name": "x", "containerEdits": {"env": ["A=b"]}}]}"#;
    format::parse(good, true).unwrap();
    for (from, to, why) in [
        ("0.3.0", "0.2.0", "unknown CDI version `0.2.0`"),
        ("0.3.0", "9.0.0", "unknown CDI version `9.0.0`"),
        ("a/b", "a", "the kind `a` is not `vendor/class`"),
        ("a/b", "a/b.c", "the spec version must be at least v0.6.0"),
        ("\"x\"", "\"0\"", "the spec version must be at least v0.5.0"),
        ("\"x\"", "\"x y\"", "`x y` is no name of a device"),
        ("A=b", "A", "invalid environment variable `A`"),
        (r#""env": ["A=b"]"#, "", "the device `x` changes nothing"),
        (
            r#""env": ["A=b"]"#,
            r#""additionalGids": [5]"#,
            "the spec version must be at least v0.7.0",
        ),
        (
            r#""env": ["A=b"]"#,
            r#""mounts": [{"hostPath": "/a", "containerPath": "/a", "type": "bind"}]"#,
            "the spec version must be at least v0.4.0",
        ),
        (
            r#""env": ["A=b"]"#,
            r#""deviceNodes": [{"path": "/a", "hostPath": "/b"}]"#,
            "the spec version must be at least v0.5.0",
        ),
        (
            r#""env": ["A=b"]"#,
            r#""deviceNodes": [{"path": "/a", "type": "x"}]"#,
            "unknown type `x`",
        ),
        (
            r#""env": ["A=b"]"#,
            r#""deviceNodes": [{"path": "/a", "permissions": "x"}]"#,
            "unknown permissions `x`",
        ),
        (
            r#""env": ["A=b"]"#,
            r#""hooks": [{"hookName": "never", "path": "/x"}]"#,
            "invalid hook name `never`",
        ),
        (
            r#""env""#,
            r#""environment""#,
            "unknown field `environment`",
        ),
        ("[{", "[], \"x\": [{", "unknown field `x`"),
    ] {
        let text = good.replace(from, to);
        let json = format!("{:#}", format::parse(&text, true).unwrap_err());
        assert!(json.contains(why), "{text}: {json}");
        // JSON is YAML.
        let yaml = format!("{:#}", format::parse(&text, false).unwrap_err());
        assert!(
            yaml.contains(why) || yaml.contains("unknown field"),
            "{text}: {yaml}"
        );
    }
    for broken in ["a: [", "- x", "&a [*a", ""] {
        assert!(format::parse(broken, false).is_err(), "{broken}");
    }
}
