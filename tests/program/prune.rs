//! container prune and system prune: what goes, what stays, what is asked and told.

use crate::support::life::OBEDIENT;
use crate::support::{ALPINE, Store, everyone_with_alpine};

fn run(store: &Store, words: &[&str]) -> String {
    let outcome = store.onggi(words).run();
    outcome.code(0).stdout_text()
}

fn names(store: &Store) -> String {
    let text = run(store, &["ps", "-a", "--format", "{{.Names}}"]);
    text.lines().collect::<Vec<_>>().join(" ")
}

#[test]
fn containers_that_do_not_run_go() {
    for store in everyone_with_alpine() {
        let write = "head -c 5000 /dev/zero >/file";
        store
            .onggi([
                "run", "--name", "ended", "-l", "a=1", ALPINE, "sh", "-c", write,
            ])
            .run()
            .code(0);
        run(&store, &["create", "--name", "new", ALPINE, "true"]);
        run(
            &store,
            &["run", "-d", "--name", "up", ALPINE, "sleep", "1000"],
        );
        let question = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
        let no = store.onggi(["container", "prune"]).stdin("n\n").run();
        no.code(1)
            .stdout(question)
            .stderr_has("container prune has been cancelled");
        let nothing = "Total reclaimed space: 0B\n";
        for filter in ["label=a=2", "label!=a", "until=1h"] {
            let words = ["container", "prune", "-f", "--filter", filter];
            if filter == "label!=a" {
                assert!(run(&store, &words).starts_with("Deleted Containers:\n"));
                assert_eq!(names(&store), "up ended");
            } else {
                assert_eq!(run(&store, &words), nothing, "{filter}");
            }
        }
        let id = run(&store, &["ps", "-aqf", "name=ended", "--no-trunc"]);
        let yes = store.onggi(["container", "prune"]).stdin("y\n").run();
        yes.code(0).stdout(&format!(
            "{question}Deleted Containers:\n{id}\nTotal reclaimed space: 5kB\n"
        ));
        assert_eq!(names(&store), "up");
        assert_eq!(run(&store, &["container", "prune", "-f"]), nothing);
        let told = run(
            &store,
            &[
                "events",
                "--since",
                "0",
                "--until",
                "0s",
                "-f",
                "event=prune",
                "--format",
                "{{.Type}} {{.Actor.Attributes.reclaimed}}",
            ],
        );
        assert!(told.contains("container 5000\n"), "{told}");
        for (filter, message) in [
            ("until=x", "failed to parse value"),
            ("x=y", "invalid filter 'x'"),
        ] {
            let outcome = store
                .onggi(["container", "prune", "--filter", filter])
                .run();
            outcome.code(1).stdout("").stderr_has(message);
        }
    }
}

#[test]
fn the_whole_system() {
    for store in everyone_with_alpine() {
        store
            .onggi(["import", "-", "unused:1"])
            .stdin([0; 1024])
            .run()
            .code(0);
        store.onggi(["import", "-"]).stdin([0; 1024]).run().code(0);
        run(&store, &["create", "--name", "new", ALPINE, "true"]);
        let no = store
            .onggi(["system", "prune", "-a", "--filter", "label=x"])
            .stdin("\n")
            .run();
        no.code(1).stderr_has("system prune has been cancelled").stdout(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - all images without at least one container \
             associated to them\n  - all build cache\n\n  Items to be pruned will be filtered with:\n  - label=x\n\nAre you sure you want \
             to continue? [y/N] ",
        );
        let text = run(&store, &["system", "prune", "-f", "--volumes"]);
        assert!(
            text.starts_with("Deleted Containers:\n")
                && text.contains("\n\nTotal reclaimed space: "),
            "{text}"
        );
        assert_eq!(names(&store), "");
        let images = |store: &Store| run(store, &["images", "--format", "{{.Repository}}"]);
        assert!(images(&store).contains("alpine\n") && images(&store).contains("unused\n"));
        let text = run(&store, &["system", "prune", "-af"]);
        assert!(text.contains("Deleted Images:\nuntagged: "), "{text}");
        assert!(text.ends_with("MB\n"), "{text}");
        assert_eq!(images(&store), "");
        let both = ["system", "prune", "-f", "--volumes", "--filter", "until=1h"];
        let message = "The \"until\" filter is not supported with \"--volumes\"";
        store.onggi(both).run().code(1).stderr_has(message);
    }
}

#[test]
fn places_to_mount_on_go_unless_a_container_uses_them() {
    for store in everyone_with_alpine() {
        let places = || {
            let found = std::fs::read_dir(store.data().join("mount-points"));
            found.map_or(0, Iterator::count)
        };
        store.detached("jar", &[], OBEDIENT);
        assert_eq!(places(), 1);
        store.ok(["system", "prune", "-f"]);
        assert_eq!(places(), 1);
        store.ok(["rm", "-f", "jar"]);
        store.ok(["system", "prune", "-f"]);
        assert_eq!(places(), 0);
    }
}
