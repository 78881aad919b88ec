//! TLS at the endpoint.
//!
//! Owns the `[http.tls]` table and [`Tower`], which holds certificate and key and looks whether their files have changed.
//! The idea: a connection keeps what it began with, the next one gets what is in the files by then; files that do not
//! fit together, or cannot be read, change nothing and are told of.
//!
//! Must not: know who a certificate stands for.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Watch;
use super::auth::Certificate;
use crate::clock::{SharedClock, rfc3339};
use crate::error::{Error, Kind, Result};
use crate::ownership::{self, Care, Flaw};
use crate::state::Stamp;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);
/// How long before its end a certificate is spoken of.
const SOON: Duration = Duration::from_secs(14 * 86_400);
const HTTP2: &[u8] = b"h2";

/// The `[http.tls]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM; nobody else may read it.
    pub key: PathBuf,
    /// The authorities that vouch for clients, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether clients show a certificate.
    #[serde(default)]
    pub client_certificates: ClientCertificates,
    /// Seconds within which a connection has to be encrypted.
    #[serde(default = "ten", with = "super::config::seconds")]
    pub handshake_timeout: Duration,
}

const fn ten() -> Duration {
    Duration::from_secs(10)
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    None,
    /// They may.
    Optional,
    /// They have to, whatever else they show.
    Required,
}

impl Tls {
    fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&*self.certificate), Some(&*self.key), self.client_ca.as_deref()].into_iter().flatten()
    }

    /// Whether the settings go together.
    pub(super) fn check(&self) -> Result<()> {
        let said = match (&self.client_ca, self.client_certificates) {
            (None, ClientCertificates::None)
            | (Some(_), ClientCertificates::Optional | ClientCertificates::Required) => {
                return Ok(());
            }
            (None, _) => {
                "Client certificates need an authority that vouches for them: set `client_ca` under `[http.tls]`."
            }
            (Some(_), ClientCertificates::None) => {
                "`client_ca` under `[http.tls]` has no effect: set `client_certificates` to \"optional\" or \"required\"."
            }
        };
        Err(Error::new(Kind::BadConfig, said))
    }

    /// Reads the files.
    pub(super) fn load(&self) -> Result<ServerConfig> {
        let certificates = certificates(&self.certificate)?;
        let key = read(&self.key, Care::Secret)?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| bad(&self.key, "holds no private key", error))?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| Error::new(Kind::Internal, "TLS cannot be set up.").with_source(error))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in self::certificates(path)? {
                    roots.add(certificate).map_err(|error| bad(path, "holds no usable authority", error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_certificates {
                    ClientCertificates::Required => verifier.build(),
                    ClientCertificates::None | ClientCertificates::Optional => {
                        verifier.allow_unauthenticated().build()
                    }
                };
                let verifier: Arc<dyn ClientCertVerifier> =
                    verifier.map_err(|error| bad(path, "holds no usable authority", error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            bad(&self.key, "does not fit the certificate, or is of an unknown kind", error)
        })?;
        config.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn bad(path: &Path, what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::BadConfig, format!("{} {what} (`[http.tls]`).", path.display())).with_source(source)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let bytes = read(path, Care::Trusted)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| bad(path, "is not PEM", error))?;
    if all.is_empty() {
        return Err(bad(path, "holds no certificate", "no PEM section of that kind"));
    }
    Ok(all)
}

fn read(path: &Path, care: Care) -> Result<Vec<u8>> {
    let unreadable = |error: io::Error| bad(path, "cannot be read", error);
    let mut file = ownership::open(path, care).map_err(|flaw| match flaw {
        Flaw::Io(error) => unreadable(error),
        Flaw::Said(said) => Error::new(Kind::BadConfig, format!("{} (`[http.tls]`) {said}.", path.display())),
    })?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// What tells one state of the files from another.
type Stamps = Vec<Option<Stamp>>;

/// Certificate and key, as they are now.
pub(super) struct Tower {
    config: Tls,
    now: ArcSwap<ServerConfig>,
    began: Stamps,
    clock: SharedClock,
}

impl Tower {
    pub(super) fn open(config: &Tls, clock: SharedClock) -> Result<Self> {
        config.check()?;
        let began = stamps(config);
        let now = ArcSwap::from_pointee(config.load()?);
        let tower = Self { config: config.clone(), now, began, clock };
        tower.tell_of_end();
        Ok(tower)
    }

    /// When the certificate ends, since the epoch.
    fn ends(&self) -> Option<Duration> {
        let first = certificates(&self.config.certificate).ok()?.into_iter().next()?;
        about(&first).map(|about| about.expires)
    }

    fn tell(&self, watch: Option<&dyn Watch>, outcome: Result<Option<Duration>, &Error>) {
        if let Some(watch) = watch {
            watch.renewed(&self.config.certificate, outcome);
        }
    }

    /// Says so if the certificate ends soon, or has.
    fn tell_of_end(&self) {
        let Some(end) = self.ends() else { return };
        if self.clock.wall() + SOON > end {
            tracing::warn!(ends = rfc3339(end), "the TLS certificate ends soon or has ended");
        }
    }

    /// Encrypts a connection: the stream, the certificate its client showed, and whether it speaks HTTP/2. Else a few
    /// words on why not.
    pub(super) async fn shake(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Option<Arc<Certificate>>, bool), &'static str> {
        let acceptor = TlsAcceptor::from(self.now.load_full());
        let shaken = tokio::time::timeout(self.config.handshake_timeout, acceptor.accept(stream)).await;
        let stream = shaken.map_err(|_| "TLS handshake too slow")?.map_err(|error| why(&error))?;
        let (_, session) = stream.get_ref();
        let is_http2 = session.alpn_protocol() == Some(HTTP2);
        let shown = session.peer_certificates().and_then(|all| all.first());
        let certificate =
            shown.map(|shown| about(shown).ok_or("client certificate not readable")).transpose()?;
        Ok((stream, certificate.map(Arc::new), is_http2))
    }

    /// Takes what is in the files whenever that is something else, for ever.
    pub(super) async fn watch(&self, watch: Option<&dyn Watch>) {
        let (mut used, mut before) = (self.began.clone(), self.began.clone());
        loop {
            tokio::time::sleep(EVERY).await;
            let now = stamps(&self.config);
            // what was changed a moment ago may be half of it
            let settled = now == before;
            before.clone_from(&now);
            if now == used || !settled {
                continue;
            }
            used = now;
            match self.config.load() {
                Ok(config) => {
                    self.now.store(Arc::new(config));
                    tracing::info!("a new certificate is used for TLS");
                    self.tell_of_end();
                    self.tell(watch, Ok(self.ends()));
                }
                Err(error) => {
                    tracing::warn!(
                        reason = error.message(),
                        "the new TLS files are not used; the former stay"
                    );
                    self.tell(watch, Err(&error));
                }
            }
        }
    }
}

fn stamps(config: &Tls) -> Stamps {
    config.files().map(Stamp::at).collect()
}

/// Why a connection could not be encrypted, without the peer's words.
fn why(error: &io::Error) -> &'static str {
    use rustls::Error as Tls;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Tls>());
    match cause {
        Some(Tls::NoCertificatesPresented) => "no client certificate",
        Some(Tls::InvalidCertificate(_)) => "client certificate not accepted",
        Some(Tls::PeerIncompatible(_)) => "TLS version or cipher not accepted",
        _ => "TLS handshake failed",
    }
}

/// What a certificate says.
fn about(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()?.map(|names| &names.value.general_names);
    let print = sha2::Sha256::digest(certificate.as_ref());
    let ends = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
    Some(Certificate {
        thumbprint: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(print).into(),
        subject: spelled(parsed.subject()),
        names: names.into_iter().flatten().filter_map(name).collect(),
        issuer: spelled(parsed.issuer()).into(),
        expires: Duration::from_secs(ends),
    })
}

/// A distinguished name as text, in the order of the certificate. What a value holds is escaped (RFC 4514), so that no two
/// names are spelled alike.
fn spelled(name: &x509_parser::x509::X509Name<'_>) -> String {
    use x509_parser::objects::{oid_registry, oid2abbrev};
    let part = |part: &x509_parser::x509::AttributeTypeAndValue<'_>| {
        let kind = match oid2abbrev(part.attr_type(), oid_registry()) {
            Ok(kind) => kind.to_owned(),
            Err(_) => part.attr_type().to_id_string(),
        };
        match part.as_str() {
            Ok(text) => format!("{kind}={}", escaped(text)),
            Err(_) => format!("{kind}=#{}", data_encoding::HEXUPPER.encode(part.as_slice())),
        }
    };
    let one = |one: &x509_parser::x509::RelativeDistinguishedName<'_>| {
        one.iter().map(part).collect::<Vec<_>>().join(" + ")
    };
    name.iter_rdn().map(one).collect::<Vec<_>>().join(", ")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (place, letter) in text.chars().enumerate() {
        match letter {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => out.extend(['\\', letter]),
            ' ' if place == 0 || place == last => out.push_str("\\ "),
            '#' if place == 0 => out.push_str("\\#"),
            control if control.is_control() => {
                let mut bytes = [0; 4];
                for byte in control.encode_utf8(&mut bytes).bytes() {
                    out.push('\\');
                    out.push_str(&data_encoding::HEXUPPER.encode(&[byte]));
                }
            }
            plain => out.push(plain),
        }
    }
    out
}

fn name(name: &x509_parser::extensions::GeneralName<'_>) -> Option<String> {
    use x509_parser::extensions::GeneralName as Name;
    Some(match name {
        Name::DNSName(text) => format!("dns:{text}"),
        Name::URI(text) => format!("uri:{text}"),
        Name::RFC822Name(text) => format!("email:{text}"),
        Name::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(std::net::IpAddr::from).ok();
            let six = || <[u8; 16]>::try_from(*bytes).map(std::net::IpAddr::from).ok();
            format!("ip:{}", four.or_else(six)?)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn subject(parts: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, text) in parts {
            params.distinguished_name.push(kind.clone(), *text);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        about(certificate.der()).unwrap().subject
    }

    #[test]
    fn no_value_of_a_subject_passes_for_several() {
        let two = subject(&[(DnType::CommonName, "nightly"), (DnType::OrganizationName, "Acme")]);
        assert_eq!(two, "CN=nightly, O=Acme");
        let one = subject(&[(DnType::CommonName, "nightly, O=Acme")]);
        assert_eq!(one, r"CN=nightly\, O\=Acme");
        assert_eq!(subject(&[(DnType::CommonName, " a+b ")]), r"CN=\ a\+b\ ");
        assert_eq!(escaped("#a\"\\<>;\n"), r#"\#a\"\\\<\>\;\0A"#);
    }
}
