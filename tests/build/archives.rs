//! Archives, packed in every way that Docker knows: as what `ADD` unpacks, and as contexts.

use crate::support::{Need, everyone_with_alpine, requires};

const PACKERS: [(&str, &str); 5] = [
    ("cat", "tar"),
    ("gzip", "tar.gz"),
    ("bzip2", "tar.bz2"),
    ("xz", "tar.xz"),
    ("zstd", "tar.zst"),
];

#[test]
fn archives_are_unpacked_however_they_are_packed() {
    let needed = PACKERS.map(|(program, _)| Need::Program(program));
    if !requires(&needed) {
        return;
    }
    for store in everyone_with_alpine() {
        for (program, extension) in PACKERS {
            let script = format!(
                "mkdir -p in/sub; echo {program} > in/sub/file; printf 'FROM alpine:3.20\\nCOPY sub /copied\\n' > in/Dockerfile\n\
                 mkdir -p context; tar -C in -c . | {program} > context/in.{extension}"
            );
            store.script(&script).run().code(0);
            let text =
                format!("FROM alpine:3.20\nADD in.{extension} /added/\nCMD cat /added/sub/file\n");
            store.file("context/Dockerfile", text);
            store.ok(["build", "-q", "-t", "app", "context"]);
            assert_eq!(store.ok(["run", "--rm", "app"]), format!("{program}\n"));
            let archive =
                std::fs::read(store.home().join(format!("context/in.{extension}"))).unwrap();
            store
                .onggi(["build", "-q", "-t", "app", "-"])
                .stdin(&archive[..])
                .run()
                .code(0);
            let told = store.ok(["run", "--rm", "app", "cat", "/copied/file"]);
            assert_eq!(told, format!("{program}\n"), "as a context");
            if program != "cat" {
                let cut = &archive[..archive.len() - 8];
                let refused = store.onggi(["build", "-q", "-"]).stdin(cut).run();
                refused
                    .code(1)
                    .stderr_has("read the context from standard input: ")
                    .stderr_lacks("panicked");
            }
        }
    }
}
