//! Where credentials come from.
//!
//! Owns [`Reference`], [`Keeper`] and the [`Switch`] between first and second credentials. The idea: configuration holds where a secret is, never the secret; it is read when
//! it is needed, what others can read or replace is refused, and each time another secret is found, or none, somebody
//! hears of it.
//!
//! Must not: repeat what it was given when that may be the secret itself.

mod ages;
mod command;
pub mod edgerc;
mod file;
mod hashicorp;
mod keeper;
mod standby;
mod tokens;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use ages::{Ages, Seen, Stand};
pub use command::Program;
pub use hashicorp::{AppRole, Config as VaultConfig, Spot};
pub use keeper::{Config, Keeper, Told, Use};
pub use standby::{Standby, Switch, Turned};
pub use tokens::{Config as TokensConfig, Tokens};

use crate::error::{Error, Kind, Result};
use crate::http::Supply;
use crate::json::json;
use crate::ownership::CONTAINER;
use crate::secret::Secret;

/// The name that entries in the system's keyring are filed under.
const SERVICE: &str = "bartizan";

/// How each reference is written.
pub const SCHEMES: &[&str] = &["env:", "env-file:", "file:", "edgerc:", "keyring:", "command:", "vault:"];

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Reference {
    /// `env:NAME`: an environment variable, or the file that `NAME_FILE` names, or the container's secret of that name.
    Env(String),
    /// `env-file:NAME`: the file that an environment variable names.
    EnvFile(String),
    /// `file:PATH`: a file of ours that nobody else can read.
    File(PathBuf),
    /// `edgerc:PATH#SECTION/FIELD`: a value of an `.edgerc`. Without a path it is the one that `AKAMAI_EDGERC` names, or
    /// `~/.edgerc`; without a section it is the one that `EDGERC_SECTION` names, or `default`.
    Edgerc {
        /// The file.
        path: Option<PathBuf>,
        /// The section.
        section: Option<String>,
        /// The value.
        field: edgerc::Field,
    },
    /// `keyring:NAME`: an entry of the system's keyring, filed under `bartizan`.
    Keyring(String),
    /// `command:NAME`: what the program under `[secrets.commands.NAME]` prints.
    Command(String),
    /// `vault:MOUNT/PATH#FIELD`: a value in the Vault under `[secrets.vault]`.
    Vault(Spot),
}

impl Reference {
    /// Whether somebody is asked for it: a keyring, a program or a Vault.
    pub fn asks(&self) -> bool {
        matches!(self, Self::Keyring(_) | Self::Command(_) | Self::Vault(_))
    }

    /// Reads a reference. Anything else is taken for a literal secret: refused, and not repeated.
    pub fn parse(text: &str) -> Result<Self> {
        let refused = || {
            Error::new(
                Kind::BadConfig,
                "a credential must be a reference: env:NAME, file:PATH, env-file:NAME, edgerc:PATH#SECTION/FIELD, \
                 keyring:NAME, command:NAME or vault:MOUNT/PATH#FIELD (a literal secret is refused)",
            )
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(refused)?;
        match scheme {
            "env" if is_name(rest) => Ok(Self::Env(rest.to_owned())),
            "env-file" if is_name(rest) => Ok(Self::EnvFile(rest.to_owned())),
            "file" if !rest.is_empty() && !rest.contains('\0') => Ok(Self::File(PathBuf::from(rest))),
            "edgerc" => edgerc_reference(rest).ok_or_else(refused),
            "keyring" if !rest.is_empty() && rest.len() <= 128 && !rest.contains(char::is_control) => {
                Ok(Self::Keyring(rest.to_owned()))
            }
            "command" if is_label(rest) => Ok(Self::Command(rest.to_owned())),
            "vault" => Spot::parse(rest).map(Self::Vault).ok_or_else(refused),
            _ => Err(refused()),
        }
    }

    /// Reads the secret. May block: a keyring may ask its user. What the configuration has to declare first
    /// (`command:`, `vault:`) only a [`Keeper`] can read.
    pub fn resolve(&self) -> Result<Secret> {
        match self {
            Self::Env(name) => from_environment(name, Path::new(CONTAINER)),
            Self::EnvFile(name) => match variable(name)? {
                Some(path) => file::secret(Path::new(path.expose()), &format!("the file that {name} names")),
                None => Err(absent(format!("set the environment variable {name} to the path of a file"))),
            },
            Self::File(path) => file::secret(path, &self.to_string()),
            Self::Edgerc { path, section, field } => from_edgerc(path.as_ref(), section.as_deref(), *field),
            Self::Keyring(name) => from_keyring(name),
            Self::Command(_) | Self::Vault(_) => Err(refused(format!(
                "{self} is read by what the configuration declares under [secrets], which does not reach here; use \
                 another reference"
            ))),
        }
    }

    /// The file behind it, as it is now; none where there is no file.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Env(name) => {
                if variable(name).ok().flatten().is_some() {
                    return None;
                }
                let named = variable(&format!("{name}_FILE")).ok().flatten();
                named
                    .map(|path| PathBuf::from(path.expose()))
                    .or_else(|| contained(name, Path::new(CONTAINER)))
            }
            Self::EnvFile(name) => variable(name).ok().flatten().map(|path| PathBuf::from(path.expose())),
            Self::File(path) => Some(path.clone()),
            Self::Edgerc { path, .. } => edgerc_place(path.as_ref()),
            Self::Keyring(_) | Self::Command(_) | Self::Vault(_) => None,
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

    fn stamp(&self) -> Option<u64> {
        self.file().as_deref().and_then(file::stamp)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(out, "env:{name}"),
            Self::EnvFile(name) => write!(out, "env-file:{name}"),
            Self::File(path) => write!(out, "file:{}", path.display()),
            Self::Edgerc { path, section, field } => {
                let path = path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
                write!(out, "edgerc:{path}#{}/{}", section.as_deref().unwrap_or_default(), field.name())
            }
            Self::Keyring(name) => write!(out, "keyring:{name}"),
            Self::Command(name) => write!(out, "command:{name}"),
            Self::Vault(spot) => spot.fmt(out),
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

/// A name that tables of the configuration may have.
fn is_label(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn edgerc_reference(rest: &str) -> Option<Reference> {
    let (path, rest) = rest.rsplit_once('#')?;
    let (section, field) = rest.rsplit_once('/')?;
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let plain = !path.contains('\0') && (section.is_empty() || edgerc::is_section(section));
    plain.then_some(())?;
    let field = edgerc::Field::named(field)?;
    Some(Reference::Edgerc { path: said(path).map(PathBuf::from), section: said(section), field })
}

/// Nothing is there: another way may be tried (see `FirstReady`).
fn absent(message: String) -> Error {
    Error::new(Kind::BadConfig, message).with_detail(json!({ "absent": true }))
}

fn refused(message: String) -> Error {
    Error::new(Kind::BadConfig, message)
}

/// A variable of the environment, if it is set and not empty.
#[allow(clippy::disallowed_methods, reason = "this is where secrets are read from the environment")]
fn variable(name: &str) -> Result<Option<Secret>> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.into_string();
    let text = text.map_err(|_| refused(format!("the environment variable {name} does not hold text")))?;
    Ok(Some(Secret::new(text)))
}

fn from_environment(name: &str, container: &Path) -> Result<Secret> {
    if let Some(value) = variable(name)? {
        return Ok(Secret::new(value.expose().trim_end_matches(['\n', '\r'])));
    }
    let named = format!("{name}_FILE");
    if let Some(path) = variable(&named)? {
        return file::secret(Path::new(path.expose()), &format!("the file that {named} names"));
    }
    match contained(name, container) {
        Some(path) => file::secret(&path, &path.display().to_string()),
        None => Err(absent(format!("set the environment variable {name}, or {named} to the path of a file"))),
    }
}

/// The secret of that name that the container was handed, in either spelling.
fn contained(name: &str, container: &Path) -> Option<PathBuf> {
    [name.to_owned(), name.to_ascii_lowercase()]
        .into_iter()
        .map(|name| container.join(name))
        .find(|path| path.symlink_metadata().is_ok())
}

fn edgerc_place(path: Option<&PathBuf>) -> Option<PathBuf> {
    let text = |name| variable(name).ok().flatten().map(|value| value.expose().to_owned());
    edgerc::place(path, text("AKAMAI_EDGERC"), text("HOME"))
}

fn from_edgerc(path: Option<&PathBuf>, section: Option<&str>, field: edgerc::Field) -> Result<Secret> {
    let text = |name| variable(name).ok().flatten().map(|value| value.expose().to_owned());
    let place = edgerc_place(path)
        .ok_or_else(|| absent(String::from("there is no .edgerc; name one, or set AKAMAI_EDGERC")))?;
    let section = edgerc::section(section, text("EDGERC_SECTION").or_else(|| text("AKAMAI_EDGERC_SECTION")));
    let bytes = file::bytes(&place, &place.display().to_string(), edgerc::LONGEST as u64)?;
    edgerc::parse(&bytes)?.get(&section, field)
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
    use super::*;

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for literal in [
            "hunter2hunter2",
            "Bearer abc",
            "env:",
            "env:my secret",
            "env-file:/etc/x",
            "file:",
            "vault:x",
            "vault:secret/hunter2",
            "command:/bin/echo hunter2",
            "command:",
            "edgerc:hunter2",
            "edgerc:#default/hunter2",
            "edgerc:x#[a]/host",
            "",
            "env:1ABC",
        ] {
            let error = Reference::parse(literal).unwrap_err();
            let told = literal.len() > 9 && error.message().contains(literal);
            assert!(!told && !error.message().contains("hunter2"), "{literal}");
        }
    }

    #[test]
    fn a_reference_survives_the_round_trip() {
        for text in [
            "env:A_B",
            "env-file:A_B",
            "file:/run/secrets/x",
            "keyring:equinix secret",
            "edgerc:#/client_secret",
            "edgerc:~/.edgerc#papi/access_token",
            "edgerc:/etc/akamai/edgerc#default/host",
            "command:pass-equinix",
            "vault:secret/equinix#client_secret",
            "vault:kv/team/equinix#client_secret@3",
        ] {
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
        std::fs::write(&path, "\n").unwrap();
        assert!(read().unwrap_err().message().contains("is empty"));
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(read().unwrap_err().message().contains("longer than"));
    }

    #[cfg(unix)]
    #[test]
    fn a_containers_secrets_are_found_by_the_name_of_the_variable() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        for (file, name) in
            [("bartizan_test_token", "BARTIZAN_TEST_TOKEN"), ("BARTIZAN_OTHER", "BARTIZAN_OTHER")]
        {
            let path = folder.path().join(file);
            std::fs::write(&path, "correct horse\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
            assert_eq!(from_environment(name, folder.path()).unwrap().expose(), "correct horse");
        }
        let missing = from_environment("BARTIZAN_NOWHERE", folder.path()).unwrap_err();
        assert!(
            missing.message().contains("BARTIZAN_NOWHERE_FILE") && missing.detail().is_some(),
            "{missing}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_edgerc_is_a_credential_file_like_any_other() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edgerc");
        std::fs::write(&path, "[papi]\nclient_secret = correct horse\n").unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let read = |section: &str| {
            Reference::parse(&format!("edgerc:{}#{section}/client_secret", path.display())).unwrap().resolve()
        };
        set(0o644);
        assert!(read("papi").unwrap_err().message().contains("chmod 600"));
        set(0o600);
        assert_eq!(read("papi").unwrap().expose(), "correct horse");
        assert!(!read("ccu").unwrap_err().message().contains("papi"));
    }
}
