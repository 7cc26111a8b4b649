//! One HTTP request and its answer (RFC 9110): connections, timeouts, redirects, and patience with servers that are
//! busy or broken for a while. Not here: what registries mean by it, who is asking ([`super::auth`]).
//!
//! Invariants. What authorizes a request goes to the origin it was made for and to no other. A request that was told
//! to go by TLS never goes without. Nothing waits for ever: each read has a limit, and so have all waits together.

use super::certificates;
use super::failure::{Failure, Reason, explain};
use super::pace::{self, Paced};
use super::proxy;
use super::resolver::HostResolver;
use crate::error::{Error, Kind, bad_input};
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ureq::http::request::Builder;
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, SendBody};

const REDIRECTS: usize = 10;
/// Requests that fail for a while are made this often.
const TRIES: u32 = 5;
/// A server may ask for this much patience.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often who waits looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(20);
/// A body of up to so many bytes is sent without asking whether it is wanted.
const UNANNOUNCED: u64 = 64 << 10;
const USER_AGENT: &str = concat!("onggi/", env!("CARGO_PKG_VERSION"));

/// How connections to one registry are made.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether certificates are looked at.
    pub verify: bool,
    /// `--cert-dir`: where this registry's certificates lie, instead of the usual places.
    pub certificates: Option<PathBuf>,
    /// How long a server may say nothing.
    pub silence: Duration,
}

/// Connections to a registry and to where it redirects.
pub struct Transport {
    policy: Policy,
    /// By origin.
    agents: Mutex<BTreeMap<String, Agent>>,
    cancelled: AtomicBool,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// GET, HEAD and so on.
    pub method: Method,
    /// Whole.
    pub url: Uri,
    /// Beside those that each request has; `Authorization` stays with the origin.
    pub headers: Vec<(header::HeaderName, String)>,
    /// What goes with it.
    pub body: Payload<'a>,
}

/// What goes with a request.
#[derive(Clone, Default)]
pub enum Payload<'a> {
    /// Nothing, as with GET.
    #[default]
    Nothing,
    /// What is in memory.
    Bytes(&'a [u8]),
    /// Likewise, for the origin it was made for alone: a redirect to another is an error.
    Secret(&'a [u8]),
    /// What is read while it goes, from its start for each try and each redirect.
    Stream {
        /// How many bytes; `None`: until its end, which not every server takes.
        length: Option<u64>,
        /// Gives them.
        open: &'a Opener<'a>,
    },
}

/// Opens something to be read from its start.
pub type Opener<'a> = dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync + 'a;

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Secret(bytes) => write!(f, "Secret({})", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}

impl<'a> Call<'a> {
    /// Any request.
    pub fn new(method: Method, url: Uri, body: Payload<'a>) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body,
        }
    }

    /// A GET.
    pub fn get(url: Uri) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: Payload::Nothing,
        }
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// Connects to nobody yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            agents: Mutex::default(),
            cancelled: AtomicBool::new(false),
        }
    }

    /// Whether certificates are looked at, and TLS is insisted on where it was begun with.
    pub fn verifies(&self) -> bool {
        self.policy.verify
    }

    /// Ends all requests that other threads are in, and lets none begin.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let agents = std::mem::take(&mut *lock(&self.agents));
        agents.into_values().for_each(Agent::shutdown);
    }

    /// Whether [`Transport::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Makes a request, follows redirects, and asks again while the server is busy or broken.
    pub fn fetch(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let mut pause = Duration::from_millis(200);
        for left in (0..TRIES).rev() {
            let (wait, failure) = match self.follow(call) {
                Ok(response) => match patience(&response, &call.url) {
                    None => return Ok(response),
                    Some(Ok(wait)) if left > 0 => (wait, None),
                    // What the server says about it is in the answer.
                    Some(Ok(_)) => return Ok(response),
                    Some(Err(error)) => return Err(error.into()),
                },
                Err(failure) if failure.reason == Reason::Passing && left > 0 => {
                    (None, Some(failure))
                }
                Err(failure) => return Err(failure),
            };
            if self.is_cancelled() {
                return Err(failure.unwrap_or_else(|| cancelled().into()));
            }
            self.pause(wait.unwrap_or(pause));
            pause *= 2;
        }
        Err(cancelled().into())
    }

    /// Waits, unless it is cancelled meanwhile.
    pub fn pause(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.is_cancelled() {
            std::thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Makes a request once, and follows redirects.
    pub fn follow(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let mut call = call.clone();
        for _ in 0..=REDIRECTS {
            let response = self.send(&call)?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let next = target(&call.url, &response)?;
            if is_https(&call.url) && !is_https(&next) && self.policy.verify {
                let message = format!(
                    "{} redirects to an address without TLS: {next}",
                    shown(&call.url)
                );
                return Err(bad_input(message).into());
            }
            if response.status() == StatusCode::SEE_OTHER {
                call.method = Method::GET;
                call.body = Payload::Nothing;
            }
            if origin(&next)? != origin(&call.url)? {
                if matches!(call.body, Payload::Secret(_)) {
                    let (from, to) = (shown(&call.url), shown(&next));
                    let message = format!("{from} redirects what is for it alone to {to}");
                    return Err(bad_input(message).into());
                }
                call.headers
                    .retain(|(name, _)| *name != header::AUTHORIZATION);
            }
            call.url = next;
        }
        Err(bad_input(format!("{} redirects again and again", shown(&call.url))).into())
    }

    fn send(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let agent = self.agent(&call.url)?;
        let mut request = Request::builder().method(&call.method).uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let sent = match call.body {
            Payload::Bytes(body) | Payload::Secret(body) => {
                request.body(body).map(|request| agent.run(request))
            }
            Payload::Nothing => request.body(()).map(|request| agent.run(request)),
            Payload::Stream { length, open } => {
                return self.send_stream(&agent, request, call, length, open);
            }
        };
        let invalid = |error| bad_input(format!("{} cannot be asked: {error}", shown(&call.url)));
        sent.map_err(invalid)?
            .map_err(|error| explain(&call.url, &error))
    }

    /// A server that does not want a long body gets the chance to say so before it comes: while it comes nobody listens.
    fn send_stream(
        &self,
        agent: &Agent,
        mut request: Builder,
        call: &Call,
        length: Option<u64>,
        open: &Opener,
    ) -> Result<Response<Body>, Failure> {
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        if length.is_none_or(|length| length > UNANNOUNCED) {
            request = request.header(header::EXPECT, "100-continue");
        }
        let unreadable =
            |why: String| Failure::from(bad_input(format!("read what is sent: {why}")));
        let mut body = Sent {
            inner: open().map_err(|error| unreadable(format!("{error:#}")))?,
            left: length,
            failure: None,
        };
        let invalid = |error| bad_input(format!("{} cannot be asked: {error}", shown(&call.url)));
        let request = request
            .body(SendBody::from_reader(&mut body))
            .map_err(invalid)?;
        let sent = agent.run(request);
        match body.failure {
            Some(why) => Err(unreadable(why)),
            None => sent.map_err(|error| explain(&call.url, &error)),
        }
    }

    /// The connections of an origin.
    fn agent(&self, url: &Uri) -> Result<Agent, Error> {
        if self.is_cancelled() {
            return Err(cancelled());
        }
        let origin = origin(url)?;
        let mut agents = lock(&self.agents);
        if let Some(agent) = agents.get(&origin) {
            return Ok(agent.clone());
        }
        let agent = self.connections(url).map_err(|error| {
            let text = format!("{error:#}");
            match error.downcast::<Error>() {
                Ok(own) => Error {
                    message: text,
                    ..own
                },
                Err(_) => bad_input(text),
            }
        })?;
        agents.insert(origin, agent.clone());
        Ok(agent)
    }

    fn connections(&self, url: &Uri) -> Result<Agent> {
        let host = url.host().unwrap_or_default();
        let silence = Some(self.policy.silence);
        let mut builder = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .accept_encoding("identity")
            .proxy(proxy::find(is_https(url), host, port(url))?)
            .timeout_connect(Some(CONNECT.min(self.policy.silence)))
            .timeout_recv_response(silence)
            .timeout_per_read(silence)
            .timeout_per_write(silence);
        if is_https(url) {
            let name = match port(url) {
                443 => host.to_owned(),
                port => format!("{host}:{port}"),
            };
            let directories = match &self.policy.certificates {
                Some(asked) => vec![asked.clone()],
                None => certificates::directories(&name),
            };
            let tls = certificates::configuration(&directories, self.policy.verify)?;
            builder = builder.tls_config(tls);
        }
        let connector = DefaultConnector::default();
        Ok(Agent::with_parts(builder.build(), connector, HostResolver))
    }
}

/// A body on its way: exactly as long as it was announced, and remembering whether it could be read.
struct Sent<'a> {
    inner: Box<dyn Read + Send + 'a>,
    left: Option<u64>,
    failure: Option<String>,
}

impl Read for Sent<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.left.map_or(usize::MAX, |left| {
            usize::try_from(left).unwrap_or(usize::MAX)
        });
        let end = most.min(buffer.len());
        if end == 0 {
            return Ok(0);
        }
        let got = loop {
            match self.inner.read(&mut buffer[..end]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Nobody waits for bytes that never come.
                Ok(0) if self.left.is_some() => {
                    let missing = self.left.unwrap_or_default();
                    break Err(io::Error::other(format!(
                        "it ends {missing} bytes before its end"
                    )));
                }
                got => break got,
            }
        };
        if let Err(error) = &got {
            self.failure = Some(error.to_string());
        }
        let got = got?;
        self.left = self.left.map(|left| left - got as u64);
        Ok(got)
    }
}

/// Panics of other threads are no reason to stop here: what the lock guards is whole after each statement.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn cancelled() -> Error {
    Error::new(Kind::Denied, "it was given up")
}

/// What a busy or broken server asks for: `None` when it is neither, else how long to wait if it says so.
pub fn patience(response: &Response<Body>, url: &Uri) -> Option<Result<Option<Duration>, Error>> {
    if !matches!(response.status().as_u16(), 408 | 429 | 500 | 502..=504) {
        return None;
    }
    let header = response.headers().get(header::RETRY_AFTER);
    let Some(seconds) = header
        .and_then(|value| value.to_str().ok())
        .and_then(seconds)
    else {
        return Some(Ok(None));
    };
    let wait = Duration::from_secs(seconds);
    if wait <= LONGEST_WAIT {
        return Some(Ok(Some(wait)));
    }
    let status = response.status();
    let message = format!(
        "{} answers {status} and asks to come again in {seconds} seconds",
        shown(url)
    );
    let mut error = Error::new(Kind::Denied, message);
    if status == StatusCode::TOO_MANY_REQUESTS {
        error = error.hint("`onggi login` raises the limit of many registries; a mirror has none");
    }
    Some(Err(error))
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(seconds);
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    let left = date.timestamp().as_second() - jiff::Timestamp::now().as_second();
    Some(u64::try_from(left).unwrap_or(0))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn target(from: &Uri, response: &Response<Body>) -> Result<Uri, Error> {
    let header = response.headers().get(header::LOCATION);
    let Some(location) = header.and_then(|value| value.to_str().ok()) else {
        return Err(bad_input(format!("{} redirects to nowhere", shown(from))));
    };
    relative(from, location).ok_or_else(|| {
        bad_input(format!(
            "{} redirects to no address: {location}",
            shown(from)
        ))
    })
}

/// An address as seen from another (RFC 3986, 5.2; without `.` and `..`, which nobody sends).
pub fn relative(from: &Uri, location: &str) -> Option<Uri> {
    let scheme = from.scheme_str()?;
    let authority = from.authority()?;
    let whole = match location {
        _ if location.contains("://") => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
        _ if location.starts_with('?') => {
            format!("{scheme}://{authority}{}{location}", from.path())
        }
        _ => {
            let (folder, _) = from.path().rsplit_once('/')?;
            format!("{scheme}://{authority}{folder}/{location}")
        }
    };
    let url: Uri = whole.split('#').next()?.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    (known && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
}

/// Whether it goes by TLS.
pub fn is_https(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

fn port(url: &Uri) -> u16 {
    url.port_u16()
        .unwrap_or(if is_https(url) { 443 } else { 80 })
}

/// Scheme, host and port.
pub fn origin(url: &Uri) -> Result<String, Error> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    // The library would take the usual port instead.
    let has_port = url.host().is_some_and(|host| !authority.ends_with(host));
    if has_port && url.port_u16().is_none() {
        return Err(bad_input(format!(
            "`{authority}` has no valid port, which is a number from 1 to 65535"
        )));
    }
    match (url.scheme_str(), url.host()) {
        (Some(scheme @ ("http" | "https")), Some(host)) => Ok(format!(
            "{scheme}://{}:{}",
            host.to_ascii_lowercase(),
            port(url)
        )),
        _ => Err(bad_input(format!("`{url}` is no address of a server"))),
    }
}

/// An address as messages show it: without a query, which may hold a signature.
pub fn shown(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let authority = authority.rsplit('@').next().unwrap_or_default();
    format!(
        "{}://{authority}{}",
        url.scheme_str().unwrap_or("https"),
        url.path()
    )
}

/// The body of an answer that must be small.
pub fn read_document(response: Response<Body>, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    Paced::new(response.into_body().into_reader(), Some(pace::DOCUMENT))
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_resolved() {
        let from: Uri = "https://a.org:5000/v2/x/blobs/y?z=1".parse().unwrap();
        for (location, expected) in [
            ("https://b.org/c?d=e", Some("https://b.org/c?d=e")),
            ("//b.org/c", Some("https://b.org/c")),
            ("/c#f", Some("https://a.org:5000/c")),
            ("c", Some("https://a.org:5000/v2/x/blobs/c")),
            ("?q=1", Some("https://a.org:5000/v2/x/blobs/y?q=1")),
            ("file:///etc/passwd", None),
            ("ftp://b.org/c", None),
            ("https://", None),
        ] {
            let found = relative(&from, location).map(|url| url.to_string());
            assert_eq!(found.as_deref(), expected, "{location}");
        }
        assert_eq!(origin(&from).unwrap(), "https://a.org:5000");
        assert_eq!(
            origin(&"HTTP://A.org/x".parse().unwrap()).unwrap(),
            "http://a.org:80"
        );
        assert_eq!(
            origin(&"http://u:p@[::1]:5000/x".parse().unwrap()).unwrap(),
            "http://[::1]:5000"
        );
        for bad in ["http://a.org:99999/", "http://[::1]:65536/", "ftp://a.org/"] {
            assert!(origin(&bad.parse().unwrap()).is_err(), "{bad}");
        }
        assert_eq!(
            shown(&"https://u:p@a.org/x?sig=1".parse().unwrap()),
            "https://a.org/x"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(seconds(" 7 "), Some(7));
        assert_eq!(seconds("Wed, 21 Oct 2015 07:28:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
    }
}
