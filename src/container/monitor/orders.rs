//! What a monitor does when a client tells it to.

use super::Monitor;
use super::channel::{Order, Stream};
use super::pause;
use super::relay::Supervisor;
use crate::container::options::Namespace;
use crate::container::settle;
use crate::error::{Error, Kind};
use crate::sys::process::{Activity, Child, Identity};
use anyhow::Result;

impl Monitor {
    fn is_paused(&self) -> bool {
        let program = self.state.program.as_ref();
        program.and_then(Identity::activity) == Some(Activity::Stopped)
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
}

impl Supervisor for Monitor {
    fn obey(&mut self, order: Order, program: Option<&Child>) -> Result<()> {
        let id = self.record.id.clone();
        let conflict = |message: String| Err(Error::new(Kind::Conflict, message).into());
        let Some(program) = program else {
            return match order {
                Order::Stop(_) => {
                    (self.state.stopped, self.start_again) = (true, false);
                    Ok(())
                }
                Order::Restart(_) => {
                    self.start_again = true;
                    Ok(())
                }
                _ => conflict(format!("Container {id} is not running")),
            };
        };
        let paused = self.is_paused();
        match order {
            Order::Kill(signal) => {
                self.state.stopped |= self.ends_it(signal);
                self.kill(program, signal);
                Ok(())
            }
            Order::Stop(signal) | Order::Restart(signal) => {
                self.start_again = matches!(order, Order::Restart(_));
                self.state.stopped |= !self.start_again;
                self.kill(program, signal);
                // A process that is stopped acts on no signal but SIGKILL.
                match paused && self.record.options.pid != Namespace::Host {
                    true => pause::unpause(program),
                    false => Ok(()),
                }
            }
            Order::Pause if paused => conflict(format!("Container {id} is already paused")),
            Order::Unpause if !paused => conflict(format!("Container {id} is not paused")),
            Order::Pause | Order::Unpause if self.record.options.pid == Namespace::Host => {
                conflict(format!(
                    "Container {id} shares the host's processes, and without a cgroup its own cannot be told apart"
                ))
            }
            Order::Pause => {
                pause::pause(program)?;
                self.announce("pause", &[]);
                Ok(())
            }
            Order::Unpause => {
                pause::unpause(program)?;
                self.announce("unpause", &[]);
                Ok(())
            }
        }
    }

    fn output(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.write(stream, bytes);
        }
    }

    fn is_decided(&self) -> bool {
        self.state.stopped || self.start_again
    }
}
