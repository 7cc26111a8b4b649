//! What a Dockerfile says, as plain values. Words are as they were written: variables are not expanded, since what they
//! are is known only when the stage is built; quotes and escapes that expansion needs are still there.
//! <https://docs.docker.com/reference/dockerfile/>

use super::heredoc;
use crate::build::source::{Diagnostic, Located, Source, Span};

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// Its name and its lines, for messages.
    pub source: Source,
    /// The parser directives.
    pub directives: Directives,
    /// `ARG`s before the first `FROM`.
    pub arguments: Vec<Located<Argument>>,
    /// In their order.
    pub stages: Vec<Stage>,
    /// What the checks found that need only the text.
    pub warnings: Vec<Diagnostic>,
}

/// `# directive=value` lines at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The frontend that it is written for; we are that ourselves.
    pub syntax: Option<String>,
    /// `\` or a backquote.
    pub escape: char,
    /// `check=skip=…`: names of checks, or `all`.
    pub skipped_checks: Vec<String>,
    /// `check=experimental=…`: names of checks that are not made unless asked for, or `all`.
    pub experimental_checks: Vec<String>,
    /// `check=error=true`.
    pub warnings_are_errors: bool,
}

/// From one `FROM` to the next.
#[derive(Clone, Debug)]
pub struct Stage {
    /// `AS name`, as written.
    pub name: Option<String>,
    /// The image, stage or `scratch` that it begins with.
    pub base: String,
    /// `--platform`.
    pub platform: Option<String>,
    /// Of the `FROM`.
    pub span: Span,
    /// The instruction as it was written, on one line.
    pub text: String,
    /// What the comment right above it says of it, for `--call targets`: `# NAME what it is`.
    pub comment: Option<String>,
    /// In their order.
    pub instructions: Vec<Step>,
}

/// An instruction in a stage.
#[derive(Clone, Debug)]
pub struct Step {
    /// What.
    pub instruction: Instruction,
    /// Where, with its continuation lines and heredocs.
    pub span: Span,
    /// As it was written, on one line, for progress and history.
    pub text: String,
    /// It has come from the `ONBUILD` of a base image.
    pub on_build: bool,
}

/// All that stand in a stage.
#[derive(Clone, Debug)]
pub enum Instruction {
    /// `ADD`.
    Add(Copy),
    /// `ARG`, each by itself.
    Arg(Vec<Argument>),
    /// `CMD`.
    Cmd(Command),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `ENV`.
    Env(Vec<(String, String)>),
    /// `EXPOSE`.
    Expose(Vec<String>),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the instruction behind it, as written, checked.
    OnBuild(String),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// One variable of an `ARG`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Behind the `=`.
    pub default: Option<String>,
    /// What the comment right above it says of it, for `--call outline`: `# NAME what it is`.
    pub comment: Option<String>,
}

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for the shell.
    Shell(String),
    /// Words, from a JSON list.
    Exec(Vec<String>),
}

/// `ADD` and `COPY`.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// `--from`: a stage, a named context or an image.
    pub from: Option<String>,
    /// `--chown`, as written.
    pub owner: Option<String>,
    /// `--chmod`, as written.
    pub mode: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--parents`.
    pub parents: bool,
    /// `--exclude`, as written.
    pub excludes: Vec<String>,
    /// `--keep-git-dir`.
    pub keep_git_directory: bool,
    /// `--checksum`, as written.
    pub checksum: Option<String>,
    /// `--unpack`.
    pub unpack: Option<bool>,
    /// What is copied, without the heredocs.
    pub sources: Vec<String>,
    /// Files that are written here.
    pub heredocs: Vec<Heredoc>,
    /// Where to.
    pub destination: String,
}

/// `<<NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it; of `COPY` and `ADD` the file's name.
    pub name: String,
    /// What stands in it, tabs at the line's begin cut off where it was `<<-`.
    pub content: String,
    /// Variables in it are expanded by us (`COPY`, `ADD`): the name was not quoted.
    pub expand: bool,
}

/// `RUN`.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is run, without the heredocs; [`Run::program`] puts both together.
    pub command: Command,
    /// Heredocs of it, in their order. With a shell form the shell gets them as they were written.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, in their order.
    pub mounts: Vec<Mount>,
    /// `--network`.
    pub network: Option<String>,
    /// `--security`.
    pub security: Option<String>,
    /// `--device`.
    pub devices: Vec<String>,
}

/// What is executed by a `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// These words.
    Exec(&'a [String]),
    /// This text, by the shell.
    Shell(String),
    /// This file, whose first line names its interpreter.
    Script(&'a Heredoc),
}

impl Run {
    /// The command with its heredocs. A heredoc that is the whole command is a script; other heredocs are the shell's affair,
    /// which gets them as they were written.
    pub fn program(&self) -> Program<'_> {
        let text = match &self.command {
            Command::Exec(words) => return Program::Exec(words),
            Command::Shell(text) => text,
        };
        if let [heredoc] = self.heredocs.as_slice()
            && heredoc::is_whole(text, &heredoc.name, '\\')
        {
            return match heredoc.content.starts_with("#!") {
                true => Program::Script(heredoc),
                false => Program::Shell(heredoc.content.clone()),
            };
        }
        let mut whole = text.clone();
        for heredoc in &self.heredocs {
            whole.push('\n');
            whole.push_str(&heredoc.content);
            whole.push_str(&heredoc.name);
        }
        Program::Shell(whole)
    }
}

impl Mount {
    /// What tells one cache, secret or agent from another: the `id`, or what stands for it (of a cache its target, of a
    /// secret its source or the last name of its target, of an agent `default`).
    pub fn identifier(&self) -> &str {
        if !self.id.is_empty() {
            return &self.id;
        }
        match self.kind {
            MountKind::Ssh => "default",
            MountKind::Secret if !self.source.is_empty() => &self.source,
            MountKind::Secret => self.target.rsplit('/').next().unwrap_or_default(),
            _ => &self.target,
        }
    }
}

/// `RUN --mount`; words in which variables may stand are as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub kind: MountKind,
    /// Where it is seen; of a secret `/run/secrets/ID` where it is empty and no variable is named.
    pub target: String,
    /// In the context, stage or image.
    pub source: String,
    /// Stage, named context or image.
    pub from: Option<String>,
    /// Of a cache, a secret or an agent.
    pub id: String,
    /// May be written, or may not; `None`: as is usual for its kind.
    pub read_only: Option<bool>,
    /// Of a cache.
    pub sharing: Sharing,
    /// It must be there.
    pub required: bool,
    /// Of a new cache directory, a secret or a socket.
    pub mode: Option<String>,
    /// Likewise.
    pub uid: Option<String>,
    /// Likewise.
    pub gid: Option<String>,
    /// Bytes of memory, as written.
    pub size: Option<String>,
    /// A secret as this variable.
    pub variable: Option<String>,
}

/// The kinds of mounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file that gets into no layer.
    Secret,
    /// The socket of an agent.
    Ssh,
}

/// Who may use a cache directory at the same time, the strictest last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Whoever comes later gets a new one.
    Private,
    /// Whoever comes later waits.
    Locked,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// There is none, whatever the base has.
    None,
    /// How it is made; durations as written.
    Check {
        /// What is run.
        command: Command,
        /// `--interval`.
        interval: Option<String>,
        /// `--timeout`.
        timeout: Option<String>,
        /// `--start-period`.
        start_period: Option<String>,
        /// `--start-interval`.
        start_interval: Option<String>,
        /// `--retries`.
        retries: Option<String>,
    },
}
