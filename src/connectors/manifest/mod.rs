//! `connector.toml` as a type.
//!
//! Owns [`Manifest`]: our opinion of an API, beside its document. The idea: everything but the name has a default that
//! is safe; unknown keys are refused with the nearest right one; secrets are references, never values.
//!
//! Must not: build anything (`signing.rs` and `connectors/mod.rs` do).

mod credentials;
mod keys;
mod signing;
mod toolsets;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use url::Url;

pub use credentials::{Access, Profiles, Way};
pub use toolsets::{Asked, Toolset};

use crate::connectors::request::Base;
use crate::error::{Error, Kind, Result};
use crate::http::Pace;
use crate::pipeline::{Pattern, Reading};
use crate::policy::{Effect, FINDERS, is_own_source, is_own_toolset};

/// A connector, as its folder describes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Manifest {
    /// What the operator calls it; also its toolset, and the beginning of those of its parts.
    pub name: String,
    /// Name for people.
    pub title: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Base address: the only scheme, host and port that requests go to.
    pub base: Option<Url>,
    /// Hosts the connector may reach; empty means that of `base` alone.
    pub hosts: Vec<String>,
    /// The document beside the manifest; `openapi.yaml` or `openapi.json` if it is not said.
    pub document: Option<String>,
    /// OpenAPI overlays beside the manifest, applied to the document in this order before it is read.
    pub overlays: Vec<String>,
    /// An operation (`operationId`) that only reads and needs no argument: asked where somebody wants to know whether the
    /// API can be reached, or a credential is accepted.
    pub health: Option<String>,
    /// How requests are signed: one way, several of which the first whose secrets are there is used, or one for
    /// each profile.
    #[serde(skip_serializing_if = "Access::is_none")]
    pub credentials: Access,
    /// How fast the upstream may be asked.
    pub quota: Option<Pace>,
    /// Seconds a request may take with all its tries.
    pub timeout: Option<f64>,
    /// Headers that every request carries; never a credential.
    pub headers: IndexMap<String, String>,
    /// Whether only the operations named below become tools.
    pub only_listed: bool,
    /// Put before the name of every tool that has none of its own here.
    pub prefix: Option<String>,
    /// What the credential has to be allowed upstream (scopes or roles), where neither the document nor the operation
    /// below says it.
    pub permissions: Vec<String>,
    /// Its parts.
    #[serde(rename = "toolset")]
    pub toolsets: Vec<Toolset>,
    /// How its answers are shown.
    pub response: Showing,
    /// Our opinion of single operations.
    #[serde(rename = "operation")]
    pub operations: Vec<Override>,
}

/// Our opinion of one operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    /// `operationId` in the document.
    pub id: String,
    /// Tool name.
    pub tool: Option<String>,
    /// Name for people.
    pub title: Option<String>,
    /// What it does, in our words.
    pub description: Option<String>,
    /// What it does to the world.
    pub effect: Option<Effect>,
    /// Toolset, if not the one that its tags and path say: one of the manifest's, or any other name.
    pub toolset: Option<String>,
    /// How its pages follow each other.
    pub pages: Option<Pages>,
    /// JSON Pointers into the result that are always redacted.
    pub redact: Vec<String>,
    /// Whether it is left out.
    pub hidden: bool,
    /// Whether sending it twice is as good as once, where the method does not say so.
    pub idempotent: Option<bool>,
    /// Whether the document's schema of the answer is trusted enough to be the tool's output schema.
    pub output: bool,
    /// Scopes a principal needs beyond those of the effect.
    pub scopes: Vec<String>,
    /// What the credential has to be allowed upstream for it, in place of what the document says.
    pub permissions: Vec<String>,
    /// The argument that makes a dry run of it when it is true: what the API says to that is shown to whoever has to
    /// agree. Name it only where the API then changes nothing.
    pub dry_run: Option<String>,
    /// How its answers are shown, where not as those of the others.
    pub response: Showing,
}

/// How answers are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Showing {
    /// Bytes that are shown at once; of a list as many whole items as fit.
    pub max_bytes: Option<usize>,
    /// Members that are left out unless `fields` asks for them: `_links`, `data.href`, `**.href`, `**/@odata.etag`. Those
    /// of an operation come on top of those of its connector.
    pub drop: Vec<String>,
    /// Whether members that are null or empty are left out.
    pub prune: Option<bool>,
}

impl Showing {
    /// What an operation says on top of what its connector says.
    pub(super) fn with(&self, own: Option<&Self>) -> Reading {
        let own = own.cloned().unwrap_or_default();
        Reading {
            fields: None,
            noise: self.drop.iter().chain(&own.drop).filter_map(|text| Pattern::parse(text)).collect(),
            prune: own.prune.or(self.prune).unwrap_or_default(),
            max_bytes: own.max_bytes.or(self.max_bytes),
        }
    }

    /// What is wrong with it.
    fn problem(&self) -> Option<&'static str> {
        if self.max_bytes.is_some_and(|bytes| bytes < 2_000) {
            return Some("`max_bytes` must be at least 2000: with less, hardly anything is shown");
        }
        let odd = self.drop.iter().any(|text| Pattern::parse(text).is_none());
        odd.then_some("`drop` holds names with dots between them, such as data.href or **.href; `**` cannot be the last")
    }
}

/// How the pages of an answer follow each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// What follows what.
    #[serde(default)]
    pub style: PageStyle,
    /// Where the answer says what comes next: a JSON Pointer, or a name at its top level. A token (`token`), or an
    /// address (`link`). For `page`: where the number of pages is; for `offset`: where the total is, if it is anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Where the next request says where to go on: the name of an argument, or a JSON Pointer into the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// For `token`: the header of the answer that holds the token, where that is not in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Where the answer says whether there is more, as true or false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
    /// Where the answer says how many items there are in all (`offset`, `page`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// For `last`: what of the last item is sent; `id` if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The number of the first page (1 if it is not said), or the offset of the first item (0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Where the items of an answer are; the only array at its top level if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// Whether the next page is asked for with what the answer says and the size of a page alone: filters are left out,
    /// for an upstream that refuses them there because its token stands for them (`token`, `link`, `link_header`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// How many items one call gathers at most.
    #[serde(default = "Pages::limit")]
    pub limit: usize,
    /// How many pages one call asks for at most.
    #[serde(default = "Pages::most")]
    pub most: usize,
}

impl Default for Pages {
    fn default() -> Self {
        Self {
            style: PageStyle::default(),
            cursor: None,
            send: None,
            header: None,
            more: None,
            total: None,
            id: None,
            first: None,
            items: None,
            alone: false,
            limit: Self::limit(),
            most: Self::most(),
        }
    }
}

impl Pages {
    const fn limit() -> usize {
        200
    }

    const fn most() -> usize {
        10
    }

    /// What is missing, or too much.
    fn wrong(&self) -> Option<&'static str> {
        use PageStyle::{Last, Link, LinkHeader, None, Offset, Page, Token};
        let sends = self.send.is_some();
        if self.limit == 0 || self.most == 0 {
            return Some("`pages` needs a `limit` and `most` of at least 1");
        }
        if self.alone && !matches!(self.style, Token | Link | LinkHeader) {
            return Some(
                "`pages` has `alone`, which is for a token or a link: a number does not stand for what was asked for",
            );
        }
        let sent = self.send.as_ref().or(self.cursor.as_ref()).filter(|_| self.style == Token);
        if self.alone && sent.is_some_and(|name| name.starts_with('/')) {
            return Some(
                "`pages` has `alone`, which is for a token that `send` puts into the query, not into the body",
            );
        }
        match self.style {
            Token if self.cursor.is_none() && self.header.is_none() => {
                Some("`pages` needs `cursor` or `header`: where the answer says what comes next")
            }
            Token if self.cursor.is_none() && !sends => {
                Some("`pages` needs `send`: the argument that says where to go on")
            }
            Link if self.cursor.is_none() => {
                Some("`pages` needs `cursor`: where the address of the next page is")
            }
            Offset | Page | Last if !sends => {
                Some("`pages` needs `send`: the argument that says where to go on")
            }
            Link | LinkHeader | None if sends => {
                Some("`pages` has a `send`, which this `style` has no use for")
            }
            _ => Option::None,
        }
    }
}

/// What leads to the next page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageStyle {
    /// A token from the answer is sent as an argument.
    #[default]
    Token,
    /// The answer holds the address of the next page. Only its query is used, on the same path.
    Link,
    /// The `Link` header of the answer holds it (RFC 8288, `rel=next`).
    LinkHeader,
    /// The number of items seen so far is sent.
    Offset,
    /// The number of the next page is sent.
    Page,
    /// What stands for the last item is sent.
    Last,
    /// Nothing: there is one page.
    None,
}

impl Manifest {
    /// Reads a manifest. `place` names it in errors: `connector.toml of equinix`.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let bad = |what: String| Error::new(Kind::BadConfig, what);
        // The text of a TOML error quotes the file, which may hold a secret that somebody put there by mistake.
        let table: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            bad(format!("{place} is not valid TOML (line {line})."))
        })?;
        keys::check(&table, place)?;
        let manifest: Self = toml::from_str(text).map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let hint = credentials::hint(error.message());
            bad(format!("{place} has a value of the wrong kind near line {line}{hint}."))
        })?;
        manifest.validate(place)?;
        Ok(manifest)
    }

    /// Reads `connector.toml` in a folder.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("connector.toml");
        let place = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|cause| {
            Error::new(
                Kind::BadConfig,
                format!("{place} cannot be read; a connector is a folder that has one."),
            )
            .with_source(cause)
        })?;
        Self::parse(&text, &place)
    }

    /// Where requests and credentials go, and what they are signed with; never a secret.
    pub(super) fn origin(&self) -> BTreeMap<String, String> {
        let base = self.base.iter().map(|base| (String::from("base"), base.as_str().to_owned()));
        let hosts = (!self.hosts.is_empty()).then(|| (String::from("hosts"), self.hosts.join(" ")));
        base.chain(hosts).collect()
    }

    /// The opinion of one operation.
    pub fn about(&self, id: &str) -> Option<&Override> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    fn validate(&self, place: &str) -> Result<()> {
        let bad = |what: &str| Err(Error::new(Kind::BadConfig, format!("{place}: {what}.")));
        let legal = |name: &str, longest: usize| {
            (1..=longest).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        };
        if !legal(&self.name, 40) {
            return bad("`name` must be 1 to 40 of the characters A-Z a-z 0-9 _ - .");
        }
        if is_own_source(&self.name) || is_own_toolset(&self.name) {
            return bad(
                "`name` is one that bartizan itself uses (builtin, python, openapi, search, results); choose another",
            );
        }
        if self.prefix.as_deref().is_some_and(|prefix| !legal(prefix, 20)) {
            return bad("`prefix` must be 1 to 20 of the characters A-Z a-z 0-9 _ - .");
        }
        let elsewhere = |name: &str| name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.');
        if self.document.as_deref().is_some_and(elsewhere) {
            return bad("`document` must be the name of a file beside the manifest");
        }
        if self.overlays.iter().any(|name| elsewhere(name)) {
            return bad("`overlays` must be names of files beside the manifest");
        }
        self.check_toolsets().or_else(bad)?;
        if let Some(base) = &self.base {
            if let Some(flaw) = Base::flaw(base) {
                return bad(&format!("`base` {flaw}"));
            }
            let host = base.host_str().unwrap_or_default();
            if !self.hosts.is_empty() && !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
                return bad("the host of `base` is not among `hosts`");
            }
        }
        self.credentials.validate(self.base.as_ref(), &self.hosts, place)?;
        for (name, value) in &self.headers {
            let fits = crate::http::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && crate::http::HeaderValue::from_str(value).is_ok();
            if !fits {
                return bad("`headers` has a name or value that no header can have");
            }
            if credentials::is_secret_header(name) {
                return bad("`headers` must hold no credential; use [credentials]");
            }
        }
        if let Some(problem) = self.response.problem() {
            return bad(problem);
        }
        let mut listed = HashSet::new();
        for operation in &self.operations {
            if operation.id.is_empty() {
                return bad("every [[operation]] needs an `id`");
            }
            if !listed.insert(operation.id.as_str()) {
                return bad("the same operation is listed twice");
            }
            if operation.tool.as_deref().is_some_and(|name| !legal(name, 64)) {
                return bad("`tool` must be 1 to 64 of the characters A-Z a-z 0-9 _ - .");
            }
            if operation.tool.as_deref().is_some_and(|name| FINDERS.contains(&name)) {
                return bad("`tool` is the name of one of bartizan's own tools; choose another");
            }
            if operation.toolset.as_deref().is_some_and(is_own_toolset) {
                return bad(
                    "`toolset` of an [[operation]] is one of bartizan's own (search, results); choose another",
                );
            }
            if operation.redact.iter().any(|pointer| !pointer.starts_with('/')) {
                return bad("`redact` holds JSON Pointers, which begin with /");
            }
            if let Some(wrong) = operation.pages.as_ref().and_then(Pages::wrong) {
                return bad(wrong);
            }
            if let Some(problem) = operation.response.problem() {
                return bad(problem);
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
name = "example"
base = "https://api.example.com/v1"
hosts = ["api.example.com"]

[credentials]
kind = "bearer"
from = "env:EXAMPLE_TOKEN"

[quota]
per_minute = 60
burst = 10

[[operation]]
id = "listWidgets"
tool = "widgets_list"
effect = "read"
pages = { cursor = "next", limit = 200 }

[[operation]]
id = "deleteWidget"
tool = "widget_delete"
effect = "destroy"
redact = ["/owner/email"]
"#;

    fn refusal(text: &str) -> String {
        Manifest::parse(text, "connector.toml").unwrap_err().message().to_owned()
    }

    #[test]
    fn the_example_of_the_design_is_read() {
        let manifest = Manifest::parse(EXAMPLE, "connector.toml").unwrap();
        assert_eq!(manifest.about("listWidgets").unwrap().pages.as_ref().unwrap().limit, 200);
        assert_eq!(manifest.about("deleteWidget").unwrap().effect, Some(Effect::Destroy));
        assert_eq!(manifest.quota, Some(Pace { per_minute: 60, burst: 10 }));
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_right_one() {
        assert!(refusal("nmae = 'x'").contains("`name`"));
        assert!(refusal("name = 'x'\n[[operation]]\nid = 'a'\nefect = 'read'").contains("`effect`"));
        assert!(refusal("name = 'x'\n[credentials]\nkind = 'bearer'\nform = 'env:A'").contains("`from`"));
        assert!(refusal("name = 'x'\n[quota]\nper_minutes = 1").contains("`per_minute`"));
        assert!(refusal("name = 'x'\n[[operation]]\nid = 'a'\npages = { cursr = 'a' }").contains("`cursor`"));
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        for text in [
            "name = 'x'\n[credentials]\nkind = 'bearer'\nfrom = 'hunter2hunter2'",
            "name = 'x'\n[credentials]\nkind = 'bearer'\ntoken = 'hunter2hunter2'",
            "name = 'x'\nbase = 'https://u:hunter2hunter2@a.example'",
            "name = 'x'\n[headers]\nAuthorization = 'Bearer hunter2hunter2'",
            "name = 'x'\n[headers]\nX-Api-Key = 'hunter2hunter2'",
            "name = 'hunter2hunter2",
        ] {
            let refusal = refusal(text);
            assert!(!refusal.contains("hunter2"), "{refusal}");
            assert!(refusal.starts_with("connector.toml"), "{refusal}");
        }
    }

    #[test]
    fn credentials_go_to_named_hosts_only() {
        let with = |token: &str| {
            format!(
                "name = 'x'\nbase = 'https://api.example.com'\nhosts = ['api.example.com', 'login.example.com']\n\
                 [credentials]\nkind = 'oauth2'\ntoken_url = '{token}'\nclient_id = 'env:A'\nclient_secret = 'env:B'"
            )
        };
        assert!(Manifest::parse(&with("https://login.example.com/token"), "x").is_ok());
        assert!(refusal(&with("https://evil.example/token")).contains("token_url"));
        assert!(refusal(&with("ftp://login.example.com/token")).contains("token_url"));
        assert!(refusal("name = 'x'\nbase = 'https://a.example'\nhosts = ['b.example']").contains("hosts"));
    }

    #[test]
    fn names_of_our_own_are_nobody_elses() {
        for name in ["builtin", "Builtin", "python", "openapi", "search", "results"] {
            assert!(refusal(&format!("name = '{name}'")).contains("bartizan itself"), "{name}");
        }
        for name in ["builtin2", "my-search", "search.x"] {
            Manifest::parse(&format!("name = '{name}'"), "x").unwrap();
        }
        let one = |more: &str| refusal(&format!("name = 'x'\n[[operation]]\nid = 'a'\n{more}"));
        assert!(one("toolset = 'search'").contains("bartizan's own"));
        assert!(one("toolset = 'results'").contains("bartizan's own"));
        assert!(one("tool = 'call_tool'").contains("bartizan's own"));
    }

    #[test]
    fn several_ways_are_alternatives() {
        let text = "name = 'x'\nbase = 'https://a.example'\n\
                    [[credentials]]\nkind = 'oauth2'\ntoken_url = 'https://a.example/t'\nclient_id = 'env:A'\n\
                    client_secret = 'env:B'\nstyle = 'json'\n[[credentials]]\nkind = 'bearer'\nfrom = 'env:T'";
        let manifest = Manifest::parse(text, "x").unwrap();
        assert_eq!(manifest.credentials.ways().len(), 2);
    }
}
