//! `--mount`: its types and keys, names that `-v` cannot say, and what cannot be mounted.

use crate::support::{ALPINE, Store, everyone_with_alpine};

/// The names of all volumes.
pub fn volumes(store: &Store) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(store.data().join("volumes")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A container with these options is refused with that message; neither it nor a volume is there.
pub fn assert_refused(store: &Store, options: &[&str], message: &str) {
    let before = volumes(store);
    let outcome = store.shell(options, "echo ran").run();
    outcome.code(125).stdout("").stderr_has(message);
    store.onggi(["ps", "-aq"]).run().code(0).stdout("");
    assert_eq!(volumes(store), before, "{options:?}");
}

#[test]
fn names_that_need_quotes() {
    for store in everyone_with_alpine() {
        for name in [
            "two words",
            "a,b",
            "a:b",
            "a\"b",
            "한 글: 항아리, \"옹기\"",
            "-x",
            "x=y",
            "é\u{301}",
        ] {
            let directory = store.home().join(name);
            std::fs::create_dir(&directory).unwrap();
            std::fs::write(directory.join("file"), name).unwrap();
            let quoted = name.replace('"', "\"\"");
            let mount = format!("type=bind,\"src=./{quoted}\",\"dst=/m/{quoted}\",ro");
            let outcome = store.onggi(["run", "--rm", "--mount", &mount, ALPINE, "cat"]);
            let outcome = outcome.args([format!("/m/{name}/file")]).run();
            outcome.code(0).stderr("").stdout(name);
        }
    }
}

#[test]
fn all_types() {
    for store in everyone_with_alpine() {
        let mounts = [
            "--mount",
            "src=data,dst=/v,volume-label=a=b",
            "--mount",
            "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1750",
            "--mount",
            "type=image,src=alpine:3.20,dst=/i",
            "--mount",
            "type=image,src=alpine:3.20,dst=/part,image-subpath=etc/apk",
        ];
        let script = "mkdir -p /v/a/b; echo kept > /v/a/b/c; df -k /t | awk 'NR > 1 { print $2 }'; stat -c %a /t; \
                      cat /i/etc/alpine-release; ls /part/arch; touch /i/x || echo no";
        let outcome = store.shell(&mounts, script).run();
        outcome
            .code(0)
            .stdout("1024\n1750\n3.20.3\n/part/arch\nno\n");
        let part = [
            "--mount",
            "type=volume,src=data,dst=/x,volume-subpath=a/b,ro",
        ];
        let outcome = store.shell(&part, "cat /x/c; touch /x/d").run();
        outcome
            .code(1)
            .stdout("kept\n")
            .stderr_has("Read-only file system");
        let record = std::fs::read_to_string(store.data().join("volumes/data/volume.json"));
        assert!(record.unwrap().contains("\"a\": \"b\""));
        assert_eq!(volumes(&store), ["data"]);
    }
}

#[test]
fn nocopy_and_a_source_that_is_made() {
    for store in everyone_with_alpine() {
        let empty = ["--mount", "src=empty,dst=/etc/apk,volume-nocopy"];
        store
            .shell(&empty, "ls -A /etc/apk")
            .run()
            .code(0)
            .stdout("");
        let made = ["--mount", "type=bind,src=./made,dst=/x,bind-create-src"];
        store.shell(&made, "ls -A /x").run().code(0).stdout("");
        assert!(store.home().join("made").is_dir());
    }
}

#[test]
fn inspect_shows_what_was_asked_for() {
    for store in everyone_with_alpine() {
        let mounts = [
            "--mount",
            "src=data,dst=/v,volume-nocopy",
            "--mount",
            "type=tmpfs,dst=/t,tmpfs-mode=700",
        ];
        let create = ["create", "--name", "web"].into_iter().chain(mounts);
        store.onggi(create).args([ALPINE, "true"]).run().code(0);
        let template = "{{json .HostConfig.Mounts}} {{json .HostConfig.Binds}} {{len .Mounts}} \
                        {{(index .HostConfig.Mounts 1).TmpfsOptions.Mode}}";
        let outcome = store.onggi(["inspect", "-f", template, "web"]).run();
        outcome.code(0).stdout(concat!(
            r#"[{"Type":"volume","Source":"data","Target":"/v","VolumeOptions":{"NoCopy":true}},"#,
            r#"{"Type":"tmpfs","Target":"/t","TmpfsOptions":{"Mode":448}}] null 2 448"#,
            "\n"
        ));
    }
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    for store in everyone_with_alpine() {
        for (value, message) in [
            (
                "",
                "invalid argument \"\" for \"--mount\" flag: value is empty",
            ),
            (
                "type=bind,src=./a",
                "for \"--mount\" flag: target is required",
            ),
            (
                "src=data,dst=/x,foo",
                "invalid field 'foo' must be a key=value pair",
            ),
            (
                "src=data,dst=/x,foo=bar",
                "unexpected key 'foo' in 'foo=bar'",
            ),
            (
                "src=data,dst=/x,\"foo",
                "extraneous or missing \" in quoted field",
            ),
            (
                "type=bind,src=/a,dst=/x,volume-nocopy",
                "cannot mix 'volume-*' options with mount type 'bind'",
            ),
            ("type=npipe,src=a,dst=/x", "'type=npipe' is not supported"),
            (
                "type=glob,src=/a*,dst=/x",
                "'type=glob' is not supported yet",
            ),
            (
                "type=bind,src=./missing,dst=/x",
                "bind source path does not exist: ",
            ),
            (
                "type=bind,src=missing,dst=/x",
                "invalid mount path: 'missing' mount path must be absolute",
            ),
            (
                "type=bind,dst=/x",
                "invalid mount config for type \"bind\": field Source must not be empty",
            ),
            (
                "type=tmpfs,src=/a,dst=/x",
                "invalid mount config for type \"tmpfs\": field Source must not be specified",
            ),
            ("type=image,src=missing,dst=/x", "missing"),
            (
                "src=/a,dst=/x",
                "\"/a\" includes invalid characters for a local volume name",
            ),
            (
                "src=data,dst=/x,volume-subpath=../y",
                "subpath \"../y\" must be a relative path within the volume",
            ),
            ("src=data,dst=/made", "Duplicate mount point: /made"),
            (
                "src=data,dst=/x,volume-driver=nfs",
                "plugin \"nfs\" not found",
            ),
        ] {
            assert_refused(&store, &["-v", "made:/made", "--mount", value], message);
        }
    }
}
