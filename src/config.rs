//! The whole configuration as one type.
//!
//! Owns [`Config`]: what `bartizan.toml` may say, its defaults, and the sentences for what it may not. The idea: each
//! section is the `Config` of the module it sets, so a setting is defined once; an unknown key is refused with the
//! nearest right one; secrets come in only as references.
//!
//! Must not: open anything but the file it is asked to read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::ownership::{self, Care, Flaw};

/// Settings that had another name once, with the one they have now. `bartizan config migrate` renames them in a file.
pub const RENAMED: &[(&str, &str)] = &[
    ("line", "calls"),
    ("server.name", "introduction.name"),
    ("server.title", "introduction.title"),
    ("server.version", "introduction.version"),
    ("server.instructions", "introduction.instructions"),
    ("server.website_url", "introduction.website_url"),
    ("approvals.expires_after", "approvals.expires_seconds"),
];

/// Everything that can be set. `bartizan.toml` has exactly this shape.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What this installation is for; unset means production.
    pub profile: Profile,
    /// Who calls without saying so: the user of this process.
    pub principal: Principals,
    /// How old API keys may become.
    pub keys: crate::identity::keys::Ages,
    /// Serve other machines as root all the same.
    pub allow_root: bool,
    /// Whom to tell of a vulnerability.
    pub contact: Contact,
    /// Where processes of this machine share approvals, keys and the audit log; 0700.
    pub state_dir: Option<PathBuf>,
    /// Write nothing to the disk: no state, and no audit unless `[audit] path` names one. In development only.
    pub stateless: bool,
    /// How the server introduces itself.
    pub introduction: Introduction,
    /// Pages, sessions, streams and questions.
    pub server: crate::server::Config,
    /// What several instances share.
    pub store: crate::state::shared::Config,
    /// Built-in connectors and folders of one's own.
    pub connector: Vec<ConnectorEntry>,
    /// API documents that become tools.
    pub openapi: Vec<OpenApiEntry>,
    /// Python files or modules that hold a `server = Server(...)`.
    pub tools: Vec<String>,
    /// The built-in diagnostics toolset: `echo` and `whoami`.
    pub diagnostics: bool,
    /// Serve connectors from a local stand-in upstream; no real credential is resolved.
    pub practice: bool,
    /// Serve only what `bartizan check --pin` wrote into `bartizan.lock`, and nothing where that file is missing.
    pub pinned: bool,
    /// `bartizan.lock` beside the file that this was read from; where it is, it counts.
    #[serde(skip)]
    pub lock: Option<PathBuf>,
    /// Whether what the lock does not approve, or no operator has accepted, is only looked at, by a command that serves
    /// nothing.
    #[serde(skip)]
    pub looks: bool,
    /// When this file and those it names are read again while a server runs.
    pub reload: Reload,
    /// Who may do what.
    pub policy: crate::policy::Config,
    /// Which tools are offered at all.
    pub offer: crate::policy::Filter,
    /// Asking a person.
    pub approvals: crate::approvals::Config,
    /// Calls that outlive their request.
    pub tasks: crate::tasks::Config,
    /// How much.
    pub limits: crate::limits::Config,
    /// Deadlines and sizes of calls.
    pub calls: crate::pipeline::Config,
    /// What must not leave.
    pub redaction: crate::redaction::Config,
    /// What is written down.
    pub audit: crate::audit::Config,
    /// The HTTP endpoint.
    pub http: crate::transport::Config,
    /// Access tokens of authorization servers.
    pub oauth: crate::identity::oauth::Config,
    /// The way out to upstreams.
    pub egress: crate::http::Config,
    /// What is behind `command:` and `vault:`.
    pub secrets: crate::vault::Config,
    /// What somebody should look at, and who is told.
    pub alerts: crate::alerts::Config,
    /// Tokens of upstreams over a restart.
    pub tokens: crate::vault::TokensConfig,
    /// Traces and metrics.
    pub telemetry: crate::telemetry::Config,
    /// Logs on standard error.
    pub log: crate::telemetry::logs::Config,
}

/// Callers that nothing but this configuration knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Principals {
    /// The user who started this process, over standard input and output.
    pub local: Local,
}

/// What the local user may do at most.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// Scopes: `read`, `write` (reads too), `admin` (all), and those that tools of your own ask for.
    pub scopes: BTreeSet<String>,
    /// Roles that policies name.
    pub roles: BTreeSet<String>,
    /// The tenant.
    pub tenant: Option<String>,
}

impl Default for Local {
    fn default() -> Self {
        let scopes = ["read", "write", "admin"].map(String::from).into();
        Self { scopes, roles: BTreeSet::new(), tenant: None }
    }
}

/// When a running server reads its configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// When one of the files changes, and on SIGHUP.
    #[default]
    Changes,
    /// On SIGHUP only.
    Signal,
}

/// What an installation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A developer's own machine.
    Development,
    /// A rehearsal.
    Staging,
    /// The real thing.
    #[default]
    Production,
}

impl Profile {
    /// The lower-case name, as policies see it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// `[contact]`, told at `/.well-known/security.txt` over HTTP.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Contact {
    /// Addresses, as `mailto:`, `https:` or `tel:`.
    pub security: Vec<String>,
    /// Where it says how reports are treated.
    pub policy: Option<String>,
}

/// How the server introduces itself to clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Introduction {
    /// Programmatic name.
    pub name: String,
    /// Name for people.
    pub title: Option<String>,
    /// Version; this package's unless a Python server says otherwise.
    pub version: String,
    /// What a model should know before it uses the tools.
    pub instructions: Option<String>,
    /// Where to read more.
    pub website_url: Option<String>,
    /// What it is, for people.
    pub description: Option<String>,
    /// Pictures, as `https:` or `data:` addresses.
    pub icons: Vec<crate::protocol::types::Icon>,
}

impl Default for Introduction {
    fn default() -> Self {
        Self {
            name: String::from("bartizan"),
            title: None,
            version: String::from(env!("CARGO_PKG_VERSION")),
            instructions: None,
            website_url: None,
            description: None,
            icons: Vec::new(),
        }
    }
}

/// One connector.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectorEntry {
    /// A built-in connector's name, or the name to give the folder's.
    pub name: String,
    /// A folder with `connector.toml` and a document, for a connector of one's own.
    pub path: Option<PathBuf>,
    /// Another base address than the vendor's, such as a sandbox.
    pub base: Option<String>,
    /// How to authenticate, in place of the connector's own way: `bearer:env:NAME`, `basic:env:USER:env:PASSWORD`,
    /// `header:NAME:env:NAME`, `query:NAME:env:NAME`, `certificate:file:PATH:file:PATH`, `none`.
    pub auth: Option<String>,
}

/// One API document.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenApiEntry {
    /// The document: YAML or JSON.
    pub file: PathBuf,
    /// OpenAPI overlays that are applied to it, in this order, before it is read.
    pub overlays: Vec<PathBuf>,
    /// Name of the toolset; the file's name unless given.
    pub name: Option<String>,
    /// Where requests go. A document never chooses that.
    pub base_url: String,
    /// As for connectors; `none` unless given.
    pub auth: Option<String>,
    /// An operation (`operationId`) that only reads and needs no argument: `bartizan rotate --drill` asks it whether a
    /// credential is accepted.
    pub health: Option<String>,
}

impl OpenApiEntry {
    /// The document and its overlays.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        std::iter::once(self.file.clone()).chain(self.overlays.iter().cloned())
    }
}

impl Config {
    /// Reads a configuration file. Errors are `BadConfig` and name the line, the key and the nearest right key; they
    /// never repeat a value.
    pub fn load(path: &Path) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            let what = match error.kind() {
                std::io::ErrorKind::NotFound => "does not exist",
                std::io::ErrorKind::PermissionDenied => "may not be read by this user",
                _ => "could not be read as text",
            };
            Error::new(
                Kind::BadConfig,
                format!(
                    "The configuration file {} {what}; check the path given to --config.",
                    path.display()
                ),
            )
            .with_source(error)
        };
        let file = ownership::open(path, Care::Trusted).map_err(|flaw| match flaw {
            Flaw::Io(error) => unreadable(error),
            Flaw::Said(said) => Error::new(
                Kind::BadConfig,
                format!(
                    "The configuration file {} {said}; who can change it decides what may be done.",
                    path.display()
                ),
            ),
        })?;
        let text = std::io::read_to_string(file).map_err(unreadable)?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        // Paths in a file are relative to the file, wherever the server is started.
        let folder = path.parent().unwrap_or(Path::new("."));
        config.lock = Some(folder.join("bartizan.lock"));
        for entry in &mut config.openapi {
            entry.file = folder.join(&entry.file);
            entry.overlays.iter_mut().for_each(|overlay| *overlay = folder.join(&overlay));
        }
        for entry in &mut config.connector {
            entry.path = entry.path.take().map(|inner| folder.join(inner));
        }
        config.state_dir = config.state_dir.take().map(|inner| folder.join(inner));
        config.approvals.operators = config.approvals.operators.take().map(|inner| folder.join(inner));
        config.audit.path = config.audit.path.take().map(|inner| folder.join(inner));
        config.store.ca_file = config.store.ca_file.take().map(|inner| folder.join(inner));
        if let Some(tls) = &mut config.http.tls {
            tls.certificate = folder.join(&tls.certificate);
            tls.key = folder.join(&tls.key);
            tls.client_ca = tls.client_ca.take().map(|inner| folder.join(inner));
        }
        config.egress.ca_file = config.egress.ca_file.take().map(|inner| folder.join(inner));
        if let Some(vault) = &mut config.secrets.vault {
            vault.ca_file = vault.ca_file.take().map(|inner| folder.join(inner));
        }
        let places = config.alerts.to.iter_mut().chain(&mut config.audit.anchor.to);
        for file in places.filter_map(crate::telemetry::Destination::file) {
            *file = folder.join(&file);
        }
        for file in &mut config.policy.files {
            *file = folder.join(&file);
        }
        for text in std::iter::once(&mut config.policy.set).chain(&mut config.tools) {
            let is_file = [".cedar", ".py"].iter().any(|ending| text.ends_with(ending));
            if let Some(path) = folder.join(&text).to_str().filter(|_| is_file) {
                *text = String::from(path);
            }
        }
        Ok(config)
    }

    /// Refuses files that decide what may be done, or whom to believe, and that others can change.
    pub(crate) fn trusted(&self) -> Result<()> {
        let set = Path::new(&self.policy.set);
        let cedar = set.extension().is_some_and(|ending| ending == "cedar").then(|| set.to_path_buf());
        let manifests =
            self.connector.iter().filter_map(|entry| Some(entry.path.as_ref()?.join("connector.toml")));
        let authorities = self.secrets.vault.iter().filter_map(|vault| vault.ca_file.clone());
        let files = self.policy.files.iter().cloned().chain(cedar).chain(manifests);
        for file in files.chain(self.egress.ca_file.clone()).chain(authorities) {
            if let Err(Flaw::Said(said)) = ownership::open(&file, Care::Trusted) {
                let message =
                    format!("{} {said}; who can change it decides what may be done.", file.display());
                return Err(Error::new(Kind::BadConfig, message));
            }
        }
        Ok(())
    }

    /// Reads configuration text; `name` is what the sentences call it.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            if let Some((old, new)) = renamed(text) {
                let said = format!(
                    "{name}: `{old}` is called `{new}` now; rename it with: bartizan config migrate {name}"
                );
                return Error::new(Kind::BadConfig, said);
            }
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let key = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            Error::new(Kind::BadConfig, format!("{name}, line {line}: {}", explain(error.message(), key)))
        })
    }

    /// The state directory: the setting, else `BARTIZAN_STATE_DIR`, else `XDG_STATE_HOME/bartizan`, else
    /// `~/.local/state/bartizan`. A stateless one has none.
    pub fn state_folder(&self) -> Result<PathBuf> {
        if self.stateless {
            return Err(Error::new(
                Kind::BadConfig,
                "This configuration is stateless: what its server remembers is in that process alone, and goes with it. \
                 For keys, approvals, a freeze or an audit, leave `stateless` out.",
            ));
        }
        if let Some(folder) = &self.state_dir {
            return Ok(folder.clone());
        }
        if let Some(folder) = environment("BARTIZAN_STATE_DIR") {
            return Ok(PathBuf::from(folder));
        }
        if let Some(folder) = environment("XDG_STATE_HOME") {
            return Ok(PathBuf::from(folder).join("bartizan"));
        }
        environment("HOME").map(|home| PathBuf::from(home).join(".local/state/bartizan")).ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                "There is no home directory to keep state in; set BARTIZAN_STATE_DIR to a folder.",
            )
        })
    }
}

/// The first setting of a file that has another name now.
fn renamed(text: &str) -> Option<(&'static str, &'static str)> {
    let table: toml::Table = toml::from_str(text).ok()?;
    let there = |path: &str| match path.split_once('.') {
        Some((section, key)) => table.get(section).is_some_and(|section| section.get(key).is_some()),
        None => table.contains_key(path),
    };
    RENAMED.iter().copied().find(|(old, _)| there(old))
}

/// A variable of the environment, if it is set and not empty.
#[allow(clippy::disallowed_methods, reason = "the environment is read here and in vault/ only")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What toml and serde said, as a sentence that repeats keys but no values.
fn explain(message: &str, key: &str) -> String {
    let quoted = |text: &str| -> Vec<String> {
        text.split('`')
            .enumerate()
            .filter(|(index, _)| index % 2 == 1)
            .map(|(_, word)| word.to_owned())
            .collect()
    };
    if let Some(rest) = message.strip_prefix("unknown field") {
        let words = quoted(rest);
        let given = words.first().cloned().unwrap_or_default();
        let known = &words[words.len().min(1)..];
        let nearest = known.iter().min_by_key(|word| strsim::damerau_levenshtein(word, &given));
        return match nearest {
            Some(word) if strsim::normalized_damerau_levenshtein(word, &given) > 0.5 => {
                format!("`{given}` is not a setting here; did you mean `{word}`?")
            }
            _ => format!("`{given}` is not a setting here; the settings are {}.", known.join(", ")),
        };
    }
    if let Some(rest) = message.strip_prefix("unknown variant") {
        let words = quoted(rest);
        return format!(
            "this is none of the possible values; they are {}.",
            words.get(1..).unwrap_or_default().join(", ")
        );
    }
    if let Some((_, expected)) = message.split_once(", expected ")
        && message.starts_with("invalid")
    {
        return format!("the value here is of the wrong kind; it must be {expected}.");
    }
    if message.starts_with("missing field") {
        return format!("`{}` is missing.", quoted(message).first().cloned().unwrap_or_default());
    }
    if message.starts_with("duplicate key") {
        let name = key.split(['=', ' ', '\n']).next().unwrap_or_default();
        return format!("`{name}` is set twice; keep one.");
    }
    // A field's own parser (references to secrets, addresses) writes sentences of ours; toml's own are about syntax.
    if message.ends_with('.') {
        return message.to_owned();
    }
    String::from("this is not valid TOML; check quotes, brackets and the equals sign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Config::parse(text, "bartizan.toml").unwrap_err().message().to_owned()
    }

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = Config::parse("", "bartizan.toml").unwrap();
        assert_eq!(config.profile, Profile::Production);
    }

    #[test]
    fn a_typo_is_answered_with_the_nearest_key() {
        let text = refusal("\n[http]\nlisten_adress = \"x\"\n");
        assert!(text.contains("line 3"), "{text}");
        let text = refusal("[http]\nlisen = \"127.0.0.1:1\"\n");
        assert!(text.contains("did you mean `listen`?"), "{text}");
    }

    #[test]
    fn a_setting_that_has_another_name_now_is_answered_with_the_command_that_renames_it() {
        for (text, old, new) in [
            ("[line]\ntimeout_seconds = 7\n", "`line`", "`calls`"),
            ("[server]\nname = 'ours'\n", "`server.name`", "`introduction.name`"),
            ("[approvals]\nexpires_after = 7\n", "`approvals.expires_after`", "`approvals.expires_seconds`"),
        ] {
            let said = refusal(text);
            let command = "bartizan config migrate bartizan.toml";
            assert!(said.contains(old) && said.contains(new) && said.contains(command), "{said}");
        }
    }

    #[test]
    fn a_value_is_never_repeated() {
        for text in [
            "[limits]\nread = \"hunter2\"\n",
            "profile = \"hunter2\"\n",
            "practice = \"hunter2\"\n",
            "x = = hunter2",
        ] {
            assert!(!refusal(text).contains("hunter2"), "{}", refusal(text));
        }
    }
}
