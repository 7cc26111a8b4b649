//! What a monitor does when a client tells it to, or the container's health makes it.

use super::Monitor;
use super::channel::{Order, Stream};
use super::checks::Checks;
use super::clients::Clients;
use super::pause;
use super::relay::Supervisor;
use crate::cgroup::events::OutOfMemory;
use crate::container::network::Attachment;
use crate::container::options::{HealthAction, Namespace};
use crate::container::{control, settle};
use crate::error::{Error, Kind};
use crate::sys::process::{Activity, Child, Identity};
use anyhow::Result;
use rustix::event::{PollFd, PollFlags};
use std::time::Instant;

impl Monitor {
    fn is_paused(&self) -> bool {
        match &self.cgroup {
            Some(cgroup) => cgroup.is_frozen().is_ok_and(|frozen| frozen),
            None => {
                let program = self.state.program.as_ref();
                program.and_then(Identity::activity) == Some(Activity::Stopped)
            }
        }
    }

    /// Whether its processes can be told from others.
    fn can_go_on(&self) -> bool {
        self.cgroup.is_some() || self.record.options.pid != Namespace::Host
    }

    /// The end of a pause.
    fn go_on(&self, program: &Child) -> Result<()> {
        match &self.cgroup {
            Some(cgroup) => cgroup.thaw(),
            None => pause::unpause(program),
        }
    }

    /// Whether a user who sends that signal wants the container to end.
    fn ends_it(&self, signal: i32) -> bool {
        signal == libc::SIGKILL || signal == settle::stop_signal(&self.record)
    }

    fn kill(&self, program: &Child, signal: i32) {
        // It may have ended just now.
        let _ = program.kill(signal);
        self.announce("kill", &[("signal", &signal.to_string())]);
    }

    /// Whether systemd has told the scope to end; it tells all in it by SIGTERM at once (systemd.kill(5)).
    fn is_told_to_go(&mut self) -> bool {
        let signals = self.signals.iter();
        let mut arrived = signals.flat_map(|signals| std::iter::from_fn(|| signals.next()));
        // All are taken, so that none wakes us again.
        let is_told = arrived.by_ref().any(|signal| signal == libc::SIGTERM);
        arrived.for_each(drop);
        self.is_going_down |= is_told;
        is_told
    }

    /// The program ends by its own signal if that is another one, and in its own time.
    fn go_down(&mut self, program: &Child) {
        let signal = settle::stop_signal(&self.record);
        if signal != libc::SIGTERM {
            self.kill(program, signal);
        }
        if self.is_paused() && self.can_go_on() {
            // It is killed in time if that fails.
            let _ = self.go_on(program);
        }
        self.kill_at = control::killed_at(Instant::now(), self.record.options.stop_timeout);
    }

    /// What was asked for with `--health-on-failure`.
    fn act_on_failure(&mut self, program: &Child) {
        let options = &self.record.options;
        let signal = settle::stop_signal(&self.record);
        let order = match options.health_on_failure {
            HealthAction::None => return,
            HealthAction::Kill => return self.kill(program, libc::SIGKILL),
            HealthAction::Restart => Order::Restart(signal),
            HealthAction::Stop => Order::Stop(signal),
        };
        self.kill_at = control::killed_at(Instant::now(), options.stop_timeout);
        // Only a program that is not there would be refused.
        let _ = self.obey(order, Some(program));
    }
}

impl Supervisor for Monitor {
    fn obey(&mut self, order: Order, program: Option<&Child>) -> Result<()> {
        let id = self.record.id.clone();
        let conflict = |message: String| Err(Error::new(Kind::Conflict, message).into());
        let Some(program) = program else {
            match order {
                Order::Stop(_) => (self.state.stopped, self.start_again) = (true, false),
                Order::Restart(_) => self.start_again = true,
                Order::Kill(signal) => self.state.stopped |= self.ends_it(signal),
                // Its next run is in those that its record names then.
                Order::Networks => {}
                Order::Pause | Order::Hold | Order::Unpause | Order::Probe => {
                    return conflict(format!(
                        "container {id} is restarting, wait until the container is running"
                    ));
                }
            }
            return Ok(());
        };
        let paused = self.is_paused();
        match order {
            Order::Kill(signal) | Order::Stop(signal) | Order::Restart(signal) => {
                let is_meant_to_end = match order {
                    Order::Kill(_) => self.ends_it(signal),
                    _ => true,
                };
                if is_meant_to_end {
                    self.start_again = matches!(order, Order::Restart(_));
                    self.state.stopped |= !self.start_again;
                }
                self.kill(program, signal);
                // A process that is stopped acts on no signal but SIGKILL.
                let must_go_on = is_meant_to_end && paused && signal != libc::SIGKILL;
                match must_go_on && self.can_go_on() {
                    true => self.go_on(program),
                    false => Ok(()),
                }
            }
            Order::Pause | Order::Hold if paused => {
                conflict(format!("container {id} is already paused"))
            }
            Order::Unpause if !paused => conflict(format!("container {id} is not paused")),
            Order::Pause | Order::Hold | Order::Unpause if !self.can_go_on() => conflict(format!(
                "container {id} shares the host's processes, and without a cgroup its own cannot be told apart"
            )),
            Order::Pause | Order::Hold => {
                match &self.cgroup {
                    Some(cgroup) => cgroup.freeze()?,
                    None => pause::pause(program)?,
                }
                self.checks.iter_mut().for_each(Checks::rest);
                self.announce("pause", &[]);
                Ok(())
            }
            Order::Unpause => {
                self.go_on(program)?;
                self.checks.iter_mut().for_each(Checks::resume);
                self.announce("unpause", &[]);
                Ok(())
            }
            Order::Networks => {
                self.refresh();
                match self.network.as_mut().and_then(Attachment::networks) {
                    Some(network) => network.follow(&self.engine, &self.record),
                    None => conflict(format!("container {id} has no network of its own")),
                }
            }
            Order::Probe => match self.checks.as_mut().is_some_and(Checks::want) {
                true => Ok(()),
                false => conflict(format!("Container {id} is paused")),
            },
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
    }

    fn is_decided(&self) -> bool {
        self.state.stopped || self.start_again || self.is_going_down
    }

    fn deadline(&self) -> Option<Instant> {
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        checks.into_iter().chain(self.kill_at).min()
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        if let Some(checks) = &self.checks {
            checks.watch(fds);
        }
        let out_of_memory = self.out_of_memory.iter();
        fds.extend(out_of_memory.map(OutOfMemory::readiness));
        let signals = self.signals.iter();
        fds.extend(signals.map(|signals| PollFd::new(signals, PollFlags::IN)));
        if let Some(network) = &self.network {
            network.watch(fds);
        }
    }

    fn wake(&mut self, clients: &mut Clients, program: Option<&Child>) {
        let is_told_to_go = self.is_told_to_go();
        if let Some(network) = &mut self.network {
            network.turn(&self.engine);
        }
        let Some(program) = program else { return };
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.kill(program, libc::SIGKILL);
        }
        self.note_victims();
        if is_told_to_go {
            self.go_down(program);
        }
        let finding = self
            .checks
            .as_mut()
            .and_then(|checks| checks.wake(&self.engine, &self.record, &self.state));
        let Some(finding) = finding else { return };
        if let Some(status) = &finding.new_status {
            self.announce(&format!("health_status: {status}"), &[]);
        }
        if finding.is_answer {
            clients.probed(finding.success);
        }
        if finding.unhealthy && !self.is_decided() {
            self.act_on_failure(program);
        }
    }
}
