//! Real servers in containers and real clients of them, of Debian's packages: beside them, and from another machine.

use crate::scene::{HOST, WORLD, at};
use crate::support::life::until;
use crate::support::{Outcome, Store, User, debian, store};
use crate::town::{KNOWN, PORT, Town, town};
use std::io::{Read, Write};
use std::net::Shutdown;

const README: &str = include_str!("../../README.md");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/network");
/// The address of a container in its network.
const ADDRESS: &str = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
/// The image of all of them.
const DEBIAN: &str = "debian";

/// A town in which the user and somebody in the world have that Debian.
struct Servers<'a> {
    town: &'a Town,
    /// Root's, there.
    world: Store,
}

#[test]
fn of_root() {
    servers(User::Root);
}

#[test]
fn of_a_user_with_subordinate_ids() {
    servers(User::Subuid);
}

#[test]
fn of_a_user_with_a_single_id() {
    servers(User::Single);
}

/// All of them one after the other, since it is the image that takes time.
fn servers(user: User) {
    town(user, |town| {
        let Some(world) = store(User::Root) else {
            return;
        };
        if debian::import(&town.store, &[], DEBIAN) && debian::import(&world, &[], DEBIAN) {
            let servers = Servers { town, world };
            for play in [
                what_the_readme_shows,
                three_containers,
                redis_and_dig,
                socat,
                iperf3,
                narrow,
            ] {
                play(&servers);
                let names = town.onggi(&["ps", "-aq"]).stdout_text();
                let remove = ["rm", "-f"].into_iter().chain(names.split_whitespace());
                town.onggi(&remove.collect::<Vec<_>>()).code(0);
                town.onggi(&["network", "prune", "-f"]).code(0);
            }
        }
    });
}

impl Servers<'_> {
    /// A program in a new container.
    #[track_caller]
    fn start(&self, name: &str, options: &[&str], program: &[&str]) {
        let run = ["run", "-d", "--name", name];
        self.town
            .onggi(&[&run, options, &[DEBIAN], program].concat())
            .code(0);
    }

    /// A client in a container that is there.
    fn beside(&self, name: &str, program: &[&str]) -> Outcome {
        let exec = ["exec", name, "timeout", "-s", "KILL", "60"];
        self.town.onggi(&[&exec, program].concat())
    }

    /// A client in the world.
    fn abroad(&self, program: &[&str]) -> Outcome {
        let run = ["run", "--rm", "--network", "host", DEBIAN];
        let limit = ["timeout", "-s", "KILL", "60"];
        let words = [&run[..], &limit, program].concat();
        self.town.world.run(|| self.world.onggi(words).run())
    }

    /// What a server there tells the world as a page.
    fn page(&self, address: &str, port: u16) -> Outcome {
        let place = at(address, port);
        self.abroad(&["curl", "-sS", "-m", "20", &format!("http://{place}/")])
    }
}

/// What an answer says of the number of a visit and of who has come.
fn visit(answer: &Outcome) -> Option<(u32, String)> {
    let text = answer.stdout_text();
    let (number, from) = text.trim().strip_prefix("visit ")?.split_once(", from ")?;
    Some((number.parse().ok()?, from.to_owned()))
}

/// nginx before an application before PostgreSQL, as `examples/network` shows it.
fn three_containers(servers: &Servers) {
    let Servers { town, .. } = servers;
    let store = &town.store;
    for file in [
        "three_containers.sh",
        "database.sh",
        "application.py",
        "nginx.conf",
    ] {
        let text = std::fs::read(format!("{EXAMPLES}/{file}")).unwrap();
        store.file(file, text);
    }
    let postgres = |which| store.ok(["run", "--rm", DEBIAN, "id", which, "postgres"]);
    let own_id = match store.user {
        User::Single => format!(
            "--userns keep-id:uid={},gid={}",
            postgres("-u").trim(),
            postgres("-g").trim()
        ),
        _ => String::new(),
    };
    let example = format!("sh ./three_containers.sh {DEBIAN} 8080 {own_id}");
    store
        .script(&example)
        .without("ONGGI_NETWORK")
        .run()
        .code(0);
    // Whoever asks and however, the visit is counted, and it is known whose it was.
    let mut visits = 0;
    let mut next = |host: &str, client: &str| {
        until("a visit", || {
            let Some((number, from)) = visit(&servers.page(host, 8080)) else {
                return false;
            };
            assert_eq!((number, &*from), (visits + 1, client));
            true
        });
        visits += 1;
    };
    for side in [0, 1, 0, 1] {
        next(HOST[side], WORLD[side]);
    }
    let log = town.onggi(&["logs", "web"]);
    for client in WORLD {
        let line = format!("{client} - - [");
        log.stdout_has(&line);
    }
    // By loopback it is the bridge that has come.
    let gateways = town.onggi(&[
        "network",
        "inspect",
        "-f",
        "{{range .IPAM.Config}}{{.Gateway}} {{end}}",
        "shop",
    ]);
    let gateways = gateways.stdout_text();
    for (gateway, host) in gateways.split_whitespace().zip(["127.0.0.1", "[::1]"]) {
        let url = format!("http://{host}:8080/");
        let curl = [
            "run",
            "--rm",
            "--network",
            "host",
            DEBIAN,
            "curl",
            "-sS",
            "-m",
            "20",
        ];
        let page = town.onggi(&[&curl[..], &[&url]].concat());
        visits_of(&page, &mut visits, gateway);
    }
    // Each of them may be started again, and is found by those who know its address from before.
    for name in ["db", "app", "web"] {
        let address = || store.field(name, ADDRESS);
        let before = address();
        town.onggi(&["restart", "-t", "5", name]).code(0);
        assert_eq!(address(), before, "{name}");
        served_again(servers, &mut visits, name);
    }
    // One whose address is another's meanwhile gets another one, and its name leads there.
    let before = store.field("db", ADDRESS);
    town.onggi(&["kill", "db"]).code(0);
    until("it has ended", || store.status("db").starts_with("exited"));
    let thief = ["--network", "shop", "--ip", &before];
    servers.start("thief", &thief, &["sleep", "1000"]);
    town.onggi(&["start", "db"]).code(0);
    assert_ne!(store.field("db", ADDRESS), before);
    served_again(servers, &mut visits, "db");
}

#[track_caller]
fn visits_of(page: &Outcome, visits: &mut u32, client: &str) {
    *visits += 1;
    page.expect(
        visit(page) == Some((*visits, client.to_owned())),
        &format!("visit {visits}, from {client}"),
    );
}

fn served_again(servers: &Servers, visits: &mut u32, whose: &str) {
    until(&format!("{whose} serves again"), || {
        let Some((number, _)) = visit(&servers.page(HOST[0], 8080)) else {
            return false;
        };
        assert_eq!(number, *visits + 1, "after {whose}");
        true
    });
    *visits += 1;
}

fn what_the_readme_shows(servers: &Servers) {
    let (_, section) = README.split_once("\n## Networks\n").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (commands, _) = block.split_once("\n```").unwrap();
    let (servers_are_up, client) = commands.rsplit_once('\n').unwrap();
    let store = &servers.town.store;
    store.ok(["create", "--name", "plain", DEBIAN, "true"]);
    let change = r#"CMD ["nginx","-g","daemon off;"]"#;
    store.ok(["commit", "--change", change, "plain", "nginx"]);
    let script = |text: &str| store.script(text).without("ONGGI_NETWORK").run();
    script(servers_are_up).code(0);
    until("nginx answers", || script(client).succeeded());
    script(client).code(0).stdout_has("Welcome to nginx!");
    for host in HOST {
        servers.page(host, 8080).stdout_has("Welcome to nginx!");
    }
}

fn redis_and_dig(servers: &Servers) {
    let town = servers.town;
    town.onggi(&["network", "create", "own"]).code(0);
    let network = ["--network", "name=own,alias=store", "-p", "6379:6379"];
    let server = ["redis-server", "--protected-mode", "no", "--save", ""];
    servers.start("cache", &network, &server);
    servers.start("client", &["--network", "own"], &["sleep", "1000"]);
    for name in ["cache", "store", "cache.own"] {
        let ask = ["redis-cli", "-h", name, "ping"];
        until("it answers", || servers.beside("client", &ask).succeeded());
        servers.beside("client", &ask).stdout("PONG\n");
    }
    for side in [0, 1] {
        let ask = ["redis-cli", "-h", HOST[side], "client", "list"];
        let client = at(WORLD[side], 0);
        let client = client.strip_suffix('0').unwrap();
        servers
            .abroad(&ask)
            .code(0)
            .stdout_has(&format!(" addr={client}"));
    }
    let dig = |words: &[&str]| {
        let dig = ["dig", "+short", "+time=5", "+tries=2"];
        let answer = servers.beside("client", &[&dig, words].concat());
        answer.code(0).stdout_text().trim().to_owned()
    };
    let field = |name| {
        let template = format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{name}}}}}{{{{end}}}}");
        town.store.field("cache", &template)
    };
    for (kind, field) in [
        ("A", field("IPAddress")),
        ("AAAA", field("GlobalIPv6Address")),
    ] {
        for over in ["+notcp", "+tcp"] {
            assert_eq!(dig(&[over, "cache", kind]), field);
            assert_eq!(dig(&[over, "CACHE.own", kind]), field);
            assert_eq!(dig(&[over, "-x", &field]), "cache.own.");
        }
    }
    assert_eq!(dig(&[KNOWN.0, "A"]), KNOWN.1);
    assert_eq!(dig(&["-x", KNOWN.1]), format!("{}.", KNOWN.0));
    let nobody = servers.beside("client", &["dig", "nobody.example.org"]);
    nobody.stdout_has("status: NXDOMAIN");
    let neither = servers.beside("client", &["dig", "cache", "MX"]);
    neither
        .stdout_has("status: NOERROR")
        .stdout_has("ANSWER: 0");
}

/// One direction of a connection ends, and the other goes on.
fn socat(servers: &Servers) {
    // A count is told when all has come, which is when the client has ended its side.
    let counts = ["socat", "TCP6-LISTEN:7,fork,ipv6only=0", "EXEC:wc -c"];
    servers.start("counts", &["-p", "7007:7"], &counts);
    let repeats = ["socat", "UDP6-RECVFROM:7,fork,ipv6only=0", "EXEC:cat"];
    servers.start("repeats", &["-p", "7007:7/udp"], &repeats);
    for host in HOST {
        let place = at(host, 7007);
        for length in [0, 5, 100_000] {
            let script = format!("head -c {length} /dev/zero | socat -t 30 - TCP:{place}");
            until("it listens", || {
                let told = servers.abroad(&["sh", "-c", &script]);
                told.succeeded() && told.stdout_text() == format!("{length}\n")
            });
        }
        let script = format!("echo to and fro | socat -t 2 - UDP:{place}");
        until("it hears", || {
            servers.abroad(&["sh", "-c", &script]).stdout_text() == "to and fro\n"
        });
    }
    for host in WORLD {
        let counts = |mut stream: std::net::TcpStream, _| {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            write!(stream, "{}", all.len()).unwrap();
            stream.shutdown(Shutdown::Both).unwrap();
        };
        let place = servers.town.world.serve(&at(host, 0), counts);
        let script = format!("head -c 100000 /dev/zero | socat -t 30 - TCP:{place}");
        servers
            .beside("counts", &["sh", "-c", &script])
            .code(0)
            .stdout("100000");
    }
}

/// To containers from the world, from them to the world, and from one to another, in both directions.
fn iperf3(servers: &Servers) {
    let ports = ["-p", "5201:5201", "-p", "5201:5201/udp"];
    servers.start("inside", &ports, &["iperf3", "-s"]);
    servers.start("beside", &[], &["sleep", "1000"]);
    let outside = ["run", "-d", "--network", "host", DEBIAN, "iperf3", "-s"];
    let outside = || servers.world.onggi(outside).run();
    servers.town.world.run(outside).code(0);
    for host in HOST {
        for words in [&[][..], &["-R"], &["-P", "8"], &["-u", "-b", "20M"]] {
            let bytes = if words.contains(&"-u") { "2M" } else { "64M" };
            let client = ["iperf3", "-J", "-n", bytes, "-c", host];
            let client = [&client, words].concat();
            until("it listens", || servers.abroad(&client).succeeded());
            all_came(&servers.abroad(&client), words);
        }
    }
    let address = servers.town.store.field("inside", ADDRESS);
    for host in [WORLD[0], WORLD[1], &address] {
        for words in [&[][..], &["-R"]] {
            let client = ["iperf3", "-J", "-n", "64M", "-c", host];
            let client = [&client, words].concat();
            until("it listens", || {
                servers.beside("beside", &client).succeeded()
            });
            all_came(&servers.beside("beside", &client), words);
        }
    }
}

/// What iperf3 says of who got what. It ends when all is sent, with much of it still on its way, which is then lost.
fn all_came(outcome: &Outcome, words: &[&str]) {
    let told = outcome.code(0).json();
    let number = |name: &[&str]| {
        let value = name.iter().fold(&told["end"], |value, name| &value[name]);
        value.as_f64().unwrap()
    };
    let (sent, received, least) = if words.contains(&"-u") {
        let sent = number(&["sum", "bytes"]);
        let lost = number(&["sum", "lost_percent"]);
        (sent, sent * (1.0 - lost / 100.0), 2e6)
    } else {
        let [sent, received] = ["sum_sent", "sum_received"].map(|name| number(&[name, "bytes"]));
        (sent, received, 64e6)
    };
    assert!(
        sent >= least && received >= least / 8.0,
        "{words:?}: {sent} bytes were sent, {received} came"
    );
}

/// Packets that do not fit through a network: those that may are cut into pieces, and of the others it is told.
fn narrow(servers: &Servers) {
    let create = [
        "network",
        "create",
        "--opt",
        "com.docker.network.driver.mtu=1400",
        "narrow",
    ];
    servers.town.onggi(&create).code(0);
    let network = ["--network", "narrow"];
    servers.start("first", &network, &["sleep", "1000"]);
    let echo = [
        "socat",
        "-b",
        "20000",
        "UDP6-RECVFROM:7,fork,ipv6only=0",
        "EXEC:cat",
    ];
    let ports = ["-p", "7007:7/udp"];
    servers.start("second", &[&network[..], &ports].concat(), &echo);
    let link = servers.beside("first", &["ip", "link", "show", "eth0"]);
    link.code(0).stdout_has(" mtu 1400 ");
    let ping = |options: &[&str], to: &str| {
        let words = [&["ping", "-4", "-c", "1", "-W", "10"], options, &[to]].concat();
        servers.beside("first", &words)
    };
    // 28 bytes are headers.
    ping(&["-M", "do", "-s", "1372"], "second").code(0);
    let told = ping(&["-M", "do", "-s", "1373"], "second");
    told.expect(!told.succeeded(), "a refusal");
    told.expect(
        format!("{}{}", told.stdout_text(), told.stderr_text()).contains("mtu=1400"),
        "how much fits",
    );
    for to in ["second", WORLD[0]] {
        ping(&["-s", "1000"], to).code(0);
        ping(&["-s", "9000"], to).code(0);
    }
    let send = |to: &str| format!("head -c 9000 /dev/zero | socat -b 20000 -t 3 - UDP:{to}");
    for side in [0, 1] {
        let script = send(&at(WORLD[side], PORT));
        let answer = servers.beside("first", &["sh", "-c", &script]);
        answer.code(0).stdout_has(HOST[side]);
        let script = format!("{} | wc -c", send(&at(HOST[side], 7007)));
        until("it hears", || {
            servers.abroad(&["sh", "-c", &script]).stdout_text() == "9000\n"
        });
    }
}
