//! Checks for whoever evaluates a stage: they need what variables are, what the base image is, what is ignored.
//!
//! Each is told what it must know and answers with the warnings, none where the file does not want the check. `span` is
//! always that of the instruction; the warning points at the word in it.

use super::super::instruction::Dockerfile;
use super::super::nearest::nearest;
use super::super::variable::Expander;
use super::rule::{self, Rule};
use super::text::MOST_WARNINGS;
use crate::build::ignore::Ignore;
use crate::build::source::{Diagnostic, Span};
use crate::image::reference::Reference;
use std::collections::{BTreeMap, BTreeSet};

impl Dockerfile {
    /// `UndefinedVar`: variables that an instruction has asked for ([`Expander::unset`]). `declared` are the names of all
    /// `ENV`s and `ARG`s so far, those without a value too.
    pub fn undefined_variables(
        &self,
        span: Span,
        unset: &BTreeSet<String>,
        declared: &BTreeSet<String>,
    ) -> Vec<Diagnostic> {
        self.undefined(&rule::UNDEFINED_VAR, span, unset, declared, |name, near| {
            let near = near.map(|near| format!(" (did you mean ${near}?)"));
            format!(
                "Usage of undefined variable '${name}'{}",
                near.unwrap_or_default()
            )
        })
    }

    /// `UndefinedArgInFrom`: the same for a `FROM`, of which `declared` are the `ARG`s before the first stage and the
    /// predefined ones.
    pub fn undefined_arguments(
        &self,
        span: Span,
        unset: &BTreeSet<String>,
        declared: &BTreeSet<String>,
    ) -> Vec<Diagnostic> {
        self.undefined(
            &rule::UNDEFINED_ARG_IN_FROM,
            span,
            unset,
            declared,
            |name, near| {
                let near = near.map(|near| format!(" (did you mean {near}?)"));
                format!(
                    "FROM argument '{name}' is not declared{}",
                    near.unwrap_or_default()
                )
            },
        )
    }

    fn undefined(
        &self,
        rule: &'static Rule,
        span: Span,
        unset: &BTreeSet<String>,
        declared: &BTreeSet<String>,
        message: impl Fn(&str, Option<&str>) -> String,
    ) -> Vec<Diagnostic> {
        let names = unset.iter().filter(|name| !declared.contains(*name));
        let names = names.take(MOST_WARNINGS);
        let warnings = names.filter_map(|name| {
            let near = nearest(name, declared.iter().map(String::as_str));
            let plain = self.source.find(span, &format!("${name}"));
            let place = match plain == span {
                true => self.source.find(span, &format!("${{{name}")),
                false => plain,
            };
            self.warning(rule, place, message(name, near))
        });
        warnings.collect()
    }

    /// `InvalidDefaultArgInFrom`: bases that are no image's name as long as nobody gives a build argument. `predefined` are
    /// `TARGETPLATFORM` and its kin.
    pub fn invalid_defaults(&self, predefined: &BTreeMap<String, String>) -> Vec<Diagnostic> {
        let mut values = predefined.clone();
        for argument in &self.arguments {
            let value = argument.value.default.as_ref().map(|default| {
                let lookup = |name: &str| values.get(name).cloned();
                Expander::new(self.directives.escape, &lookup).word(default)
            });
            // A default that cannot be expanded is an error of the stage that uses it.
            if let Some(Ok(value)) = value {
                values.insert(argument.value.name.clone(), value);
            }
        }
        let lookup = |name: &str| values.get(name).cloned();
        let invalid = self.stages.iter().filter(|stage| {
            let mut expander = Expander::new(self.directives.escape, &lookup);
            let base = expander.word(&stage.base);
            let depends = !expander.used.is_empty() || !expander.unset.is_empty();
            depends && !base.is_ok_and(|base| is_image(&base))
        });
        let warnings = invalid.filter_map(|stage| {
            let message = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.base
            );
            let place = self.source.find(stage.span, &stage.base);
            self.warning(&rule::INVALID_DEFAULT_ARG_IN_FROM, place, message)
        });
        warnings.collect()
    }

    /// `WorkdirRelativePath`: `path` is expanded; `based` is whether the stage, or one that it begins with, has had a
    /// `WORKDIR` in this file.
    pub fn relative_workdir(&self, span: Span, path: &str, based: bool) -> Option<Diagnostic> {
        if based || path.starts_with('/') {
            return None;
        }
        let message = format!(
            "Relative workdir \"{path}\" can have unexpected results if the base image changes"
        );
        self.warning(
            &rule::WORKDIR_RELATIVE_PATH,
            self.source.find(span, path),
            message,
        )
    }

    /// `CopyIgnoredFile`: `source` is expanded and of the build's context.
    pub fn ignored_source(
        &self,
        span: Span,
        add: bool,
        source: &str,
        ignore: &Ignore,
    ) -> Option<Diagnostic> {
        let names = source
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".");
        let path = names.collect::<Vec<_>>().join("/");
        // Of several files, and of a directory, some may be in.
        let several = path.contains(['*', '?', '[']) && ignore.has_exceptions();
        if several || !ignore.excludes(&path) || ignore.may_hold_included(&path) {
            return None;
        }
        let verb = if add { "Add" } else { "Copy" };
        let message =
            format!("Attempting to {verb} file \"{source}\" that is excluded by .dockerignore");
        self.warning(
            &rule::COPY_IGNORED_FILE,
            self.source.find(span, source),
            message,
        )
    }

    /// `ExposeInvalidFormat` and `ExposeProtoCasing` of a port, which is expanded.
    pub fn exposed(&self, span: Span, port: &str) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
        if number.contains(':') {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            found.extend(self.warning(
                &rule::EXPOSE_INVALID_FORMAT,
                self.source.find(span, port),
                message,
            ));
        }
        if protocol != protocol.to_lowercase() {
            let message =
                format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            found.extend(self.warning(
                &rule::EXPOSE_PROTO_CASING,
                self.source.find(span, port),
                message,
            ));
        }
        found
    }

    /// `InvalidBaseImagePlatform`: the base is not for the platform that is built for, nor was another one asked for.
    pub fn base_platform(
        &self,
        span: Span,
        image: &str,
        found: &str,
        expected: &str,
    ) -> Option<Diagnostic> {
        if found == expected {
            return None;
        }
        let message = format!(
            "Base image {image} was pulled with platform \"{found}\", expected \"{expected}\" for current build"
        );
        self.warning(&rule::INVALID_BASE_IMAGE_PLATFORM, span, message)
    }
}

fn is_image(name: &str) -> bool {
    name == "scratch" || name.parse::<Reference>().is_ok()
}
