//! What is said of what is hidden, and what was charged for it already.
//!
//! Owns [`is_charged`] and [`unknown`]. The idea: the line marks the error that says of something hidden that there is
//! nothing, so that whoever answers for what does not exist charges and writes down each call once.
//!
//! Must not: be seen by a caller.

use crate::error::{Error, Kind};

/// The mark of an error whose call the line has charged and written down, although it says that there is nothing.
#[derive(Debug)]
pub(super) struct Charged;

impl std::fmt::Display for Charged {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("written down by the line")
    }
}

impl std::error::Error for Charged {}

/// Whether the line has charged this refusal to its caller and written it down already: what is hidden must not cost
/// more, or less, than what does not exist.
pub fn is_charged(error: &Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if source.is::<Charged>() {
            return true;
        }
        next = source.source();
    }
    false
}

/// What a caller of that method is told about something that does not exist, or might as well not: the same words for
/// both.
pub fn unknown(method: &str) -> Error {
    match method {
        "resources/read" => Error::new(Kind::NoSuchResource, "There is no resource at this address."),
        "prompts/get" => Error::new(Kind::NoSuchTool, "There is no prompt of this name."),
        "completion/complete" => {
            Error::new(Kind::NoSuchTool, "There is no such prompt or template to complete.")
        }
        _ => Error::new(Kind::NoSuchTool, "There is no tool of this name."),
    }
}
