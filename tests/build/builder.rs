//! What tools ask of buildx and builder: the one builder, its cache, and how that is emptied.

use crate::support::everyone;

#[test]
fn there_is_one_builder() {
    let Some(store) = everyone().next() else {
        return;
    };
    let version = store.onggi(["buildx", "version"]).run();
    version.code(0).stdout_has("github.com/docker/buildx v");
    let inspected = store
        .onggi(["buildx", "inspect", "--bootstrap", "mine"])
        .run();
    inspected
        .code(0)
        .stdout_has("Name:          mine\nDriver:        onggi\n")
        .stdout_has("Status:           running\n");
    let listed = store
        .onggi(["buildx", "ls", "--format", "{{.Name}} {{.Status}}"])
        .run();
    listed.code(0).stdout("default running\n");
    let words = [
        "buildx",
        "create",
        "--name=mine",
        "--driver=docker-container",
        "--use",
    ];
    store.onggi(words).run().code(0).stdout("mine\n");
    store.onggi(["buildx", "use", "mine"]).run().code(0);
    store.onggi(["buildx", "stop"]).run().code(0);
    store.onggi(["buildx", "rm", "mine"]).run().code(0);
    let remote = store
        .onggi(["buildx", "create", "--driver=kubernetes"])
        .run();
    remote.code(125).stderr_has("is not supported");
}

#[test]
fn the_cache_is_shown_and_emptied() {
    for store in everyone() {
        store.file("c/Dockerfile", "FROM scratch\nCOPY Dockerfile /a\n");
        store.onggi(["build", "-o", "out", "c"]).run().code(0);
        let used = store
            .onggi(["buildx", "du", "--format", "{{.Type}} {{.Description}}"])
            .run();
        used.code(0)
            .stdout_has("regular [1/1] COPY Dockerfile /a\n")
            .stdout_has("source.local local source for dockerfile\n");
        let none = store
            .onggi(["builder", "prune", "-f", "--filter=until=24h"])
            .run();
        none.code(0).stdout("Total:\t0B\n");
        let refused = store.onggi(["builder", "prune"]).run();
        refused
            .code(1)
            .stderr_has("builder prune has been cancelled");
        let gone = store.onggi(["buildx", "prune", "-f"]).run();
        gone.code(0)
            .stdout_has("RECLAIMABLE")
            .stdout_lacks("Total:\t0B");
        let left = store.onggi(["buildx", "du", "--format=json"]).run();
        left.code(0).stdout("");
        let wrong = store
            .onggi(["builder", "prune", "-f", "--filter=x=y"])
            .run();
        wrong.code(1).stderr_has("invalid filter 'x'");
    }
}
