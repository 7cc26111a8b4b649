//! The file that `runtime --log` names: what a program that calls us reads to learn why something failed.

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`.
    #[default]
    Text,
    /// An object a line.
    Json,
}

impl Format {
    /// By its name.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("invalid log-format: {text}")),
        }
    }

    /// One, of now.
    pub fn line(self, level: &str, message: &str) -> String {
        let time = Timestamp::now();
        match self {
            Self::Text => format!("time=\"{time}\" level={level} msg={message:?}\n"),
            Self::Json => format!(
                "{}\n",
                json!({ "level": level, "msg": message, "time": time.to_string() })
            ),
        }
    }
}

/// A file to which lines are added.
#[derive(Debug)]
pub struct LogFile {
    file: File,
    format: Format,
}

impl LogFile {
    /// Makes it where it is not there.
    pub fn open(path: &Path, format: Format) -> Result<Self> {
        let file = File::options().append(true).create(true).open(path);
        let file = file.with_context(|| format!("open the log `{}`", path.display()))?;
        Ok(Self { file, format })
    }

    /// Adds one, in one write(2), as several programs may share the file.
    pub fn add(&mut self, level: &str, message: &str) {
        // It is said on standard error too.
        let _ = (self.file).write_all(self.format.line(level, message).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_added_in_both_formats() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        LogFile::open(&path, Format::Text)
            .unwrap()
            .add("warning", "a \"b\"");
        LogFile::open(&path, Format::Json)
            .unwrap()
            .add("error", "c\nd");
        let text = std::fs::read_to_string(&path).unwrap();
        let (first, second) = text.trim_end().split_once('\n').unwrap();
        assert!(
            first.ends_with("level=warning msg=\"a \\\"b\\\"\""),
            "{first}"
        );
        let second: serde_json::Value = serde_json::from_str(second).unwrap();
        assert_eq!(
            (&second["level"], &second["msg"]),
            (&json!("error"), &json!("c\nd"))
        );
        assert!(
            second["time"]
                .as_str()
                .unwrap()
                .parse::<Timestamp>()
                .is_ok()
        );
    }
}
