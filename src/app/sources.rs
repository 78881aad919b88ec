//! Where configured tools come from.
//!
//! Owns [`open`]: connectors, documents, and (in practice mode) the stand-ins they talk to. The idea: a stand-in differs
//! from the vendor in its address and in a credential made for this run; everything between is the same.
//!
//! Must not: resolve a real credential in practice mode, or let its exemption from the egress rules reach further than
//! the stand-in's own address and port.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::pins;
use crate::clock::SharedClock;
use crate::config::{Config, ConnectorEntry, OpenApiEntry};
use crate::connectors::document::{Document, Refusal};
use crate::connectors::handles::Handles;
use crate::connectors::manifest::{Access, Asked, Manifest, Way};
use crate::connectors::{BUILT_IN, Connector, Instead, Surroundings, document_at, document_in, openapi};
use crate::error::{Error, Kind, Result};
use crate::http::credentials::{Basic, Header, Open};
use crate::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use crate::http::{Credentials, HeaderName};
use crate::json::{Value, json};
use crate::pipeline::Tool;
use crate::policy::{is_own_source, is_own_toolset};
use crate::practice::{Auth, Options, Practice};
use crate::redaction::Redactor;
use crate::secret::Secret;
use crate::state::Folder;
use crate::vault::{Keeper, Reference};

/// What was opened.
pub struct Sources {
    /// Every tool.
    pub tools: Vec<Arc<dyn Tool>>,
    /// The stand-ins that answer them in practice mode.
    pub stands: Vec<Stand>,
    /// Toolsets that are not offered unless named, and were not: how many operations each has.
    pub unasked: BTreeMap<String, usize>,
    /// Every toolset that manifests describe.
    pub toolsets: BTreeSet<String>,
    /// What each connector and document brought, in the order of the tools.
    pub(super) counts: Vec<Count>,
}

/// How many tools a connector or document brought.
#[derive(Clone)]
pub(super) struct Count {
    source: String,
    tools: usize,
    partly: bool,
    origin: BTreeMap<String, String>,
}

/// What a connector or document brought, and whether toolsets were left out that nobody asked for.
pub(super) struct Brought {
    pub(super) source: String,
    pub(super) partly: bool,
    pub(super) origin: BTreeMap<String, String>,
    pub(super) tools: Vec<Arc<dyn Tool>>,
}

impl Sources {
    /// The tools of each connector and document.
    pub(super) fn lists(&self) -> Vec<Brought> {
        lists(&self.counts, &self.tools)
    }

    fn add(&mut self, source: String, connector: &Connector) {
        let (tools, partly) = (connector.tools().len(), !connector.unasked().is_empty());
        let origin = connector.origin().clone();
        self.counts.push(Count { source, tools, partly, origin });
        self.tools.extend(connector.tools().iter().cloned());
    }
}

/// Tools by where they come from.
pub(super) fn lists(counts: &[Count], tools: &[Arc<dyn Tool>]) -> Vec<Brought> {
    let mut rest = tools.iter().cloned();
    let one = |count: &Count| Brought {
        source: count.source.clone(),
        partly: count.partly,
        origin: count.origin.clone(),
        tools: rest.by_ref().take(count.tools).collect(),
    };
    counts.iter().map(one).collect()
}

/// A stand-in upstream.
pub struct Stand {
    name: String,
    practice: Practice,
    leak: String,
}

impl Stand {
    /// The connector it stands in for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        self.practice.url()
    }

    /// The stand-in itself.
    pub fn practice(&self) -> &Practice {
        &self.practice
    }

    /// The secret that one of its things holds, so that redaction has something to show.
    pub fn leak(&self) -> &str {
        &self.leak
    }

    /// Stops it.
    pub async fn shutdown(&self) {
        self.practice.shutdown().await;
    }
}

/// Opens everything that the configuration names.
pub(super) async fn open(
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
    handles: Handles,
    (logins, secrets): (&Folder, &Keeper),
) -> Result<Sources> {
    let surroundings = Surroundings {
        egress: config.egress.clone(),
        redactor: redactor.clone(),
        clock: clock.clone(),
        handles,
        secrets: secrets.clone(),
        logins: Some(logins.clone()),
    };
    let mut sources = Sources {
        tools: Vec::new(),
        stands: Vec::new(),
        unasked: BTreeMap::new(),
        toolsets: BTreeSet::new(),
        counts: Vec::new(),
    };
    let toolsets = Asked::of(config.offer.toolsets.as_ref());
    if !config.practice && secrets.tokens().is_none() {
        let signed = accesses(config)?;
        let restless = signed.iter().find(|(_, access)| access.ways().iter().any(|way| way.has_to_keep()));
        if let Some((name, _)) = restless {
            let message = format!(
                "{name}: the token endpoint may hand out another refresh token each time, and that has to outlive this \
                 process; set `persist` and `keys` under [tokens], or `rotates = false` under [credentials] if it surely \
                 never does."
            );
            return Err(Error::new(Kind::BadConfig, message));
        }
    }
    for entry in &config.connector {
        if let Some(folder) = &entry.path {
            sources.toolsets.extend(Manifest::read(folder)?.toolset_names());
        }
        let connector = if config.practice {
            let document = match &entry.path {
                Some(folder) => document_in(folder, &Manifest::read(folder)?)?,
                None => openapi::load(built_in(&entry.name)?, None)?,
            };
            let name = if entry.name.is_empty() { "connector" } else { &entry.name };
            let (stand, around, instead) = stand(name, document, clock, &surroundings).await?;
            sources.stands.push(stand);
            connector(entry, &around, Instead { toolsets: toolsets.clone(), ..instead })?
        } else {
            real(entry, &surroundings, &toolsets)?
        };
        for (toolset, count) in connector.unasked() {
            *sources.unasked.entry(toolset.clone()).or_default() += count;
        }
        sources.add(pins::connector(entry, config), &connector);
    }
    for entry in &config.openapi {
        let connector = if config.practice {
            let document = document_of(entry)?;
            let name = document.title.clone();
            let (stand, around, instead) = stand(&name, document.clone(), clock, &surroundings).await?;
            let base = address(&stand.practice.root())?;
            sources.stands.push(stand);
            Connector::from_document(document, base, Access::None, &around, instead)?
        } else {
            real_document(entry, &surroundings)?
        };
        sources.add(pins::document(entry, config), &connector);
    }
    pins::enforce(config, &sources)?;
    Ok(sources)
}

/// A connector and how its requests are signed.
pub(super) struct Opened {
    pub(super) connector: Connector,
    pub(super) access: Access,
}

/// The connectors of a configuration as they are when no stand-in answers, for those who look at them.
pub(super) fn connectors(config: &Config, surroundings: &Surroundings) -> Result<Vec<Opened>> {
    let signed = accesses(config)?.into_iter().map(|(_, access)| access);
    let toolsets = Asked::of(config.offer.toolsets.as_ref());
    let named = config.connector.iter().map(|entry| real(entry, surroundings, &toolsets));
    let documents = config.openapi.iter().map(|entry| real_document(entry, surroundings));
    let all = named.chain(documents).collect::<Result<Vec<_>>>()?;
    Ok(all.into_iter().zip(signed).map(|(connector, access)| Opened { connector, access }).collect())
}

/// Every tool that connectors and documents bring, with the digest of its definition; nobody is called.
pub fn inventory(config: &Config, redactor: &Redactor, clock: &SharedClock) -> Result<Vec<Value>> {
    let secrets = Keeper::open(&config.secrets, &config.egress, redactor, clock)?;
    let secrets = secrets.in_profile(config.profile.name());
    let around = super::permissions::surroundings(config, redactor, clock, secrets);
    let mut found = Vec::new();
    for opened in connectors(config, &around)? {
        found.extend(opened.connector.tools().iter().map(|tool| {
            let spec = tool.spec();
            json!({
                "name": spec.name, "definition": spec.fingerprint().hex(), "effect": spec.effect,
                "toolset": spec.toolset, "source": spec.source, "target": spec.target,
                "permissions": spec.permissions,
            })
        }));
    }
    Ok(found)
}

fn real(entry: &ConnectorEntry, surroundings: &Surroundings, toolsets: &Asked) -> Result<Connector> {
    let instead = Instead {
        base: entry.base.as_deref().map(address).transpose()?,
        access: entry.auth.as_deref().map(Access::parse).transpose()?,
        toolsets: toolsets.clone(),
        ..Instead::default()
    };
    connector(entry, surroundings, instead)
}

fn real_document(entry: &OpenApiEntry, surroundings: &Surroundings) -> Result<Connector> {
    let instead = Instead { health: entry.health.clone(), ..Instead::default() };
    let base = address(&entry.base_url)?;
    Connector::from_document(document_of(entry)?, base, access(entry)?, surroundings, instead)
}

fn document_of(entry: &OpenApiEntry) -> Result<Document> {
    let mut document = document_at(&entry.file, &entry.overlays)?;
    if let Some(name) = &entry.name {
        if is_own_source(name) || is_own_toolset(name) {
            let message = "The `name` of an [[openapi]] is one that bartizan itself uses (builtin, python, openapi, search, \
                           results); choose another.";
            return Err(Error::new(Kind::BadConfig, message));
        }
        document.title.clone_from(name);
    }
    Ok(document)
}

/// Every reference in a way of signing.
pub fn references(way: &Way) -> Vec<Reference> {
    way.references().into_iter().map(|(reference, _)| reference.clone()).collect()
}

/// Names everything that tools are made of: the settings, and what is in the files they name.
pub(super) fn mark(config: &Config) -> String {
    let mut files: BTreeSet<PathBuf> = config.openapi.iter().flat_map(OpenApiEntry::files).collect();
    files.extend(config.connector.iter().filter_map(|entry| entry.path.clone()));
    let asked = &config.offer.toolsets;
    let settings =
        json!([config.connector, config.openapi, config.egress, config.secrets, config.tokens, asked]);
    format!("{settings} {}", super::watch::describe(&files))
}

fn connector(entry: &ConnectorEntry, surroundings: &Surroundings, instead: Instead) -> Result<Connector> {
    match &entry.path {
        Some(folder) => Connector::from_folder(folder, surroundings, instead),
        None => Connector::built_in(&entry.name, surroundings, instead),
    }
}

fn access(entry: &OpenApiEntry) -> Result<Access> {
    entry.auth.as_deref().map_or(Ok(Access::None), Access::parse)
}

fn address(text: &str) -> Result<Url> {
    let bad = || {
        Error::new(
            Kind::BadConfig,
            "The base address is none that can be called; write it in full, such as https://api.example.com/v1.",
        )
    };
    let url = Url::parse(text).map_err(|error| bad().with_source(error))?;
    if matches!(url.scheme(), "https" | "http") && url.host_str().is_some() { Ok(url) } else { Err(bad()) }
}

fn built_in(name: &str) -> Result<&'static [u8]> {
    BUILT_IN.iter().find(|built_in| built_in.name == name).map(|built_in| built_in.document).ok_or_else(
        || {
            let known: Vec<&str> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
            Error::new(
                Kind::BadConfig,
                format!("There is no built-in connector of that name; there are: {}.", known.join(", ")),
            )
        },
    )
}

/// Starts a stand-in for a document, and says what differs for a connector that talks to it.
async fn stand(
    name: &str,
    document: Document,
    clock: &SharedClock,
    surroundings: &Surroundings,
) -> Result<(Stand, Surroundings, Instead)> {
    // Looks like a vendor's access key and is none: random, made for this run.
    let leak = format!("AKIA{}", letters(16));
    let options = Options {
        leak: Some(leak.clone()),
        leak_in: Some(String::from("ports")),
        clock: clock.clone(),
        ..Options::default()
    };
    let practice = crate::practice::serve(document, options).await?;
    let around = Surroundings {
        egress: surroundings.egress.clone().allowing(practice.address().to_string()),
        ..surroundings.clone()
    };
    let instead = Instead {
        base: Some(address(&practice.root())?),
        credentials: Some(credential(name, &practice, &around)?),
        practice: true,
        ..Instead::default()
    };
    Ok((Stand { name: name.to_owned(), practice, leak }, around, instead))
}

/// The credential that a stand-in made for this run.
fn credential(name: &str, practice: &Practice, around: &Surroundings) -> Result<Arc<dyn Credentials>> {
    let held = |text: &str| Arc::new(Secret::new(text));
    Ok(match practice.auth() {
        Auth::Open => Arc::new(Open),
        Auth::Bearer(token) => Arc::new(Header::bearer(held(token))),
        Auth::Header { name, key } => {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|error| {
                Error::new(Kind::Internal, "The stand-in asks for a header that is none.").with_source(error)
            })?;
            Arc::new(Header::named(header, held(key)))
        }
        Auth::Basic { user, password } => Arc::new(Basic::new(held(user), held(password))),
        Auth::ClientCredentials { client_id, client_secret, .. } => {
            let endpoint = TokenEndpoint {
                url: address(&practice.token_url().unwrap_or_default())?,
                style: Style::Json,
                scope: None,
                audience: None,
            };
            let clock = around.clock.clone();
            Arc::new(ClientCredentials::new(
                name,
                endpoint,
                held(client_id),
                held(client_secret),
                &around.egress,
                clock,
            )?)
        }
    })
}

fn letters(count: usize) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    (0..count).map(|_| char::from(ALPHABET[usize::from(rand::random::<u8>() % 32)])).collect()
}

/// The document of a built-in connector, a connector's folder or a file (with overlays), and the way its stand-in is
/// asked.
pub fn practice_document(named: &Path, overlays: &[PathBuf]) -> Result<(Document, Auth)> {
    let document = match named.to_str().and_then(|name| built_in(name).ok()) {
        Some(bytes) => openapi::load(bytes, None)?,
        None if named.join("connector.toml").is_file() => document_in(named, &Manifest::read(named)?)?,
        None => document_at(named, overlays)?,
    };
    Ok((document, Auth::client_credentials()))
}

/// How the configured sources sign their requests.
pub fn accesses(config: &Config) -> Result<Vec<(String, Access)>> {
    let mut found = Vec::new();
    for entry in &config.connector {
        let manifest = match (&entry.path, BUILT_IN.iter().find(|known| known.name == entry.name)) {
            (Some(folder), _) => Manifest::read(folder)?,
            (None, Some(known)) => Manifest::parse(known.manifest, known.name)?,
            (None, None) => continue,
        };
        let own = entry.auth.as_deref().map(Access::parse).transpose()?;
        let access = own.unwrap_or(manifest.credentials);
        // in practice no credential is used, so none has to be there
        let access = if config.practice {
            &access
        } else {
            access.in_profile(config.profile.name(), &manifest.name)?
        };
        found.push((manifest.name, access.clone()));
    }
    for entry in &config.openapi {
        let name = entry.name.clone().unwrap_or_else(|| entry.file.display().to_string());
        found.push((name, access(entry)?));
    }
    Ok(found)
}

/// Connectors of which nobody says how their requests are signed, not even that they are not.
pub fn unsigned(config: &Config) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in config.connector.iter().filter(|entry| entry.auth.is_none()) {
        if let Some(folder) = &entry.path {
            let manifest = Manifest::read(folder)?;
            found.extend((manifest.credentials == Access::None).then_some(manifest.name));
        }
    }
    Ok(found)
}

/// What the configured documents lost, by source.
pub fn refusals(config: &Config) -> Result<Vec<(String, Vec<Refusal>)>> {
    let mut found = Vec::new();
    for entry in &config.connector {
        if let Some(folder) = &entry.path {
            let manifest = Manifest::read(folder)?;
            let document = document_in(folder, &manifest)?;
            found.push((manifest.name, document.refused));
        }
    }
    for entry in &config.openapi {
        let document = document_at(&entry.file, &entry.overlays)?;
        found.push((document.title, document.refused));
    }
    Ok(found)
}
