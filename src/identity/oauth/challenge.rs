//! How one gets in.
//!
//! Owns [`Signposts`]: the metadata of this resource (RFC 9728) and the challenges that point to it. The idea: both are
//! made of configuration alone, so a request cannot change a word of them; a challenge names every scope that is needed,
//! at once, and never `offline_access`.
//!
//! Must not: say anything about the credential that was shown but why it was refused, in words of ours.

use std::sync::Arc;

use url::Url;

use super::claims::Words;
use super::config::{Config, Dpop};
use super::jws;
use crate::json::json;
use crate::principal::READ;
use crate::transport::auth::Refusal;

/// Where a resource's metadata is, in front of its own path.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What callers are told.
pub(super) struct Signposts {
    document: Arc<str>,
    /// Paths under which the document is.
    paths: Vec<String>,
    /// `resource_metadata="…"`.
    metadata: String,
    words: Words,
    dpop: Dpop,
}

impl Signposts {
    pub(super) fn new(config: &Config, address: &Url, name: Option<&str>, words: Words) -> Self {
        let path = address.path().trim_end_matches('/');
        let mut place = address.clone();
        place.set_path(&format!("{WELL_KNOWN}{path}"));
        let issuers: Vec<&str> =
            config.issuers.iter().filter(|one| one.advertise).map(|one| one.issuer.as_str()).collect();
        let signatures: Vec<&str> = jws::ALGORITHMS.iter().map(|(name, _)| *name).collect();
        let mut document = json!({
            "resource": config.public_url,
            "authorization_servers": issuers,
            "scopes_supported": [words.to_ask_for(&[READ])],
            "bearer_methods_supported": ["header"],
        });
        if let Some(name) = name {
            document["resource_name"] = name.into();
        }
        if config.dpop != Dpop::Off {
            document["dpop_signing_alg_values_supported"] = json!(signatures);
            document["dpop_bound_access_tokens_required"] = json!(config.dpop == Dpop::Required);
        }
        Self {
            document: Arc::from(document.to_string()),
            paths: vec![WELL_KNOWN.to_owned(), format!("{WELL_KNOWN}{path}"), format!("{WELL_KNOWN}/mcp")],
            metadata: format!("resource_metadata=\"{place}\""),
            words,
            dpop: config.dpop,
        }
    }

    /// The document, if it is at this path.
    pub(super) fn document(&self, path: &str) -> Option<Arc<str>> {
        self.paths.iter().any(|known| known == path).then(|| Arc::clone(&self.document))
    }

    fn challenge(&self, scheme: &str, error: Option<(&str, &str)>, scopes: &[impl AsRef<str>]) -> String {
        let error = error.map_or(String::new(), |(code, words)| {
            format!("error=\"{code}\", error_description=\"{words}\", ")
        });
        let algorithms =
            if scheme == "DPoP" { format!(", algs=\"{}\"", jws::names()) } else { String::new() };
        let (scopes, metadata) = (self.words.to_ask_for(scopes), &self.metadata);
        format!("{scheme} {error}scope=\"{scopes}\", {metadata}{algorithms}")
    }

    /// One challenge for each way that is open, and what is wrong with the one that was taken.
    fn refusal(&self, what: &'static str, code: Option<&str>, bound: bool) -> Refusal {
        let error = code.map(|code| (code, what));
        let schemes: &[&str] = match self.dpop {
            Dpop::Off => &["Bearer"],
            Dpop::Required => &["DPoP"],
            Dpop::Optional if bound => &["DPoP"],
            Dpop::Optional => &["Bearer", "DPoP"],
        };
        let challenges = schemes.iter().map(|scheme| self.challenge(scheme, error, &[READ])).collect();
        Refusal { status: 401, challenges, what, presented: code.is_some(), ..Refusal::default() }
    }

    /// Nothing was shown.
    pub(super) fn missing(&self) -> Refusal {
        self.refusal("no credential", None, false)
    }

    /// A token was shown and is not accepted.
    pub(super) fn refused(&self, what: &'static str) -> Refusal {
        self.refusal(what, Some("invalid_token"), false)
    }

    /// A token was shown that needs a proof, and that is not accepted.
    pub(super) fn unproved(&self, what: &'static str) -> Refusal {
        self.refusal(what, Some("invalid_dpop_proof"), true)
    }

    /// A proof does not repeat what we said last; this is it. No guess: whoever holds the key tries again.
    pub(super) fn nonce(&self, nonce: String) -> Refusal {
        let refusal = self.refusal("proof without our nonce", Some("use_dpop_nonce"), true);
        Refusal { nonce: Some(nonce), presented: false, ..refusal }
    }

    /// It cannot be found out now.
    pub(super) fn unavailable(what: &'static str, wait: std::time::Duration) -> Refusal {
        let wait = wait.max(std::time::Duration::from_secs(1));
        Refusal { status: 503, retry_after: Some(wait), what, ..Refusal::default() }
    }

    /// A token is accepted and does not reach far enough.
    pub(super) fn step_up(&self, bound: bool, scopes: &[String]) -> String {
        let error = Some(("insufficient_scope", "this call needs scopes that the token does not have"));
        self.challenge(if bound { "DPoP" } else { "Bearer" }, error, scopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;

    fn signposts(change: impl FnOnce(&mut Config)) -> Signposts {
        let mut config: Config = toml::from_str(
            "public_url = \"https://mcp.example.com/a/mcp\"\nissuers = [{ issuer = \"https://one.example\" }, { issuer = \
             \"https://two.example\", advertise = false }]",
        )
        .unwrap();
        change(&mut config);
        let address = config.address().unwrap();
        Signposts::new(&config, &address, Some("widgets"), Words::new(&config))
    }

    #[test]
    fn the_document_is_of_configuration_alone_and_asks_for_little() {
        let signposts = signposts(|_| {});
        let at = |path: &str| signposts.document(path);
        let text = at("/.well-known/oauth-protected-resource").unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["resource"], "https://mcp.example.com/a/mcp");
        assert_eq!(document["authorization_servers"], json!(["https://one.example"]));
        assert_eq!(document["scopes_supported"], json!(["mcp:read"]));
        assert_eq!(document["bearer_methods_supported"], json!(["header"]));
        assert!(!text.contains("offline_access"));
        assert!(at("/.well-known/oauth-protected-resource/a/mcp").is_some());
        assert!(at("/.well-known/oauth-protected-resource/mcp").is_some());
        assert!(at("/.well-known/oauth-protected-resource/b").is_none());
    }

    #[test]
    fn challenges_lead_to_the_document() {
        let open = signposts(|_| {}).missing();
        assert_eq!(
            open.challenges[0],
            "Bearer scope=\"mcp:read\", resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource\
             /a/mcp\""
        );
        assert!(open.challenges[1].starts_with("DPoP ") && open.challenges[1].contains("algs=\"RS256 "));
        assert!(!open.presented);
        let off = signposts(|config| config.dpop = Dpop::Off).refused("token has expired");
        assert_eq!(off.challenges.len(), 1);
        assert!(
            off.challenges[0]
                .starts_with("Bearer error=\"invalid_token\", error_description=\"token has expired\",")
        );
        assert!(off.presented);
        let only = signposts(|config| config.dpop = Dpop::Required).missing();
        assert!(only.challenges.len() == 1 && only.challenges[0].starts_with("DPoP "));
        let more = signposts(|_| {}).step_up(false, &[String::from("write"), String::from("files:tag")]);
        assert!(
            more.contains("error=\"insufficient_scope\"") && more.contains("scope=\"mcp:write files:tag\"")
        );
    }
}
