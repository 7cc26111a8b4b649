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

/// A file that does what each check warns of, and the warnings with their places.
const FAULTY: &str = "# check=experimental=all\nARG TAG\nARG MISSING\n# what it is for\nFROM alpine:3.20$TAG AS One\nMAINTAINER me\nRUN true \\\n\n  && true\nCMD x\nCMD y\n\
                      ENTRYPOINT z\nLABEL old form\nexpose 1.2.3.4:80:80\nENV API_TOKEN=1\n\
                      FROM --platform=linux/amd64 alpine:3.20 as scratch\nFROM --platform=$TARGETPLATFORM alpine:3.20$UNDECLARED AS one\n";

#[test]
fn every_check_is_told_by_the_command() {
    for store in everyone_with_alpine().take(1) {
        store.file("context/Dockerfile", FAULTY);
        let checked = store.onggi(["build", "--check", "context"]).run();
        checked.code(1);
        for (rule, line) in [
            ("InvalidDefinitionDescription", 4),
            ("StageNameCasing", 5),
            ("MaintainerDeprecated", 6),
            ("NoEmptyContinuation", 8),
            ("MultipleInstructionsDisallowed", 10),
            ("JSONArgsRecommended", 10),
            ("LegacyKeyValueFormat", 13),
            ("ConsistentInstructionCasing", 14),
            ("SecretsUsedInArgOrEnv", 15),
            ("FromPlatformFlagConstDisallowed", 16),
            ("FromAsCasing", 16),
            ("ReservedStageName", 16),
            ("RedundantTargetPlatform", 17),
            ("UndefinedArgInFrom", 17),
            ("DuplicateStageName", 17),
        ] {
            let told = is_told(&checked.stdout_text(), rule, line);
            checked.expect(told, &format!("{rule} of line {line}"));
        }
        let file = "ARG TAG\nFROM alpine:$TAG\n";
        store.file("context/Dockerfile", file);
        let words = ["build", "--check", "--build-arg=TAG=3.20", "context"];
        let default = store.onggi(words).run();
        default.code(1).stdout_has("InvalidDefaultArgInFrom");
        let file = "FROM alpine:3.20\nEXPOSE 127.0.0.1:80:80\n";
        store.file("context/Dockerfile", file);
        let expose = store.onggi(["build", "--check", "context"]).run();
        expose.code(1).stdout_has("ExposeInvalidFormat");
        store.ok(["build", "-q", "-t=exposed", "context"]);
        let format = "{{json .Config.ExposedPorts}}";
        let ports = store.ok(["image", "inspect", "-f", format, "exposed"]);
        assert_eq!(ports, "{\"80/tcp\":{}}\n");
    }
}

/// Whether a warning of that name is told of that line.
fn is_told(text: &str, rule: &str, line: u32) -> bool {
    let place = format!("Dockerfile:{line}");
    let mut warnings = text.split("WARNING: ").skip(1);
    warnings.any(|warning| warning.starts_with(rule) && warning.contains(&place))
}
