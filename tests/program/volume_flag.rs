//! `-v`: what is mounted, what stays, who owns what it makes, and what cannot be mounted.

use super::mount_flag::{assert_refused, volumes};
use crate::support::{ALPINE, Store, User, everyone_with_alpine, store};
use std::os::unix::fs::{MetadataExt, symlink};

/// A directory of the user with one file in it.
fn source(store: &Store, name: &str) {
    let make = format!("mkdir -p '{name}' && echo from-host > '{name}/file'");
    let made = store.command("sh").args(["-c", &make]).status().unwrap();
    assert!(made.success());
}

#[test]
fn a_directory_of_the_host() {
    for store in everyone_with_alpine() {
        source(&store, "data");
        let script = "cat /x/file; echo from-inside > /x/new; cd /x; ls";
        let outcome = store.shell(&["-v", "./data:/x"], script).run();
        outcome.code(0).stderr("").stdout("from-host\nfile\nnew\n");
        let new = store.home().join("data/new");
        assert_eq!(std::fs::read_to_string(&new).unwrap(), "from-inside\n");
        assert_eq!(new.metadata().unwrap().uid(), store.account.uid);
        let absolute = format!("{}/data//../data:/a/../x/:ro", store.home().display());
        let outcome = store
            .shell(&["-v", &absolute], "cat /x/new; touch /x/z")
            .run();
        outcome
            .code(1)
            .stdout("from-inside\n")
            .stderr_has("Read-only file system");
        let file = store
            .shell(&["-v", "./data/file:/etc/made/here"], "cat /etc/made/here")
            .run();
        file.code(0).stdout("from-host\n");
    }
}

#[test]
fn a_missing_source_is_made_as_the_caller() {
    for store in everyone_with_alpine() {
        store
            .shell(&["-v", "./new/one:/x"], "ls -A /x")
            .run()
            .code(0)
            .stdout("");
        for name in ["new", "new/one"] {
            let made = store.home().join(name).metadata().unwrap();
            assert!(made.is_dir());
            assert_eq!(
                (made.uid(), made.gid()),
                (store.account.uid, store.account.gid)
            );
        }
    }
}

#[test]
fn volumes_with_names_stay_and_those_without_go() {
    for store in everyone_with_alpine() {
        let options = ["-v", "data:/x", "-v", "/nameless"];
        store
            .shell(&options, "echo kept > /x/a; touch /nameless/b")
            .run()
            .code(0)
            .stdout("");
        assert_eq!(volumes(&store), ["data"]);
        store
            .shell(&["-v", "data:/y:ro"], "cat /y/a")
            .run()
            .code(0)
            .stdout("kept\n");
        let create = ["create", "--name", "web", "-v", "/nameless", ALPINE, "true"];
        store.onggi(create).run().code(0);
        assert_eq!(volumes(&store).len(), 2);
        store.onggi(["rm", "-v", "web"]).run().code(0);
        assert_eq!(volumes(&store), ["data"]);
    }
}

#[test]
fn a_new_volume_has_what_the_image_has_there() {
    for store in everyone_with_alpine() {
        store
            .shell(&["-v", "config:/etc/apk"], "cat /etc/apk/arch | wc -l")
            .run()
            .code(0)
            .stdout("1\n");
        let options = ["-v", "config:/x", "-v", "empty:/etc/apk:nocopy"];
        store
            .shell(&options, "ls /x/arch; ls -A /etc/apk")
            .run()
            .code(0)
            .stdout("/x/arch\n");
    }
}

#[test]
fn programs_do_not_run_from_where_they_may_not() {
    for store in everyone_with_alpine() {
        source(&store, "data");
        let script = "cp /bin/busybox /x/echo; /x/echo ran";
        store
            .shell(&["-v", "./data:/x"], script)
            .run()
            .code(0)
            .stdout("ran\n");
        let outcome = store.shell(&["-v", "./data:/x:noexec"], script).run();
        outcome.code(126).stdout("").stderr_has("Permission denied");
    }
}

#[test]
fn inspect_and_ps_tell_of_mounts() {
    for store in everyone_with_alpine() {
        source(&store, "data");
        let create = [
            "create",
            "--name",
            "web",
            "-v",
            "cache:/c",
            "-v",
            "./data:/d:ro,z",
            "-v",
            "/n",
            ALPINE,
            "true",
        ];
        store.onggi(create).run().code(0);
        let told = |template: &str| {
            let outcome = store.onggi(["inspect", "-f", template, "web"]).run();
            outcome.code(0).stdout_text().trim().to_owned()
        };
        let path = store.home().join("data").display().to_string();
        let bind = r#"{{range .Mounts}}{{if eq .Type "bind"}}{{json .}}{{end}}{{end}}"#;
        let expected = format!(
            r#"{{"Type":"bind","Source":"{path}","Destination":"/d","Mode":"ro,z","RW":false,"Propagation":"rprivate"}}"#
        );
        assert_eq!(told(bind), expected);
        let data = store
            .data()
            .join("volumes/cache/_data")
            .display()
            .to_string();
        let volume = r#"{{range .Mounts}}{{if eq .Name "cache"}}{{json .}}{{end}}{{end}}"#;
        let expected = format!(
            r#"{{"Type":"volume","Name":"cache","Source":"{data}","Destination":"/c","Driver":"local","Mode":"z","RW":true,"Propagation":""}}"#
        );
        assert_eq!(told(volume), expected);
        assert_eq!(
            told("{{json .HostConfig.Binds}}"),
            format!(r#"["cache:/c","{path}:/d:ro,z"]"#)
        );
        assert_eq!(
            told("{{json .Config.Volumes}} {{.HostConfig.Mounts}}"),
            r#"{"/n":{}} []"#
        );
        let ps = |words: &[&str]| {
            store
                .onggi(["ps", "-a"].iter().chain(words))
                .run()
                .stdout_text()
        };
        let shown = ps(&["--no-trunc", "--format", "{{.Mounts}} {{.LocalVolumes}}"]);
        assert!(
            shown.contains(&format!("cache,{path},")) && shown.ends_with(" 2\n"),
            "{shown}"
        );
        let shown = ps(&["--format", "{{.Mounts}}"]);
        assert!(shown.contains("…") && !shown.contains(&path), "{shown}");
        let space = store.onggi(["system", "df", "-v"]).run().stdout_text();
        let row = space.lines().find(|line| line.ends_with(" web")).unwrap();
        assert!(row.contains("\"true\"    2 "), "{row}");
        for (filter, names) in [
            ("cache", "web\n"),
            ("/d", "web\n"),
            (&path, "web\n"),
            ("cach", ""),
            ("/", ""),
        ] {
            let filter = format!("volume={filter}");
            assert_eq!(
                ps(&["--filter", &filter, "--format", "{{.Names}}"]),
                names,
                "{filter}"
            );
        }
    }
}

#[test]
fn what_cannot_be_mounted_leaves_nothing() {
    let not_yet = "is not supported yet";
    for store in everyone_with_alpine() {
        for (value, message) in [
            ("", "invalid empty volume spec"),
            (":/x", "invalid spec: :/x: empty section between colons"),
            ("data:", "invalid spec: data:: empty section between colons"),
            ("./a:/x:ro:z", "invalid spec: ./a:/x:ro:z: too many colons"),
            ("data:ro", "invalid volume specification: 'data:ro'"),
            ("data:/x:y", "invalid mode: y"),
            ("data:/x:ro,", "try: there is a comma too many\n"),
            ("data:/x:ro,ro", "try: write \"ro\" once\n"),
            (
                "./co:lon:/m",
                "--mount type=bind,source=./co:lon,target=/m\n",
            ),
            (
                "/co:l:on:/m:ro",
                "--mount type=bind,source=/co:l:on,target=/m,readonly\n",
            ),
            (
                "./a:/x:idmap=uids=0-0-10#5-100-1",
                "entries of idmap overlap: some id on the disk is in two of them",
            ),
            ("data:/x:ro,rw", "invalid mode: ro,rw"),
            ("data:/", "invalid specification: destination can't be '/'"),
            (
                "data:x",
                "invalid mount path: 'x' mount path must be absolute",
            ),
            (
                "no/where:/x",
                "\"no/where\" includes invalid characters for a local volume name",
            ),
            (
                "~/a:/x",
                "\"~/a\" includes invalid characters for a local volume name",
            ),
            (
                "자료:/x",
                "\"자료\" includes invalid characters for a local volume name",
            ),
            ("./a:/x:O", not_yet),
            ("data:/x:idmap=uids=1", "invalid mode: idmap=uids=1"),
        ] {
            assert_refused(&store, &["-v", "made:/made", "-v", value], message);
        }
        for (value, message) in [
            ("size=lots", "invalid size: 'lots'"),
            ("inodes=1", "Unknown option inodes"),
            ("size", "invalid storage option: 'size'"),
        ] {
            assert_refused(
                &store,
                &["-v", "made:/made", "--storage-opt", value],
                message,
            );
        }
        if store.user == User::Root {
            let silent = ["-v", "one:/x:idmap"];
            assert_refused(&store, &silent, "neither it nor the container says how");
        }
        let twice = ["-v", "one:/x", "-v", "two:/x/"];
        assert_refused(&store, &twice, "Duplicate mount point: /x");
        let driver = ["-v", "one:/x", "--volume-driver", "nfs"];
        assert_refused(&store, &driver, "plugin \"nfs\" not found");
    }
}

#[test]
fn a_file_is_no_directory() {
    for store in everyone_with_alpine() {
        source(&store, "data");
        for (value, message) in [
            ("./data/file:/etc", "`/etc` is a directory"),
            ("./data:/etc/passwd", "`/etc/passwd` is a file"),
            ("data:/etc/passwd/x", "/etc/passwd"),
        ] {
            let outcome = store.shell(&["-v", value], "echo ran").run();
            outcome.code(125).stdout("").stderr_has(message);
            store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        }
    }
}

#[test]
fn loops_of_links_end() {
    for store in everyone_with_alpine() {
        symlink("b", store.home().join("a")).unwrap();
        symlink("a", store.home().join("b")).unwrap();
        let outcome = store.shell(&["-v", "./a:/x"], "echo ran").run();
        outcome.code(125).stdout("").stderr_has("ymbolic link");
        let make = [
            "run",
            "--name",
            "web",
            ALPINE,
            "sh",
            "-c",
            "ln -s b /a; ln -s a /b; ln -s /etc /up",
        ];
        store.onggi(make).run().code(0);
        store.onggi(["commit", "web", "looped"]).run().code(0);
        store.onggi(["rm", "web"]).run().code(0);
        source(&store, "data");
        let run = |target: &str| {
            let value = format!("./data:{target}");
            store
                .onggi(["run", "--rm", "-v", &value, "looped", "cat", "/etc/file"])
                .run()
        };
        run("/a/x").code(125).stdout("").stderr_has("ymbolic link");
        // A link of the image leads to a place within it, as for its own programs.
        run("/up").code(0).stdout("from-host\n");
        store.onggi(["ps", "-aq"]).run().code(0).stdout("");
        assert!(!store.home().join("data/x").exists());
    }
}

#[test]
fn a_thousand_mounts() {
    for store in everyone_with_alpine() {
        source(&store, "data");
        let values: Vec<String> = (0..1000)
            .map(|number| format!("./data:/m/{number}"))
            .collect();
        let options: Vec<&str> = values
            .iter()
            .flat_map(|value| ["-v", value.as_str()])
            .collect();
        let script = "ls /m | wc -l; cat /m/999/file; grep -c ' /m/' /proc/self/mountinfo";
        store
            .shell(&options, script)
            .run()
            .code(0)
            .stdout("1000\nfrom-host\n1000\n");
    }
}

#[test]
fn owners_are_mapped_where_they_are_asked_to_be() {
    let Some(store) = store(crate::support::User::Root).filter(Store::alpine) else {
        return;
    };
    source(&store, "data");
    std::os::unix::fs::chown(store.home().join("data/file"), Some(1000), Some(1001)).unwrap();
    let owner = |mode: &str| {
        let value = format!("./data:/x:{mode}");
        store.shell(&["-v", &value], "stat -c %u:%g /x/file").run()
    };
    let own = |mode: &str| {
        let value = format!("./data:/x:{mode}");
        let [map, ids] = store.own_user_namespace();
        let options = [map, ids, "-v", &value];
        store.shell(&options, "stat -c %u:%g /x/file").run()
    };
    owner("rw").code(0).stdout("1000:1001\n");
    owner("idmap=uids=1000-7-1;gids=1001-8-1")
        .code(0)
        .stdout("7:8\n");
    own("rw").code(0).stdout("65534:65534\n");
    own("idmap").code(0).stdout("1000:1001\n");
    own("idmap=uids=1000-7-1;gids=1001-8-1")
        .code(0)
        .stdout("7:8\n");
    let outcome = own("idmap=uids=1000-70000-1;gids=1001-8-1");
    outcome
        .code(125)
        .stderr_has("the container has no id 70000");
    owner("U").code(0).stdout("0:0\n");
    let file = store.home().join("data/file").metadata().unwrap();
    assert_eq!((file.uid(), file.gid()), (0, 0));
}
