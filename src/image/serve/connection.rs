//! One connection: requests one after another, each answered before the next is read.
//!
//! Whoever sends more than is wanted is told so and let go; what he still sends is read for a while, so that the answer
//! reaches him before the connection is reset (RFC 9112, section 9.6).

use super::http::body::{Body, Reader};
use super::http::request::{Bad, Method, Request};
use super::http::response::{Broken, Response};
use super::http::socket::{FAREWELL, HEAD, IDLE, Pace, Paced, Socket, TRANSFER, Wire};
use super::http::tls;
use super::refusal::Refusal;
use super::route::Route;
use super::{Event, Server, discovery, pull, push};
use anyhow::Result;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most clients at a time; further ones wait until they are accepted.
const MOST: usize = 256;
/// Time to ask for something, where others wait.
const ENOUGH: Duration = Duration::from_secs(2);
/// From here on nobody keeps a connection that he does not use.
const MANY: usize = MOST * 3 / 4;
/// What is read of a body that nobody wanted, to keep the connection; and at the end, to let the answer arrive.
const UNWANTED: u64 = 64 << 10;
const UNWANTED_AT_THE_END: u64 = 8 << 20;

/// The connections of a server.
#[derive(Default)]
pub struct Connections(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    open: BTreeMap<u64, Open>,
    stopping: bool,
}

struct Open {
    socket: Arc<Socket>,
    /// Whether a request is being answered.
    busy: bool,
    /// Since when it is so.
    since: Instant,
}

impl Connections {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection, as long as the ticket lives.
    pub fn enter(&self, socket: Socket) -> Ticket<'_> {
        let mut state = self.state();
        state.last += 1;
        let (number, socket) = (state.last, Arc::new(socket));
        let open = Open {
            socket: socket.clone(),
            busy: false,
            since: Instant::now(),
        };
        state.open.insert(number, open);
        Ticket {
            connections: self,
            number,
            socket,
        }
    }

    /// How many there are.
    pub fn number(&self) -> usize {
        self.state().open.len()
    }

    /// Whether no more can be taken.
    pub fn is_full(&self) -> bool {
        self.number() >= MOST
    }

    /// Lets the one go that has asked for nothing for the longest time, so that those who only hold connections keep
    /// nobody out.
    pub fn make_room(&self) {
        let state = self.state();
        let idle = state.open.values().filter(|open| !open.busy);
        let longest = idle.min_by_key(|open| open.since);
        if let Some(open) = longest.filter(|open| open.since.elapsed() > ENOUGH) {
            open.socket.shutdown(Shutdown::Both);
        }
    }

    /// Lets those go that nothing is answered on; the others end with their answer.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for open in state.open.values().filter(|open| !open.busy) {
            // A request that has come already is answered.
            open.socket.shutdown(Shutdown::Read);
        }
    }

    /// Ends all at once.
    pub fn cut(&self) {
        for open in self.state().open.values() {
            open.socket.shutdown(Shutdown::Both);
        }
    }
}

/// A connection that is counted.
pub struct Ticket<'a> {
    connections: &'a Connections,
    number: u64,
    socket: Arc<Socket>,
}

impl Ticket<'_> {
    /// Says whether a request is being answered; the answer is whether further ones may be.
    fn set_busy(&self, busy: bool) -> bool {
        let mut state = self.connections.state();
        if let Some(open) = state.open.get_mut(&self.number) {
            (open.busy, open.since) = (busy, Instant::now());
        }
        !state.stopping
    }

    fn may_stay(&self) -> bool {
        let state = self.connections.state();
        !state.stopping && state.open.len() < MANY
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.connections.state().open.remove(&self.number);
    }
}

/// Answers on a connection until one end has enough.
pub fn serve(server: &Server, ticket: &Ticket) -> Result<()> {
    let pace = Arc::new(Pace::new(HEAD));
    let paced = Paced::new(ticket.socket.clone(), pace.clone());
    let wire: Box<dyn Wire> = match (&server.tls, &*ticket.socket) {
        (Some(configuration), Socket::Tcp(_)) => Box::new(tls::accept(configuration, paced)?),
        _ => Box::new(paced),
    };
    let mut reader: Reader = BufReader::with_capacity(64 << 10, wire);
    while !reader.fill_buf()?.is_empty() {
        pace.begin(HEAD);
        let stays = exchange(server, ticket, &pace, &mut reader)?;
        if !ticket.set_busy(false) || !stays {
            break;
        }
        pace.begin(IDLE);
    }
    pace.begin(FAREWELL);
    reader.get_mut().farewell()?;
    ticket.socket.shutdown(Shutdown::Write);
    io::copy(&mut reader.take(UNWANTED_AT_THE_END), &mut io::sink())?;
    Ok(())
}

/// One request and its answer; whether another may follow.
fn exchange(
    server: &Server,
    ticket: &Ticket,
    pace: &Pace,
    reader: &mut Reader,
) -> io::Result<bool> {
    let request = match Request::read(reader) {
        Ok(request) => request,
        Err(Bad::Cut(error)) => return Err(error),
        Err(Bad::Refused(status, message)) => {
            let refusal = Refusal::new(status, "UNKNOWN", message);
            let answer = refusal.response();
            // Nothing can be wrong but the connection.
            let _ = answer.write(&mut **reader.get_mut(), false, false);
            return Ok(false);
        }
    };
    ticket.set_busy(true);
    pace.begin(TRANSFER);
    let mut body = Body::new(reader, &request);
    let response = answer(server, &request, &mut body).unwrap_or_else(|refusal| {
        if let Some(cause) = &refusal.cause {
            (server.report)(Event::Failed {
                line: &request.line,
                error: cause,
            });
        }
        refusal.response()
    });
    pace.begin(FAREWELL);
    let stays = request.keep_alive && body.is_over(UNWANTED) && ticket.may_stay();
    pace.begin(TRANSFER);
    (server.report)(Event::Answered {
        client: &ticket.socket,
        line: &request.line,
        status: response.status,
    });
    match response.write(body.wire(), request.method == Method::Head, stays) {
        Ok(()) => Ok(stays),
        Err(Broken::Client(error)) => Err(error),
        Err(Broken::Source(error)) => {
            // The client sees that bytes are missing.
            (server.report)(Event::Failed {
                line: &request.line,
                error: &error,
            });
            Ok(false)
        }
    }
}

fn answer(server: &Server, request: &Request, body: &mut Body) -> Result<Response, Refusal> {
    let route = Route::find(&request.path)?;
    let storage = server.storage;
    let folder = || match request.field("origin") {
        // Browsers say where a page comes from that changes something; no client of registries does. Without this any
        // page could push to a registry of the machine that shows it (by DNS rebinding, or by what needs no answer).
        Some(_) => Err(Refusal::new(403, "DENIED", "web pages change nothing here")),
        None => storage.writable().map_err(Refusal::unsupported),
    };
    let methods = route.methods();
    match (request.method, route) {
        (Method::Get | Method::Head, Route::Base) => Ok(Response::json(200, &json!({}))),
        (Method::Get | Method::Head, Route::Catalog) => discovery::catalog(storage, request),
        (Method::Get | Method::Head, Route::Tags(name)) => discovery::tags(storage, request, &name),
        (Method::Get | Method::Head, Route::Referrers(name, digest)) => {
            discovery::referrers(storage, request, &name, &digest)
        }
        (Method::Get | Method::Head, Route::Manifest(name, reference)) => {
            pull::manifest(storage, &name, &reference)
        }
        (Method::Get | Method::Head, Route::Blob(name, digest)) => {
            pull::blob(storage, request, &name, &digest)
        }
        (Method::Put, Route::Manifest(name, reference)) => {
            push::put_manifest(folder()?, request, body, &name, &reference)
        }
        (Method::Delete, Route::Manifest(name, reference)) => {
            push::delete_manifest(folder()?, &name, &reference)
        }
        (Method::Delete, Route::Blob(name, digest)) => push::delete_blob(folder()?, &name, &digest),
        (Method::Post, Route::Uploads(name)) => push::begin(folder()?, request, body, &name),
        (Method::Get, Route::Upload(name, id)) => push::status(folder()?, &name, &id),
        (Method::Patch, Route::Upload(name, id)) => {
            push::patch(folder()?, request, body, &name, &id)
        }
        (Method::Put, Route::Upload(name, id)) => {
            push::finish(folder()?, request, body, &name, &id)
        }
        (Method::Delete, Route::Upload(name, id)) => push::cancel(folder()?, &name, &id),
        _ => Err(Refusal::unsupported("this cannot be done here").field("Allow", methods)),
    }
}
