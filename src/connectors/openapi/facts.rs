//! What a document says beside its operations: how it is signed, how fast it may be asked, what its tags mean.
//!
//! Owns [`Facts`]. The idea: these are claims for a person to look at when a connector is made of the document; nothing
//! here is ever acted on.
//!
//! Must not: be used while serving.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::parameters::text;
use super::refs::{Sources, Spot};
use super::words::line;
use crate::json::Value;

/// Of each kind, so many are looked at.
const MOST: usize = 40;
/// Tags whose description is kept.
const TAGS: usize = 1_000;

/// Claims of a document.
#[derive(Debug, Clone, Default)]
pub(in crate::connectors) struct Facts {
    /// Files beneath the document's folder that it consists of, relative to it.
    pub(in crate::connectors) files: Vec<PathBuf>,
    /// How it says requests are signed; what it asks for most comes first.
    pub(in crate::connectors) schemes: Vec<Scheme>,
    /// Whether it says that it is one of Akamai's, whose documents name no way of signing.
    pub(in crate::connectors) is_akamai: bool,
    /// Names of those that it asks for together, or alone.
    pub(in crate::connectors) wanted: Vec<Vec<String>>,
    /// Numbers under keys like `x-rate-limit`: the key, the number.
    pub(in crate::connectors) rates: Vec<(String, u64)>,
    /// Whether answers have `RateLimit` headers.
    pub(in crate::connectors) announces_rate: bool,
    /// Operations (method, path key) whose success has a `Link` header.
    pub(in crate::connectors) linked: HashSet<(String, String)>,
    /// What its tags mean.
    pub(in crate::connectors) tags: IndexMap<String, String>,
}

/// One way of signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connectors) struct Scheme {
    /// Its name in the document, cleaned.
    pub(in crate::connectors) name: String,
    pub(in crate::connectors) kind: SchemeKind,
    /// What the document says of it, cleaned, and of what kind a gateway takes it to be.
    pub(in crate::connectors) says: String,
}

/// How a way of signing works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::connectors) enum SchemeKind {
    Bearer,
    Basic,
    /// A header of that name.
    Header(String),
    /// A parameter of the query.
    Query(String),
    Cookie(String),
    /// OAuth 2 client credentials: the token endpoint that the document names, and its scopes.
    ClientCredentials {
        token_url: String,
        scopes: Vec<String>,
    },
    /// OAuth 2 with a person: the names of its flows, and the token endpoint that the document names.
    Person {
        flows: String,
        token_url: String,
    },
    OpenId,
    ClientCertificate,
    /// Something else, by its own name.
    Other(String),
}

impl Facts {
    pub(super) fn of(sources: &Sources) -> Self {
        let root = sources.root();
        let title = root.get("info").map(|info| text(info, "title")).unwrap_or_default();
        let mut facts = Self {
            files: sources.files().map(Path::to_path_buf).collect(),
            schemes: schemes(sources),
            is_akamai: title.to_ascii_lowercase().starts_with("akamai"),
            tags: tags(root),
            ..Self::default()
        };
        for holder in [root, root.get("info").unwrap_or(&Value::Null)] {
            facts.rates_of(holder);
        }
        facts.wanted_by(root);
        facts.walk(sources);
        facts
    }

    fn walk(&mut self, sources: &Sources) {
        let paths = sources.root().get("paths").and_then(Value::as_object);
        for (key, value) in paths.into_iter().flatten() {
            let Ok(item) = sources.resolve(Spot { file: 0, value }) else { continue };
            for (method, value) in
                item.value.as_object().into_iter().flatten().filter(|(_, it)| it.is_object())
            {
                let Ok(operation) = sources.resolve(Spot { file: item.file, value }) else { continue };
                self.rates_of(operation.value);
                self.wanted_by(operation.value);
                let answers = operation.value.get("responses").and_then(Value::as_object);
                for (status, value) in answers.into_iter().flatten().take(MOST) {
                    let Ok(answer) = sources.resolve(Spot { file: operation.file, value }) else { continue };
                    let Some(headers) = answer.value.get("headers").and_then(Value::as_object) else {
                        continue;
                    };
                    for name in headers.keys().take(MOST) {
                        let plain = name.to_ascii_lowercase().replace("rate-limit", "ratelimit");
                        self.announces_rate |= plain.contains("ratelimit");
                        if plain == "link" && status.starts_with('2') {
                            let path = key.split('?').next().unwrap_or_default();
                            self.linked.insert((method.to_ascii_uppercase(), path.to_owned()));
                        }
                    }
                }
            }
        }
    }

    /// Ways of signing that are asked for together, or alone.
    fn wanted_by(&mut self, holder: &Value) {
        let wanted = holder.get("security").and_then(Value::as_array).into_iter().flatten();
        for names in wanted.filter_map(Value::as_object) {
            let names: Vec<String> = names.keys().take(MOST).filter_map(|name| line(name, 60)).collect();
            if self.wanted.len() < MOST && !self.wanted.contains(&names) {
                self.wanted.push(names);
            }
        }
    }

    /// Numbers under keys that speak of a rate.
    fn rates_of(&mut self, holder: &Value) {
        for (key, value) in holder.as_object().into_iter().flatten() {
            let plain = key.to_ascii_lowercase().replace(['-', '_'], "");
            if !plain.starts_with('x') || !(plain.contains("ratelimit") || plain.contains("throttl")) {
                continue;
            }
            let mut found = |key: String, value: &Value| {
                let number = value.as_u64().or_else(|| value.as_str()?.trim().parse().ok());
                if let Some(number) = number.filter(|number| *number > 0)
                    && self.rates.len() < MOST
                    && let Some(key) = line(&key, 60)
                    && !self.rates.contains(&(key.clone(), number))
                {
                    self.rates.push((key, number));
                }
            };
            found(key.clone(), value);
            for (inner, value) in value.as_object().into_iter().flatten().take(MOST) {
                found(format!("{key}.{inner}"), value);
            }
        }
    }
}

fn tags(root: &Value) -> IndexMap<String, String> {
    let list = root.get("tags").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .take(TAGS)
        .filter_map(|tag| Some((line(text(tag, "name"), 60)?, line(text(tag, "description"), 160)?)))
        .collect()
}

/// What the document's own requirement names comes first, then the rest in its order.
fn schemes(sources: &Sources) -> Vec<Scheme> {
    let root = sources.root();
    let newer = root.pointer("/components/securitySchemes");
    let known = newer.or_else(|| root.get("securityDefinitions")).and_then(Value::as_object);
    let wanted: Vec<&str> = root
        .get("security")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(|one| one.keys().map(String::as_str))
        .collect();
    let mut found: Vec<(usize, Scheme)> = Vec::new();
    for (name, value) in known.into_iter().flatten().take(MOST) {
        let Ok(spot) = sources.resolve(Spot { file: 0, value }) else { continue };
        let rank = wanted.iter().position(|one| one == name).unwrap_or(usize::MAX);
        let word = |key: &str| line(text(spot.value, key), 600).unwrap_or_default();
        let says = format!("{} {}", word("description"), word("x-amazon-apigateway-authtype"));
        let name = line(name, 60).unwrap_or_default();
        found.push((rank, Scheme { name, kind: kind(spot.value), says }));
    }
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, scheme)| scheme).collect()
}

fn kind(value: &Value) -> SchemeKind {
    let word = |key: &str| line(text(value, key), 200).unwrap_or_default();
    let scheme = word("scheme").to_ascii_lowercase();
    match word("type").as_str() {
        "basic" => SchemeKind::Basic,
        "http" if scheme == "basic" => SchemeKind::Basic,
        "http" if scheme == "bearer" => SchemeKind::Bearer,
        "http" => SchemeKind::Other(scheme),
        "apiKey" => {
            let name = word("name");
            match word("in").as_str() {
                "header" => SchemeKind::Header(name),
                "query" => SchemeKind::Query(name),
                _ => SchemeKind::Cookie(name),
            }
        }
        "oauth2" => oauth(value),
        "openIdConnect" => SchemeKind::OpenId,
        "mutualTLS" => SchemeKind::ClientCertificate,
        other => SchemeKind::Other(other.to_owned()),
    }
}

fn oauth(value: &Value) -> SchemeKind {
    let flows = value.get("flows").and_then(Value::as_object);
    // 2.0 has one flow, beside its type.
    let older = text(value, "flow");
    let ours =
        flows.and_then(|flows| flows.get("clientCredentials")).or((older == "application").then_some(value));
    let Some(ours) = ours else {
        let names: Vec<&str> = flows.map_or(vec![older], |flows| flows.keys().map(String::as_str).collect());
        let all = flows.into_iter().flat_map(|flows| flows.values()).chain([value]);
        let token_url = all.map(|flow| text(flow, "tokenUrl")).find(|url| !url.is_empty());
        return SchemeKind::Person {
            flows: line(&names.join(", "), 100).unwrap_or_default(),
            token_url: token_url.and_then(|url| line(url, 300)).unwrap_or_default(),
        };
    };
    let scopes = ours.get("scopes").and_then(Value::as_object);
    SchemeKind::ClientCredentials {
        token_url: line(text(ours, "tokenUrl"), 300).unwrap_or_default(),
        scopes: scopes.into_iter().flatten().take(MOST).filter_map(|(name, _)| line(name, 80)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    fn facts(document: Value) -> Facts {
        Facts::of(&Sources::gather(document, None))
    }

    #[test]
    fn ways_of_signing_are_read_of_every_version_and_the_wanted_one_comes_first() {
        let newer = facts(json!({
            "security": [{"token": []}],
            "components": {"securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-Key"},
                "asked": {"type": "apiKey", "in": "query", "name": "key"},
                "token": {"type": "http", "scheme": "Bearer"},
                "login": {"type": "oauth2", "flows": {"authorizationCode": {"tokenUrl": "https://a/t"}, "implicit": {}}},
                "app": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "https://a/t", "scopes": {"r": ""}}}},
                "sneaky": {"$ref": "#/components/securitySchemes/key"},
            }},
        }));
        let kinds: Vec<SchemeKind> = newer.schemes.into_iter().map(|scheme| scheme.kind).collect();
        assert_eq!(
            kinds,
            [
                SchemeKind::Bearer,
                SchemeKind::Header("X-Key".into()),
                SchemeKind::Query("key".into()),
                SchemeKind::Person {
                    flows: "authorizationCode, implicit".into(),
                    token_url: "https://a/t".into()
                },
                SchemeKind::ClientCredentials { token_url: "https://a/t".into(), scopes: vec!["r".into()] },
                SchemeKind::Header("X-Key".into()),
            ]
        );
        let older = facts(json!({"securityDefinitions": {
            "a": {"type": "basic"}, "b": {"type": "oauth2", "flow": "application", "tokenUrl": "https://a/t"},
            "c": {"type": "apiKey", "in": "header", "name": "Authorization"},
        }}));
        assert_eq!(older.schemes[0].kind, SchemeKind::Basic);
        assert!(matches!(older.schemes[1].kind, SchemeKind::ClientCredentials { .. }));
        assert_eq!(older.schemes[2].kind, SchemeKind::Header("Authorization".into()));
    }

    #[test]
    fn rates_and_links_are_found_where_documents_say_them() {
        let found = facts(json!({
            "x-ratelimit-limit-per-minute": 30,
            "info": {"x-throttling": {"requests-per-hour": "900", "note": "x"}},
            "paths": {"/a?x=1": {"get": {"x-rate-limit": 5, "responses": {"200": {"headers": {"Link": {}}}}}},
                "/b": {"get": {"responses": {"429": {"headers": {"X-RateLimit-Limit": {}, "Link": {}}}}}}},
        }));
        let expected = [
            ("x-ratelimit-limit-per-minute", 30),
            ("x-throttling.requests-per-hour", 900),
            ("x-rate-limit", 5),
        ];
        assert_eq!(found.rates, expected.map(|(name, number)| (name.to_owned(), number)));
        assert!(found.announces_rate);
        assert_eq!(found.linked, HashSet::from([("GET".into(), "/a".into())]));
    }
}
