//! Where credentials come from.
//!
//! Owns [`Reference`]: `env:NAME`, `file:PATH`, `keyring:NAME`. The idea: configuration holds where a secret is, never
//! the secret; it is read when it is needed, and what others can read is refused.
//!
//! Must not: repeat what it was given when that may be the secret itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::http::Supply;
use crate::json::json;
use crate::ownership::{self, Exposure};
use crate::secret::Secret;

/// Longest secret that is read from a file.
const LONGEST: u64 = 64 * 1024;
/// The name that entries in the system's keyring are filed under.
const SERVICE: &str = "bartizan";

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// `env:NAME`: an environment variable, or the file that `NAME_FILE` names.
    Env(String),
    /// `file:PATH`: a file of ours that nobody else can read.
    File(PathBuf),
    /// `keyring:NAME`: an entry of the system's keyring, filed under `bartizan`.
    Keyring(String),
}

impl Reference {
    /// Reads a reference. Anything else is taken for a literal secret: refused, and not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = || {
            Error::new(
                Kind::BadConfig,
                "a credential must be a reference: env:NAME, file:PATH or keyring:NAME (a literal secret is refused)",
            )
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(refused)?;
        match scheme {
            "env" if is_name(rest) => Ok(Self::Env(rest.to_owned())),
            "file" if !rest.is_empty() && !rest.contains('\0') => Ok(Self::File(PathBuf::from(rest))),
            "keyring" if !rest.is_empty() && rest.len() <= 128 && !rest.contains(char::is_control) => {
                Ok(Self::Keyring(rest.to_owned()))
            }
            _ => Err(refused()),
        }
    }

    /// Reads the secret. May block: a keyring may ask its user.
    pub fn resolve(&self) -> Result<Secret> {
        match self {
            Self::Env(name) => from_environment(name),
            Self::File(path) => from_file(path, &self.to_string()),
            Self::Keyring(name) => from_keyring(name),
        }
    }
}

impl Supply for Reference {
    fn secret(&self) -> Result<Secret> {
        self.resolve()
    }

    fn reference(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(out, "env:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Keyring(name) => write!(out, "keyring:{name}"),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text)
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Nothing is there: another way may be tried (see `FirstReady`).
fn absent(message: String) -> Error {
    Error::new(Kind::BadConfig, message).with_detail(json!({ "absent": true }))
}

fn refused(message: String) -> Error {
    Error::new(Kind::BadConfig, message)
}

#[allow(clippy::disallowed_methods, reason = "this is where secrets are read from the environment")]
fn from_environment(name: &str) -> Result<Secret> {
    if let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) {
        let text = value
            .into_string()
            .map_err(|_| refused(format!("the environment variable {name} does not hold text")))?;
        return Ok(Secret::new(text.trim_end_matches(['\n', '\r'])));
    }
    let file = format!("{name}_FILE");
    match std::env::var_os(&file).filter(|path| !path.is_empty()) {
        Some(path) => from_file(Path::new(&path), &format!("the file that {file} names")),
        None => Err(absent(format!("set the environment variable {name}, or {file} to the path of a file"))),
    }
}

fn from_file(path: &Path, place: &str) -> Result<Secret> {
    use std::io::Read as _;

    let unreadable = |cause: std::io::Error| {
        let error = if cause.kind() == std::io::ErrorKind::NotFound {
            absent(format!("the secret at {place} is not there; create it, readable by you alone"))
        } else {
            refused(format!("the secret at {place} cannot be read; check that it is a file of yours"))
        };
        error.with_source(cause)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let known = file.metadata().map_err(unreadable)?;
    if !known.is_file() {
        return Err(refused(format!("the secret at {place} is not a regular file")));
    }
    private(&known, place)?;
    if known.len() > LONGEST {
        return Err(refused(format!("the secret at {place} is longer than {LONGEST} bytes")));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).map_err(unreadable)?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    if text.is_empty() {
        return Err(refused(format!("the secret at {place} is empty")));
    }
    Ok(Secret::new(text))
}

/// Refuses a file of somebody else's, and one that others can read or write.
fn private(known: &std::fs::Metadata, place: &str) -> Result<()> {
    Err(refused(match ownership::exposure(known) {
        None => return Ok(()),
        Some(Exposure::Foreign) => format!("the secret at {place} belongs to another user; it is not used"),
        Some(Exposure::Open) => {
            format!("the secret at {place} can be read by others; run chmod 600 on it")
        }
        Some(Exposure::Unknown) => ownership::unknown(&format!("the secret at {place}")),
    }))
}

fn from_keyring(name: &str) -> Result<Secret> {
    let found = keyring::Entry::new(SERVICE, name).and_then(|entry| entry.get_password());
    found.map(Secret::new).map_err(|cause| {
        let message = format!(
            "the system keyring has no entry {name} under {SERVICE}, or is not available; store it there or use env: or file:"
        );
        absent(message).with_source(cause)
    })
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for literal in
            ["hunter2hunter2", "Bearer abc", "env:", "env:my secret", "file:", "vault:x", "", "env:1ABC"]
        {
            let error = Reference::parse(literal).unwrap_err();
            let told = literal.len() > 5 && error.message().contains(literal);
            assert!(!told, "{literal}");
        }
    }

    #[test]
    fn a_reference_survives_the_round_trip() {
        for text in ["env:A_B", "file:/run/secrets/x", "keyring:equinix secret"] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(serde_json::to_value(&reference).unwrap(), text);
            assert_eq!(serde_json::from_value::<Reference>(text.into()).unwrap(), reference);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, "correct horse\r\n").unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = || Reference::File(path.clone()).resolve();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o777] {
            set(mode);
            let error = read().unwrap_err();
            assert!(error.message().contains("chmod 600"), "{mode:o}");
            assert!(!error.message().contains("correct horse"));
        }
        for mode in [0o600, 0o400] {
            set(mode);
            assert_eq!(read().unwrap().expose(), "correct horse");
        }
        assert!(Reference::File(folder.path().to_owned()).resolve().is_err(), "a folder is no secret");
        assert!(Reference::File(folder.path().join("none")).resolve().is_err());
    }
}
