//! `RUN`: a program runs in a container that nobody sees, its output is passed on as it comes, and what it has written
//! becomes a layer. The step ends with its process 1; whoever else is left ends with it.

use super::layer;
use super::message::{PIECE, tell_output};
use super::mounts;
use super::order::{Answer, Network, Run};
use super::owner;
use super::serve::Hands;
use crate::container::options::{Cgroups, DeviceRequest, NetworkMode, Options};
use crate::container::record::Program;
use crate::container::step::{Step, Wanted, network_named};
use crate::image::intake::Intake;
use crate::image::layer::recorded::Notes;
use crate::runtime::process::parent::Streams;
use crate::sys::process::{Child, Ended};
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// Executes one.
pub fn run(hands: &mut Hands, run: Run, descriptors: Vec<OwnedFd>) -> Result<Answer> {
    let engine = hands.engine.clone();
    let rules = engine.layer_rules()?;
    let mut intake = Intake::next(&engine.paths, &rules)?;
    intake.cache_layers();
    let chain = layer::hold(&mut intake, &run.base)?;
    let mut step = Step::make(
        &engine,
        Wanted {
            options: options(&run),
            program: Program {
                command: run.words.clone(),
                environment: run.environment.clone(),
                working_directory: run.working_directory.clone(),
                user: run.user.clone(),
                ..Program::default()
            },
            layers: chain.names().to_vec(),
            mounts: mounts::wanted(&run.mounts),
        },
    )?;
    let opened = mounts::open(&engine, &step, &mut intake, &run.mounts, &descriptors)?;
    drop(descriptors);
    for warning in &opened.warnings {
        hands.tell(Answer::Warning(warning.clone()))?;
    }
    let (streams, outputs) = streams()?;
    let started = step.start(opened.sources, &streams, &mut hands.placements)?;
    drop(streams);
    for warning in &started.warnings {
        hands.tell(Answer::Warning(warning.clone()))?;
    }
    let mut notes = Notes::default();
    let program = Followed {
        child: &started.child,
        listener: started.listener.as_ref(),
        step: Some(&mut step),
    };
    let ended = follow(&hands.channel, program, outputs, &mut notes);
    let code = ended?.code();
    drop(opened.agents);
    step.end()?;
    if code != 0 {
        return Ok(Answer::Exited { code });
    }
    let targets: Vec<&str> = run.mounts.iter().map(|mount| &*mount.target).collect();
    let (layer, warnings) = layer::of_step(
        hands,
        &step,
        &targets,
        run.epoch,
        &notes,
        &mut intake,
        chain,
    )?;
    for warning in warnings {
        hands.tell(Answer::Warning(warning))?;
    }
    if layer.is_some() {
        intake.commit_for_now()?;
    }
    Ok(Answer::Done(layer))
}

fn options(run: &Run) -> Options {
    let cdi = |name: &String| DeviceRequest {
        driver: "cdi".to_owned(),
        device_ids: vec![name.clone()],
        ..DeviceRequest::default()
    };
    let mut options = Options {
        privileged: run.insecure,
        device_requests: run.devices.iter().map(cdi).collect(),
        cdi_spec_dirs: run.device_directories.clone(),
        extra_hosts: run.hosts.clone(),
        shm_size: run.shm_size,
        ulimits: run.ulimits.clone(),
        resources: run.resources.clone(),
        cgroups: Cgroups {
            parent: run.cgroup_parent.clone(),
            ..Cgroups::default()
        },
        ..Options::default()
    };
    match &run.network {
        Network::Default => {}
        Network::None => options.network = NetworkMode::None,
        Network::Host => options.network = NetworkMode::Host,
        Network::Named(name) => options.networks.push(network_named(name)),
    }
    options
}

/// The program's streams and our ends of its output and its errors.
pub fn streams() -> Result<(Streams, [Option<OwnedFd>; 2])> {
    let input = File::open("/dev/null").context("open `/dev/null`")?.into();
    let (output, output_in) = std::io::pipe().context("pipe")?;
    let (error, error_in) = std::io::pipe().context("pipe")?;
    for ours in [output.as_fd(), error.as_fd()] {
        rustix::io::ioctl_fionbio(ours, true).context("make a pipe non-blocking")?;
    }
    let streams = [input, output_in.into(), error_in.into()];
    Ok((streams, [Some(output.into()), Some(error.into())]))
}

/// A program whose output is passed on.
pub struct Followed<'a, 'b> {
    /// Its process.
    pub child: &'a Child,
    /// Where its changes of owners come.
    pub listener: Option<&'a OwnedFd>,
    /// Whose network is looked after meanwhile.
    pub step: Option<&'a mut Step<'b>>,
}

/// Passes on what the program writes until it has ended. When nobody is there any more who wants to know, it is killed.
pub fn follow(
    channel: &Channel,
    program: Followed<'_, '_>,
    outputs: [Option<OwnedFd>; 2],
    notes: &mut Notes,
) -> Result<Ended> {
    let child = program.child;
    let followed = pass_on(channel, program, outputs, notes);
    if followed.is_err() {
        child.end();
    }
    followed
}

fn pass_on(
    channel: &Channel,
    mut program: Followed<'_, '_>,
    mut outputs: [Option<OwnedFd>; 2],
    notes: &mut Notes,
) -> Result<Ended> {
    let mut buffer = vec![0; PIECE];
    let child = program.child;
    let upper = match (&program.step, program.listener) {
        (Some(step), Some(_)) => step.upper()?,
        _ => None,
    };
    loop {
        let (ended, asked, ready) = {
            let mut fds = vec![
                // Only its end counts.
                PollFd::new(channel, PollFlags::empty()),
                PollFd::new(&child.pidfd, PollFlags::IN),
            ];
            let fixed = fds.len();
            for output in outputs.iter().flatten() {
                fds.push(PollFd::new(output, PollFlags::IN));
            }
            let listener = fds.len();
            if let Some(listener) = program.listener {
                fds.push(PollFd::new(listener, PollFlags::IN));
            }
            let networks = fds.len();
            if let Some(step) = &program.step {
                step.watch(&mut fds);
            }
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                result => result.context("poll")?,
            };
            anyhow::ensure!(
                !fds[0].revents().contains(PollFlags::HUP),
                "the build was interrupted"
            );
            let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
            let output = fds[fixed..listener].iter().any(is_ready);
            let question = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
            let asked = fds[listener..networks].iter().any(question);
            let network = fds[networks..].iter().any(is_ready);
            (is_ready(&fds[1]), asked, (output, network))
        };
        if let Some(step) = program.step.as_mut().filter(|_| ready.1) {
            step.turn();
        }
        if let Some(listener) = program.listener.filter(|_| asked) {
            let upper = upper.as_ref().map(AsFd::as_fd);
            owner::answer(listener.as_fd(), upper, notes)?;
        }
        // All who could still write are gone with process 1.
        for (index, output) in outputs.iter_mut().enumerate() {
            if ready.0 || ended {
                pass_on_one(channel, index == 1, output, &mut buffer, ended)?;
            }
        }
        if ended {
            return child.wait().context("wait for the program");
        }
    }
}

/// One piece, or `all` that there is.
fn pass_on_one(
    channel: &Channel,
    is_error: bool,
    output: &mut Option<OwnedFd>,
    buffer: &mut [u8],
    all: bool,
) -> Result<()> {
    while let Some(pipe) = output {
        match rustix::io::read(&*pipe, &mut *buffer) {
            Ok(0) => *output = None,
            Ok(length) => {
                tell_output(channel, is_error, &buffer[..length])?;
                if !all {
                    return Ok(());
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(()),
            Err(error) => return Err(error).context("read the program's output"),
        }
    }
    Ok(())
}
