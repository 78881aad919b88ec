//! A value that must not be seen.
//!
//! Owns [`Secret`]. The idea: what cannot be formatted cannot be leaked by a format string; there is no `Display`,
//! no `Serialize`, `Debug` is blank, and the memory is wiped on drop.
//!
//! Must not: grow a way out other than [`Secret::expose`].
//!
//! ```compile_fail
//! let secret = bartizan::secret::Secret::new("hunter2");
//! println!("{secret}");
//! ```
//! ```compile_fail
//! let secret = bartizan::secret::Secret::new("hunter2");
//! serde_json::to_string(&secret);
//! ```

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A secret string.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a secret in.
    pub fn new(value: impl Into<String>) -> Self {
        Self(SecretString::from(value.into()))
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether nothing is inside.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }
}
