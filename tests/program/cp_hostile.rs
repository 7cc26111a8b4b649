//! cp: links, archives and changes that want to lead out of the container or the destination.

use super::cp::{cp, listing, names, remove, running, stopped};
use crate::support::{ALPINE, everyone_with_alpine};

#[test]
fn a_hostile_container_leads_nowhere() {
    for store in everyone_with_alpine() {
        store.file("secret", "secret");
        store.file("file", "mine");
        let out = store.home().display().to_string();
        let script = format!(
            "ln -s {out} /out; ln -s ../../../../../../../..{out} /up; ln -s /chain2 /chain1; ln -s /../..{out} /chain2; \
             ln -s /loop /loop; mkdir /d; ln -s {out}/secret /d/secret; ln -s {out} /d/dir"
        );
        for runs in [false, true] {
            let client = match runs {
                true => Some(running(&store, &[], &script)),
                false => {
                    store
                        .onggi(["run", "--name", "web", ALPINE, "sh", "-c", &script])
                        .run()
                        .code(0);
                    None
                }
            };
            for link in ["/out", "/up", "/chain1", "/loop"] {
                for flags in [&[][..], &["-L"]] {
                    let from = format!("web:{link}/secret");
                    cp(&store, &[flags, &[&from, "-"]].concat())
                        .expect(true, "")
                        .code(1);
                    let to = format!("web:{link}/planted");
                    cp(&store, &[flags, &["file", &to]].concat()).code(1);
                }
                cp(&store, &["file", &format!("web:{link}")]);
                assert!(!store.home().join("planted").exists());
            }
            // Links come out as links, and what follows goes not through them.
            cp(&store, &["web:/d", "d"]).code(0);
            assert!(store.home().join("d/secret").is_symlink());
            cp(&store, &["web:/d/.", "d"]).code(0);
            assert_eq!(
                std::fs::read_to_string(store.home().join("secret")).unwrap(),
                "secret"
            );
            std::fs::remove_dir_all(store.home().join("d")).unwrap();
            remove(&store, client);
        }
    }
}

#[test]
fn a_hostile_archive_leads_nowhere() {
    for store in everyone_with_alpine() {
        stopped(&store);
        let archive = |members: &[(&str, tar::EntryType, &str)]| {
            let mut bytes = Vec::new();
            for (name, kind, link) in members {
                let mut header = tar::Header::new_gnu();
                header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
                header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
                header.set_entry_type(*kind);
                header.set_size(0);
                header.set_mode(0o755);
                header.set_uid(0);
                header.set_gid(0);
                header.set_mtime(0);
                header.set_cksum();
                bytes.extend_from_slice(header.as_bytes());
            }
            bytes.resize(bytes.len() + 1024, 0);
            bytes
        };
        use tar::EntryType as T;
        for (members, message) in [
            (
                &[("../x", T::Regular, "")][..],
                "leads out of the destination",
            ),
            (
                &[("a/../../x", T::Regular, "")],
                "leads out of the destination",
            ),
            (
                &[("link", T::Link, "../../etc/passwd")],
                "leads out of the destination",
            ),
            (
                &[("l", T::Symlink, "/none"), ("l/x", T::Regular, "")],
                "leads nowhere",
            ),
            (
                &[("f", T::Regular, ""), ("f/x", T::Regular, "")],
                "is not a directory",
            ),
        ] {
            store
                .onggi(["cp", "-", "web:/srv"])
                .stdin(archive(members))
                .run()
                .code(1)
                .stderr_has(message);
        }
        // In a container a link leads where it leads for its programs, which is inside.
        let members = [
            ("out", T::Symlink, "../../../../mnt"),
            ("out/x", T::Regular, ""),
            ("/abs", T::Regular, ""),
            // A link to itself leaves what is there.
            ("abs", T::Link, "./abs"),
        ];
        store
            .onggi(["cp", "-", "web:/srv"])
            .stdin(archive(&members))
            .run()
            .code(0);
        assert_eq!(names(&store, "/mnt"), ["mnt", "mnt/x"]);
        assert!(names(&store, "/srv").contains(&"srv/abs".to_owned()));
    }
}

#[test]
fn parents_that_are_replaced_meanwhile_lead_nowhere() {
    for store in everyone_with_alpine() {
        let home = store.home().display().to_string();
        let target = store.home().join("target");
        assert!(
            store
                .command("mkdir")
                .arg(&target)
                .status()
                .unwrap()
                .success()
        );
        let script = format!(
            "mkdir -p /a/real; ln -s {}/target /a/link; \
             (while :; do mv /a/real /a/swap; mv /a/link /a/real; mv /a/real /a/link; mv /a/swap /a/real; done) 2>/dev/null &",
            home
        );
        let client = running(&store, &[], &script);
        let script = "mkdir -p many; for n in $(seq 50); do echo x >many/$n; done";
        assert!(
            store
                .command("sh")
                .args(["-c", script])
                .status()
                .unwrap()
                .success()
        );
        let mut reached = 0;
        for _ in 0..20 {
            // It may find the directory or not; it must not find ours.
            let outcome = cp(&store, &["many/.", "web:/a/real"]);
            reached += u32::from(outcome.stderr_text().is_empty());
            cp(&store, &["web:/a/real", "-"]);
        }
        assert_eq!(listing(&target), [""; 0]);
        assert!(reached > 0);
        remove(&store, Some(client));
    }
}
