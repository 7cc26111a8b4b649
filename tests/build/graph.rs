//! Stages, arguments, what is needed and what is not, steps that fail.

use crate::support::everyone_with_alpine;

#[test]
fn only_what_the_target_needs_is_run() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20 AS base\nRUN echo base > /base\nFROM base AS unneeded\nRUN exit 9\nFROM base AS last\n\
                    COPY --from=base /base /copy\nCMD [\"cat\", \"/copy\"]\n";
        store.file("context/Dockerfile", text);
        store
            .onggi(["build", "-t", "app", "context"])
            .run()
            .code(0)
            .stderr_lacks("exit 9");
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout("base\n");
        let failed = store
            .onggi(["build", "--target", "unneeded", "context"])
            .run();
        failed
            .code(1)
            .stderr_has("process \"/bin/sh -c exit 9\" did not complete successfully: exit code: 9")
            .stderr_has("   4 | >>> RUN exit 9");
        store
            .onggi(["build", "--target", "1", "context"])
            .run()
            .code(1);
        let wrong = store.onggi(["build", "--target", "bsae", "context"]).run();
        wrong
            .code(1)
            .stderr_has("target stage \"bsae\" could not be found")
            .stderr_has("try: --target base");
        store.assert_no_process_is_left();
    }
}

#[test]
fn a_failing_step_ends_the_others_and_shows_its_last_lines() {
    for store in everyone_with_alpine() {
        let text = "FROM alpine:3.20 AS slow\nRUN sleep 1000\nFROM alpine:3.20 AS bad\nRUN echo first; echo last >&2; exit 3\n\
                    FROM alpine:3.20\nCOPY --from=slow / /\nCOPY --from=bad / /\n";
        store.file("context/Dockerfile", text);
        let failed = store.onggi(["build", "--jobs", "2", "context"]).run();
        failed
            .code(1)
            .stderr_has("CANCELED")
            .stderr_has("------\n > [bad 2/2]")
            .stderr_has("first\n");
        store.assert_no_process_is_left();
    }
}

#[test]
fn stages_that_need_each_other_are_told_with_their_place() {
    for store in everyone_with_alpine().take(1) {
        for (text, part) in [
            (
                "FROM alpine:3.20 AS a\nCOPY --from=b / /\nFROM alpine:3.20 AS b\nCOPY --from=a / /\n",
                "circular dependency detected on stage: ",
            ),
            (
                "FROM alpine:3.20\nCOPY --from=7 / /\n",
                "Dockerfile:2:1: invalid stage index 7",
            ),
            ("FROM $NOTHING\n", "the base name `$NOTHING` is empty"),
            ("FROM alpine:3.20\nENV A=${B:?is wanted}\n", "is wanted"),
        ] {
            store.file("context/Dockerfile", text);
            store
                .onggi(["build", "context"])
                .run()
                .code(1)
                .stderr_has(part);
        }
    }
}

#[test]
fn arguments_are_seen_where_dockers_rules_say() {
    for store in everyone_with_alpine().take(1) {
        let text = "ARG BASE=alpine:3.20\nARG GLOBAL=global\nFROM $BASE\nARG GLOBAL\nARG OWN=own\nARG TARGETARCH\n\
                    ENV FIXED=${OWN}-env\nRUN echo \"$BASE|$GLOBAL|$OWN|$FIXED|$TARGETARCH|$HTTP_PROXY\" > /out\n\
                    CMD [\"cat\", \"/out\"]\n";
        store.file("context/Dockerfile", text);
        let arguments = [
            "--build-arg",
            "OWN=given",
            "--build-arg",
            "HTTP_PROXY=p",
            "--build-arg",
            "NOBODY=1",
        ];
        let words = ["build", "-t", "app"]
            .iter()
            .chain(&arguments)
            .chain(&["context"]);
        let built = store.onggi(words).run();
        built
            .code(0)
            .stderr_has("one or more build-args [NOBODY] were not consumed");
        let host = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let expected = format!("|global|given|given-env|{host}|p\n");
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout(&expected);
        let history = store.onggi(["history", "--no-trunc", "app"]).run();
        history
            .stdout_has("RUN |3 GLOBAL=global OWN=given")
            .stdout_lacks("HTTP_PROXY=p");
        // How to get out into the net is no part of what a step is.
        let again = [
            "build",
            "--build-arg",
            "OWN=given",
            "--build-arg",
            "HTTP_PROXY=q",
            "context",
        ];
        store
            .onggi(again)
            .run()
            .code(0)
            .stderr_has("CACHED")
            .stderr_lacks("RUN echo\n");
    }
}

#[test]
fn triggers_of_a_base_image_run_at_the_begin() {
    for store in everyone_with_alpine().take(1) {
        store.file(
            "base/Dockerfile",
            "FROM alpine:3.20\nONBUILD RUN echo trigger > /t\nONBUILD ENV FROM_BASE=1\n",
        );
        store.onggi(["build", "-t", "base", "base"]).run().code(0);
        store.file(
            "context/Dockerfile",
            "FROM base\nRUN cat /t; echo $FROM_BASE >> /t\nCMD [\"cat\", \"/t\"]\n",
        );
        store.onggi(["build", "-t", "app", "context"]).run().code(0);
        store
            .onggi(["run", "--rm", "app"])
            .run()
            .code(0)
            .stdout("trigger\n1\n");
        let inspected = store
            .onggi(["image", "inspect", "-f", "{{json .Config.OnBuild}}", "app"])
            .run();
        inspected.code(0).stdout_lacks("trigger");
    }
}
