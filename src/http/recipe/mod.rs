//! How a vendor wants requests to be signed with a shared key, as data.
//!
//! Owns [`Recipe`] and what it is compiled to. The idea: what is signed and where the signature goes are two kinds of
//! templates over the request that is about to leave; a recipe is understood whole when the program starts, and has no
//! word for another destination than the request's own.
//!
//! Must not: ask the time, read a key, or send.

use ::http::{HeaderName, Method};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use url::Url;
use zeroize::Zeroizing;

use super::OURS;
use crate::error::{Error, Kind, Result};

/// Longest template.
const LONGEST: usize = 2_000;

/// The hash of the signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA256.
    #[default]
    Sha256,
    /// HMAC-SHA512.
    Sha512,
}

/// How bytes are written as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Small hexadecimal digits.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for addresses, without padding.
    Base64url,
}

/// How the key is written where it is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// The text itself is the key.
    #[default]
    Text,
    /// Hexadecimal digits.
    Hex,
    /// Base64, of either alphabet, with or without padding.
    Base64,
}

/// How the time is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stamp {
    /// Seconds since 1970.
    #[default]
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// `2026-07-15T10:36:22Z`.
    Rfc3339,
    /// `20260715T103622Z`.
    Compact,
    /// `Wed, 15 Jul 2026 10:36:22 GMT`, as in a `Date` header.
    HttpDate,
}

/// A recipe as somebody wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The hash.
    pub algorithm: Algorithm,
    /// How the key is written.
    pub key_encoding: KeyForm,
    /// What is signed, with `{parts}`.
    pub sign: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// How `{timestamp}` is written.
    pub time: Stamp,
    /// Headers that are set, with `{parts}`; one of them holds `{signature}`.
    pub headers: IndexMap<String, String>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Part(Part),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Method,
    LowerMethod,
    Path,
    Query,
    SortedQuery,
    Target,
    Url,
    Host,
    ContentType,
    Body,
    BodyHash(Algorithm, Encoding),
    Timestamp,
    Nonce,
    KeyId,
    Signature,
}

/// Every part by the name that templates use.
const PARTS: &[(&str, Part)] = &[
    ("method", Part::Method),
    ("method_lower", Part::LowerMethod),
    ("path", Part::Path),
    ("query", Part::Query),
    ("query_sorted", Part::SortedQuery),
    ("target", Part::Target),
    ("url", Part::Url),
    ("host", Part::Host),
    ("content_type", Part::ContentType),
    ("body", Part::Body),
    ("body_sha256_hex", Part::BodyHash(Algorithm::Sha256, Encoding::Hex)),
    ("body_sha256_base64", Part::BodyHash(Algorithm::Sha256, Encoding::Base64)),
    ("body_sha512_hex", Part::BodyHash(Algorithm::Sha512, Encoding::Hex)),
    ("body_sha512_base64", Part::BodyHash(Algorithm::Sha512, Encoding::Base64)),
    ("timestamp", Part::Timestamp),
    ("nonce", Part::Nonce),
    ("key_id", Part::KeyId),
    ("signature", Part::Signature),
];

impl Part {
    /// Whether it is something of the request that is signed.
    const fn is_of_request(self) -> bool {
        !matches!(self, Self::Timestamp | Self::Nonce | Self::KeyId | Self::Signature)
    }

    /// Whether a header may repeat it.
    const fn fits_header(self) -> bool {
        matches!(self, Self::BodyHash(..) | Self::Timestamp | Self::Nonce | Self::KeyId | Self::Signature)
    }
}

/// A recipe that can be followed.
pub(super) struct Compiled {
    algorithm: Algorithm,
    encoding: Encoding,
    pub(super) key_encoding: KeyForm,
    time: Stamp,
    sign: Vec<Piece>,
    headers: Vec<(HeaderName, Vec<Piece>)>,
    /// Whether it names who signs.
    pub(super) names_key: bool,
}

/// The request that is signed, and what is signed with it.
pub(super) struct About<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a Url,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    /// Since 1970.
    pub(super) wall: std::time::Duration,
    pub(super) nonce: &'a str,
    pub(super) key_id: &'a str,
}

impl Recipe {
    /// Understands the recipe, or says what is wrong with it: the end of a sentence about `[credentials]`.
    pub fn check(&self) -> Result<(), String> {
        self.compile().map(drop)
    }

    /// Whether it names who signs (`{key_id}`).
    pub fn names_key(&self) -> bool {
        self.compile().is_ok_and(|compiled| compiled.names_key)
    }

    pub(super) fn compile(&self) -> Result<Compiled, String> {
        let sign = pieces(&self.sign).map_err(|what| format!("`sign` {what}"))?;
        let has = |pieces: &[Piece], part: Part| pieces.contains(&Piece::Part(part));
        if has(&sign, Part::Signature) {
            return Err(String::from("`sign` cannot hold {signature}, which is made of it"));
        }
        if !sign.iter().any(|piece| matches!(piece, Piece::Part(part) if part.is_of_request())) {
            return Err(String::from(
                "`sign` covers nothing of the request; name {method}, {path}, {query} or {body_sha256_hex}",
            ));
        }
        let mut headers: Vec<(HeaderName, Vec<Piece>)> = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| String::from("`headers` has a name that no header can have"))?;
            if OURS.contains(&header) || header.as_str().starts_with("proxy-") || header == "content-type" {
                return Err(format!(
                    "`headers` cannot set {header}, which belongs to the connection or the body"
                ));
            }
            if headers.iter().any(|(known, _)| *known == header) {
                return Err(format!("`headers` sets {header} twice"));
            }
            let value = pieces(value).map_err(|what| format!("the header {header} {what}"))?;
            if value.iter().any(|piece| matches!(piece, Piece::Part(part) if !part.fits_header())) {
                return Err(format!(
                    "the header {header} may hold {{signature}}, {{timestamp}}, {{nonce}}, {{key_id}} and hashes of the \
                     body; nothing else"
                ));
            }
            let plain = |piece: &Piece| match piece {
                Piece::Text(text) => text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                Piece::Part(_) => true,
            };
            if !value.iter().all(plain) {
                return Err(format!("the header {header} holds more than one line of plain ASCII"));
            }
            headers.push((header, value));
        }
        let told = |part: Part| headers.iter().any(|(_, value)| has(value, part));
        if !told(Part::Signature) {
            return Err(String::from(
                "no header holds {signature}; write headers = { X-Signature = \"{signature}\" }",
            ));
        }
        for (part, name) in [(Part::Timestamp, "timestamp"), (Part::Nonce, "nonce")] {
            if has(&sign, part) && !told(part) {
                return Err(format!("`sign` holds {{{name}}}, which no header tells the upstream"));
            }
        }
        let names_key = has(&sign, Part::KeyId) || told(Part::KeyId);
        let Self { algorithm, key_encoding, encoding, time, .. } = *self;
        Ok(Compiled { algorithm, encoding, key_encoding, time, sign, headers, names_key })
    }
}

/// A template, read. `{{` and `}}` are braces.
fn pieces(template: &str) -> Result<Vec<Piece>, String> {
    if template.is_empty() || template.len() > LONGEST {
        return Err(format!("is empty or longer than {LONGEST} bytes"));
    }
    let (mut found, mut text, mut rest) = (Vec::new(), String::new(), template);
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if after.starts_with(brace) {
            text.push_str(brace);
            rest = &after[1..];
            continue;
        }
        let end = after.find('}').filter(|_| brace == "{");
        let Some(end) = end else {
            return Err(String::from(
                "has a brace without its other half; write {{ or }} for the brace itself",
            ));
        };
        let Some((_, part)) = PARTS.iter().find(|(name, _)| *name == &after[..end]) else {
            let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
            return Err(format!("names a part that there is not; there are {}", names.join(", ")));
        };
        if !text.is_empty() {
            found.push(Piece::Text(std::mem::take(&mut text)));
        }
        found.push(Piece::Part(*part));
        rest = &after[end + 1..];
    }
    text.push_str(rest);
    if !text.is_empty() {
        found.push(Piece::Text(text));
    }
    Ok(found)
}

impl Compiled {
    /// Which headers are set.
    pub(super) fn headers(
        &self,
        about: &About<'_>,
        key: &[u8],
    ) -> Result<Vec<(HeaderName, Zeroizing<String>)>> {
        let timestamp = written(self.time, about.wall)?;
        let mut message = Zeroizing::new(Vec::new());
        for piece in &self.sign {
            match piece {
                Piece::Text(text) => message.extend_from_slice(text.as_bytes()),
                Piece::Part(Part::Body) => message.extend_from_slice(about.body),
                Piece::Part(part) => message.extend_from_slice(about.part(*part, &timestamp, "").as_bytes()),
            }
        }
        let signature = encoded(self.encoding, &mac(self.algorithm, key, &message)?);
        let fill = |pieces: &[Piece]| {
            let mut text = Zeroizing::new(String::new());
            for piece in pieces {
                match piece {
                    Piece::Text(plain) => text.push_str(plain),
                    Piece::Part(part) => text.push_str(&about.part(*part, &timestamp, &signature)),
                }
            }
            text
        };
        Ok(self.headers.iter().map(|(name, value)| (name.clone(), fill(value))).collect())
    }
}

impl About<'_> {
    fn part(&self, part: Part, timestamp: &str, signature: &str) -> String {
        let query = self.url.query().unwrap_or_default();
        match part {
            Part::Method => self.method.as_str().to_owned(),
            Part::LowerMethod => self.method.as_str().to_ascii_lowercase(),
            Part::Path => self.url.path().to_owned(),
            Part::Query => query.to_owned(),
            Part::SortedQuery => {
                let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
                pairs.sort_by_key(|pair| pair.split_once('=').unwrap_or((pair, "")));
                pairs.join("&")
            }
            Part::Target if query.is_empty() => self.url.path().to_owned(),
            Part::Target => format!("{}?{query}", self.url.path()),
            Part::Url => self.url.as_str().to_owned(),
            Part::Host => {
                let host = self.url.host_str().unwrap_or_default();
                self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
            }
            Part::ContentType => self.content_type.to_owned(),
            Part::Body => String::from_utf8_lossy(self.body).into_owned(),
            Part::BodyHash(Algorithm::Sha256, encoding) => encoded(encoding, &Sha256::digest(self.body)),
            Part::BodyHash(Algorithm::Sha512, encoding) => encoded(encoding, &Sha512::digest(self.body)),
            Part::Timestamp => timestamp.to_owned(),
            Part::Nonce => self.nonce.to_owned(),
            Part::KeyId => self.key_id.to_owned(),
            Part::Signature => signature.to_owned(),
        }
    }
}

fn mac(algorithm: Algorithm, key: &[u8], message: &[u8]) -> Result<Vec<u8>> {
    let unusable = || Error::new(Kind::ToolFailed, "the signing key cannot be used; check it");
    Ok(match algorithm {
        Algorithm::Sha256 => {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).map_err(|_| unusable())?;
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        Algorithm::Sha512 => {
            let mut mac = <Hmac<Sha512> as KeyInit>::new_from_slice(key).map_err(|_| unusable())?;
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
    })
}

fn encoded(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => data_encoding::HEXLOWER.encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
        Encoding::Base64url => URL_SAFE_NO_PAD.encode(bytes),
    }
}

/// The bytes of a key; none where it is not written in that form.
pub(super) fn decoded(form: KeyForm, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim();
    let bytes = match form {
        KeyForm::Text => Some(text.as_bytes().to_vec()),
        KeyForm::Hex => data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
        KeyForm::Base64 => [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
            .iter()
            .find_map(|engine| engine.decode(text).ok()),
    };
    bytes.map(Zeroizing::new).filter(|bytes| !bytes.is_empty())
}

fn written(time: Stamp, wall: std::time::Duration) -> Result<String> {
    let never = || Error::new(Kind::Internal, "the clock shows a time that cannot be written");
    let moment = || {
        let seconds = i64::try_from(wall.as_secs()).map_err(|_| never())?;
        jiff::Timestamp::from_second(seconds).map_err(|cause| never().with_source(cause))
    };
    Ok(match time {
        Stamp::Unix => wall.as_secs().to_string(),
        Stamp::UnixMs => wall.as_millis().to_string(),
        Stamp::Rfc3339 => moment()?.to_string(),
        Stamp::Compact => moment()?.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Stamp::HttpDate => jiff::fmt::rfc2822::DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&moment()?)
            .map_err(|cause| never().with_source(cause))?,
    })
}

#[cfg(test)]
mod tests;
