//! `registry serve`: a registry in the foreground.

use crate::cli::Context;
use crate::cli::command::Verb;
use crate::cli::output::log::Log;
use crate::error::bad_input;
use crate::image::serve::folder::Folder;
use crate::image::serve::images::Images;
use crate::image::serve::listener::{Address, Listener};
use crate::image::serve::storage::Storage;
use crate::image::serve::{self, Event, Server, Tls, Until};
use crate::sys::signal::SignalFd;
use crate::systemd;
use anyhow::Result;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Where registries are by custom.
const PORT: u16 = 5000;

/// Options of `registry serve`.
#[derive(clap::Args)]
pub struct Serve {
    /// Serve the images of this store, read-only, instead of a folder
    #[arg(long)]
    images: bool,
    /// Listen at an address ("127.0.0.1:5000", ":5000", "unix:/PATH"; port 0: any that is free)
    #[arg(long, value_name = "address")]
    listen: Vec<Address>,
    /// Take nothing in and remove nothing
    #[arg(long)]
    read_only: bool,
    /// Keep everything in this folder (default: one of the store)
    #[arg(long, value_name = "directory")]
    storage: Option<PathBuf>,
    /// End when nobody was connected for that many seconds (0: never)
    #[arg(short, long, value_name = "seconds", default_value_t = 0)]
    time: u64,
    /// Speak TLS with the certificate in this file
    #[arg(long, value_name = "file")]
    tls_cert: Option<PathBuf>,
    /// The private key of that certificate
    #[arg(long, value_name = "file")]
    tls_key: Option<PathBuf>,
}

impl Verb for Serve {
    fn execute(mut self, context: &mut Context) -> Result<u8> {
        if self.images && self.storage.is_some() {
            return Err(bad_input("--images and --storage exclude each other").into());
        }
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(serve::tls(certificate, key)?),
            (None, None) => None,
            _ => return Err(bad_input("--tls-cert and --tls-key belong together").into()),
        };
        // No folder is made where nobody could reach it.
        let listeners = self.listeners()?;
        let storage = self.storage(context)?;
        // Before there is any thread, so that no other one takes the signals.
        let until = Until {
            signals: SignalFd::block_requests_to_end()?,
            idle: (self.time > 0).then(|| Duration::from_secs(self.time)),
        };
        tell(context, &listeners, tls.as_ref(), &*storage)?;
        systemd::notify("READY=1")?;
        let debug = context.globals.debug || context.globals.log_level == "debug";
        let log = Log::new(&context.program);
        let report = |event: Event| match event {
            Event::Answered {
                client,
                line,
                status,
            } if debug => log.line(format_args!("{client} {line} {status}")),
            Event::Answered { .. } => {}
            Event::Failed { line, error } => log.warn(format_args!("{line}: {error:#}")),
            Event::Broken(error) => log.warn(format_args!("{error:#}")),
        };
        let server = Server {
            storage: &*storage,
            tls,
            report: &report,
        };
        let ran = server.run(listeners, &until);
        systemd::notify("STOPPING=1")?;
        ran.map(|()| 0)
    }
}

impl Serve {
    fn storage(&mut self, context: &mut Context) -> Result<Box<dyn Storage>> {
        if !self.images {
            let folder = super::folder(context, self.storage.take())?;
            return Ok(Box::new(Folder::open(&folder, self.read_only)?));
        }
        let engine = context.engine()?;
        // Files of layers belong to ids of the store's own.
        engine.enter_user_namespace()?;
        Ok(Box::new(Images::new(engine.paths)))
    }

    /// What systemd has opened, and what was asked for; without either the usual port of this machine.
    fn listeners(&self) -> Result<Vec<Listener>> {
        let mut listeners = systemd::sockets()?
            .into_iter()
            .map(Listener::inherited)
            .collect::<Result<Vec<_>>>()?;
        for address in &self.listen {
            listeners.push(Listener::bind(address)?);
        }
        if listeners.is_empty() {
            let usual = Address::Tcp((Ipv4Addr::LOCALHOST, PORT).into());
            listeners.push(Listener::bind(&usual)?);
        }
        Ok(listeners)
    }
}

/// Says where it listens, and what that means.
fn tell(
    context: &mut Context,
    listeners: &[Listener],
    tls: Option<&Tls>,
    storage: &dyn Storage,
) -> Result<()> {
    for listener in listeners {
        let scheme = match (listener.address(), tls) {
            (Address::Unix(_), _) => "",
            (_, Some(_)) => "https://",
            (_, None) => "http://",
        };
        let address = listener.address();
        context
            .output
            .line(format_args!("Listening on {scheme}{address}"))?;
    }
    if storage.writable().is_ok() && listeners.iter().any(Listener::is_public) {
        context.output.warn(
            "whoever reaches this address may push and delete: no password is asked for (--read-only lets nobody)",
        );
    }
    Ok(())
}
