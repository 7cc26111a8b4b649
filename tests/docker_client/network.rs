//! Options of `create` for networks and ports: what Docker's client refuses is refused here in the same words, and what
//! it takes is taken. Of either only the first line counts, without the program's name.

use crate::client;
use crate::server::{Answers, Server};
use crate::support::{Store, User, store};

/// As words; the image is one that is nowhere, so that what is taken fails as well, but later.
const OPTIONS: &[&str] = &[
    "-p 80",
    "-p :80",
    "-p 0:80",
    "-p 8080:80/UDP",
    "-p 8000-8002:80",
    "-p 8000-8002:80-82",
    "-p 8000-8002:80-81",
    "-p 127.0.0.1::80",
    "-p 127.0.0.1:80",
    "-p [::1]:8080:80",
    "-p ::1:8080:80",
    "-p 80:",
    "-p 80:/tcp",
    "-p x:80",
    "-p 80:x",
    "-p x:y/foo",
    "-p 80:80/foo",
    "-p 1.2.3:80:80",
    "-p localhost:80:80",
    "-p 70000:80",
    "-p 80:70000",
    "-p 90-80:90",
    "-p 80:90-80",
    "-p a:b:c:d",
    "-p +80:80",
    "-p 80-:80",
    "-p target=80,published=8080",
    "-p target=80,published=x",
    "-p target=80,baz",
    "--expose 80-82/udp",
    "--expose x",
    "--expose 82-80",
    "--expose 80:90",
    "--expose 70000",
    "--expose /tcp",
    "--network a --network b --network-alias x --ip 10.1.0.2",
    "--network name=a,alias=x,ip=10.1.0.2,link-local-ip=169.254.1.1,driver-opt=k=v",
    "--network name=a,foo=x",
    "--network alias=x",
    "--network name=a,alias",
    "--network name=a,driver-opt=kv",
    "--network=",
    "--network a --network name=a",
    "--network a --network host",
    "--network bridge --network a",
    "--network name=a,alias=x --network-alias y",
    "--network name=a,ip=10.1.0.2 --ip 10.1.0.3",
    "--network name=a,ip6=fd00::1 --ip6 fd00::2",
    "--network none --network-alias x",
    "--network-alias x",
    "--mac-address zz --network a",
    "--link a:b:c",
    "--link db:data",
];

/// What is refused, or nothing.
fn told(text: &[u8], program: &str) -> String {
    let text = String::from_utf8_lossy(text);
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_prefix(program).unwrap_or(first);
    let taken = [
        "Unable to find image",
        "Error response",
        "No such image",
        "network ",
    ];
    match taken.iter().any(|start| first.starts_with(start)) && !first.contains("multiple times") {
        true => String::new(),
        false => first.to_owned(),
    }
}

fn differences(store: &Store) -> Vec<String> {
    let server = Server::start(Answers::new());
    let (mut differences, mut refused) = (Vec::new(), 0);
    // Those of before version 26 have other words for some of it.
    let clients: Vec<_> = client::clients()
        .into_iter()
        .filter(|client| client.go >= 24)
        .collect();
    for client in &clients {
        for options in OPTIONS {
            let options: Vec<&str> = options.split(' ').collect();
            let words = [&["create"], &options[..], &["nowhere.invalid/image"]].concat();
            let theirs = client.run(&server, &words);
            let theirs = told(&theirs.stderr, "docker: ");
            let words = [&["create", "--pull", "never"], &words[1..]].concat();
            let ours = store.onggi(&words).run();
            let ours = told(ours.stderr_text().as_bytes(), "onggi: ");
            refused += usize::from(!theirs.is_empty());
            if ours != theirs {
                differences.push(format!(
                    "{options:?}\n  docker {theirs:?}\n    ours {ours:?}"
                ));
            }
        }
    }
    assert!(refused > 30 * clients.len(), "only {refused} were refused");
    differences
}

#[test]
fn networks_and_ports_are_refused_in_dockers_words() {
    let Some(store) = store(User::Root) else {
        return;
    };
    let differences = differences(&store);
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}
