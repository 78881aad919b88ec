//! The answer of a token endpoint.
//!
//! Owns reading it. The idea: vendors name and write the same two things differently; what is no token is none.
//!
//! Must not: ask for one.

use crate::json::Value;
use crate::secret::Secret;

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
    Some((Secret::new(token), lasts.unwrap_or(LIFETIME).min(30 * 24 * 3600)))
}

#[cfg(test)]
mod tests {
    use super::read_token;

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
