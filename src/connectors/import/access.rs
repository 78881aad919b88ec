//! Where an API says it is, how it says it is signed, and how fast it says it may be asked: proposals.
//!
//! Owns [`proposals`], [`quota`] and [`hosts`]. The idea: whatever a document names stays a remark that a person has to
//! turn into a setting; secrets are references whose names are made of the connector's.
//!
//! Must not: write a credential, or an address that the document chose, as anything but a remark.

use url::Url;

use super::signed;
use crate::connectors::openapi::{Facts, Scheme, SchemeKind};
use crate::http::Pace;

/// Requests a minute and at once, where a document says nothing.
const CAREFUL: Pace = Pace { per_minute: 60, burst: 10 };

/// A way of signing, as `[credentials]` would say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proposal {
    /// What the document calls it, in words.
    pub(super) says: String,
    /// Keys and values of the table; empty where there is no such way.
    pub(super) keys: Vec<(&'static str, String)>,
    /// Headers and what they hold, of a signature.
    pub(super) headers: Vec<(String, String)>,
    /// What is said before it.
    pub(super) notes: Vec<String>,
}

/// How requests could be signed, the likeliest first.
pub(super) fn proposals(name: &str, facts: &Facts) -> Vec<Proposal> {
    let mut found: Vec<Proposal> = Vec::new();
    if facts.schemes.is_empty() && facts.is_akamai {
        let edgegrid = signed::edgegrid();
        let why = String::from("It does not say so, but all of Akamai's do.");
        let notes = std::iter::once(why).chain(edgegrid.notes).collect();
        found.push(Proposal { notes, ..edgegrid });
    }
    for scheme in facts.schemes.iter().filter(|scheme| !signed::belongs(scheme, facts)) {
        let signed = signed::proposal(&variable(name), scheme, facts)
            .map(|it| Proposal { says: format!("{} (`{}`)", it.says, scheme.name), ..it });
        let proposal = signed.unwrap_or_else(|| proposal(&variable(name), scheme));
        if !found.contains(&proposal) {
            found.push(proposal);
        }
    }
    found
}

fn proposal(variable: &str, scheme: &Scheme) -> Proposal {
    let env = |what: &str| format!("env:{variable}_{what}");
    let keys = |kind: &str, more: Vec<(&'static str, String)>| {
        std::iter::once(("kind", kind.to_owned())).chain(more).collect::<Vec<_>>()
    };
    let (says, keys) = match &scheme.kind {
        SchemeKind::Bearer => (String::from("a bearer token"), keys("bearer", vec![("from", env("TOKEN"))])),
        SchemeKind::Basic => (
            String::from("a user name and a password"),
            keys("basic", vec![("user", env("USER")), ("password", env("PASSWORD"))]),
        ),
        SchemeKind::Header(header) if header.eq_ignore_ascii_case("authorization") => (
            String::from(
                "a whole Authorization header, such as `Token ...` (for a bearer token: kind = \"bearer\")",
            ),
            keys("header", vec![("name", header.clone()), ("from", env("AUTHORIZATION"))]),
        ),
        SchemeKind::Header(header) => (
            String::from("a key in a header"),
            keys("header", vec![("name", header.clone()), ("from", env("KEY"))]),
        ),
        SchemeKind::Query(parameter) => (
            String::from("a key in the query"),
            keys("query", vec![("name", parameter.clone()), ("from", env("KEY"))]),
        ),
        SchemeKind::ClientCredentials { token_url, scopes } => {
            let mut more = vec![
                ("token_url", token_url.clone()),
                ("client_id", env("CLIENT_ID")),
                ("client_secret", env("CLIENT_SECRET")),
            ];
            if !scopes.is_empty() && scopes.len() <= 4 {
                more.push(("scope", scopes.join(" ")));
            }
            (String::from("an OAuth 2 client"), keys("oauth2", more))
        }
        SchemeKind::Person { flows, token_url } if !token_url.is_empty() => (
            format!("OAuth 2 with a person ({flows}); with a refresh token that somebody got there"),
            keys(
                "refresh",
                vec![
                    ("token_url", token_url.clone()),
                    ("client_id", env("CLIENT_ID")),
                    ("client_secret", env("CLIENT_SECRET")),
                    ("refresh_token", env("REFRESH_TOKEN")),
                ],
            ),
        ),
        SchemeKind::Person { flows, .. } => (
            format!("OAuth 2 with a person ({flows}); get a token there and use it as a bearer token"),
            Vec::new(),
        ),
        SchemeKind::OpenId => {
            (String::from("OpenID Connect; get a token there and use it as a bearer token"), Vec::new())
        }
        SchemeKind::Cookie(cookie) => (format!("the cookie {cookie}, which is not sent"), Vec::new()),
        SchemeKind::ClientCertificate => (
            String::from("a client certificate"),
            keys("certificate", vec![("certificate", env("CERTIFICATE")), ("key", env("CERTIFICATE_KEY"))]),
        ),
        SchemeKind::Other(other) => (format!("a way that is not known here ({other})"), Vec::new()),
    };
    Proposal { says: format!("{says} (`{}`)", scheme.name), keys, ..Proposal::default() }
}

/// The beginning of a connector's environment variables.
fn variable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("API_{name}") } else { name }
}

/// How fast the API may be asked, and why it is thought so.
pub(super) fn quota(facts: &Facts) -> (Pace, String) {
    // Two a second at most: who has a number for a day need not use it up in a minute.
    let per_minute = |key: &str, number: u64| {
        let key = key.to_ascii_lowercase();
        if key.contains("second") {
            number.saturating_mul(60)
        } else if key.contains("hour") {
            number / 60
        } else if key.contains("day") {
            number / 1_440
        } else {
            number
        }
    };
    let least = facts.rates.iter().map(|(key, number)| (per_minute(key, *number).max(1), key, *number)).min();
    if let Some((each, key, number)) = least {
        let each = u32::try_from(each).unwrap_or(u32::MAX).min(6_000);
        let pace = Pace { per_minute: each, burst: (each / 6).clamp(1, 100) };
        return (pace, format!("the document says {key} = {number}"));
    }
    let why = if facts.announces_rate {
        "the document gives no number; the API announces one in its answers, which is kept as well"
    } else {
        "the document says nothing; this is careful"
    };
    (CAREFUL, String::from(why))
}

/// The addresses that a document names, and whether each could be a base.
pub(super) fn hosts(servers: &[String]) -> Vec<(String, bool)> {
    let usable = |text: &String| {
        Url::parse(text).is_ok_and(|url| {
            url.scheme() == "https"
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
                && !text.contains(['{', '}'])
        })
    };
    servers.iter().map(|server| (server.clone(), usable(server))).collect()
}

/// Whether an address is on this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(rates: &[(&str, u64)]) -> Pace {
        let rates = rates.iter().map(|(key, number)| ((*key).to_owned(), *number)).collect();
        quota(&Facts { rates, ..Facts::default() }).0
    }

    #[test]
    fn the_least_that_a_document_says_is_the_quota_and_without_one_it_is_careful() {
        assert_eq!(rated(&[]), CAREFUL);
        assert_eq!(rated(&[("x-rate-limit", 120)]), Pace { per_minute: 120, burst: 20 });
        assert_eq!(rated(&[("x-ratelimit-per-second", 10), ("x-rate-limit", 5_000)]).per_minute, 600);
        assert_eq!(rated(&[("x-rate-limit.requests-per-day", 100)]), Pace { per_minute: 1, burst: 1 });
        assert_eq!(rated(&[("x-rate-limit", u64::MAX)]).per_minute, 6_000);
    }

    #[test]
    fn variables_are_legal_names() {
        assert_eq!(variable("my-api.v2"), "MY_API_V2");
        assert_eq!(variable("4me"), "API_4ME");
    }

    #[test]
    fn only_a_whole_https_address_could_be_a_base() {
        let servers = [
            "https://a.example/v1",
            "http://a.example",
            "/v1",
            "https://{region}.example",
            "https://u:p@a.example",
        ];
        let found = hosts(&servers.map(str::to_owned));
        assert_eq!(
            found.iter().map(|(_, usable)| *usable).collect::<Vec<_>>(),
            [true, false, false, false, false]
        );
    }
}
