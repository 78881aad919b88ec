//! Connectors: vendor documents plus our opinion become tools.
//!
//! Owns [`Connector`]. The idea: a connector is a document and a manifest; the built-in ones, a user's folder and a
//! user's bare document are built by the same function and differ in nothing afterwards.
//!
//! Must not: send a request itself.

mod advice;
pub mod catalog;
pub mod document;
pub mod flow;
pub mod handles;
pub mod import;
mod impossible;
mod loose;
pub mod manifest;
pub mod openapi;
mod operation;
mod outline;
mod pages;
mod request;
mod response;
mod shape;
mod unchecked;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

pub use impossible::impossible;
pub use pages::infer::infer as infer_pages;
pub use response::FAILURE;
pub use shape::Shape;
pub use unchecked::unchecked;

use self::catalog::equinix;
use self::document::{Document, Operation, Refusal};
use self::flow::{Flow, Recipe, Upstream};
use self::handles::Handles;
use self::manifest::{Access, Asked, Manifest, Override};
use self::openapi::{Overlay, Suspect};
use self::operation::Shared;
use self::request::Base;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::http::{Client, Config, Credentials, HeaderName, HeaderValue, Request, Settings};
use crate::json::{Map, Value};
use crate::pipeline::{Destination, Tool};
use crate::policy::{is_own_source, is_own_toolset};
use crate::redaction::Redactor;
use crate::state::Folder;
use crate::vault::Keeper;

/// A connector that comes with the program.
pub struct BuiltIn {
    /// Its name, as `--connector` takes it.
    pub name: &'static str,
    /// Its `connector.toml`.
    pub manifest: &'static str,
    /// Its document.
    pub document: &'static [u8],
    /// Its hand-written flows, in listing order.
    pub flows: fn() -> Vec<Recipe>,
}

/// Every built-in connector, in listing order.
pub const BUILT_IN: &[BuiltIn] = &[BuiltIn {
    name: "equinix",
    manifest: equinix::MANIFEST,
    document: equinix::DOCUMENT,
    flows: equinix::flows,
}];

/// What a connector gets from the process it lives in.
#[derive(Clone)]
pub struct Surroundings {
    /// `[egress]`.
    pub egress: Config,
    /// What learns every credential.
    pub redactor: Redactor,
    /// The time.
    pub clock: SharedClock,
    /// What seals ids that are secrets.
    pub handles: Handles,
    /// Who reads the credentials.
    pub secrets: Keeper,
    /// Where refused logins are counted for all processes of this machine; without it each counts its own.
    pub logins: Option<Folder>,
}

/// What differs from the manifest: a practice upstream, or the operator's own base address.
#[derive(Default)]
pub struct Instead {
    /// Another base address. Token endpoints on the manifest's own address move along.
    pub base: Option<Url>,
    /// Another way of signing, as the operator wrote it.
    pub access: Option<Access>,
    /// Other credentials, made already.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// Whether a stand-in answers: its tools then say `practice`.
    pub practice: bool,
    /// Another operation that tells whether a credential is accepted.
    pub health: Option<String>,
    /// Which toolsets are wanted.
    pub toolsets: Asked,
}

/// An upstream with its tools.
pub struct Connector {
    name: String,
    tools: Vec<Arc<dyn Tool>>,
    /// How many operations are left out with each toolset that nobody asked for.
    unasked: BTreeMap<String, usize>,
    refused: Vec<Refusal>,
    client: Client,
    health: Option<Request>,
    origin: BTreeMap<String, String>,
}

impl Connector {
    /// Builds a connector. `source` says where its tools come from: its name, or `openapi`.
    pub fn new(
        manifest: &Manifest,
        document: Document,
        source: &str,
        surroundings: &Surroundings,
        instead: Instead,
    ) -> Result<Self> {
        let base = instead.base.as_ref().or(manifest.base.as_ref()).ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                format!(
                    "{}: where the API is, must be said (--base-url, or `base` in connector.toml); a document never decides it.",
                    manifest.name
                ),
            )
        })?;
        let settled = Base::new(base, &document.base_path)?;
        let moved = instead.base.as_ref();
        let access = instead.access.as_ref().unwrap_or(&manifest.credentials);
        let own = manifest.base.as_ref();
        let credentials = if let Some(credentials) = instead.credentials {
            credentials
        } else {
            access.build(&manifest.name, moved.zip(own), surroundings)?
        };
        let mut settings = Settings::new(&manifest.name, base.clone(), &surroundings.egress);
        if moved.is_none() {
            settings.hosts.clone_from(&manifest.hosts);
        }
        settings.pace = manifest.quota;
        settings.timeout = manifest.timeout.and_then(|it| std::time::Duration::try_from_secs_f64(it).ok());
        let client = Client::new(
            settings,
            credentials,
            surroundings.redactor.clone(),
            Arc::clone(&surroundings.clock),
        )?;
        agree(manifest, &document)?;
        let shared = Shared {
            name: manifest.name.clone(),
            source: source.to_owned(),
            base: Arc::new(settled),
            client: client.clone(),
            headers: headers(manifest)?,
            reserved: [access.headers(), manifest.credentials.headers()].concat(),
            reserved_queries: [access.queries(), manifest.credentials.queries()].concat(),
            prefix: manifest.prefix.clone().unwrap_or_default(),
            health: instead.health.clone().or_else(|| manifest.health.clone()),
            showing: manifest.response.clone(),
            practice: instead.practice,
            permissions: manifest.permissions.clone(),
        };
        let health =
            shared.health.as_ref().map(|id| match document.operations.iter().find(|known| known.id == *id) {
                Some(known) => operation::health(known, manifest.about(id), &shared),
                None => Err(Error::new(
                    Kind::BadConfig,
                    format!(
                        "{}: `health` names an operation that its document does not have.",
                        manifest.name
                    ),
                )),
            });
        let health = health.transpose()?;
        let mut refused = document.refused.clone();
        let known: HashMap<&str, &Override> =
            manifest.operations.iter().map(|it| (it.id.as_str(), it)).collect();
        let unasked = std::cell::RefCell::new(BTreeMap::new());
        let about = |operation: &Operation| {
            let own = known.get(operation.id.as_str()).copied();
            if own.map_or(manifest.only_listed, |own| own.hidden) {
                return None;
            }
            let named = own.and_then(|own| own.toolset.as_deref());
            let (toolset, wanted) = manifest.toolset_of(operation, named, &instead.toolsets);
            if !wanted {
                *unasked.borrow_mut().entry(toolset).or_insert(0) += 1;
                return None;
            }
            Some(Override { toolset: Some(toolset), ..own.cloned().unwrap_or_default() })
        };
        let (tools, more) = operation::tools(document, &about, &shared);
        refused.extend(more);
        let unasked = unasked.into_inner();
        // What the operator says himself is in the configuration, where whoever writes the manifest does not write.
        let mut origin = BTreeMap::new();
        if instead.access.is_none() {
            origin.extend(manifest.credentials.said());
        }
        if instead.access.is_none() || instead.base.is_none() {
            origin.extend(manifest.origin());
        }
        Ok(Self { name: manifest.name.clone(), tools, unasked, refused, client, health, origin })
    }

    /// A built-in connector: the operations of its document, then its flows.
    pub fn built_in(name: &str, surroundings: &Surroundings, instead: Instead) -> Result<Self> {
        let found = BUILT_IN.iter().find(|built_in| built_in.name == name);
        let built_in = found.ok_or_else(|| {
            let known: Vec<&str> = BUILT_IN.iter().map(|built_in| built_in.name).collect();
            Error::new(
                Kind::BadConfig,
                format!("There is no built-in connector of that name; there are: {}.", known.join(", ")),
            )
        })?;
        let manifest = Manifest::parse(built_in.manifest, built_in.name)?;
        let document = openapi::load(built_in.document, None)?;
        let base = instead.base.clone().or_else(|| manifest.base.clone());
        let practice = instead.practice;
        let mut connector = Self::new(&manifest, document, built_in.name, surroundings, instead)?;
        if let Some(base) = base {
            let handles = surroundings.handles.clone();
            let upstream = Arc::new(
                Upstream::new(built_in.name, base, connector.client.clone(), handles)
                    .practised(practice)
                    .showing(manifest.response.clone()),
            );
            let flows = (built_in.flows)().into_iter();
            connector.tools.extend(
                flows.map(|recipe| Arc::new(Flow::new(recipe, Arc::clone(&upstream))) as Arc<dyn Tool>),
            );
        }
        Ok(connector)
    }

    /// A user's own document: where the API is and how requests are signed is said by the user.
    pub fn from_document(
        document: Document,
        base: Url,
        access: Access,
        surroundings: &Surroundings,
        instead: Instead,
    ) -> Result<Self> {
        let name = name_of(&document.title);
        let manifest = Manifest { name, base: Some(base), credentials: access, ..Manifest::default() };
        let connector = Self::new(&manifest, document, "openapi", surroundings, instead)?;
        Ok(Self { origin: BTreeMap::new(), ..connector })
    }

    /// A user's connector: a folder with `connector.toml` and its document.
    pub fn from_folder(folder: &Path, surroundings: &Surroundings, instead: Instead) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let document = document_in(folder, &manifest)?;
        Self::new(&manifest, document, &manifest.name, surroundings, instead)
    }

    /// What the operator calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its operations as tools, in the document's order.
    pub fn tools(&self) -> &[Arc<dyn Tool>] {
        &self.tools
    }

    /// Where its manifest has requests and credentials go, and what they are signed with, as far as the operator does
    /// not say it himself. Never a secret.
    pub fn origin(&self) -> &BTreeMap<String, String> {
        &self.origin
    }

    /// How many operations belong to each toolset that is not offered unless named, and was not.
    pub fn unasked(&self) -> &BTreeMap<String, usize> {
        &self.unasked
    }

    /// What of its document could not be used, and why.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// A request that only reads, for whoever wants to know whether its credential is accepted; none if none is named.
    pub fn health(&self) -> Option<&Request> {
        self.health.as_ref()
    }

    /// The way to its upstream, for hand-written flows.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

/// What a manifest says of operations, its document must have.
fn agree(manifest: &Manifest, document: &Document) -> Result<()> {
    let known: HashSet<&str> = document.operations.iter().map(|known| known.id.as_str()).collect();
    let Some(lost) = manifest.operations.iter().find(|one| !known.contains(one.id.as_str())) else {
        return Ok(());
    };
    Err(Error::new(
        Kind::BadConfig,
        format!(
            "{}: connector.toml names the operation {}, which its document does not have.",
            manifest.name, lost.id
        ),
    ))
}

/// The document of a connector's folder: the one named, `openapi.yaml`, `openapi.yml` or `openapi.json`.
pub fn document_path(folder: &Path, manifest: &Manifest) -> Result<PathBuf> {
    let usual = ["openapi.yaml", "openapi.yml", "openapi.json"];
    let path = match &manifest.document {
        Some(named) => Some(folder.join(named)),
        None => usual.iter().map(|name| folder.join(name)).find(|path| path.is_file()),
    };
    path.ok_or_else(|| {
        Error::new(
            Kind::BadConfig,
            format!("{} has no openapi.yaml, openapi.yml or openapi.json.", folder.display()),
        )
    })
}

/// Reads the document of a connector's folder, with its overlays.
pub fn document_in(folder: &Path, manifest: &Manifest) -> Result<Document> {
    let overlays: Vec<PathBuf> = manifest.overlays.iter().map(|name| folder.join(name)).collect();
    document_at(&document_path(folder, manifest)?, &overlays)
}

/// Reads a document from a file, and applies overlays to it; references to files beneath its folder are followed.
pub fn document_at(path: &Path, overlays: &[PathBuf]) -> Result<Document> {
    read_with(path, overlays, openapi::load_overlaid)
}

/// What of a document, with its overlays, sounds as if it were meant for a model.
pub fn suspects_at(path: &Path, overlays: &[PathBuf]) -> Result<Vec<Suspect>> {
    read_with(path, overlays, openapi::suspects)
}

/// Reads the files of a document and makes something of them.
fn read_with<T>(
    path: &Path,
    overlays: &[PathBuf],
    make: impl FnOnce(&[u8], Option<&Path>, &[Overlay]) -> Result<T>,
) -> Result<T> {
    let unreadable = |cause: std::io::Error| {
        Error::new(Kind::BadConfig, format!("{} cannot be read; check the path.", path.display()))
            .with_source(cause)
    };
    let overlays = overlays.iter().map(|path| Overlay::read(path)).collect::<Result<Vec<_>>>()?;
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let folder =
        path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    make(&bytes, folder, &overlays).map_err(|error| {
        let message = format!("{}: {}", path.display(), error.message());
        Error::new(error.kind(), message).with_source(error)
    })
}

/// What an operation of a document is called as a tool, by our opinion of it.
pub fn tool_name(operation: &Operation, manifest: &Manifest) -> String {
    operation::name(operation, manifest.about(&operation.id), manifest.prefix.as_deref().unwrap_or_default())
}

/// Where the requests of a client go and as whom, for an approval to be bound to.
async fn destination(client: &Client) -> Destination {
    let (base, identity) = client.identity().await;
    Destination { shown: format!("{base} as {}", identity.reference), fingerprint: identity.fingerprint }
}

/// What the tools of a stand-in say in their `_meta`; the line repeats it in results and in the audit.
fn practice_mark() -> Map<String, Value> {
    [(String::from("practice"), Value::Bool(true))].into_iter().collect()
}

fn headers(manifest: &Manifest) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let one = |(name, value): (&String, &String)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    };
    manifest
        .headers
        .iter()
        .map(|pair| {
            let bad = || Error::new(Kind::BadConfig, "A header of connector.toml is none that can be sent.");
            one(pair).ok_or_else(bad)
        })
        .collect()
}

/// A short name from a document's title.
fn name_of(title: &str) -> String {
    let mut name = String::new();
    for character in title.chars().take(60) {
        if character.is_ascii_alphanumeric() {
            name.push(character.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(32);
    let name = name.trim_matches('-');
    match name {
        "" => String::from("api"),
        own if is_own_source(own) || is_own_toolset(own) => format!("{own}-api"),
        name => name.to_owned(),
    }
}
