//! What builds keep has its part of the disk, in `system df`, and goes with `system prune`.

use crate::support::{Store, everyone_with_alpine};

/// The row of `system df`: how many, how many in use, bytes, bytes that may go.
fn row(store: &Store) -> Vec<String> {
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}";
    let told = store.ok(["system", "df", "--format", format]);
    let row = told
        .lines()
        .find_map(|line| line.strip_prefix("Build Cache|"));
    row.unwrap().split('|').map(str::to_owned).collect()
}

#[test]
fn what_builds_keep_has_its_part_of_the_disk() {
    for store in everyone_with_alpine() {
        assert_eq!(row(&store), ["0", "0", "0B", "0B"]);
        let text = "FROM alpine:3.20\nRUN head -c 3000000 /dev/zero > /large\n\
                    RUN --mount=type=cache,target=/c head -c 2000000 /dev/zero > /c/kept; touch /done\n";
        store.file("context/Dockerfile", text);
        store.ok(["build", "-q", "context"]);
        // What the image has is the image's: only the cache mount is the cache's own.
        let [total, active, size, free] = &row(&store)[..] else {
            panic!("four columns");
        };
        assert!(total.parse::<u32>().unwrap() >= 3 && active == "0");
        assert!(size.starts_with("2.0") && size.ends_with("MB"), "{size}");
        assert_eq!(*free, format!("{size} (100%)"));
        store.ok(["image", "prune", "-f"]);
        assert!(row(&store)[2].starts_with("5.0"), "{:?}", row(&store));
        let told = store.ok(["system", "df", "-v"]);
        assert!(
            told.contains(&format!("\nBuild cache usage: {}\n", row(&store)[2])),
            "{told}"
        );
        let lines = |kind: &str| {
            let is_meant = |line: &&str| line.split_whitespace().nth(1) == Some(kind);
            told.lines().filter(is_meant).count()
        };
        assert_eq!(
            (lines("regular"), lines("exec.cachemount")),
            (2, 1),
            "{told}"
        );
        let json: serde_json::Value =
            serde_json::from_str(&store.ok(["system", "df", "-v", "--format", "json"])).unwrap();
        let cached = json["BuildCache"].as_array().unwrap();
        let mount = cached
            .iter()
            .find(|entry| entry["CacheType"] == "exec.cachemount")
            .unwrap();
        assert_eq!(mount["Size"], "2MB");
        assert_eq!(mount["Description"], "cached mount /c");
        assert_eq!(
            (&mount["UsageCount"], &mount["InUse"]),
            (&"1".into(), &"false".into())
        );
        // A container needs the image, and so its layers stay: `system prune` leaves their records.
        store.ok(["build", "-q", "-t", "app", "context"]);
        store.ok(["create", "--name", "jar", "app", "true"]);
        let one_more = store.ok(["system", "prune", "-f", "--filter", "until=1h"]);
        assert!(!one_more.contains("build cache"), "{one_more}");
        store
            .onggi(["system", "prune", "-f", "--filter", "label=x"])
            .run()
            .code(0)
            .stdout_lacks("build cache");
    }
}

#[test]
fn pruning_the_system_empties_the_cache() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20 AS other\nRUN head -c 3000000 /dev/zero > /large\nFROM alpine:3.20\nCOPY --from=other /bin/busybox /x\n";
        store.file("context/Dockerfile", text);
        store.ok(["build", "-q", "-t", "app", "context"]);
        let question = store.onggi(["system", "prune"]).stdin("\n").run();
        question
            .code(1)
            .stdout_has("\n  - all dangling images\n  - unused build cache\n\n");
        let told = store.ok(["system", "prune", "-f"]);
        let (_, ids) = told
            .split_once("Deleted build cache objects:\n")
            .expect(&told);
        assert_eq!(ids.lines().next().unwrap().len(), 64);
        // The record of what the image has stays, that of the other stage went.
        assert_eq!(row(&store)[2], "0B");
        let again = store.onggi(["build", "--progress=plain", "context"]).run();
        again.code(0).stderr_has("[other 2/2] RUN");
        store.ok(["image", "rm", "-f", "app"]);
        store.ok(["system", "prune", "-af"]);
        assert_eq!(row(&store), ["0", "0", "0B", "0B"]);
        assert_eq!(store.ok(["system", "check"]), "The store is consistent\n");
    }
}
