//! Why a request is not answered as its sender wished: a status, and a code of distribution-spec's table (spec.md, "Error
//! codes") in a document that clients read.

use super::http::response::Response;
use crate::store::atomic;
use serde_json::json;
use std::io::{self, ErrorKind};

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal {
    /// Of HTTP.
    pub status: u16,
    /// Of the specification.
    pub code: &'static str,
    /// One line for a person.
    pub message: String,
    /// What has gone wrong here, which is nothing for the client.
    pub cause: Option<anyhow::Error>,
    fields: Vec<(&'static str, String)>,
}

impl Refusal {
    /// A refusal with a code of the table.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            cause: None,
            fields: Vec::new(),
        }
    }

    /// A digest that is none, or not that of what was sent.
    pub fn digest_invalid(message: impl Into<String>) -> Self {
        Self::new(400, "DIGEST_INVALID", message)
    }

    /// A method that cannot be used here.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(405, "UNSUPPORTED", message)
    }

    /// A name of a repository that is none.
    pub fn name_invalid() -> Self {
        Self::new(400, "NAME_INVALID", "invalid repository name")
    }

    /// There is no such repository.
    pub fn name_unknown(name: &str) -> Self {
        Self::new(
            404,
            "NAME_UNKNOWN",
            format!("there is no repository {name}"),
        )
    }

    /// There is no such manifest.
    pub fn manifest_unknown(reference: &str) -> Self {
        Self::new(
            404,
            "MANIFEST_UNKNOWN",
            format!("there is no manifest {reference}"),
        )
    }

    /// There is no such blob.
    pub fn blob_unknown(digest: &str) -> Self {
        Self::new(404, "BLOB_UNKNOWN", format!("there is no blob {digest}"))
    }

    /// There is no such upload.
    pub fn upload_unknown() -> Self {
        Self::new(
            404,
            "BLOB_UPLOAD_UNKNOWN",
            "there is no such upload; it may have ended",
        )
    }

    /// What has been sent is no manifest.
    pub fn manifest_invalid(message: impl Into<String>) -> Self {
        Self::new(400, "MANIFEST_INVALID", message)
    }

    /// The body of a request could not be read.
    pub fn body(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut => Self::new(408, "UNKNOWN", "the body came too slowly"),
            ErrorKind::InvalidData => Self::new(400, "UNKNOWN", error.to_string()),
            _ => Self::new(400, "SIZE_INVALID", "the body ended too early"),
        }
    }

    /// Adds a field to the answer.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// The answer.
    pub fn response(&self) -> Response {
        let errors = json!({"errors": [{"code": self.code, "message": self.message}]});
        let response = Response::json(self.status, &errors);
        let fields = self.fields.iter();
        fields.fold(response, |response, (name, value)| {
            response.field(name, value)
        })
    }
}

/// What goes wrong here is told to who runs the server; a client learns only whether the disk is full.
impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        let (status, message) = match atomic::is_full(&error) {
            true => (507, "no space is left on the disk of the registry"),
            false => (500, "the registry has failed; its own messages say why"),
        };
        Self {
            cause: Some(error),
            ..Self::new(status, "UNKNOWN", message)
        }
    }
}
