//! One HTTP request and its answer (RFC 9110): connections, timeouts, redirects, and patience with servers that are
//! busy or broken for a while. Not here: what registries mean by it, who is asking ([`super::auth`]).
//!
//! Invariants. What authorizes a request goes to the origin it was made for and to no other. A request that was told
//! to go by TLS never goes without. Nothing waits for ever: each read has a limit, and so have all waits together.

use super::certificates;
use super::proxy;
use super::resolver::HostResolver;
use crate::error::{Error, Kind, bad_input};
use anyhow::Result;
use rustls::{AlertDescription, CertificateError};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use ureq::http::{Method, Request, Response, StatusCode, Uri, header};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

const REDIRECTS: usize = 10;
/// Requests that fail for a while are made this often.
const TRIES: u32 = 5;
/// A server may ask for this much patience.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How often who waits looks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);
const CONNECT: Duration = Duration::from_secs(20);
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
    pub body: Option<&'a [u8]>,
}

impl Call<'_> {
    /// A GET.
    pub fn get(url: Uri) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: Vec::new(),
            body: None,
        }
    }

    /// With another header.
    #[must_use]
    pub fn with(mut self, name: header::HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Why there was no answer.
#[derive(Debug)]
pub struct Failure {
    /// What can be done about it.
    pub reason: Reason,
    /// What to say.
    pub error: Error,
}

/// What can be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no TLS at the other end.
    NoTls,
    /// Nobody listens there.
    Refused,
    /// It may be better a moment later.
    Passing,
    /// Nothing.
    Final,
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        failure.error.into()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            reason: Reason::Final,
            error,
        }
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
            if origin(&next)? != origin(&call.url)? {
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
            Some(body) => request.body(body).map(|request| agent.run(request)),
            None => request.body(()).map(|request| agent.run(request)),
        };
        let invalid = |error| bad_input(format!("{} cannot be asked: {error}", shown(&call.url)));
        sent.map_err(invalid)?
            .map_err(|error| explain(&call.url, &error))
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
            let asked = self.policy.certificates.as_deref();
            let directories = certificates::directories(asked);
            let name = match port(url) {
                443 => host.to_owned(),
                port => format!("{host}:{port}"),
            };
            let verify = self.policy.verify;
            let tls = certificates::configuration(&name, verify, &directories, asked)?;
            builder = builder.tls_config(tls);
        }
        let connector = DefaultConnector::default();
        Ok(Agent::with_parts(builder.build(), connector, HostResolver))
    }
}

/// Panics of other threads are no reason to stop here: what the lock guards is whole after each statement.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn cancelled() -> Error {
    Error::new(Kind::Denied, "it was given up")
}

/// What a busy or broken server asks for: `None` when it is neither, else how long to wait if it says so.
fn patience(response: &Response<Body>, url: &Uri) -> Option<Result<Option<Duration>, Error>> {
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
    response
        .into_body()
        .into_reader()
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// What went wrong between here and a server, in words of ours.
fn explain(url: &Uri, error: &ureq::Error) -> Failure {
    let host = url.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit('@').next().unwrap_or_default();
    let (reason, what, hint) = describe(host, error);
    let mut error = Error::new(Kind::Denied, format!("connect to `{host}`: {what}"));
    error.hint = hint;
    Failure { reason, error }
}

fn describe(host: &str, error: &ureq::Error) -> (Reason, String, Option<String>) {
    let text =
        |reason, text: &str, hint: Option<&str>| (reason, text.to_owned(), hint.map(str::to_owned));
    match error {
        ureq::Error::Timeout(_) => text(Reason::Passing, "it does not answer in time", None),
        ureq::Error::HostNotFound => no_such_host(),
        ureq::Error::Rustls(error) => tls(host, error),
        ureq::Error::ConnectProxyFailed(why) => {
            (Reason::Final, format!("by the proxy: {why}"), None)
        }
        ureq::Error::Io(error) => io_error(host, error),
        other => (Reason::Passing, other.to_string(), None),
    }
}

fn no_such_host() -> (Reason, String, Option<String>) {
    let hint =
        "the name may be misspelt; names are looked up in /etc/hosts and by /etc/resolv.conf";
    (
        Reason::Final,
        "no such host".to_owned(),
        Some(hint.to_owned()),
    )
}

fn io_error(host: &str, error: &io::Error) -> (Reason, String, Option<String>) {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls(host, error);
    }
    match error.kind() {
        ErrorKind::NotFound => no_such_host(),
        ErrorKind::ConnectionRefused => (Reason::Refused, "connection refused".to_owned(), None),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            let hint = Some("see `ip route` and whether the network is up".to_owned());
            (Reason::Final, "no network leads there".to_owned(), hint)
        }
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => (Reason::Passing, "the connection was cut".to_owned(), None),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => (
            Reason::Passing,
            "it does not answer in time".to_owned(),
            None,
        ),
        _ => (Reason::Passing, error.to_string(), None),
    }
}

fn tls(host: &str, error: &rustls::Error) -> (Reason, String, Option<String>) {
    let trust = format!(
        "put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt or \
         ~/.config/containers/certs.d/{host}/ca.crt"
    );
    match error {
        rustls::Error::InvalidMessage(_) => {
            let hint = "--tls-verify=false allows to speak to it without TLS";
            (
                Reason::NoTls,
                "it does not speak TLS".to_owned(),
                Some(hint.to_owned()),
            )
        }
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    Reason::Final,
                    format!("its certificate is for another name ({why})"),
                    None,
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                Reason::Final,
                format!("its certificate has expired ({why})"),
                None,
            ),
            CertificateError::UnknownIssuer => {
                let what = "its certificate is signed by an unknown authority".to_owned();
                (Reason::Final, what, Some(trust))
            }
            why => (
                Reason::Final,
                format!("its certificate is not accepted: {why}"),
                Some(trust),
            ),
        },
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => {
            let what =
                "it asks for a client certificate, or for another one than it was shown".to_owned();
            let hint =
                format!("put one into /etc/docker/certs.d/{host}/ as client.cert and client.key");
            (Reason::Final, what, Some(hint))
        }
        rustls::Error::AlertReceived(_) => (Reason::Final, format!("it refuses: {error}"), None),
        other => (Reason::Final, format!("TLS fails: {other}"), None),
    }
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
