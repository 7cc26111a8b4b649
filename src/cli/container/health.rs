//! How the health of a container is probed: the options of `run` and `create`, and `healthcheck run`.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::value;
use crate::container::options::HealthAction;
use crate::container::{control, list};
use crate::error::{Error, bad_input};
use crate::image::config::Healthcheck;
use anyhow::Result;

/// Options of `run` and `create`.
#[derive(clap::Args)]
pub struct HealthFlags {
    /// Probe the health of the container with this command
    #[arg(long, value_name = "string")]
    health_cmd: Option<String>,
    /// Time between two probes [default: 30s]
    #[arg(long, value_name = "duration", value_parser = value::duration)]
    health_interval: Option<i64>,
    /// What is done when it is unhealthy: "none", "kill", "restart", "stop"
    #[arg(long, value_name = "string", default_value = "none", value_parser = health_action)]
    health_on_failure: HealthAction,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "int", value_parser = value::integer)]
    health_retries: Option<i64>,
    /// Time between two probes during the start period [default: 5s]
    #[arg(long, value_name = "duration", value_parser = value::duration)]
    health_start_interval: Option<i64>,
    /// How long failures do not count after the start
    #[arg(long, value_name = "duration", value_parser = value::duration)]
    health_start_period: Option<i64>,
    /// How long a probe may take [default: 30s]
    #[arg(long, value_name = "duration", value_parser = value::duration)]
    health_timeout: Option<i64>,
    /// Do not probe the health, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// The plain values: what to check, if anything was said about that, and what to do.
    pub fn into_options(self) -> Result<(Option<Healthcheck>, HealthAction), Error> {
        let command = self.health_cmd.filter(|command| !command.is_empty());
        let numbers = [
            ("interval", self.health_interval),
            ("timeout", self.health_timeout),
            ("retries", self.health_retries),
            ("start-period", self.health_start_period),
            ("start-interval", self.health_start_interval),
        ]
        .map(|(name, number)| (name, number.unwrap_or(0)));
        let is_asked = command.is_some() || numbers.iter().any(|(_, number)| *number != 0);
        let check = match (self.no_healthcheck, is_asked) {
            (true, true) => {
                return Err(bad_input(
                    "--no-healthcheck conflicts with --health-* options",
                ));
            }
            (true, false) => Some(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            }),
            (false, false) => None,
            (false, true) => {
                if let Some((name, _)) = numbers.iter().find(|(_, number)| *number < 0) {
                    return Err(bad_input(format!("--health-{name} cannot be negative")));
                }
                let [interval, timeout, retries, start_period, start_interval] =
                    numbers.map(|(_, number)| number);
                let test = command.map(|command| vec!["CMD-SHELL".to_owned(), command]);
                Some(Healthcheck {
                    test: test.unwrap_or_default(),
                    interval,
                    timeout,
                    start_period,
                    start_interval,
                    retries,
                })
            }
        };
        Ok((check, self.health_on_failure))
    }
}

fn health_action(text: &str) -> Result<HealthAction, String> {
    match text {
        "" | "none" => Ok(HealthAction::None),
        "kill" => Ok(HealthAction::Kill),
        "restart" => Ok(HealthAction::Restart),
        "stop" => Ok(HealthAction::Stop),
        _ => Err(format!(
            "invalid on-failure action {text:?} for health check: supported actions are none,kill,restart,stop"
        )),
    }
}

/// Options of `healthcheck run`.
#[derive(clap::Args)]
pub struct HealthcheckRun {
    #[arg(required = true)]
    container: String,
}

impl Verb for HealthcheckRun {
    fn execute(self, context: &mut Context) -> Result<u8> {
        let engine = context.engine()?;
        let found = list::find(&engine, &self.container)?;
        if control::probe(&engine, &found.record)? {
            return Ok(0);
        }
        context.output.line("unhealthy")?;
        Ok(1)
    }
}
