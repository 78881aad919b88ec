//! A token, as an endpoint answers it and as it is kept.
//!
//! Owns reading the answer, and [`TokenStore`]. The idea: vendors name and write the same two things differently; what is
//! no token is none, and one that says of itself that it is not for us or not for now is none either.
//!
//! Must not: ask for one, or believe what nobody signed for more than the end of its time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::json::Value;
use crate::secret::Secret;

/// Keeps tokens over a restart. Everything here blocks for a moment, and nothing fails: what cannot be read is
/// not there.
pub trait TokenStore: Send + Sync + 'static {
    /// What was kept under that name.
    fn load(&self, name: &str) -> Option<Zeroizing<Vec<u8>>>;
    /// Keeps something under that name; false where it could not.
    fn save(&self, name: &str, plain: &[u8]) -> bool;
    /// Forgets it.
    fn remove(&self, name: &str);
}

/// A token as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    token: String,
    /// When it ends, in seconds of the epoch.
    ends: u64,
    /// The keyed digest of the secret it was fetched with.
    with: String,
}

/// A token in the form in which it is kept.
pub(super) fn write(token: &Secret, ends: u64, with: &str) -> Zeroizing<Vec<u8>> {
    let kept = Kept { token: token.expose().to_owned(), ends, with: with.to_owned() };
    let bytes = Zeroizing::new(serde_json::to_vec(&kept).unwrap_or_default());
    drop(Zeroizing::new(kept.token));
    bytes
}

/// A token that was kept, with the seconds it still lasts; none if it has ended or was fetched with another secret.
pub(super) fn read(bytes: &[u8], now: u64, with: &str) -> Option<(Secret, u64)> {
    let kept: Kept = serde_json::from_slice(bytes).ok()?;
    let token = Secret::new(kept.token);
    // a clock that was set back does not prolong it beyond what any endpoint hands out
    let lasts = kept.ends.checked_sub(now).filter(|lasts| *lasts <= LONGEST)?;
    (kept.with == with).then_some((token, lasts))
}

/// What a token says of itself that makes it useless here: a sentence's end. Opaque ones say nothing.
pub(super) fn misfit(token: &Secret, now: u64, audience: Option<&str>) -> Option<&'static str> {
    let claims = claims(token)?;
    let second = |name: &str| claims.get(name).and_then(Value::as_f64);
    #[allow(clippy::cast_precision_loss, reason = "seconds of the epoch are far below 2^52")]
    let now = now as f64;
    if second("exp").is_some_and(|end| end <= now) {
        return Some("has ended already; check the clocks");
    }
    if second("nbf").is_some_and(|begin| begin > now + SKEW) {
        return Some("is not good yet; check the clocks");
    }
    let wanted = audience?;
    let meant = match claims.get("aud")? {
        Value::String(one) => one == wanted,
        Value::Array(all) => all.iter().any(|one| one == wanted),
        _ => false,
    };
    (!meant).then_some("is meant for somebody else; check `audience`")
}

/// Seconds until the end that a token states itself.
pub(super) fn stated(token: &Secret, now: u64) -> Option<u64> {
    let end = claims(token)?.get("exp")?.as_u64()?;
    Some(end.saturating_sub(now))
}

pub(super) fn claims(token: &Secret) -> Option<Value> {
    let mut parts = token.expose().split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?);
    serde_json::from_slice(&bytes).ok().filter(Value::is_object)
}

/// How far clocks may be apart, in seconds.
const SKEW: f64 = 60.0;
/// No token lasts longer.
const LONGEST: u64 = 30 * 24 * 3600;

/// What a token lasts if the endpoint does not say.
const LIFETIME: u64 = 3600;

/// The token and how many seconds it lasts: `expires_in`, or `token_timeout` (some vendors' name for it); a number or
/// a string of digits.
pub(super) fn read_token(body: &[u8]) -> Option<(Secret, u64)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let token = answer.get("access_token")?.as_str().filter(|token| !token.is_empty())?;
    let lasts = ["expires_in", "token_timeout"].iter().find_map(|key| {
        let value = answer.get(*key)?;
        value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
    });
    Some((Secret::new(token), lasts.unwrap_or(LIFETIME).min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn jwt(claims: &str) -> Secret {
        Secret::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)))
    }

    #[test]
    fn a_token_that_is_over_or_not_begun_or_somebody_elses_is_none() {
        let fits = |claims: &str, audience| misfit(&jwt(claims), 1000, audience).is_none();
        assert!(fits(r#"{"exp": 1001, "nbf": 1000, "aud": "api"}"#, Some("api")));
        assert!(fits(r#"{"aud": ["other", "api"]}"#, Some("api")));
        assert!(fits("{}", Some("api")) && fits(r#"{"aud": "x"}"#, None) && fits(r#"{"nbf": 1060}"#, None));
        assert!(misfit(&Secret::new("opaque-token"), 1000, Some("api")).is_none());
        for claims in [
            r#"{"exp": 1000}"#,
            r#"{"exp": 3.5}"#,
            r#"{"nbf": 1061}"#,
            r#"{"aud": "other"}"#,
            r#"{"aud": ["a", "b"]}"#,
            r#"{"aud": 7}"#,
        ] {
            assert!(!fits(claims, Some("api")), "{claims}");
        }
        assert_eq!(stated(&jwt(r#"{"exp": 1600}"#), 1000), Some(600));
        assert_eq!(stated(&Secret::new("a.b"), 1000), None);
    }

    #[test]
    fn a_token_that_was_kept_lasts_until_its_end_and_for_its_secret_only() {
        let bytes = write(&Secret::new("token-4711"), 2000, "digest");
        let found =
            |now, with| read(&bytes, now, with).map(|(token, lasts)| (token.expose().to_owned(), lasts));
        assert_eq!(found(1500, "digest"), Some((String::from("token-4711"), 500)));
        assert_eq!(found(2001, "digest"), None);
        assert_eq!(found(1500, "another"), None);
        let endless = write(&Secret::new("token-4711"), u64::MAX, "digest");
        assert!(read(&endless, 1500, "digest").is_none() && read(b"{}", 0, "").is_none());
    }

    #[test]
    fn a_token_lasts_what_the_answer_says() {
        let lasts = |body: &str| read_token(body.as_bytes()).map(|(_, lasts)| lasts);
        assert_eq!(lasts(r#"{"access_token":"t","token_timeout":"3599"}"#), Some(3599));
        assert_eq!(lasts(r#"{"access_token":"t","token_timeout":1200}"#), Some(1200));
        assert_eq!(lasts(r#"{"access_token":"t","expires_in":600}"#), Some(600));
        assert_eq!(lasts(r#"{"access_token":"t","expires_in":"600"}"#), Some(600));
        assert_eq!(lasts(r#"{"access_token":"t"}"#), Some(3600));
        assert_eq!(lasts(r#"{"access_token":"t","expires_in":"soon"}"#), Some(3600));
        assert_eq!(lasts(r#"{"access_token":""}"#), None);
        assert_eq!(lasts("<html>"), None);
    }
}
