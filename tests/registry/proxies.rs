//! Proxies, and networks that lead nowhere.

use crate::behind;
use crate::real::IMAGE;
use crate::server::Reply;
use crate::support::{Need, requires};
use crate::{Server, somebody};

#[test]
fn a_proxy_leads_where_no_name_server_does() {
    let Some((_registry, server, store)) = behind(|request| match request.method.as_str() {
        "CONNECT" => Reply::Tunnel,
        _ => Reply::Forward,
    }) else {
        return;
    };
    let name = format!("registry.invalid/{IMAGE}");
    let proxy = format!("http://127.0.0.1:{}", server.port);
    let pull = |exceptions: &str| {
        let call = store
            .onggi(["pull", "--tls-verify=false", &name])
            .env("ALL_PROXY", &proxy);
        call.env("NO_PROXY", exceptions).run()
    };
    pull(".invalid")
        .code(1)
        .stderr_has("connect to `registry.invalid`: no such host")
        .stderr_has("may be misspelt");
    assert!(server.seen().is_empty());
    pull("").code(0);
    assert!(
        server
            .seen()
            .iter()
            .any(|request| request.method == "CONNECT"
                && request.path.starts_with("registry.invalid"))
    );
}

/// Small letters go before large ones, a scheme's own variable before the one for all; a password of the proxy goes to it.
#[test]
fn the_variable_of_the_scheme_comes_first() {
    let Some(store) = somebody() else {
        return;
    };
    let proxy = || Server::start(None, |_| crate::server::answer("407 Who are you", &[], ""));
    let nowhere = "http://127.0.0.1:1";
    for (variables, words) in [
        (&["https_proxy"][..], &["HTTPS_PROXY", "ALL_PROXY"][..]),
        (&["HTTPS_PROXY"], &["all_proxy", "http_proxy"]),
        (&["all_proxy"], &["ALL_PROXY", "http_proxy"]),
    ] {
        let used = proxy();
        let address = format!("http://potter:clay@127.0.0.1:{}", used.port);
        let mut call = store.onggi(["pull", "registry.invalid/x"]);
        for variable in variables {
            call = call.env(variable, &address);
        }
        for variable in words {
            call = call.env(variable, nowhere);
        }
        let outcome = call.run();
        outcome
            .code(1)
            .stderr_has("connect to `registry.invalid`: by the proxy")
            .stderr_lacks("clay");
        let seen = used.seen();
        assert!(
            seen.iter().any(|one| one.method == "CONNECT"
                && one.path == "registry.invalid:443"
                && one.header("proxy-authorization") == "Basic cG90dGVyOmNsYXk="),
            "{seen:?}"
        );
    }
    for bad in ["socks5://127.0.0.1:1", "http://"] {
        let outcome = store
            .onggi(["pull", "registry.invalid/x"])
            .env("HTTPS_PROXY", bad)
            .run();
        outcome
            .code(1)
            .stderr_has("the variable `HTTPS_PROXY` names no usable proxy");
    }
}

#[test]
fn without_a_network_that_is_told() {
    let Some(store) = somebody() else {
        return;
    };
    if !requires(&[Need::Root, Need::Program("unshare")]) {
        return;
    }
    for (command, code) in [("pull", 1), ("run", 125)] {
        for name in ["192.0.2.1:5000/x", "registry.invalid/x", "alpine"] {
            let outcome = store
                .command("unshare")
                .arg("--net")
                .arg(crate::support::store::program())
                .arg("--root")
                .arg(store.data())
                .arg("--runroot")
                .arg(store.run_root())
                .args([command, name])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&outcome.stderr);
            assert_eq!(outcome.status.code(), Some(code), "{said}");
            assert!(said.contains("no network leads there"), "{said}");
        }
    }
    assert_eq!(store.onggi(["images", "-q"]).run().stdout_text(), "");
}
