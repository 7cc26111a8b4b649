//! `URL#REF:DIRECTORY`, or `URL?ref=REF&subdir=DIRECTORY&…`.
//! <https://docs.docker.com/build/concepts/context/#git-repositories>

use crate::build::context::address::shown;
use crate::error::{Error, bad_input};

/// What of which repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Repository {
    /// As git takes it, without what is behind `#` or `?`.
    pub url: String,
    /// Which commit.
    pub revision: Revision,
    /// The directory in it that counts.
    pub directory: Option<String>,
    /// The commit that it must be, in hexadecimal digits, perhaps only the first.
    pub checksum: Option<String>,
    /// Whether `.git` stays, where the address says it.
    pub keep_git_directory: Option<bool>,
    /// Whether submodules are fetched too.
    pub submodules: bool,
}

/// How a commit is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    /// That of the default branch.
    #[default]
    Head,
    /// A branch, a tag, a whole reference or a commit.
    Any(String),
    /// A whole reference.
    Reference(String),
}

impl Repository {
    /// `None` where it is the name of something else.
    pub fn parse(text: &str) -> Result<Option<Self>, Error> {
        let (whole, fragment) = match text.split_once('#') {
            Some((whole, fragment)) => (whole, Some(fragment)),
            None => (text, None),
        };
        let (address, query) = match whole.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (whole, None),
        };
        let Some(url) = git_url(address) else {
            return Ok(None);
        };
        let mut repository = Self {
            url,
            revision: Revision::Head,
            directory: None,
            checksum: None,
            keep_git_directory: None,
            submodules: true,
        };
        let refused = |what: String| {
            bad_input(format!("invalid git address `{}`: {what}", shown(text)))
                .hint("URL#REF:DIRECTORY, or URL?ref=REF&subdir=DIRECTORY")
        };
        if let Some(fragment) = fragment {
            let (reference, directory) = match fragment.split_once(':') {
                Some((reference, directory)) => (reference, Some(directory)),
                None => (fragment, None),
            };
            repository.set_revision(Revision::Any(reference.to_owned()), reference);
            repository.directory = directory.filter(|text| !text.is_empty()).map(str::to_owned);
        }
        for pair in query.iter().flat_map(|query| query.split('&')) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value).ok_or_else(|| format!("`{value}` is not encoded"));
            value
                .and_then(|value| repository.set(key, value))
                .map_err(refused)?;
        }
        repository.check().map_err(refused)?;
        Ok(Some(repository))
    }

    /// Takes one pair of the query.
    fn set(&mut self, key: &str, value: String) -> Result<(), String> {
        let flag = |value: &str| match value {
            "" | "1" | "true" => Ok(true),
            "0" | "false" => Ok(false),
            other => Err(format!("{key} is true or false, not `{other}`")),
        };
        let once = |is_set: bool| match is_set {
            true => Err("it names more than one commit or directory".to_owned()),
            false => Ok(()),
        };
        match key {
            "" => {}
            "ref" | "branch" | "tag" => {
                once(self.revision != Revision::Head)?;
                let revision = match key {
                    "branch" => Revision::Reference(format!("refs/heads/{value}")),
                    "tag" => Revision::Reference(format!("refs/tags/{value}")),
                    _ => Revision::Any(value.clone()),
                };
                self.set_revision(revision, &value);
            }
            "subdir" => {
                once(self.directory.is_some())?;
                self.directory = Some(value).filter(|text| !text.is_empty());
            }
            "checksum" | "commit" => {
                once(self.checksum.is_some())?;
                self.checksum = Some(value);
            }
            "keep-git-dir" => self.keep_git_directory = Some(flag(&value)?),
            "submodules" => self.submodules = flag(&value)?,
            other => return Err(format!("unexpected query `{other}`")),
        }
        Ok(())
    }

    /// Whether it lies on this machine.
    pub fn is_local(&self) -> bool {
        let scheme = self.url.get(..7);
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"))
    }

    /// As messages and attestations show it.
    pub fn shown(&self) -> String {
        let url = shown(&self.url);
        match &self.revision {
            Revision::Head => url,
            Revision::Any(name) | Revision::Reference(name) => format!("{url}#{name}"),
        }
    }

    fn set_revision(&mut self, revision: Revision, text: &str) {
        if !text.is_empty() {
            self.revision = revision;
        }
    }

    /// Nothing of it may be taken for an option, or for something that only this machine's git would understand.
    fn check(&self) -> Result<(), String> {
        let name = match &self.revision {
            Revision::Head => "HEAD",
            Revision::Any(name) | Revision::Reference(name) => name,
        };
        let is_odd = |character: char| {
            character.is_control() || character.is_whitespace() || "^~:?*[\\+".contains(character)
        };
        if name.starts_with('-') || name.contains(is_odd) || name.contains("..") {
            return Err(format!("`{name}` is no branch, tag or commit"));
        }
        let host = self
            .url
            .split_once("://")
            .map_or(&self.url[..], |(_, rest)| rest);
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if self.url.starts_with('-') || host.starts_with('-') || self.url.contains(char::is_control)
        {
            return Err("it names no host".to_owned());
        }
        let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match &self.checksum {
            Some(sum) if !(7..=64).contains(&sum.len()) || !is_hexadecimal(sum) => Err(format!(
                "`{sum}` is no commit: 7 to 64 hexadecimal digits are"
            )),
            _ => Ok(()),
        }
    }
}

/// The address as git takes it, if it is that of a repository: by its scheme, or since it ends in `.git`.
fn git_url(address: &str) -> Option<String> {
    let is_repository = address.ends_with(".git") || address.ends_with(".git/");
    if let Some((scheme, rest)) = address.split_once("://") {
        let known = match scheme.to_ascii_lowercase().as_str() {
            "git" | "ssh" => true,
            "http" | "https" | "file" => is_repository,
            _ => false,
        };
        return (known && !rest.is_empty()).then(|| address.to_owned());
    }
    if address.starts_with("github.com/")
        && address.split('/').filter(|name| !name.is_empty()).count() >= 3
    {
        return Some(format!("https://{address}"));
    }
    // `user@host:path`, as of scp(1).
    let (login, path) = address.split_once(':')?;
    let (user, host) = login.split_once('@')?;
    let is_plain = |text: &str| !text.is_empty() && !text.contains('/');
    let is_login = is_plain(user) && is_plain(host) && !path.is_empty();
    (is_login && (user == "git" || is_repository)).then(|| address.to_owned())
}

/// Without percent encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_repositories() {
        let any = |name: &str| Revision::Any(name.to_owned());
        let whole = |name: &str| Revision::Reference(name.to_owned());
        for (text, url, revision, directory) in [
            ("https://h/x.git", "https://h/x.git", Revision::Head, None),
            ("https://h/x.git#", "https://h/x.git", Revision::Head, None),
            ("https://h/x.git#main", "https://h/x.git", any("main"), None),
            (
                "https://h/x.git#:sub/dir",
                "https://h/x.git",
                Revision::Head,
                Some("sub/dir"),
            ),
            (
                "https://h/x.git#v1:d",
                "https://h/x.git",
                any("v1"),
                Some("d"),
            ),
            (
                "https://h/x.git?branch=b",
                "https://h/x.git",
                whole("refs/heads/b"),
                None,
            ),
            (
                "https://h/x.git?tag=t&subdir=a%2Fb",
                "https://h/x.git",
                whole("refs/tags/t"),
                Some("a/b"),
            ),
            (
                "ssh://git@h:22/x?ref=pull/1/head",
                "ssh://git@h:22/x",
                any("pull/1/head"),
                None,
            ),
            ("git@h:x/y", "git@h:x/y", Revision::Head, None),
            ("me@h:x/y.git", "me@h:x/y.git", Revision::Head, None),
            (
                "github.com/a/b",
                "https://github.com/a/b",
                Revision::Head,
                None,
            ),
            ("file:///x/y.git", "file:///x/y.git", Revision::Head, None),
        ] {
            let found = Repository::parse(text).unwrap().unwrap();
            let found = (&found.url[..], found.revision, found.directory);
            assert_eq!(
                found,
                (url, revision, directory.map(str::to_owned)),
                "{text}"
            );
        }
        let found =
            Repository::parse("https://h/x.git?checksum=0123abc&keep-git-dir=1&submodules=false");
        let found = found.unwrap().unwrap();
        assert_eq!(found.checksum.as_deref(), Some("0123abc"));
        assert_eq!(
            (found.keep_git_directory, found.submodules),
            (Some(true), false)
        );
    }

    #[test]
    fn what_is_none_is_a_path_or_an_error() {
        for text in [
            ".",
            "a/b.git",
            "https://h/x.tar",
            "ftp://h/x.git",
            "me@h:x",
            "github.com/a",
            "C:x",
            "a@b/c:d",
        ] {
            assert_eq!(Repository::parse(text).unwrap(), None, "{text}");
        }
        for text in [
            "https://h/x.git#--upload-pack=x",
            "https://h/x.git#a..b",
            "https://h/x.git#a b",
            "ssh://-oProxyCommand=x/y",
            "ssh://git@-oProxyCommand=x/y",
            "git@-oProxyCommand=x:y",
            "https://h/x.git?other=1",
            "https://h/x.git?ref=a&branch=b",
            "https://h/x.git?ref=a#b",
            "https://h/x.git?checksum=xyz",
            "https://h/x.git?submodules=maybe",
            "https://h/x.git?ref=%zz",
        ] {
            assert!(Repository::parse(text).is_err(), "{text}");
        }
    }
}
