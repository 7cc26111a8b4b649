//! Build checks that need to know what variables are, what a base image has, what is ignored.

use crate::support::everyone_with_alpine;

const FILE: &str = "ARG TAG\nFROM alpine:3.20$TAG\nWORKDIR sub\nENV A=$NOTHING B=$PATH\nARG GIVEN\nLABEL l=$GIVEN\nEXPOSE 80/TCP\n\
                    COPY secret.txt /\n";

#[test]
fn what_variables_are_is_known() {
    for store in everyone_with_alpine().take(1) {
        store.file("context/Dockerfile", FILE);
        store.file("context/.dockerignore", "*.txt\n");
        let checked = store.onggi(["build", "--check", "context"]).run();
        checked
            .code(1)
            .stdout_has("Dockerfile:4:7: Usage of undefined variable '$NOTHING'")
            .stdout_has("Dockerfile:3:9: Relative workdir \"sub\" can have unexpected results")
            .stdout_has("Dockerfile:7:8: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase")
            .stdout_has("Attempting to Copy file \"secret.txt\" that is excluded by .dockerignore")
            .stdout_lacks("variable '$PATH'")
            .stdout_lacks("variable '$GIVEN'");
        store.file(
            "context/Dockerfile",
            "FROM alpine:3.20\nWORKDIR /w\nENV A=$PATH\n",
        );
        let words = ["build", "--check", "context"];
        store
            .onggi(words)
            .run()
            .code(0)
            .stdout_has("no warnings found");
        // What is wrong with stages that are not needed is nobody's business.
        let text = "FROM alpine:3.20 AS other\nENV A=$NOTHING\nFROM alpine:3.20\nENV B=1\n";
        store.file("context/Dockerfile", text);
        store.onggi(words).run().code(0);
    }
}

#[test]
fn a_file_chooses_its_checks_and_what_they_mean() {
    for store in everyone_with_alpine().take(1) {
        let build = |head: &str| {
            let text = format!("{head}FROM alpine:3.20\nENV A=$NOTHING\nWORKDIR sub\n");
            store.file("context/Dockerfile", text);
            store.onggi(["build", "context"]).run()
        };
        build("").code(0).stderr_has("UndefinedVar");
        build("# check=skip=UndefinedVar\n")
            .code(0)
            .stderr_lacks("UndefinedVar");
        build("# check=error=true\n")
            .code(1)
            .stderr_has("lint violation found for rules: UndefinedVar, WorkdirRelativePath");
        build("# check=skip=all;error=true\n").code(0);
    }
}
