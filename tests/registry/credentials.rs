//! Passwords and tokens: where they are kept, what they open, and what is said where they do not.

use crate::real::{IMAGE, Options, Registry, USER};
use crate::server::{Reply, answer};
use crate::support::{User, everyone, store};
use crate::{Server, behind, somebody};
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn login_keeps_what_the_registry_accepts() {
    let Some(registry) = Registry::start(&Options {
        password: true,
        ..Options::default()
    }) else {
        return;
    };
    let (host, name) = (format!("127.0.0.1:{}", registry.port), registry.name(IMAGE));
    let (user, password) = USER;
    for store in everyone() {
        let file = store.home().join(".docker/config.json");
        store
            .onggi(["pull", &name])
            .run()
            .code(1)
            .stderr_has("pull access denied")
            .stderr_has("no credentials");
        let login = |password: &str| {
            store
                .onggi(["login", "-u", user, "--password-stdin", &host])
                .stdin(format!("{password}\n"))
                .run()
        };
        login("wrong")
            .code(1)
            .stderr_has("log in to 127.0.0.1")
            .stderr_has("the password is wrong");
        assert!(!file.exists());
        login(password)
            .code(0)
            .stdout("Login Succeeded\n")
            .stderr_has("stored unencrypted");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        store
            .onggi(["login", &host])
            .run()
            .code(0)
            .stdout_has("Authenticating with existing credentials...\nLogin Succeeded");
        store.onggi(["pull", &name]).run().code(0);
        store
            .onggi(["logout", &host])
            .run()
            .code(0)
            .stdout(&format!("Removing login credentials for {host}\n"));
        store
            .onggi(["logout", &host])
            .run()
            .code(0)
            .stdout(&format!("Not logged in to {host}\n"));
        store.onggi(["pull", "-q", &name]).run().code(1);
    }
}

#[test]
fn mistakes_of_login_have_dockers_words() {
    let Some(store) = somebody() else {
        return;
    };
    for (arguments, words) in [
        (
            &["login"][..],
            "Cannot perform an interactive login from a non TTY device",
        ),
        (
            &["login", "-u", "x"],
            "Cannot perform an interactive login from a non TTY device",
        ),
        (
            &["login", "--password-stdin"],
            "Must provide --username with --password-stdin",
        ),
        (
            &["login", "-u", "x", "-p", "y", "--password-stdin"],
            "--password and --password-stdin are mutually exclusive",
        ),
        (
            &["login", "-u", "x", "--password-stdin"],
            "password is empty",
        ),
    ] {
        store.onggi(arguments).run().code(1).stderr_has(words);
    }
}

#[test]
fn a_refusal_names_the_file_and_the_entry() {
    let Some(registry) = Registry::start(&Options {
        password: true,
        ..Options::default()
    }) else {
        return;
    };
    let Some(store) = somebody() else {
        return;
    };
    let host = format!("127.0.0.1:{}", registry.port);
    let file = store.path().join("runtime/containers/auth.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(
        &file,
        format!(r#"{{"auths":{{"{host}":{{"auth":"dTpw"}}}}}}"#),
    )
    .unwrap();
    let refused = store.onggi(["pull", &registry.name(IMAGE)]).run();
    refused
        .code(1)
        .stderr_has(&format!("the entry `{host}` of `{}`", file.display()));
    if !store.alpine() {
        return;
    }
    let name = registry.name("pot:1");
    store.onggi(["tag", "alpine:3.20", &name]).run().code(0);
    store
        .onggi(["push", &name])
        .run()
        .code(1)
        .stderr_has("push access denied")
        .stderr_has(&format!("the entry `{host}` of `{}`", file.display()));
}

#[test]
fn a_file_that_may_not_be_read_is_told() {
    let Some((_registry, server, _)) = behind(|_| Reply::Forward) else {
        return;
    };
    let Some(store) = store(User::Subuid) else {
        return;
    };
    let directory = store.home().join(".docker");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("config.json");
    std::fs::write(&file, "{}").unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o000)).unwrap();
    let (name, why) = (
        server.name(IMAGE),
        format!("`{}` is not yours to read", file.display()),
    );
    store
        .onggi(["pull", "-q", &name])
        .run()
        .code(0)
        .stderr_has(&why);
    let pull = |variable: &str, value: &std::path::Path| {
        store
            .onggi(["pull", "-q", &name])
            .env(variable, value)
            .run()
    };
    pull("DOCKER_CONFIG", &directory).code(1).stderr_has(&why);
    pull("REGISTRY_AUTH_FILE", &file).code(1).stderr_has(&why);
}

/// A helper is a program on the search path that reads a name and writes JSON.
#[test]
fn helpers_are_asked() {
    let Some(registry) = Registry::start(&Options {
        password: true,
        ..Options::default()
    }) else {
        return;
    };
    let Some(store) = somebody() else {
        return;
    };
    let programs = store.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let script = format!(
        "#!/bin/sh\nread name; echo \"$1 $name\" >>\"$HOME/asked\"\n\
         [ \"$1\" = get ] && echo '{{\"ServerURL\":\"x\",\"Username\":\"{}\",\"Secret\":\"{}\"}}'\nexit 0\n",
        USER.0, USER.1
    );
    let program = programs.join("docker-credential-jar");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let directory = store.home().join(".docker");
    std::fs::create_dir(&directory).unwrap();
    let file = directory.join("config.json");
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let pull = || {
        store
            .onggi(["pull", &registry.name(IMAGE)])
            .env("PATH", &path)
            .run()
    };
    std::fs::write(&file, r#"{"credsStore":"missing"}"#).unwrap();
    pull()
        .code(1)
        .stderr_has("execute `docker-credential-missing`");
    let host = format!("127.0.0.1:{}", registry.port);
    std::fs::write(&file, format!(r#"{{"credHelpers":{{"{host}":"jar"}}}}"#)).unwrap();
    pull().code(0);
    let asked = std::fs::read_to_string(store.home().join("asked")).unwrap();
    assert!(asked.starts_with(&format!("get {host}\n")), "{asked}");
}

#[test]
fn tokens_are_fetched_kept_and_renewed() {
    static GIVEN: AtomicUsize = AtomicUsize::new(0);
    static USED: AtomicUsize = AtomicUsize::new(0);
    // Each token is good for four requests, then it has ended.
    let Some((_registry, server, store)) = behind(|request| {
        if request.path.starts_with("/token") {
            let known = request.header("authorization") == "Basic cG90dGVyOnA=";
            let asked = request.path.contains("scope=repository:image:pull")
                && request.path.contains("service=jar");
            return match known && asked {
                true => {
                    let token = format!("t{}", GIVEN.fetch_add(1, Ordering::SeqCst));
                    USED.store(0, Ordering::SeqCst);
                    answer(
                        "200 OK",
                        &[],
                        format!(r#"{{"access_token":"{token}","expires_in":300}}"#),
                    )
                }
                false => answer("401 Unauthorized", &[], "{}"),
            };
        }
        let newest = format!("Bearer t{}", GIVEN.load(Ordering::SeqCst).wrapping_sub(1));
        if request.header("authorization") == newest && USED.fetch_add(1, Ordering::SeqCst) < 4 {
            return Reply::Forward;
        }
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"jar\",scope=\"repository:image:pull\"",
            request.host
        );
        answer(
            "401 Unauthorized",
            &[&challenge],
            r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#,
        )
    }) else {
        return;
    };
    let file = store.path().join("auth.json");
    let keep = |auth: &str| {
        let text = format!(
            r#"{{"auths":{{"127.0.0.1:{}/image":{{"auth":"{auth}"}}}}}}"#,
            server.port
        );
        std::fs::write(&file, text).unwrap();
    };
    let pull = || {
        store
            .onggi([
                "pull",
                "--authfile",
                file.to_str().unwrap(),
                &server.name(IMAGE),
            ])
            .run()
    };
    keep("cG90dGVyOng=");
    pull()
        .code(1)
        .stderr_has("gives no token (401 Unauthorized)")
        .stderr_has("auth.json");
    keep("cG90dGVyOnA=");
    pull().code(0);
    assert!(GIVEN.load(Ordering::SeqCst) > 1);
}

#[test]
fn a_token_server_that_answers_nonsense_is_named() {
    for body in ["<html>", "{}", r#"{"token":"a b"}"#] {
        let server = Server::start(None, move |request| {
            match request.path.starts_with("/token") {
                true => answer("200 OK", &[], body),
                false => {
                    let challenge = format!(
                        "WWW-Authenticate: Bearer realm=\"http://{}/token\"",
                        request.host
                    );
                    answer("401 Unauthorized", &[&challenge], "")
                }
            }
        });
        let Some(store) = somebody() else {
            return;
        };
        store
            .onggi(["pull", &server.name(IMAGE)])
            .run()
            .code(1)
            .stderr_has("/token gives no token");
    }
}

/// What `docker login` leaves where a registry gives identity tokens, and what helpers give for it: the realm is asked by
/// POST (distribution's oauth2 specification), and no password goes anywhere.
#[test]
fn identity_tokens_are_exchanged_and_bearer_tokens_are_sent_as_they_are() {
    let Some((_registry, server, store)) = behind(|request| {
        if request.path == "/token" {
            let body = String::from_utf8_lossy(&request.body);
            let fields = [
                "grant_type=refresh_token",
                "refresh_token=clay%2Bone",
                "service=jar",
                "scope=repository:image:pull",
                "client_id=",
            ];
            let is_right = request.method == "POST"
                && request.header("authorization").is_empty()
                && fields.iter().all(|field| body.contains(field));
            return match is_right {
                true => answer(
                    "200 OK",
                    &[],
                    r#"{"access_token":"fired","refresh_token":"x"}"#,
                ),
                false => answer("401 Unauthorized", &[], "{}"),
            };
        }
        if request.header("authorization") == "Bearer fired" {
            return Reply::Forward;
        }
        let challenge = format!(
            "WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"jar\"",
            request.host
        );
        answer("401 Unauthorized", &[&challenge], "")
    }) else {
        return;
    };
    let file = store.path().join("auth.json");
    let host = format!("127.0.0.1:{}", server.port);
    let pull = |entry: &str| {
        std::fs::write(&file, format!(r#"{{"auths":{{"{host}":{entry}}}}}"#)).unwrap();
        let authfile = file.to_str().unwrap();
        let arguments = ["pull", "--authfile", authfile, &server.name(IMAGE)];
        store.onggi(arguments).run()
    };
    // `00000000-…:` as some registries have it.
    let refused = pull(r#"{"auth":"MDAwMDo=","identitytoken":"sand"}"#);
    refused
        .code(1)
        .stderr_has("/token gives no token (401 Unauthorized)")
        .stderr_has(&format!("the entry `{host}` of `{}`", file.display()))
        .stderr_lacks("sand");
    let wrong = pull(r#"{"registrytoken":"sand"}"#);
    wrong.code(1).stderr_has("the entry").stderr_lacks("sand");
    pull(r#"{"auth":"MDAwMDo=","identitytoken":"clay+one"}"#).code(0);
    let other = somebody().unwrap();
    let arguments = [
        "pull",
        "--authfile",
        file.to_str().unwrap(),
        &server.name(IMAGE),
    ];
    std::fs::write(
        &file,
        format!(r#"{{"auths":{{"{host}":{{"registrytoken":"fired"}}}}}}"#),
    )
    .unwrap();
    other.onggi(arguments).run().code(0);
    let directory = store.home().join(".docker");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("config.json"), r#"{"credsStore":"jar"}"#).unwrap();
    let program = store.file(
        "docker-credential-jar",
        "#!/bin/sh\necho '{\"ServerURL\":\"x\",\"Username\":\"<token>\",\"Secret\":\"clay+one\"}'\n",
    );
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", store.home().display());
    let tag = server.name("image:multi");
    let again = store.onggi(["pull", &tag]).env("PATH", &path).run();
    again.code(0);
}

/// The answer to the right password, or a wrong one.
type Exchange = fn(bool) -> Reply;

/// A token server for the user `potter` with the password `glaze+1`. What it answers to a POST with that
/// password or another, `exchange` says; it takes back the identity token `clay+one`, and knows GET as all do.
fn token_server(registry: u16, exchange: Exchange) -> Server {
    Server::start(Some(registry), move |request| {
        let fired = r#"{"access_token":"fired"}"#;
        let body = String::from_utf8_lossy(&request.body);
        let has = |fields: &[&str]| {
            fields
                .iter()
                .all(|one| body.split('&').any(|it| it == *one))
        };
        let offer = [
            "grant_type=password",
            "access_type=offline",
            "client_id=onggi",
            "service=jar",
            "username=potter",
        ];
        let back = ["grant_type=refresh_token", "refresh_token=clay%2Bone"];
        let is_token = request.path.split('?').next() == Some("/token");
        match (is_token, request.method.as_str()) {
            (true, "POST") if has(&back) => answer("200 OK", &[], fired),
            (true, "POST") if has(&offer) => exchange(has(&["password=glaze%2B1"])),
            (true, "GET") if request.header("authorization") == "Basic cG90dGVyOmdsYXplKzE=" => {
                answer("200 OK", &[], fired)
            }
            (true, _) => answer("401 Unauthorized", &[], "{}"),
            _ if request.header("authorization") == "Bearer fired" => Reply::Forward,
            // Anybody may ask whether this is a registry.
            _ if request.header("authorization") == "Bearer anybody" && request.path == "/v2/" => {
                answer("200 OK", &[], "{}")
            }
            _ => {
                let realm = format!("realm=\"http://{}/token\"", request.host);
                let challenge = format!("WWW-Authenticate: Bearer {realm},service=\"jar\"");
                answer("401 Unauthorized", &[&challenge], "")
            }
        }
    })
}

fn gives(is_right: bool) -> Reply {
    let tokens = r#"{"access_token":"fired","refresh_token":"clay+one"}"#;
    match is_right {
        true => answer("200 OK", &[], tokens),
        false => answer("401 Unauthorized", &[], "{}"),
    }
}

/// What `potter` gets for the password, if it is an identity token, is kept in its stead and opens what the password
/// does; servers that give none leave the password to be kept (distribution's oauth2 and token specifications).
#[test]
fn login_keeps_an_identity_token_instead_of_the_password() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let password = r#"{"auth":"cG90dGVyOmdsYXplKzE="}"#;
    let identity = r#"{"auth":"cG90dGVyOg==","identitytoken":"clay+one"}"#;
    let exchanges: [(Exchange, &str); 6] = [
        (gives, identity),
        (|_| answer("404 Not Found", &[], ""), password),
        (|_| answer("405 Method Not Allowed", &[], ""), password),
        (
            |_| {
                answer(
                    "400 Bad Request",
                    &[],
                    r#"{"error":"unsupported_grant_type"}"#,
                )
            },
            password,
        ),
        (
            |_| answer("200 OK", &[], r#"{"access_token":"fired"}"#),
            password,
        ),
        (
            |_| answer("200 OK", &[], r#"{"token":"anybody","refresh_token":null}"#),
            password,
        ),
    ];
    for (exchange, expected) in exchanges {
        let server = token_server(registry.port, exchange);
        let Some(store) = somebody() else {
            return;
        };
        let host = format!("127.0.0.1:{}", server.port);
        let login = |password: &str| {
            let arguments = ["login", "-u", "potter", "--password-stdin", &host];
            store.onggi(arguments).stdin(password).run()
        };
        let file = store.home().join(".docker/config.json");
        login("glaze").code(1).stderr_has("gives no token (401");
        assert!(!file.exists());
        login("glaze+1").code(0).stdout("Login Succeeded\n");
        let kept = || -> serde_json::Value {
            let text = std::fs::read(&file).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).unwrap()["auths"][&host].clone()
        };
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(kept(), expected);
        store
            .onggi(["login", &host])
            .run()
            .code(0)
            .stdout_has("Authenticating with existing credentials...\nLogin Succeeded");
        assert_eq!(kept(), expected);
        store.onggi(["pull", &server.name(IMAGE)]).run().code(0);
    }
}

/// A password that is kept already gives way to the identity token, and helpers get that under a name of its own.
#[test]
fn identity_tokens_take_the_place_of_passwords_in_files_and_go_to_helpers() {
    let Some(registry) = Registry::start(&Options::default()) else {
        return;
    };
    let server = token_server(registry.port, gives);
    let Some(store) = somebody() else {
        return;
    };
    let host = format!("127.0.0.1:{}", server.port);
    let file = store.file(
        "auth.json",
        format!(r#"{{"auths":{{"{host}":{{"auth":"cG90dGVyOmdsYXplKzE="}}}}}}"#),
    );
    let authfile = file.to_str().unwrap();
    let login = store.onggi(["login", "--authfile", authfile, &host]).run();
    login.code(0).stdout_has("Login Succeeded");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("clay+one") && !text.contains("cG90dGVyOmdsYXplKzE="),
        "{text}"
    );
    let program = store.file("docker-credential-jar", "#!/bin/sh\ncat >\"$HOME/kept\"\n");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&file, r#"{"credsStore":"jar"}"#).unwrap();
    let arguments = [
        "login",
        "-u",
        "potter",
        "--password-stdin",
        "--authfile",
        authfile,
        &host,
    ];
    let path = format!("{}:/usr/bin:/bin", store.home().display());
    let login = store
        .onggi(arguments)
        .stdin("glaze+1")
        .env("PATH", path)
        .run();
    login.code(0).stderr_lacks("unencrypted");
    let kept = std::fs::read_to_string(store.home().join("kept")).unwrap();
    assert!(
        kept.contains(r#""Username":"<token>","Secret":"clay+one""#),
        "{kept}"
    );
}
