//! The arguments that are there without being passed: platforms, proxies, BuildKit's own.
//! <https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope>

use crate::image::platform::Platform;

/// Values of the environment that every `RUN` sees without its being part of what the step is.
const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
];

/// Whether that is the name of such a value, in either case.
pub fn is_proxy(name: &str) -> bool {
    let is_one_case = name == name.to_ascii_uppercase() || name == name.to_ascii_lowercase();
    is_one_case && PROXIES.contains(&name.to_ascii_uppercase().as_str())
}

/// Whether an argument may be passed that no `ARG` names.
pub fn is_known(name: &str) -> bool {
    is_proxy(name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// The platform arguments and the name of the target.
pub fn arguments(target: &Platform, stage: Option<&str>) -> Vec<(String, String)> {
    let mut arguments = Vec::new();
    for (prefix, platform) in [("BUILD", &Platform::host()), ("TARGET", target)] {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ] {
            arguments.push((format!("{prefix}{name}"), value));
        }
    }
    arguments.push((
        "TARGETSTAGE".to_owned(),
        stage.unwrap_or("default").to_owned(),
    ));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_without_an_arg() {
        for name in [
            "http_proxy",
            "NO_PROXY",
            "SOURCE_DATE_EPOCH",
            "BUILDKIT_SYNTAX",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in ["Http_proxy", "PROXY", "VERSION"] {
            assert!(!is_known(name), "{name}");
        }
        let arm: Platform = "linux/arm/v6".parse().unwrap();
        let found = arguments(&arm, None);
        for (name, value) in [
            ("TARGETPLATFORM", "linux/arm/v6"),
            ("TARGETVARIANT", "v6"),
            ("TARGETSTAGE", "default"),
            ("BUILDOS", "linux"),
        ] {
            assert!(
                found.contains(&(name.to_owned(), value.to_owned())),
                "{name}"
            );
        }
    }
}
