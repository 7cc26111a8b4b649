//! The build checks' names and what they ask for.
//! <https://docs.docker.com/reference/build-checks/>
//!
//! How they are made stands beside it: [`super::text`] needs only the file, [`super::evaluated`] what variables are.

/// A check.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// As in `StageNameCasing`.
    pub name: &'static str,
    /// What it asks for, on one line.
    pub description: &'static str,
    /// Made only when a file or a user asks for it.
    pub experimental: bool,
}

impl Rule {
    /// Where Docker explains it: its name in words with dashes between them.
    pub fn url(&self) -> String {
        let mut words = String::new();
        let letters: Vec<char> = self.name.chars().collect();
        for (index, letter) in letters.iter().enumerate() {
            let begins = letter.is_ascii_uppercase()
                && index > 0
                && (letters[index - 1].is_ascii_lowercase()
                    || letters.get(index + 1).is_some_and(char::is_ascii_lowercase));
            if begins {
                words.push('-');
            }
            words.push(letter.to_ascii_lowercase());
        }
        format!("https://docs.docker.com/go/dockerfile/rule/{words}/")
    }
}

const fn rule(name: &'static str, description: &'static str) -> Rule {
    Rule {
        name,
        description,
        experimental: false,
    }
}

/// See its description.
pub static STAGE_NAME_CASING: Rule = rule("StageNameCasing", "Stage names should be lowercase");
/// See its description.
pub static FROM_AS_CASING: Rule = rule(
    "FromAsCasing",
    "The 'as' keyword should match the case of the 'from' keyword",
);
/// See its description.
pub static NO_EMPTY_CONTINUATION: Rule = rule(
    "NoEmptyContinuation",
    "Empty continuation lines will become errors in a future release",
);
/// See its description.
pub static CONSISTENT_INSTRUCTION_CASING: Rule = rule(
    "ConsistentInstructionCasing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
);
/// See its description.
pub static DUPLICATE_STAGE_NAME: Rule = rule("DuplicateStageName", "Stage names should be unique");
/// See its description.
pub static RESERVED_STAGE_NAME: Rule = rule(
    "ReservedStageName",
    "Reserved words should not be used as stage names",
);
/// See its description.
pub static JSON_ARGS_RECOMMENDED: Rule = rule(
    "JSONArgsRecommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
);
/// See its description.
pub static MAINTAINER_DEPRECATED: Rule = rule(
    "MaintainerDeprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
);
/// See its description.
pub static UNDEFINED_ARG_IN_FROM: Rule =
    rule("UndefinedArgInFrom", "FROM command must use declared ARGs");
/// See its description.
pub static WORKDIR_RELATIVE_PATH: Rule = rule(
    "WorkdirRelativePath",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
);
/// See its description.
pub static UNDEFINED_VAR: Rule = rule(
    "UndefinedVar",
    "Variables should be defined before their use",
);
/// See its description.
pub static MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = rule(
    "MultipleInstructionsDisallowed",
    "Multiple instructions of the same type should not be used in the same stage",
);
/// See its description.
pub static LEGACY_KEY_VALUE_FORMAT: Rule = rule(
    "LegacyKeyValueFormat",
    "Legacy key/value format with whitespace separator should not be used",
);
/// See its description.
pub static INVALID_BASE_IMAGE_PLATFORM: Rule = rule(
    "InvalidBaseImagePlatform",
    "Base image platform does not match expected target platform",
);
/// See its description.
pub static REDUNDANT_TARGET_PLATFORM: Rule = rule(
    "RedundantTargetPlatform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
);
/// See its description.
pub static SECRETS_USED_IN_ARG_OR_ENV: Rule = rule(
    "SecretsUsedInArgOrEnv",
    "Sensitive data should not be used in the ARG or ENV commands",
);
/// See its description.
pub static INVALID_DEFAULT_ARG_IN_FROM: Rule = rule(
    "InvalidDefaultArgInFrom",
    "Default value for global ARG results in an empty or invalid base image name",
);
/// See its description.
pub static FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = rule(
    "FromPlatformFlagConstDisallowed",
    "FROM --platform flag should not use a constant value",
);
/// See its description.
pub static COPY_IGNORED_FILE: Rule = rule(
    "CopyIgnoredFile",
    "Attempting to Copy file that is excluded by .dockerignore",
);
/// See its description.
pub static INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    name: "InvalidDefinitionDescription",
    description: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not \
                  intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    experimental: true,
};
/// See its description.
pub static EXPOSE_PROTO_CASING: Rule = rule(
    "ExposeProtoCasing",
    "Protocol in EXPOSE instruction should be lowercase",
);
/// See its description.
pub static EXPOSE_INVALID_FORMAT: Rule = rule(
    "ExposeInvalidFormat",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
);

/// All of them, in the order in which Docker lists them.
pub static ALL: [&Rule; 22] = [
    &STAGE_NAME_CASING,
    &FROM_AS_CASING,
    &NO_EMPTY_CONTINUATION,
    &CONSISTENT_INSTRUCTION_CASING,
    &DUPLICATE_STAGE_NAME,
    &RESERVED_STAGE_NAME,
    &JSON_ARGS_RECOMMENDED,
    &MAINTAINER_DEPRECATED,
    &UNDEFINED_ARG_IN_FROM,
    &WORKDIR_RELATIVE_PATH,
    &UNDEFINED_VAR,
    &MULTIPLE_INSTRUCTIONS_DISALLOWED,
    &LEGACY_KEY_VALUE_FORMAT,
    &INVALID_BASE_IMAGE_PLATFORM,
    &REDUNDANT_TARGET_PLATFORM,
    &SECRETS_USED_IN_ARG_OR_ENV,
    &INVALID_DEFAULT_ARG_IN_FROM,
    &FROM_PLATFORM_FLAG_CONST_DISALLOWED,
    &COPY_IGNORED_FILE,
    &INVALID_DEFINITION_DESCRIPTION,
    &EXPOSE_PROTO_CASING,
    &EXPOSE_INVALID_FORMAT,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_names_in_words() {
        let url = |rule: &Rule| rule.url();
        assert!(url(&STAGE_NAME_CASING).ends_with("/rule/stage-name-casing/"));
        assert!(url(&JSON_ARGS_RECOMMENDED).ends_with("/rule/json-args-recommended/"));
        assert!(url(&SECRETS_USED_IN_ARG_OR_ENV).ends_with("/rule/secrets-used-in-arg-or-env/"));
    }
}
