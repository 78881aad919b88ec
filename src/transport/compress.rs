//! Smaller answers.
//!
//! Owns [`gzip`] and the reading of `Accept-Encoding`. The idea: only whole JSON answers of some size, only when the
//! operator asked for it, only for clients that say they can read it; it is off by default, since the length of what is
//! compressed tells something about it (docs/configuration.md says what).
//!
//! Must not: compress a stream.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, HeaderMap};

/// Whether a client that sent these headers can read gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut named, mut any) = (None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let wanted = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            // what is no number is no wish
            let wanted = wanted.is_none_or(|weight| weight.parse().is_ok_and(|weight: f32| weight > 0.0));
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                named = Some(wanted);
            } else if name == "*" {
                any = Some(wanted);
            }
        }
    }
    named.or(any).unwrap_or(false)
}

/// The text, compressed; nothing if that makes it no smaller.
pub(super) fn gzip(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().filter(|small| small.len() < text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_weighed() {
        for (said, wanted) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("*;q=0, gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("gzip;q=much", false),
            ("*;q=0", false),
            ("br, identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, said.parse().unwrap());
            assert_eq!(accepts_gzip(&headers), wanted, "{said}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
