//! What the engine of these tests knows: one container and one image, with a value of every kind that a
//! template can meet.

use crate::server::Answers;
use serde_json::Value;

/// All canned answers by their paths.
pub fn all() -> Answers {
    let answers: Value = serde_json::from_str(include_str!("answers.json")).unwrap();
    answers
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, answer)| (path.clone(), answer.clone()))
        .collect()
}
