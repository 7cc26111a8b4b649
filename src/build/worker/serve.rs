//! A worker's life: it takes an order, executes it, says what came of it, and takes the next, until nobody is there who
//! would give one.

use super::message::{self, Greeting, Read, Told};
use super::mode::{self, Mode};
use super::order::{Answer, Order};
use super::{chroot, files, run};
use crate::container::engine::Engine;
use crate::container::monitor::leave_the_caller;
use crate::container::spawn::{self, HANDED};
use crate::container::step::Placements;
use crate::error;
use crate::sys::descriptor;
use crate::sys::signal::SignalFd;
use crate::sys::socket::Channel;
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::os::fd::OwnedFd;

/// `argv[0]` of a worker.
pub const WORKER_NAME: &str = "onggi-build-worker";

/// What a worker keeps from order to order.
pub struct Hands {
    /// The store.
    pub engine: Engine,
    /// To whoever gives the orders.
    pub channel: Channel,
    /// Where the control groups of steps lie.
    pub placements: Placements,
    /// How steps are carried out.
    pub mode: Mode,
}

/// Runs a worker; `arguments` are those of [`spawn::spawn`].
pub fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let Ok(descriptor) = descriptor::inherited(HANDED) else {
        return 125;
    };
    let channel = Channel::from_descriptor(descriptor);
    leave_the_caller();
    // Only the end of the channel ends it.
    let begun = SignalFd::block_all().and_then(|signals| {
        descriptor::raise_limit().context("raise the limit of open files")?;
        let engine = spawn::wanted(arguments)?.0;
        let mode = Mode::find(&engine)?;
        Ok((signals, engine, mode))
    });
    let (_signals, engine, mode) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            let _ = message::tell(&channel, &Told::Answer(failed(&error)));
            return 125;
        }
    };
    let mut hands = Hands {
        engine,
        channel,
        placements: Placements::new(),
        mode,
    };
    match hands.serve() {
        Ok(()) => 0,
        // Nobody is there to be told.
        Err(_) => 125,
    }
}

impl Hands {
    fn serve(&mut self) -> Result<()> {
        let greeting = Greeting {
            pid: std::process::id() as i32,
            mode: self.mode.clone(),
        };
        message::tell(&self.channel, &Told::Greeting(greeting))?;
        while let Read::Told((order, descriptors)) = message::receive_order(&self.channel)? {
            let answer = match self.execute(order, descriptors) {
                Ok(answer) => answer,
                Err(error) => failed(&error),
            };
            self.tell(answer)?;
        }
        Ok(())
    }

    /// Says something to whoever gives the orders.
    pub fn tell(&self, answer: Answer) -> Result<()> {
        message::tell(&self.channel, &Told::Answer(answer)).context("answer")
    }

    fn execute(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> Result<Answer> {
        match order {
            Order::Run(run) => match &self.mode {
                Mode::Containers => run::run(self, *run, descriptors),
                Mode::Chroot { mounts, .. } => chroot::run(self, *mounts, &run, &descriptors),
                Mode::Files { why } => Err(mode::no_programs(why)),
            },
            Order::Copy(copy) => files::copy(self, &copy, &descriptors),
            Order::Select(select) => files::select(self, &select),
            Order::Directory {
                base,
                path,
                owner,
                epoch,
            } => files::directory(self, &base, &path, &owner, epoch),
            Order::Layer {
                base,
                diff_id,
                blob,
                size,
            } => files::layer(self, &base, diff_id, (blob, size), descriptors),
        }
    }
}

fn failed(error: &anyhow::Error) -> Answer {
    Answer::Failed {
        message: format!("{error:#}"),
        hint: error::hint(error).map(str::to_owned),
    }
}
