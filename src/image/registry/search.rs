//! Which repositories a registry has: by its own search where it has one, else by its list of all of them.

use super::configuration::Configuration;
use super::discovery::Hit;
use super::source::{Answer, Source};
use super::{Options, configuration};
use crate::error::bad_input;
use anyhow::Result;

/// What was found, and how.
#[derive(Debug)]
pub struct Found {
    /// In the registry's order.
    pub hits: Vec<Hit>,
    /// The host whose list of repositories was looked through, since it has no search.
    pub without_search: Option<String>,
    /// The registry that could not be asked, with the reason; then a mirror was.
    pub unreachable: Option<anyhow::Error>,
}

/// Docker's rule for what is searched: `TERM`, or `HOST/TERM`.
pub fn split(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            match configuration::is_docker(host) {
                true => (configuration::DOCKER, official(rest)),
                false => (host, rest),
            }
        }
        _ => (configuration::DOCKER, official(text)),
    }
}

fn official(term: &str) -> &str {
    term.strip_prefix("library/").unwrap_or(term)
}

/// At most `limit` repositories of a registry that a term leads to. Names are as `pull` takes them.
///
/// Mirrors have what somebody has pulled through them, so they are asked only where the registry does not answer.
pub fn search(domain: &str, term: &str, limit: usize, options: &Options) -> Result<Found> {
    if domain == configuration::DOCKER && term.is_empty() {
        return Err(bad_input("a search needs a term").into());
    }
    let mut unreachable = None;
    for place in Configuration::load()?.registries(domain)? {
        let credential = options.files.find(&place.account)?;
        let (host, beginning) = (place.host.clone(), place.repository.clone());
        let source = Source::new(place, credential, options);
        match ask(&source, &beginning, term, limit) {
            Ok((mut hits, has_search)) => {
                if domain != configuration::DOCKER {
                    let complete = |hit: &mut Hit| hit.name = format!("{domain}/{}", hit.name);
                    hits.iter_mut().for_each(complete);
                }
                return Ok(Found {
                    hits,
                    without_search: (!has_search).then_some(host),
                    unreachable,
                });
            }
            Err(answer) => {
                let error = failure(&host, answer);
                unreachable.get_or_insert(error);
            }
        }
    }
    Err(unreachable.unwrap_or_else(|| bad_input("there is no place to ask").into()))
}

/// What was found, and whether by a search of the registry's own.
fn ask(
    source: &Source,
    beginning: &str,
    term: &str,
    limit: usize,
) -> Result<(Vec<Hit>, bool), Answer> {
    // A search knows nothing of where below a mirror a registry lies.
    if beginning.is_empty()
        && let Some(mut hits) = source.search(term, limit)?
    {
        hits.truncate(limit);
        return Ok((hits, true));
    }
    let wanted = term.to_lowercase();
    let mut hits = Vec::new();
    source.repositories(|name| {
        let own = match beginning {
            "" => Some(name.as_str()),
            beginning => name
                .strip_prefix(beginning)
                .and_then(|rest| rest.strip_prefix('/')),
        };
        if let Some(own) = own.filter(|own| own.to_lowercase().contains(&wanted)) {
            hits.push(Hit {
                name: own.to_owned(),
                ..Hit::default()
            });
        }
        hits.len() < limit
    })?;
    Ok((hits, false))
}

fn failure(host: &str, answer: Answer) -> anyhow::Error {
    let what = format!("search `{host}`");
    match answer {
        Answer::Failed(error) => error.context(what),
        Answer::Denied(error) => anyhow::Error::from(error).context(what),
        Answer::NotFound(why) => {
            let message = format!("it has neither a search nor a list of repositories: {why}");
            anyhow::Error::from(bad_input(message)).context(what)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_split_as_by_docker() {
        for (text, host, term) in [
            ("nginx", "docker.io", "nginx"),
            ("library/nginx", "docker.io", "nginx"),
            ("user/app", "docker.io", "user/app"),
            ("a.b", "docker.io", "a.b"),
            ("docker.io/library/x", "docker.io", "x"),
            ("index.docker.io/x", "docker.io", "x"),
            ("quay.io/user/app", "quay.io", "user/app"),
            ("localhost/x", "localhost", "x"),
            ("h:5000/", "h:5000", ""),
        ] {
            assert_eq!(split(text), (host, term), "{text}");
        }
    }
}
