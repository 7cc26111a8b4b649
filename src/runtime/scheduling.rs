//! Scheduler, I/O priority and personality of a program: runtime-spec config.md ("scheduler", "ioPriority") and
//! config-linux.md ("personality").

use crate::error::{Error, Kind, bad_input};
use crate::sys::scheduling::{self, Attributes};
use anyhow::Result;
use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonality, LinuxPersonalityDomain, LinuxSchedulerFlag,
    LinuxSchedulerPolicy, Process,
};
use rustix::io::Errno;

/// What is set of it; the rest is inherited.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    scheduler: Option<Attributes>,
    /// Class and, within it, priority.
    io_priority: Option<(u32, u32)>,
    /// Number of personality(2).
    pub personality: Option<u32>,
}

impl Scheduling {
    /// As `config.json` has it.
    ///
    /// Errors: numbers that no kernel takes, and the policy `SCHED_ISO`, which none has.
    pub fn from_oci(process: &Process) -> Result<Self, Error> {
        let scheduler = process.scheduler().as_ref().map(|wanted| {
            let flags = wanted.flags().iter().flatten().map(flag);
            let priority = wanted.priority().unwrap_or(0);
            Ok::<_, Error>(Attributes {
                policy: policy(*wanted.policy())?,
                flags: flags.fold(0, |all, flag| all | flag),
                nice: wanted.nice().unwrap_or(0),
                priority: u32::try_from(priority).map_err(|_| {
                    bad_input(format!("the scheduler priority {priority} is negative"))
                })?,
                runtime: wanted.runtime().unwrap_or(0),
                deadline: wanted.deadline().unwrap_or(0),
                period: wanted.period().unwrap_or(0),
                ..Attributes::default()
            })
        });
        let io_priority = process.io_priority().as_ref().map(|wanted| {
            let class = match wanted.class() {
                IOPriorityClass::IoprioClassRt => 1,
                IOPriorityClass::IoprioClassBe => 2,
                IOPriorityClass::IoprioClassIdle => 3,
            };
            match u32::try_from(wanted.priority()) {
                Ok(priority @ 0..=7) => Ok((class, priority)),
                _ => Err(bad_input(format!(
                    "the I/O priority {} is not one of 0 to 7",
                    wanted.priority()
                ))),
            }
        });
        Ok(Self {
            scheduler: scheduler.transpose()?,
            io_priority: io_priority.transpose()?,
            personality: None,
        })
    }

    /// Sets all of it for the calling process, which may need CAP_SYS_NICE.
    pub fn apply(&self) -> Result<(), Error> {
        if let Some(attributes) = &self.scheduler {
            scheduling::set_attributes(attributes).map_err(|error| refused("scheduler", error))?;
        }
        if let Some((class, priority)) = self.io_priority {
            scheduling::set_io_priority(class, priority)
                .map_err(|error| refused("I/O priority", error))?;
        }
        if let Some(personality) = self.personality {
            scheduling::set_personality(personality)
                .map_err(|error| refused("personality", error))?;
        }
        Ok(())
    }
}

fn refused(what: &str, error: Errno) -> Error {
    let failure = Error::new(Kind::Denied, format!("set the {what}: {error}"));
    match error {
        Errno::PERM => failure.hint("it takes CAP_SYS_NICE, in the kernel's first user namespace"),
        _ => failure,
    }
}

/// The number of a personality.
///
/// Errors: flags, of which runtime-spec knows none.
pub fn personality(wanted: &LinuxPersonality) -> Result<u32, Error> {
    if let Some(flag) = wanted.flags().iter().flatten().next() {
        return Err(bad_input(format!("there is no personality flag `{flag}`")));
    }
    Ok(match wanted.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

fn policy(policy: LinuxSchedulerPolicy) -> Result<u32, Error> {
    use LinuxSchedulerPolicy as P;
    Ok(match policy {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
        P::SchedIso => {
            let message = "the kernel has no scheduling policy SCHED_ISO";
            return Err(Error::new(Kind::Unsupported, message));
        }
    })
}

fn flag(flag: &LinuxSchedulerFlag) -> u64 {
    use LinuxSchedulerFlag as F;
    match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn process(more: serde_json::Value) -> Process {
        let mut process = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 } });
        for (key, value) in more.as_object().unwrap() {
            process[key] = value.clone();
        }
        serde_json::from_value(process).unwrap()
    }

    #[test]
    fn a_process_that_applies_it_has_it() {
        let wanted = process(json!({
            "scheduler": { "policy": "SCHED_BATCH", "nice": 7, "flags": ["SCHED_RESET_ON_FORK"] },
            "ioPriority": { "class": "IOPRIO_CLASS_IDLE", "priority": 0 },
        }));
        let mut scheduling = Scheduling::from_oci(&wanted).unwrap();
        scheduling.personality = Some(8);
        // A process of its own, since none of this can be taken back.
        let child = crate::sys::process::clone3(0, || {
            let applied = scheduling.apply().is_ok();
            let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
            let (_, fields) = stat.rsplit_once(") ").unwrap();
            let fields: Vec<&str> = fields.split(' ').collect();
            // proc_pid_stat(5): nice is field 19, policy field 41; the first one here is field 3.
            let is_set = (fields[16], fields[38]) == ("7", "3");
            let machine = rustix::system::uname();
            let is_32_bit = machine.machine().to_bytes() != b"x86_64";
            u8::from(!(applied && is_set && is_32_bit))
        });
        assert_eq!(child.unwrap().wait().unwrap().code(), 0);
    }

    #[test]
    fn what_no_kernel_takes_is_refused() {
        for more in [
            json!({ "scheduler": { "policy": "SCHED_ISO" } }),
            json!({ "scheduler": { "policy": "SCHED_FIFO", "priority": -1 } }),
            json!({ "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 8 } }),
        ] {
            assert!(
                Scheduling::from_oci(&process(more.clone())).is_err(),
                "{more}"
            );
        }
        let mut wanted = LinuxPersonality::default();
        wanted.set_domain(LinuxPersonalityDomain::PerLinux32);
        assert_eq!(personality(&wanted).unwrap(), 8);
        wanted.set_flags(Some(vec!["X".to_owned()]));
        assert!(personality(&wanted).is_err());
    }
}
