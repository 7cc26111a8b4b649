//! Which part of a registry a path means (distribution-spec, "Endpoints").
//!
//! The name of a repository has any number of components, among them `blobs` and `tags`; the end of a path decides.

use super::name::Name;
use super::refusal::Refusal;

/// A place; what is not checked yet is text.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    /// Whether this is a registry.
    Base,
    /// All repositories.
    Catalog,
    /// All tags of a repository.
    Tags(Name),
    /// A manifest by tag or digest.
    Manifest(Name, String),
    /// A blob by digest.
    Blob(Name, String),
    /// Where uploads begin.
    Uploads(Name),
    /// An upload by its id.
    Upload(Name, String),
    /// What refers to the manifest of that digest.
    Referrers(Name, String),
}

impl Route {
    /// The place that the components of a path mean.
    pub fn find(path: &[String]) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let ["v2", rest @ ..] = &parts[..] else {
            return Err(nowhere());
        };
        let name = |parts: &[&str]| Name::parse(&parts.join("/"));
        Ok(match rest {
            [] | [""] => Self::Base,
            ["_catalog"] => Self::Catalog,
            [repository @ .., "tags", "list"] => Self::Tags(name(repository)?),
            [repository @ .., "blobs", "uploads"] | [repository @ .., "blobs", "uploads", ""] => {
                Self::Uploads(name(repository)?)
            }
            [repository @ .., "blobs", "uploads", id] => {
                Self::Upload(name(repository)?, (*id).to_owned())
            }
            [repository @ .., "blobs", digest] => {
                Self::Blob(name(repository)?, (*digest).to_owned())
            }
            [repository @ .., "manifests", reference] => {
                Self::Manifest(name(repository)?, (*reference).to_owned())
            }
            [repository @ .., "referrers", digest] => {
                Self::Referrers(name(repository)?, (*digest).to_owned())
            }
            _ => return Err(nowhere()),
        })
    }

    /// The methods that can be used there, for the field `Allow`.
    pub fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) | Self::Referrers(..) => "GET, HEAD",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, PATCH, PUT, DELETE",
        }
    }
}

fn nowhere() -> Refusal {
    Refusal::new(404, "UNKNOWN", "a registry has nothing at this path")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_decides() {
        let find = |path: &str| {
            let parts: Vec<String> = path.split('/').map(str::to_owned).collect();
            Route::find(&parts).map_err(|refusal| refusal.code)
        };
        let name = |text: &str| Name::parse(text).unwrap();
        let text = str::to_owned;
        for (path, expected) in [
            ("v2", Ok(Route::Base)),
            ("v2/", Ok(Route::Base)),
            ("v2/_catalog", Ok(Route::Catalog)),
            ("v2/a/b/tags/list", Ok(Route::Tags(name("a/b")))),
            ("v2/tags/list/tags/list", Ok(Route::Tags(name("tags/list")))),
            (
                "v2/a/manifests/x",
                Ok(Route::Manifest(name("a"), text("x"))),
            ),
            (
                "v2/manifests/manifests/x",
                Ok(Route::Manifest(name("manifests"), text("x"))),
            ),
            ("v2/a/blobs/x", Ok(Route::Blob(name("a"), text("x")))),
            ("v2/a/blobs/uploads/", Ok(Route::Uploads(name("a")))),
            ("v2/a/blobs/uploads", Ok(Route::Uploads(name("a")))),
            (
                "v2/a/blobs/uploads/1",
                Ok(Route::Upload(name("a"), text("1"))),
            ),
            (
                "v2/a/referrers/x",
                Ok(Route::Referrers(name("a"), text("x"))),
            ),
            ("v2/../a/blobs/x", Err("NAME_INVALID")),
            ("v2/manifests/x", Err("NAME_INVALID")),
            ("v2/_blobs/blobs/x", Err("NAME_INVALID")),
            ("v2/a", Err("UNKNOWN")),
            ("v1/a/blobs/x", Err("UNKNOWN")),
            ("", Err("UNKNOWN")),
        ] {
            assert_eq!(find(path), expected, "{path}");
        }
    }
}
