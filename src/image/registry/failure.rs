//! Why a server gave no answer, in words of ours, and what can be done about it. Not what an answer means: that is
//! [`super::source`]'s.

use crate::error::{Error, Kind};
use rustls::{AlertDescription, CertificateError};
use std::io::{self, ErrorKind};
use ureq::http::Uri;

/// Names of a certificate that are told.
const MOST_NAMES: usize = 10;

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

/// What went wrong between here and a server, in words of ours.
pub fn explain(url: &Uri, error: &ureq::Error) -> Failure {
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

/// The names of a certificate, which come as `DnsName("a.org")` or `IpAddress(127.0.0.1)`.
fn names(presented: &[String]) -> String {
    let name = |shown: &String| {
        let inner = shown
            .split_once('(')
            .and_then(|(_, rest)| rest.strip_suffix(')'));
        let inner = inner.unwrap_or(shown).trim_matches('"');
        format!("`{inner}`")
    };
    match presented {
        [] => "it has no name at all".to_owned(),
        presented => {
            let most = presented.iter().take(MOST_NAMES).map(name);
            most.collect::<Vec<_>>().join(", ")
        }
    }
}

fn day(time: rustls::pki_types::UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| format!("second {seconds}"),
        |time| time.strftime("%Y-%m-%d").to_string(),
    )
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
            CertificateError::NotValidForName => {
                let what = "its certificate is for another name".to_owned();
                (Reason::Final, what, None)
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let what = format!("its certificate is for another name: {}", names(presented));
                (Reason::Final, what, None)
            }
            CertificateError::Expired => {
                (Reason::Final, "its certificate has expired".to_owned(), None)
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                let what = format!("its certificate has expired, on {}", day(*not_after));
                let hint = "is the clock of this machine right? see `date`".to_owned();
                (Reason::Final, what, Some(hint))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                let what = format!("its certificate is not valid before {}", day(*not_before));
                let hint = "is the clock of this machine right? see `date`".to_owned();
                (Reason::Final, what, Some(hint))
            }
            CertificateError::UnknownIssuer => {
                let what = "its certificate is signed by an unknown authority".to_owned();
                (Reason::Final, what, Some(trust))
            }
            // webpki's own words for a certificate that signs others, as `openssl req -x509` makes them.
            CertificateError::Other(why) if why.to_string() == "CaUsedAsEndEntity" => (
                Reason::Final,
                "its certificate is that of an authority, used as a server's own".to_owned(),
                Some(
                    "make one with `openssl req -x509 -addext basicConstraints=critical,CA:FALSE`, or one that the \
                     authority signs"
                        .to_owned(),
                ),
            ),
            CertificateError::Other(why) => (
                Reason::Final,
                format!("its certificate is not accepted: {why}"),
                None,
            ),
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
