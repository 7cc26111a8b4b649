//! Lists: what this program prints of a store, and what Docker's client prints when an engine tells it the same.

use crate::client::{self, Client};
use crate::server::{Answers, Server};
use crate::support::{Store, User, skip, store};
use serde_json::{Value, json};

/// Not UTC, and not whole hours from it.
pub const TIME_ZONE: &str = "Asia/Kolkata";

/// A command, the flags that it is tried with, and formats of its own.
type List<'a> = (&'a [&'a str], &'a [&'a [&'a str]], &'a [&'a str]);

pub const FORMATS: &[&str] = &[
    "table",
    "table {{.ID}}\\t{{.Size}}",
    "table {{upper .ID}}|{{.ID | lower | printf \"%.3s\"}}\\t{{pad .ID 2 3}}x",
    "{{.ID}}",
    "{{.Nope}}",
    "table {{.ID}}\\t{{.Nope}}",
    "{{json .ID}} {{len .ID}}\\t\\n.",
    "{{if eq .ID \"x\"}}y{{else}}n{{end}}",
    "x",
    "",
];
const OF_CONTAINERS: &[&str] = &[
    "table {{.Names}}\\t{{.Command}}\\t{{.Label \"com.example.one-two\"}}\\t{{.Image}}",
    "{{.Command}}|{{.CreatedAt}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}|{{.LocalVolumes}}|{{.Ports}}|{{.State}}",
    "table {{.Mounts}}\\t{{.Networks}}\\t{{.LocalVolumes}}\\t{{.Labels}}\\t{{.State}}\\t{{.CreatedAt}}",
    "{{.Label}}",
    "{{.Label 1}}",
    "{{.Label \"none\"}}|{{.RunningFor}}|{{.Status}}",
];
const OF_IMAGES: &[&str] = &[
    "table {{.Repository}}:{{.Tag}}\\t{{.Digest}}\\t{{.CreatedAt}}\\t{{.CreatedSince}}",
    "{{.Repository}}:{{.Tag}} {{.Containers}} {{.SharedSize}} {{.UniqueSize}}",
];
const OF_HISTORY: &[&str] = &[
    "table {{.CreatedBy}}\\t{{.Comment}}\\t{{.CreatedSince}}",
    "{{.CreatedAt}} {{.Size}} {{.Comment}}",
];

fn lines(store: &Store, arguments: &[&str]) -> Vec<Value> {
    let outcome = store.onggi(arguments.iter().copied()).run();
    outcome.code(0);
    outcome
        .stdout_text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn seconds(time: &Value) -> i64 {
    time.as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap()
        .as_second()
}

/// As the engine tells of its containers, from what this program tells of each.
fn containers(store: &Store) -> Value {
    let listed = lines(store, &["ps", "-a", "-s", "--no-trunc", "--format", "json"]);
    let summary = |row: &Value| {
        let one = &lines(
            store,
            &[
                "inspect",
                "-s",
                "--format",
                "json",
                row["ID"].as_str().unwrap(),
            ],
        )[0][0];
        let words =
            one["Args"]
                .as_array()
                .unwrap()
                .iter()
                .map(|word| match word.as_str().unwrap() {
                    word if word.contains(' ') => format!("'{word}'"),
                    word => word.to_owned(),
                });
        let words: Vec<String> = [one["Path"].as_str().unwrap().to_owned()]
            .into_iter()
            .chain(words)
            .collect();
        json!({
            "Id": one["Id"], "Names": [one["Name"]], "Image": one["Config"]["Image"], "ImageID": one["Image"],
            "Command": words.join(" "), "Created": seconds(&one["Created"]), "Ports": [],
            "Labels": one["Config"]["Labels"], "State": one["State"]["Status"], "Status": row["Status"],
            "SizeRw": one["SizeRw"], "SizeRootFs": one["SizeRootFs"],
            "HostConfig": {"NetworkMode": one["HostConfig"]["NetworkMode"]},
            "NetworkSettings": {"Networks": one["NetworkSettings"]["Networks"]}, "Mounts": one["Mounts"],
        })
    };
    listed.iter().map(summary).collect()
}

fn images(store: &Store) -> Value {
    let outcome = store.onggi(["images", "--no-trunc", "-q"]).run();
    let (listed, mut ids) = (outcome.stdout_text(), Vec::new());
    listed.lines().for_each(|id| {
        if !ids.contains(&id) {
            ids.push(id)
        }
    });
    let summary = |id: &&str| {
        let one = &lines(store, &["image", "inspect", "--format", "json", id])[0][0];
        json!({
            "Id": one["Id"], "ParentId": "", "RepoTags": one["RepoTags"], "RepoDigests": one["RepoDigests"],
            "Created": seconds(&one["Created"]), "Size": one["Size"], "VirtualSize": one["Size"], "SharedSize": -1,
            "Containers": -1, "Labels": one["Config"]["Labels"],
        })
    };
    ids.iter().map(summary).collect()
}

fn history(store: &Store, image: &str) -> Value {
    let listed = lines(
        store,
        &[
            "history",
            "--no-trunc",
            "-H=false",
            "--format",
            "{{json .}}",
            image,
        ],
    );
    let step = |row: &Value| {
        json!({
            "Id": row["ID"], "Created": seconds(&row["CreatedAt"]), "CreatedBy": row["CreatedBy"], "Tags": null,
            "Size": row["Size"].as_str().unwrap().parse::<u64>().unwrap(), "Comment": row["Comment"],
        })
    };
    listed.iter().map(step).collect()
}

/// Makes all containers a year and more old: the age of what is new changes from one line to the next.
fn age(store: &Store) {
    for entry in std::fs::read_dir(store.data().join("containers")).unwrap() {
        for (name, fields) in [
            ("container.json", &["created"][..]),
            ("state.json", &["started", "finished"]),
        ] {
            let path = entry.as_ref().unwrap().path().join(name);
            let Ok(text) = std::fs::read(&path) else {
                continue;
            };
            let mut record: Value = serde_json::from_slice(&text).unwrap();
            for field in fields
                .iter()
                .filter(|field| record[**field].as_str() != Some(""))
                .collect::<Vec<_>>()
            {
                record[*field] = "2024-02-29T12:13:14.567Z".into();
            }
            std::fs::write(&path, record.to_string()).unwrap();
        }
    }
}

/// What is different where both are asked the same.
pub fn compare(
    store: &Store,
    server: &Server,
    client: &Client,
    arguments: &[&str],
) -> Option<String> {
    let ours = store
        .onggi(arguments.iter().copied())
        .env("TZ", TIME_ZONE)
        .run();
    // The names of Go's types and what stands before the place are not ours; the sentence is.
    let sentence = |text: &str| {
        let text = text.lines().next().unwrap_or_default().to_owned();
        let from = text.find(" at <").unwrap_or(0);
        let end = text.find(" in type ").unwrap_or(text.len());
        text[from..end].to_owned()
    };
    let ours = match ours.stderr_text().as_str() {
        "" => Ok(ours.stdout_text()),
        message => Err(sentence(message)),
    };
    let docker = client
        .printed(server, arguments)
        .map_err(|text| sentence(&text));
    (ours != docker).then(|| format!("{arguments:?}\n  docker {docker:?}\n    ours {ours:?}"))
}

#[test]
fn lists_are_dockers() {
    let clients = client::clients();
    let Some(store) = store(User::Root).filter(|_| !clients.is_empty()) else {
        return;
    };
    if std::env::consts::ARCH != "x86_64" {
        return skip("the images of this test are for x86_64");
    }
    let loaded =
        ["archives/test-docker-image.tar", "hello-world-amd64-oci"].map(|name| store.load(name));
    let [Some(busybox), Some(hello)] = &loaded else {
        return;
    };
    let onggi = |arguments: &[&str], code| {
        store.onggi(arguments.iter().copied()).run().code(code);
    };
    // With one name for each image: Docker shows several in any order.
    let tool = "registry.example:5000/team/tool:v1";
    onggi(&["tag", hello, tool], 0);
    onggi(&["rmi", hello], 0);
    let words = ["sh", "-c", "echo \"a < b\"  && true"];
    onggi(
        &[
            &[
                "create",
                "--name",
                "web",
                "-l",
                "com.example.one-two=three four",
                busybox,
            ],
            &words[..],
        ]
        .concat(),
        0,
    );
    onggi(
        &[
            "create",
            "--name",
            "a.very-long_name.indeed",
            "--network",
            "host",
            tool,
        ],
        0,
    );
    let words = ["sh", "-c", "head -c 5000 /dev/zero >/x; exit 3"];
    onggi(
        &[
            &["run", "--name", "ended", "-l", "quote=say \"hi\"", busybox],
            &words[..],
        ]
        .concat(),
        3,
    );
    age(&store);
    let answers = Answers::from([
        ("/containers/json".to_owned(), containers(&store)),
        ("/images/json".to_owned(), images(&store)),
        (
            format!("/images/{busybox}/history"),
            history(&store, busybox),
        ),
    ]);
    let server = Server::start(answers);
    let history = ["history", busybox];
    let lists: [List; 3] = [
        (
            &["ps", "-a"],
            &[
                &[],
                &["--no-trunc"],
                &["-q"],
                &["-s"],
                &["-q", "--no-trunc"],
            ],
            OF_CONTAINERS,
        ),
        (
            &["images"],
            &[
                &[],
                &["--no-trunc"],
                &["-q"],
                &["--digests"],
                &["-q", "--no-trunc"],
            ],
            OF_IMAGES,
        ),
        (
            &history,
            &[
                &[],
                &["--no-trunc"],
                &["-q"],
                &["-H=false"],
                &["-q", "--no-trunc"],
            ],
            OF_HISTORY,
        ),
    ];
    let mut differences = Vec::new();
    for client in &clients {
        for (command, flags, formats) in &lists {
            let plain = flags.iter().map(|flags| [command, *flags].concat());
            let all = FORMATS.iter().chain(*formats);
            let formatted = all.map(|format| [*command, &["--format", format]].concat());
            for arguments in plain.chain(formatted) {
                differences.extend(compare(&store, &server, client, &arguments));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
}

/// Headings of everything; `system df` goes on with rows of ours, since its sum is that of du(1).
#[test]
fn headings_over_nothing_are_dockers() {
    let clients = client::clients();
    let Some(store) = store(User::Root).filter(|_| !clients.is_empty()) else {
        return;
    };
    let nothing = json!([]);
    let usage =
        json!({"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [], "BuildCache": []});
    let answers = [
        ("/containers/json", &nothing),
        ("/images/json", &nothing),
        ("/system/df", &usage),
    ];
    let answers = answers.map(|(path, answer)| (path.to_owned(), answer.clone()));
    let server = Server::start(Answers::from(answers));
    for client in &clients {
        for arguments in [
            &["ps", "-a"][..],
            &["ps", "-a", "--size", "--no-trunc"],
            &["images", "--digests"],
            &["system", "df"],
            &["system", "df", "-v"],
            &[
                "system",
                "df",
                "--format",
                "{{.Type}}|{{.Active}}|{{.Size}}|{{.Reclaimable}}|{{.TotalCount}}",
            ],
            &[
                "system",
                "df",
                "--format",
                "table {{.Reclaimable}}\\t{{.Type}}",
            ],
        ] {
            let docker = client.printed(&server, arguments).unwrap();
            let outcome = store.onggi(arguments.iter().copied()).run();
            let (docker, ours) = (docker.trim_end(), outcome.stdout_text());
            // Columns may be wider for a row of ours.
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            };
            let same = ours.trim_end() == docker || arguments[0] == "system";
            assert!(
                same && words(&ours).starts_with(&words(docker)),
                "{arguments:?}\n{docker}\n{ours}"
            );
        }
    }
}
