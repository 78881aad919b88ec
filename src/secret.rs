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
//! ```compile_fail
//! let secret = bartizan::secret::Secret::new("hunter2");
//! let told = secret == bartizan::secret::Secret::new("hunter2");
//! ```
//! ```compile_fail
//! let secret = bartizan::secret::Secret::new("hunter2");
//! let text: String = secret.to_string();
//! ```
//! ```compile_fail
//! let secret: bartizan::secret::Secret = serde_json::from_str("\"hunter2\"").unwrap();
//! let words = std::collections::HashSet::from([secret]);
//! ```

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret string.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a secret in.
    pub fn new(value: impl Into<String>) -> Self {
        // a copy of the right size, so that nothing is left where a longer one stood
        let value = Zeroizing::new(value.into());
        Self(SecretString::from(value.as_str()))
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether both hold the same; takes as long wherever they differ.
    pub fn same(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
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

    #[test]
    fn it_is_wiped_when_it_is_dropped_and_compared_as_a_whole() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let secret = Secret::new("hunter2");
        wiped(&secret.0);
        assert!(secret.same(&Secret::new("hunter2")));
        for other in ["hunter3", "hunter", "hunter22", ""] {
            assert!(!secret.same(&Secret::new(other)), "{other}");
        }
    }
}
