//! Which machine an image is for (OCI image-index.md, "platform"; names as in Go's GOOS and GOARCH).
//!
//! Invariant: a [`Platform`] is in normal form, so that `x86_64` and `amd64`, `arm64/v8` and `arm64` compare equal.

use crate::error::{Error, bad_input};
use std::fmt;
use std::str::FromStr;

/// Operating system, processor architecture and its variant; the empty string is "not said".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    /// As in GOOS.
    pub os: String,
    /// As in GOARCH.
    pub architecture: String,
    /// As in `v7` of `arm/v7`.
    pub variant: String,
}

/// Those that may stand alone, in their normal form.
const ARCHITECTURES: [&str; 13] = [
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
    "ppc64le", "riscv64", "s390x",
];

impl Platform {
    /// Brings the three words to their normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i486" | "i586" | "i686", _) => ("386", ""),
            ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64" | "arm64", "8" | "v8") => ("arm64", ""),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            other => other,
        };
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// The machine this program was built for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "loongarch64" => "loong64",
            architecture => architecture,
        };
        Self::new("linux", architecture, "")
    }

    /// How well an image for `other` serves somebody who wants this platform: 0 is best, `None` not at all.
    /// What an image does not say is taken as fitting.
    pub fn rank(&self, other: &Self) -> Option<usize> {
        if !other.os.is_empty() && other.os != self.os {
            return None;
        }
        if other.architecture.is_empty() {
            return Some(0);
        }
        self.runs().iter().position(|(architecture, variant)| {
            *architecture == other.architecture && *variant == other.variant
        })
    }

    /// Whether an image for `other` runs on this platform.
    pub fn matches(&self, other: &Self) -> bool {
        self.rank(other).is_some()
    }

    /// Architectures and variants whose programs this one runs, best first.
    fn runs(&self) -> Vec<(&str, &str)> {
        let mut runs = vec![(self.architecture.as_str(), self.variant.as_str())];
        let older: &[(&str, &str)] = match runs[0] {
            ("amd64", "v4") => &[("amd64", "v3"), ("amd64", "v2"), ("amd64", ""), ("386", "")],
            ("amd64", "v3") => &[("amd64", "v2"), ("amd64", ""), ("386", "")],
            ("amd64", "v2") => &[("amd64", ""), ("386", "")],
            ("amd64", "") => &[("386", "")],
            ("arm64", "") => &[("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")],
            ("arm", "v8") => &[("arm", "v7"), ("arm", "v6"), ("arm", "v5")],
            ("arm", "v7") => &[("arm", "v6"), ("arm", "v5")],
            ("arm", "v6") => &[("arm", "v5")],
            _ => &[],
        };
        runs.extend_from_slice(older);
        runs
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]`, or one of the first two alone, the other being the machine's.
    fn from_str(text: &str) -> Result<Self, Error> {
        let words: Vec<&str> = text.split('/').collect();
        let word = |word: &&str| {
            !word.is_empty()
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !words.iter().all(word) {
            return Err(bad_input(format!(
                "invalid platform `{text}`: expected os/architecture[/variant]"
            )));
        }
        match words[..] {
            [os @ ("linux" | "windows" | "darwin" | "macos" | "freebsd")] => {
                Ok(Self::new(os, &Self::host().architecture, ""))
            }
            [word] => {
                let platform = Self::new("linux", word, "");
                match ARCHITECTURES.contains(&platform.architecture.as_str()) {
                    true => Ok(platform),
                    false => Err(bad_input(format!(
                        "invalid platform `{text}`: unknown operating system or architecture"
                    ))
                    .hint("as in linux/amd64, linux/arm64 or linux/arm/v7")),
                }
            }
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(bad_input(format!(
                "invalid platform `{text}`: expected os/architecture[/variant]"
            ))),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |word: &str| {
            if word.is_empty() {
                "unknown".to_owned()
            } else {
                word.to_owned()
            }
        };
        write!(f, "{}/{}", said(&self.os), said(&self.architecture))?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_one_normal_form() {
        for (text, normal) in [
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("Linux/ARM", "linux/arm/v7"),
            ("arm/v6", "arm/v6"),
            ("riscv64", "linux/riscv64"),
            ("linux/i686", "linux/386"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
        }
        for bad in ["", "linux/", "a/b/c/d", "linux/am d64", "/", "foo"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn older_programs_run_and_others_do_not() {
        let rank = |want: &str, have: &str| {
            want.parse::<Platform>()
                .unwrap()
                .rank(&have.parse::<Platform>().unwrap())
        };
        assert_eq!(rank("linux/amd64", "linux/amd64"), Some(0));
        assert_eq!(rank("linux/amd64", "linux/386"), Some(1));
        assert_eq!(rank("linux/amd64", "linux/amd64/v3"), None);
        assert_eq!(rank("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(rank("linux/arm64", "linux/amd64"), None);
        assert_eq!(rank("linux/amd64", "windows/amd64"), None);
        assert!(
            "linux/amd64"
                .parse::<Platform>()
                .unwrap()
                .matches(&Platform::new("", "", ""))
        );
    }
}
