//! What a verified token says, and what that means here.
//!
//! Owns [`Issuer`] and [`Facts`]. The idea: a token is for us only if it names one of our audiences, and only now; who it
//! speaks for is `oauth:ISSUER:SUBJECT`, whatever the client calls itself; its words become scopes through the map of
//! the configuration, so that a foreign `admin` means nothing here.
//!
//! Must not: be asked before the signature was checked, or the issuer itself answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::config::{Config, IssuerConfig};
use crate::error::Result;
use crate::json::{Map, Value};
use crate::principal::{ADMIN, APPROVER, Principal, PrincipalKind, READ, WRITE};

/// Scopes and roles that are read of one token.
const MOST: usize = 256;

/// Which words of a token grant what.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    grants: BTreeMap<String, Vec<String>>,
    prefix: String,
}

impl Words {
    pub(super) fn new(config: &Config) -> Self {
        Self { grants: config.scopes.clone(), prefix: config.scope_prefix.clone() }
    }

    /// What a token's words grant. `read`, `write` and `admin` come from the map alone.
    fn granted(&self, words: &BTreeSet<String>) -> BTreeSet<String> {
        let has = |word: &String| words.contains(word);
        let ours = |word: &&String| [READ, WRITE, ADMIN].contains(&word.as_str());
        let mapped = |word: &&String| self.grants.values().flatten().any(|named| named == *word);
        let mut all: BTreeSet<String> =
            words.iter().filter(|word| !ours(word) && !mapped(word)).cloned().collect();
        let mapped = self.grants.iter().filter(|(_, named)| named.iter().any(has));
        all.extend(mapped.map(|(scope, _)| scope.clone()));
        for (broad, narrow) in [(ADMIN, WRITE), (WRITE, READ)] {
            if all.contains(broad) {
                all.insert(narrow.to_owned());
            }
        }
        all
    }

    /// What a client asks its authorization server for to be granted these.
    pub(super) fn to_ask_for(&self, scopes: &[impl AsRef<str>]) -> String {
        let ask = |scope: &str| {
            let word = self.grants.get(scope).and_then(|named| named.first()).map_or(scope, String::as_str);
            format!("{}{word}", self.prefix)
        };
        scopes.iter().map(|scope| ask(scope.as_ref())).collect::<Vec<_>>().join(" ")
    }
}

/// An authorization server whose tokens are accepted.
pub(super) struct Issuer {
    pub(super) name: String,
    pub(super) id: Arc<str>,
    pub(super) algorithms: Vec<Algorithm>,
    audiences: BTreeSet<String>,
    tenants: Vec<String>,
    scopes_claims: Vec<String>,
    roles_claim: String,
    tenant_claim: String,
    principal_claim: String,
    owner_claim: Option<String>,
    approvers: bool,
}

/// How a token is bound to whoever may use it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Binding {
    /// The thumbprint of a key: a proof by that key is needed.
    pub(super) key: Option<String>,
    /// The thumbprint of a client certificate: it has to be the connection's.
    pub(super) certificate: Option<String>,
}

/// What a token says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) principal: Principal,
    /// When it ends, since the epoch, leeway included.
    pub(super) ends: Duration,
    pub(super) binding: Binding,
}

impl Issuer {
    pub(super) fn new(config: &IssuerConfig, public_url: &str) -> Result<Self> {
        let mut audiences: BTreeSet<String> = config.audiences.iter().cloned().collect();
        if audiences.is_empty() {
            // the same resource with and without the slash at its end
            let bare = public_url.trim_end_matches('/');
            audiences.extend([public_url.to_owned(), bare.to_owned(), format!("{bare}/")]);
        }
        Ok(Self {
            name: config.called()?,
            id: Arc::from(config.issuer.as_str()),
            algorithms: config.signatures()?,
            audiences,
            tenants: config.tenants.clone(),
            scopes_claims: config.scopes_claims.clone(),
            roles_claim: config.roles_claim.clone(),
            tenant_claim: config.tenant_claim.clone(),
            principal_claim: config.principal_claim.clone(),
            owner_claim: config.owner_claim.clone(),
            approvers: config.approvers,
        })
    }

    /// Reads claims that were verified. An error is a few words of ours.
    pub(super) fn read(
        &self,
        claims: &Map<String, Value>,
        words: &Words,
        (now, leeway): (Duration, Duration),
    ) -> Result<Facts, &'static str> {
        if claims.get("iss").and_then(Value::as_str).is_some_and(|issuer| *issuer != *self.id) {
            return Err("token of another issuer");
        }
        let ends = time(claims, "exp")?.ok_or("token without end")?.saturating_add(leeway);
        if ends <= now {
            return Err("token has expired");
        }
        let latest = now.saturating_add(leeway);
        if time(claims, "nbf")?.is_some_and(|from| from > latest) {
            return Err("token is not valid yet");
        }
        if time(claims, "iat")?.is_some_and(|issued| issued > latest) {
            return Err("token was issued in the future");
        }
        let audience = match claims.get("aud") {
            Some(Value::String(one)) => self.audiences.contains(one),
            Some(Value::Array(all)) => {
                all.iter().any(|one| one.as_str().is_some_and(|one| self.audiences.contains(one)))
            }
            _ => return Err("token without audience"),
        };
        if !audience {
            return Err("token is for another audience");
        }
        // the hashes that tie an ID token to its code or access token: it says who logged in, and grants nothing
        if ["at_hash", "c_hash", "s_hash"].iter().any(|name| claims.contains_key(*name)) {
            return Err("an ID token is not an access token");
        }
        let client = ["client_id", "azp", "appid"].iter().find_map(|name| claims.get(*name)?.as_str());
        let client = client.filter(|id| is_usable(id));
        let id = match (at(claims, &self.principal_claim), client) {
            (Some(Value::String(subject)), _) if is_usable(subject) => {
                format!("oauth:{}:{subject}", self.name)
            }
            (Some(Value::String(_)), _) => return Err("token with an unusable subject"),
            // a machine that speaks for nobody; a person without the claim that would name them is not their client
            (None, Some(client)) if claims.get("sub").is_none_or(|sub| sub.as_str() == Some(client)) => {
                format!("oauth-client:{}:{client}", self.name)
            }
            _ => return Err("token without subject"),
        };
        let tenant = at(claims, &self.tenant_claim).and_then(Value::as_str).map(str::to_owned);
        if !self.tenants.is_empty() && !tenant.as_ref().is_some_and(|tenant| self.tenants.contains(tenant)) {
            return Err("token of another tenant");
        }
        let said: BTreeSet<String> =
            self.scopes_claims.iter().flat_map(|name| texts(at(claims, name))).take(MOST).collect();
        let unprefixed = said
            .into_iter()
            .map(|word| word.strip_prefix(words.prefix.as_str()).map(str::to_owned).unwrap_or(word))
            .collect();
        let principal = Principal {
            scopes: words.granted(&unprefixed),
            roles: self.roles(claims),
            tenant,
            issuer: Some(Arc::clone(&self.id)),
            owner: self.owner(claims).map(Arc::from),
            bearer: client.map(Arc::from),
            delegate: actor(claims)?.map(Arc::from),
            ..Principal::new(id, PrincipalKind::Token)
        };
        Ok(Facts { principal, ends, binding: binding(claims)? })
    }

    /// Roles as the token says them; that of an approver counts only of an issuer that may name some.
    fn roles(&self, claims: &Map<String, Value>) -> BTreeSet<String> {
        let mut roles: BTreeSet<String> = texts(at(claims, &self.roles_claim)).take(MOST).collect();
        if !self.approvers {
            roles.remove(APPROVER);
        }
        roles
    }

    /// The person behind the token: what the configured claim says, or an address that the issuer has verified.
    fn owner<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        let verified = || claims.get("email_verified").and_then(Value::as_bool) == Some(true);
        let said = match &self.owner_claim {
            Some(path) => at(claims, path),
            None => claims.get("email").filter(|_| verified()),
        };
        said.and_then(Value::as_str).map(str::trim).filter(|name| is_usable(name))
    }
}

/// Whether a text can name a caller.
fn is_usable(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control)
}

/// What a token is bound to. One that is bound to something we do not know is bound all the same.
fn binding(claims: &Map<String, Value>) -> Result<Binding, &'static str> {
    let confirmation = match claims.get("cnf") {
        None => return Ok(Binding::default()),
        Some(Value::Object(confirmation)) if !confirmation.is_empty() => confirmation,
        Some(_) => return Err("token with an unusable binding"),
    };
    let mut binding = Binding::default();
    for (name, value) in confirmation {
        let print = value.as_str().filter(|print| print.len() == 43).map(str::to_owned);
        let place = match name.as_str() {
            "jkt" => &mut binding.key,
            "x5t#S256" => &mut binding.certificate,
            _ => return Err("token with an unknown binding"),
        };
        *place = Some(print.ok_or("token with an unusable binding")?);
    }
    Ok(binding)
}

/// A time since the epoch: whole seconds, or a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Duration>, &'static str> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = match value.as_u64() {
        Some(seconds) => Duration::from_secs(seconds),
        None => value
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or("token with an unusable time")?,
    };
    // the year 9999: what is later was not meant
    if seconds.as_secs() > 253_402_300_799 { Err("token with an unusable time") } else { Ok(Some(seconds)) }
}

/// A claim by its name, or by a path of names.
fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if path.is_empty() {
        return None;
    }
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let (first, rest) = path.split_once('.')?;
    rest.split('.').try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// Text with blanks, or an array of texts.
fn texts(value: Option<&Value>) -> Box<dyn Iterator<Item = String> + '_> {
    let usable = |text: &&str| !text.is_empty() && text.len() <= 256 && !text.chars().any(char::is_control);
    match value {
        Some(Value::String(text)) => Box::new(text.split(' ').filter(usable).map(str::to_owned)),
        Some(Value::Array(all)) => {
            Box::new(all.iter().filter_map(Value::as_str).filter(usable).map(str::to_owned))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Who acts for the subject now (RFC 8693, section 4.1): the outermost `act`.
fn actor(claims: &Map<String, Value>) -> Result<Option<&str>, &'static str> {
    let Some(act) = claims.get("act") else { return Ok(None) };
    let actor = act.get("sub").and_then(Value::as_str).filter(|actor| is_usable(actor));
    actor.map(Some).ok_or("token with an unusable actor")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::json;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn issuer(change: impl FnOnce(&mut IssuerConfig)) -> Issuer {
        let mut config =
            IssuerConfig { issuer: String::from("https://login.example.com"), ..IssuerConfig::default() };
        change(&mut config);
        Issuer::new(&config, "https://mcp.example.com/mcp").unwrap()
    }

    fn words() -> Words {
        Words::new(&Config::default())
    }

    fn good() -> Value {
        json!({
            "iss": "https://login.example.com", "aud": "https://mcp.example.com/mcp", "sub": "anna",
            "exp": NOW.as_secs() + 600, "scope": "mcp:write files:tag admin", "roles": ["ops"], "client_id": "ide"
        })
    }

    fn read(issuer: &Issuer, claims: &Value) -> Result<Facts, &'static str> {
        issuer.read(claims.as_object().unwrap(), &words(), (NOW, Duration::from_secs(60)))
    }

    #[test]
    fn words_become_scopes_through_the_map_alone() {
        let facts = read(&issuer(|_| {}), &good()).unwrap();
        let scopes: Vec<&str> = facts.principal.scopes.iter().map(String::as_str).collect();
        assert_eq!(scopes, ["files:tag", "read", "write"], "a foreign `admin` grants nothing");
        assert_eq!(&*facts.principal.id, "oauth:login.example.com:anna");
        assert_eq!(facts.principal.bearer.as_deref(), Some("ide"));
        assert_eq!(facts.principal.roles.iter().collect::<Vec<_>>(), ["ops"]);
        assert_eq!(words().to_ask_for(&["write", "files:tag"]), "mcp:write files:tag");
    }

    #[test]
    fn each_claim_that_is_wrong_has_words_of_its_own() {
        let issuer = issuer(|_| {});
        let with = |name: &str, value: Value| {
            let mut claims = good();
            claims[name] = value;
            read(&issuer, &claims).map(|_| ()).unwrap_err()
        };
        let now = NOW.as_secs();
        assert_eq!(with("iss", json!("https://evil.example")), "token of another issuer");
        assert_eq!(with("aud", json!("https://other.example/mcp")), "token is for another audience");
        assert_eq!(with("aud", json!(["a", "b"])), "token is for another audience");
        assert_eq!(with("aud", json!("https://mcp.example.com/mcp/x")), "token is for another audience");
        assert_eq!(with("aud", Value::Null), "token without audience");
        assert_eq!(with("exp", json!(now - 60)), "token has expired");
        assert_eq!(with("exp", json!("tomorrow")), "token with an unusable time");
        assert_eq!(with("exp", json!(-1)), "token with an unusable time");
        assert_eq!(with("exp", json!(1e300)), "token with an unusable time");
        assert_eq!(with("exp", json!(u64::MAX)), "token with an unusable time");
        assert_eq!(with("nbf", json!(now + 61)), "token is not valid yet");
        assert_eq!(with("iat", json!(now + 61)), "token was issued in the future");
        assert_eq!(with("sub", json!("")), "token with an unusable subject");
        assert_eq!(with("sub", json!("a\nb")), "token with an unusable subject");
        assert_eq!(with("sub", json!(7)), "token without subject");
        assert_eq!(with("at_hash", json!("x")), "an ID token is not an access token");
        assert_eq!(with("cnf", json!({})), "token with an unusable binding");
        assert_eq!(with("cnf", json!({"jkt": "short"})), "token with an unusable binding");
        assert_eq!(with("cnf", json!({"jwk": {}})), "token with an unknown binding");
        let mut endless = good();
        endless.as_object_mut().unwrap().remove("exp");
        assert_eq!(read(&issuer, &endless).map(|_| ()).unwrap_err(), "token without end");
        let mut machine = good();
        machine.as_object_mut().unwrap().remove("sub");
        let principal = read(&issuer, &machine).unwrap().principal;
        assert_eq!(&*principal.id, "oauth-client:login.example.com:ide", "never a person of that name");
        machine.as_object_mut().unwrap().remove("client_id");
        assert_eq!(read(&issuer, &machine).map(|_| ()).unwrap_err(), "token without subject");
        let mut late = good();
        late["exp"] = json!(now - 59);
        assert!(read(&issuer, &late).is_ok(), "within the leeway");
    }

    #[test]
    fn people_without_the_claim_that_names_them_are_not_their_client() {
        let issuer = issuer(|config| config.principal_claim = "email".into());
        let mut claims = good();
        assert_eq!(read(&issuer, &claims).map(|_| ()).unwrap_err(), "token without subject");
        claims["sub"] = json!("ide");
        assert_eq!(&*read(&issuer, &claims).unwrap().principal.id, "oauth-client:login.example.com:ide");
        claims["email"] = json!("anna@example.com");
        assert_eq!(
            &*read(&issuer, &claims).unwrap().principal.id,
            "oauth:login.example.com:anna@example.com"
        );
    }

    #[test]
    fn an_issuer_names_approvers_only_where_it_may() {
        let mut claims = good();
        claims["roles"] = json!(["ops", "approver"]);
        let roles = |issuer: &Issuer| read(issuer, &claims).unwrap().principal.roles;
        assert_eq!(roles(&issuer(|_| {})), ["ops".to_owned()].into());
        assert!(roles(&issuer(|config| config.approvers = true)).contains("approver"));
    }

    #[test]
    fn the_person_behind_a_token_is_a_verified_address_or_the_configured_claim() {
        let owner = |issuer: &Issuer, claims: &Value| read(issuer, claims).unwrap().principal.owner;
        let mut claims = good();
        claims["email"] = json!("Anna@example.com");
        claims["upn"] = json!("anna");
        assert_eq!(owner(&issuer(|_| {}), &claims), None, "nobody has verified it");
        claims["email_verified"] = json!(true);
        assert_eq!(owner(&issuer(|_| {}), &claims).as_deref(), Some("Anna@example.com"));
        let named = issuer(|config| config.owner_claim = Some("upn".into()));
        assert_eq!(owner(&named, &claims).as_deref(), Some("anna"));
    }

    #[test]
    fn entra_tokens_of_both_versions_are_read() {
        let (app, tenant) = ("6f1c3a52-9c1b-4a55-8d39-0d9b6c1f2a10", "0fa3a1b2-1111-2222-3333-444455556666");
        let second = issuer(|config| {
            config.issuer = format!("https://login.microsoftonline.com/{tenant}/v2.0");
            config.audiences = vec![app.into()];
            config.principal_claim = "oid".into();
            config.tenants = vec![tenant.into()];
        });
        let mut claims = json!({
            "iss": format!("https://login.microsoftonline.com/{tenant}/v2.0"), "aud": app, "ver": "2.0",
            "azp": "client", "oid": "user-object", "sub": "pairwise", "tid": tenant, "scp": "mcp:read mcp:write",
            "roles": ["Operator"], "iat": NOW.as_secs(), "nbf": NOW.as_secs(), "exp": NOW.as_secs() + 4000
        });
        let facts = read(&second, &claims).unwrap();
        assert_eq!(&*facts.principal.id, "oauth:login.microsoftonline.com:user-object");
        assert_eq!(facts.principal.tenant.as_deref(), Some(tenant));
        assert_eq!(facts.principal.bearer.as_deref(), Some("client"));
        assert!(facts.principal.scopes.contains("write") && !facts.principal.scopes.contains("admin"));
        claims["tid"] = json!("another");
        assert_eq!(read(&second, &claims).map(|_| ()).unwrap_err(), "token of another tenant");

        let first = issuer(|config| {
            config.issuer = format!("https://sts.windows.net/{tenant}/");
            config.audiences = vec![format!("api://{app}"), app.into()];
        });
        for audience in [format!("api://{app}"), app.to_owned()] {
            let claims = json!({
                "iss": format!("https://sts.windows.net/{tenant}/"), "aud": audience, "ver": "1.0", "appid": "client",
                "idp": "https://sts.windows.net/x/", "sub": "pairwise", "tid": tenant, "scp": "mcp:read",
                "exp": NOW.as_secs() + 4000
            });
            let facts = read(&first, &claims).unwrap();
            assert_eq!(facts.principal.bearer.as_deref(), Some("client"));
            assert!(facts.principal.scopes.contains("read"));
        }
    }

    #[test]
    fn who_acts_for_the_subject_is_known_by_name_or_the_token_is_refused() {
        let issuer = issuer(|_| {});
        let mut claims = good();
        assert_eq!(read(&issuer, &claims).unwrap().principal.delegate, None);
        claims["act"] = json!({"sub": "agent", "act": {"sub": "earlier"}});
        assert_eq!(read(&issuer, &claims).unwrap().principal.delegate.as_deref(), Some("agent"));
        for odd in [json!("agent"), json!({}), json!({"sub": "a\nb"})] {
            claims["act"] = odd;
            assert_eq!(read(&issuer, &claims).map(|_| ()).unwrap_err(), "token with an unusable actor");
        }
    }

    #[test]
    fn a_claim_can_lie_deep_and_a_prefix_is_taken_off() {
        let issuer = issuer(|config| config.roles_claim = "realm_access.roles".into());
        let mut claims = good();
        claims["realm_access"] = json!({"roles": ["deep"]});
        claims["scope"] = json!("api://x/mcp:read");
        let prefixed = Words::new(&Config { scope_prefix: "api://x/".into(), ..Config::default() });
        let facts = issuer.read(claims.as_object().unwrap(), &prefixed, (NOW, Duration::ZERO)).unwrap();
        assert!(facts.principal.roles.contains("deep") && facts.principal.scopes.contains("read"));
        assert_eq!(prefixed.to_ask_for(&["read"]), "api://x/mcp:read");
    }
}
