//! Who is asking: basic authentication (RFC 7617) and tokens (RFC 6750; distribution's token and oauth2
//! specifications), as a registry's challenge demands.
//!
//! ```text
//! request ─▶ 401 + WWW-Authenticate ─▶ Basic:  the same request with the password
//!                                      Bearer: GET realm?service&scope (password) or POST realm (refresh token)
//!                                              ─▶ token ─▶ the same request with the token, and all later ones
//! ```
//!
//! Who logs in offers the realm the password by POST first, for an identity token (a refresh token to be kept in its
//! stead).
//!
//! Invariants. A password goes to the registry it is for, and to the realm that registry names; neither without TLS
//! where the registry itself has it. A token is kept for its scope as long as it lives.

use super::credentials::{Credential, Secret};
use super::failure::Failure;
use super::transport::{self, Call, Payload, Transport, is_https, lock};
use crate::error::{Error, Kind, bad_input};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use ureq::http::{Method, Response, Uri, header};
use ureq::{Body, ResponseExt};

const DOCUMENT: u64 = 1 << 20;
/// A token without a word about it lives that long (token specification).
const USUAL_LIFE: Duration = Duration::from_secs(60);
/// A request, and again with what was demanded, and again with a new token.
const TRIES: usize = 3;
/// A token is not used in its last moments.
const MARGIN: Duration = Duration::from_secs(5);

/// What a registry demands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// Answers the challenges of one registry.
#[derive(Debug)]
pub struct Authorizer {
    credential: Option<Credential>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<BTreeMap<String, Token>>,
    /// Held while a token is fetched anew.
    renewal: Mutex<()>,
    /// Somebody logs in: an identity token is wanted for the password.
    is_login: bool,
    /// The one that was given.
    identity: Mutex<Option<String>>,
}

#[derive(Clone, Debug)]
struct Token {
    value: String,
    until: Instant,
    /// The refresh token that came with it.
    refresh: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
    refresh_token: Option<String>,
}

impl Authorizer {
    /// For somebody, or for nobody in particular.
    pub fn new(credential: Option<Credential>) -> Self {
        Self {
            credential,
            challenge: Mutex::default(),
            tokens: Mutex::default(),
            renewal: Mutex::default(),
            is_login: false,
            identity: Mutex::default(),
        }
    }

    /// The same, to log in: a password is offered for an identity token.
    #[must_use]
    pub fn to_log_in(mut self) -> Self {
        self.is_login = true;
        self
    }

    /// The identity token that was given for the password, if one was.
    pub fn identity(&self) -> Option<String> {
        lock(&self.identity).clone()
    }

    /// As whom it answers.
    pub fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Makes a request for something in `scope` (`repository:NAME:pull`, several separated by spaces) and answers what
    /// the registry demands. A 401 that comes back is the registry's last word.
    pub fn fetch(
        &self,
        transport: &Transport,
        call: &Call,
        scope: &str,
    ) -> Result<Response<Body>, Failure> {
        self.answered(transport, call, scope, Transport::fetch)
    }

    /// Likewise, but has no patience with a server that is busy or broken: what it did meanwhile, only the caller can
    /// find out.
    pub fn send(
        &self,
        transport: &Transport,
        call: &Call,
        scope: &str,
    ) -> Result<Response<Body>, Failure> {
        self.answered(transport, call, scope, Transport::follow)
    }

    fn answered(
        &self,
        transport: &Transport,
        call: &Call,
        scope: &str,
        make: fn(&Transport, &Call) -> Result<Response<Body>, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let mut known = self.header(transport, call, scope)?;
        for left in (0..TRIES).rev() {
            let response = make(transport, &authorized(call, known.as_deref()))?;
            // Where it was redirected to, somebody else demands, who is to get nothing.
            let is_own = transport::origin(response.get_uri())? == transport::origin(&call.url)?;
            let is_demand = response.status().as_u16() == 401 && is_own;
            if left == 0 || !is_demand || !self.learn(&response) {
                return Ok(response);
            }
            let fresh = self.renew(transport, call, scope, known.as_deref())?;
            if fresh.is_none() || fresh == known {
                return Ok(response);
            }
            known = fresh;
        }
        Err(bad_input(format!("{} was not asked", transport::shown(&call.url))).into())
    }

    /// What to send instead of what was refused: a token may have ended since it was given. Of several threads whose
    /// token has ended one fetches another, for all.
    fn renew(
        &self,
        transport: &Transport,
        call: &Call,
        scope: &str,
        refused: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        let _one = lock(&self.renewal);
        let is_refused =
            |token: &Token| Some(format!("Bearer {}", token.value).as_str()) == refused;
        {
            let mut tokens = lock(&self.tokens);
            if tokens.get(scope).is_some_and(is_refused) {
                tokens.remove(scope);
            }
        }
        self.header(transport, call, scope)
    }

    /// Takes the challenge that an answer has; false where there is none that can be met.
    fn learn(&self, response: &Response<Body>) -> bool {
        let headers = response.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges: Vec<_> = headers
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(challenges)
            .collect();
        let bearer = |challenge: &&Challenge| matches!(challenge, Challenge::Bearer { .. });
        let best = challenges.iter().find(bearer).or(challenges.first());
        if let Some(best) = best {
            *lock(&self.challenge) = Some(best.clone());
        }
        best.is_some()
    }

    /// What to send along; `None` where nothing was demanded yet, or nothing can be offered.
    fn header(
        &self,
        transport: &Transport,
        call: &Call,
        scope: &str,
    ) -> Result<Option<String>, Failure> {
        let challenge = lock(&self.challenge).clone();
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(self.basic()),
            Some(Challenge::Bearer {
                realm,
                service,
                scope: demanded,
            }) => {
                if let Some(Secret::Token(token)) = self
                    .credential
                    .as_ref()
                    .map(|credential| &credential.secret)
                {
                    return Ok(Some(format!("Bearer {token}")));
                }
                let wanted = match scope {
                    "" => demanded.as_deref().unwrap_or_default(),
                    scope => scope,
                };
                let known = lock(&self.tokens).get(scope).cloned();
                if let Some(token) = known.filter(|token| token.until > Instant::now()) {
                    return Ok(Some(format!("Bearer {}", token.value)));
                }
                let realm = realm_of(call, &realm)?;
                let token = self.token(transport, &realm, service.as_deref(), wanted)?;
                let value = format!("Bearer {}", token.value);
                lock(&self.tokens).insert(scope.to_owned(), token);
                Ok(Some(value))
            }
        }
    }

    fn basic(&self) -> Option<String> {
        match self.credential.as_ref()? {
            Credential {
                user,
                secret: Secret::Password(password),
                ..
            } => Some(format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{password}"))
            )),
            _ => None,
        }
    }

    fn token(
        &self,
        transport: &Transport,
        realm: &Uri,
        service: Option<&str>,
        scope: &str,
    ) -> Result<Token, Failure> {
        let mut fields: Vec<(&str, &str)> = service
            .map(|service| ("service", service))
            .into_iter()
            .collect();
        if let Some(Credential { user, secret, .. }) = &self.credential {
            let mut granted = fields.clone();
            granted.push(("client_id", "onggi"));
            granted.extend((!scope.is_empty()).then_some(("scope", scope)));
            match secret {
                Secret::Refresh(refresh) => {
                    granted.extend([("grant_type", "refresh_token"), ("refresh_token", refresh)]);
                    return self.read_token(realm, grant(transport, realm, &granted)?);
                }
                Secret::Password(password) if self.is_login => {
                    granted.extend([("grant_type", "password"), ("access_type", "offline")]);
                    granted.extend([("username", user.as_str()), ("password", password)]);
                    if let Some(token) = self.exchange(transport, realm, &granted)? {
                        return Ok(token);
                    }
                }
                _ => {}
            }
            fields.push(("account", user));
        }
        let scopes = scope.split(' ').filter(|one| !one.is_empty());
        fields.extend(scopes.map(|one| ("scope", one)));
        let mut call = Call::get(with_query(realm, &form(&fields))?);
        if let Some(basic) = self.basic() {
            call = call.with(header::AUTHORIZATION, basic);
        }
        self.read_token(realm, transport.fetch(&call)?)
    }

    /// Offers the password for an identity token. `None` where none is given: servers that know no POST, or not this
    /// grant, say so in many ways (400, 401, 404, 405), or take it for a GET of nobody's. Only the GET that follows tells
    /// whether the password is right.
    fn exchange(
        &self,
        transport: &Transport,
        realm: &Uri,
        fields: &[(&str, &str)],
    ) -> Result<Option<Token>, Failure> {
        let response = grant(transport, realm, fields)?;
        if !response.status().is_success() {
            return Ok(None);
        }
        let token = self.read_token(realm, response).ok();
        let token = token.filter(|token| token.refresh.is_some());
        if let Some(token) = &token {
            (*lock(&self.identity)).clone_from(&token.refresh);
        }
        Ok(token)
    }

    fn read_token(&self, realm: &Uri, response: Response<Body>) -> Result<Token, Failure> {
        let status = response.status();
        let place = transport::shown(realm);
        if matches!(status.as_u16(), 400 | 401 | 403) {
            let what = format!("unauthorized: {place} gives no token ({status})");
            return Err(self.refused(&what).into());
        }
        if !status.is_success() {
            return Err(bad_input(format!("{place} gives no token: it answers {status}")).into());
        }
        let unreadable = |why: &str| bad_input(format!("{place} gives no token: {why}"));
        let bytes = transport::read_document(response, DOCUMENT)
            .map_err(|error| unreadable(&error.to_string()))?
            .ok_or_else(|| unreadable("its answer is too long"))?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes)
            .map_err(|error| unreadable(&format!("its answer is no token in JSON: {error}")))?;
        let value = match answer.token.is_empty() {
            true => answer.access_token,
            false => answer.token,
        };
        let printable = |byte: u8| (0x21..0x7f).contains(&byte);
        if value.is_empty() || !value.bytes().all(printable) {
            return Err(unreadable("there is none in its answer").into());
        }
        let life = answer.expires_in.map_or(USUAL_LIFE, Duration::from_secs);
        let life = life.clamp(MARGIN, Duration::from_secs(24 * 3600));
        Ok(Token {
            value,
            until: Instant::now() + life.saturating_sub(MARGIN),
            refresh: answer.refresh_token.filter(|token| !token.is_empty()),
        })
    }

    /// A refusal that names the file and the entry that were used.
    pub fn refused(&self, what: &str) -> Error {
        let error = Error::new(Kind::Denied, what);
        match &self.credential {
            Some(credential) => error.hint(format!(
                "{} was used: `onggi login` replaces it, `onggi logout` removes it",
                credential.source
            )),
            None => error.hint("`onggi login` if it is private; no credentials for it were found"),
        }
    }
}

/// Asks a realm by POST (oauth2 specification, "Getting a token").
fn grant(
    transport: &Transport,
    realm: &Uri,
    fields: &[(&str, &str)],
) -> Result<Response<Body>, Failure> {
    let body = form(fields);
    let body = Payload::Secret(body.as_bytes());
    let kind = "application/x-www-form-urlencoded".to_owned();
    transport.fetch(&Call::new(Method::POST, realm.clone(), body).with(header::CONTENT_TYPE, kind))
}

fn authorized<'a>(call: &Call<'a>, value: Option<&str>) -> Call<'a> {
    match value {
        Some(value) => call.clone().with(header::AUTHORIZATION, value),
        None => call.clone(),
    }
}

/// The realm of a challenge to a request.
fn realm_of(call: &Call, realm: &str) -> Result<Uri, Error> {
    let bad = |why: &str| {
        bad_input(format!(
            "{} names `{realm}` to get a token from: {why}",
            transport::shown(&call.url)
        ))
    };
    let url = transport::relative(&call.url, realm).ok_or_else(|| bad("it is no address"))?;
    match is_https(&call.url) && !is_https(&url) {
        true => Err(bad("it has no TLS")),
        false => Ok(url),
    }
}

fn with_query(url: &Uri, query: &str) -> Result<Uri, Error> {
    let mark = if url.query().is_some() { '&' } else { '?' };
    let text = match query {
        "" => url.to_string(),
        query => format!("{url}{mark}{query}"),
    };
    text.parse()
        .map_err(|_| bad_input(format!("`{url}` is no address")))
}

/// `application/x-www-form-urlencoded`.
pub fn form(fields: &[(&str, &str)]) -> String {
    let pair = |(key, value): &(&str, &str)| format!("{}={}", escaped(key), escaped(value));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// Percent encoding (RFC 3986, 2.1).
pub fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z'
        | b'a'..=b'z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'_'
        | b'~'
        | b':'
        | b'/'
        | b',' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The challenges of one header line that can be met (RFC 9110, 11.6.1): schemes with parameters, separated by
/// commas, as are the parameters themselves.
fn challenges(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c == ',' || c.is_whitespace())
            .unwrap_or(rest.len());
        let word = &rest[..end];
        let after = rest[end..].trim_start();
        match after.strip_prefix('=') {
            Some(value) if !word.is_empty() => {
                let (value, after) = parameter(value.trim_start());
                if let Some((_, parameters)) = found.last_mut() {
                    parameters.insert(word.to_ascii_lowercase(), value);
                }
                rest = after;
            }
            _ if word.is_empty() => rest = after.get(1..).unwrap_or_default(),
            _ => {
                found.push((word.to_ascii_lowercase(), BTreeMap::new()));
                rest = after;
            }
        }
        rest = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace());
    }
    let known = |(scheme, mut parameters): (String, BTreeMap<String, String>)| match scheme.as_str()
    {
        "basic" => Some(Challenge::Basic),
        "bearer" => Some(Challenge::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
            scope: parameters.remove("scope"),
        }),
        _ => None,
    };
    found.into_iter().filter_map(known).collect()
}

/// A token or a quoted string, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| c == ',' || c.is_whitespace())
            .unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        for (text, expected) in [
            ("Basic realm=\"x\"", vec![Challenge::Basic]),
            (
                "Bearer realm=\"https://a/t\",service=\"s\", scope=\"repository:a/b:pull,push\"",
                vec![bearer(
                    "https://a/t",
                    Some("s"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            ("bearer realm=r", vec![bearer("r", None, None)]),
            (
                "Negotiate, Basic realm=\"a, b=\\\"c\\\"\", Bearer realm=\"r\"",
                vec![Challenge::Basic, bearer("r", None, None)],
            ),
            ("Bearer service=x", vec![]),
            (
                "Bearer realm=\"unclosed",
                vec![bearer("unclosed", None, None)],
            ),
            (",,=,", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(challenges(text), expected, "{text}");
        }
    }

    #[test]
    fn a_realm_without_tls_gets_nothing_from_a_registry_with_it() {
        let call = Call::get("https://a.org/v2/".parse().unwrap());
        assert!(realm_of(&call, "http://a.org/token").is_err());
        assert_eq!(realm_of(&call, "/token").unwrap(), "https://a.org/token");
        let call = Call::get("http://localhost/v2/".parse().unwrap());
        assert!(realm_of(&call, "http://localhost/token").is_ok());
    }

    #[test]
    fn queries_are_escaped() {
        assert_eq!(
            form(&[("scope", "repository:a/b:pull"), ("x y", "&=é")]),
            "scope=repository:a/b:pull&x%20y=%26%3D%C3%A9"
        );
        let url: Uri = "https://a/t?x=1".parse().unwrap();
        assert_eq!(with_query(&url, "y=2").unwrap(), "https://a/t?x=1&y=2");
    }
}
