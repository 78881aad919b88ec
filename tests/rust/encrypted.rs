//! TLS at the endpoint: versions, certificates that change, and clients that show one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bartizan::clock::SystemClock;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::identity::{Callers, Certificates, NoAuth};
use bartizan::json::json;
use bartizan::transport::Config;
use bartizan::transport::auth::Authenticator;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use sha2::Digest as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::authority::Authority;
use crate::doors::{post, whole};
use crate::gates::Site;
use crate::loopback::soon;

/// A certificate and its key.
struct Issued {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    fn issue(&self, name: &str, use_: ExtendedKeyUsagePurpose, expired: bool) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![use_];
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { certificate: certificate.der().clone(), key }
    }

    fn server(&self) -> Issued {
        self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, false)
    }

    fn client(&self, name: &str) -> Issued {
        self.issue(name, ExtendedKeyUsagePurpose::ClientAuth, false)
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        base64::engine::general_purpose::STANDARD.encode(der)
    )
}

fn private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// Files as the configuration names them.
struct Files(tempfile::TempDir);

impl Files {
    fn of(issued: &Issued, clients: Option<&Authority>) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.put(issued);
        if let Some(clients) = clients {
            std::fs::write(files.path("clients.pem"), clients.0.pem()).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, issued: &Issued) {
        private(&self.path("server.key"), &issued.key.serialize_pem());
        private(&self.path("server.pem"), &pem("CERTIFICATE", &issued.certificate));
    }

    /// The `[http]` table; `tls` are more lines of `[http.tls]`.
    fn config(&self, tls: &str, more: &str) -> Config {
        let (certificate, key) = (self.path("server.pem"), self.path("server.key"));
        let clients = self.path("clients.pem");
        let ca =
            if clients.exists() { format!("client_ca = '{}'\n", clients.display()) } else { String::new() };
        let text = format!(
            "[tls]\ncertificate = '{}'\nkey = '{}'\n{ca}{tls}\n{more}",
            certificate.display(),
            key.display()
        );
        toml::from_str(&text).unwrap()
    }
}

/// How a client connects.
struct Client<'a> {
    trusts: &'a Authority,
    shows: Option<&'a Issued>,
    versions: Vec<&'static SupportedProtocolVersion>,
    offers: &'static [&'static [u8]],
}

impl<'a> Client<'a> {
    fn of(trusts: &'a Authority) -> Self {
        Self { trusts, shows: None, versions: vec![&TLS13, &TLS12], offers: &[] }
    }

    async fn connect(&self, site: &Site) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.trusts.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                let key = PrivateKeyDer::try_from(issued.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![issued.certificate.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = self.offers.iter().map(|offer| offer.to_vec()).collect();
        let stream = TcpStream::connect(site.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
    }

    /// Who the server takes it for, or the status; an error where there is no connection.
    async fn ask(&self, site: &Site, headers: &[(&str, &str)]) -> std::io::Result<(u16, String, String)> {
        let mut stream = self.connect(site).await?;
        soon(whole(&mut stream, &post("/mcp", headers, "who", json!({})))).await
    }
}

async fn open(config: Config) -> Site {
    Site::with(config, Arc::new(NoAuth::new())).await
}

#[tokio::test]
async fn what_is_said_is_encrypted_in_tls_1_2_or_1_3_and_in_nothing_older() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server(), None);
    let site = open(files.config("", "")).await;
    for versions in [vec![&TLS12], vec![&TLS13]] {
        let (status, head, body) =
            Client { versions, ..Client::of(&authority) }.ask(&site, &[]).await.unwrap();
        assert!(status == 200 && body.contains("anonymous"), "{body}");
        assert!(head.contains("strict-transport-security: max-age="), "{head}");
    }
    // a first message of TLS 1.1: answered with an alert
    let mut old = TcpStream::connect(site.address).await.unwrap();
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    old.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(old.read_to_end(&mut answer)).await;
    assert_eq!(
        (answer.len(), answer[0], answer[5]),
        (7, 0x15, 2),
        "a fatal alert and nothing else: {answer:?}"
    );
    site.told.until("TLS version or cipher not accepted | 127.0.0.1:").await;
    // and plain HTTP with nothing that could be read
    let plain = site.raw(&post("/mcp", &[], "who", json!({}))).await;
    assert!(plain.is_none(), "{plain:?}");
    site.end().await;
}

#[tokio::test]
async fn another_authority_and_an_expired_certificate_are_refused_by_those_who_look() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let files = Files::of(&ours.server(), None);
    let site = open(files.config("", "")).await;
    assert!(Client::of(&other).ask(&site, &[]).await.is_err());
    site.end().await;
    let files = Files::of(&ours.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth, true), None);
    let site = open(files.config("", "")).await;
    assert!(Client::of(&ours).ask(&site, &[]).await.is_err());
    assert!(site.server.peers.lock().unwrap().is_empty());
    site.end().await;
}

#[tokio::test]
async fn http_2_is_spoken_where_the_client_offers_it() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server(), None);
    let site = open(files.config("", "")).await;
    let offers: &[&[u8]] = &[b"h2", b"http/1.1"];
    let mut stream = Client { offers, ..Client::of(&authority) }.connect(&site).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    soon(stream.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS come first");
    let offers: &[&[u8]] = &[b"http/1.1"];
    let stream = Client { offers, ..Client::of(&authority) }.connect(&site).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    drop(stream);
    site.end().await;
}

/// One exchange on a connection that stays open.
async fn turn(stream: &mut TlsStream<TcpStream>, request: &str) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut seen, mut piece) = (String::new(), [0; 4096]);
    while !seen.contains("anonymous") {
        let count = soon(stream.read(&mut piece)).await.unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
}

#[tokio::test]
async fn a_new_certificate_is_used_without_a_break_and_a_broken_one_is_not() {
    let (ours, next) = (Authority::new("ours"), Authority::new("next"));
    let files = Files::of(&ours.server(), None);
    let site = open(files.config("", "")).await;
    let mut kept = Client::of(&ours).connect(&site).await.unwrap();
    let request = post("/mcp", &[], "who", json!({})).replace("Connection: close", "Connection: keep-alive");
    turn(&mut kept, &request).await;

    files.put(&next.server());
    site.told.until("renewed true").await;
    assert_eq!(Client::of(&next).ask(&site, &[]).await.unwrap().0, 200);
    assert!(Client::of(&ours).ask(&site, &[]).await.is_err(), "the former one is not used any more");
    turn(&mut kept, &request).await;

    // a key that does not fit, then no certificate at all
    private(&files.path("server.key"), &KeyPair::generate().unwrap().serialize_pem());
    site.told.until("does not fit the certificate").await;
    assert_eq!(Client::of(&next).ask(&site, &[]).await.unwrap().0, 200);
    std::fs::remove_file(files.path("server.pem")).unwrap();
    site.told.until("cannot be read").await;
    assert_eq!(Client::of(&next).ask(&site, &[]).await.unwrap().0, 200);
    turn(&mut kept, &request).await;

    files.put(&ours.server());
    soon(async {
        while Client::of(&ours).ask(&site, &[]).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    turn(&mut kept, &request).await;
    drop(kept);
    site.end().await;
}

#[tokio::test]
async fn who_has_no_certificate_where_one_is_needed_is_not_talked_to() {
    let (ours, clients, other) = (Authority::new("ours"), Authority::new("clients"), Authority::new("other"));
    let files = Files::of(&ours.server(), Some(&clients));
    let more = "[[certificate]]\nname = 'nightly'\nowner = 'nightly-backup'\nsan = 'dns:nightly'\nscopes = ['read']\n";
    let config = files.config("client_certificates = 'required'", more);
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let key = keys.mint(&Grant::named("ci")).unwrap().key;
    let known = Certificates::new(&config.certificate, SystemClock::shared()).unwrap();
    let callers: Arc<dyn Authenticator> = Arc::new(Callers::with_keys(keys).and_certificates(known));
    let site = Site::with(config, callers).await;

    let nightly = clients.client("nightly");
    let with = |shows| Client { shows: Some(shows), ..Client::of(&ours) };
    let (status, _, body) = with(&nightly).ask(&site, &[]).await.unwrap();
    assert!(status == 200 && body.contains("\"cert:nightly\""), "{body}");
    {
        let peers = site.server.peers.lock().unwrap();
        let principal = &peers[0].principal;
        assert_eq!(principal.scopes.iter().collect::<Vec<_>>(), ["read"]);
        assert_eq!(principal.issuer.as_deref(), Some("CN=clients"));
    }
    // a genuine certificate of nobody, alone and beside a key
    let stranger = clients.client("stranger");
    assert_eq!(with(&stranger).ask(&site, &[]).await.unwrap().0, 401);
    let bearer = format!("Bearer {}", key.expose());
    let (_, _, body) = with(&stranger).ask(&site, &[("Authorization", &bearer)]).await.unwrap();
    assert!(body.contains("\"key:ci\""), "the key says who it is: {body}");
    let wrong = [("Authorization", "Bearer bz_wrong_wrong")];
    assert_eq!(with(&nightly).ask(&site, &wrong).await.unwrap().0, 401, "a wrong key is not made good");

    let expired = clients.issue("nightly", ExtendedKeyUsagePurpose::ClientAuth, true);
    let forged = other.client("nightly");
    let before = site.server.peers.lock().unwrap().len();
    assert!(
        Client::of(&ours).ask(&site, &[("Authorization", &bearer)]).await.is_err(),
        "a key is not enough"
    );
    assert!(with(&forged).ask(&site, &[]).await.is_err());
    assert!(with(&expired).ask(&site, &[]).await.is_err());
    site.told.until("no client certificate").await;
    site.told.until("client certificate not accepted").await;
    assert_eq!(site.server.peers.lock().unwrap().len(), before);
    site.end().await;
}

#[tokio::test]
async fn a_key_that_is_bound_to_a_certificate_is_worth_nothing_without_it() {
    use base64::Engine as _;
    let (ours, clients) = (Authority::new("ours"), Authority::new("clients"));
    let files = Files::of(&ours.server(), Some(&clients));
    let (owner, thief) = (clients.client("owner"), clients.client("thief"));
    let print = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode(sha2::Sha256::digest(owner.certificate.as_ref()));
    let keys = KeyStore::in_memory(SystemClock::shared()).unwrap();
    let key = keys.mint(&Grant { certificate: Some(print), ..Grant::named("ci") }).unwrap().key;
    let bearer = format!("Bearer {}", key.expose());
    let site =
        Site::with(files.config("client_certificates = 'optional'", ""), Arc::new(Callers::with_keys(keys)))
            .await;
    for (shows, status) in [(Some(&owner), 200), (Some(&thief), 401), (None, 401)] {
        let client = Client { shows, ..Client::of(&ours) };
        let (found, _, body) = client.ask(&site, &[("Authorization", &bearer)]).await.unwrap();
        assert_eq!(found, status, "{body}");
    }
    site.end().await;
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_is_cut_off() {
    let authority = Authority::new("ours");
    let files = Files::of(&authority.server(), None);
    let site = open(files.config("handshake_timeout = 2", "")).await;
    let mut silent = TcpStream::connect(site.address).await.unwrap();
    assert_eq!(soon(silent.read(&mut [0; 1])).await.unwrap_or(0), 0);
    site.told.until("TLS handshake too slow").await;
    assert_eq!(Client::of(&authority).ask(&site, &[]).await.unwrap().0, 200);
    site.end().await;
}

#[tokio::test]
async fn files_that_cannot_be_trusted_or_do_not_fit_are_refused_at_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let ours = Authority::new("ours");
    let refused = async |config: Config| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Arc::new(crate::scripted::Scripted::default());
        let endpoint = bartizan::transport::http::Endpoint::new(server, Arc::new(NoAuth::new()), config);
        let served = endpoint.serve(listener, tokio_util::sync::CancellationToken::new());
        let error = tokio::time::timeout(Duration::from_secs(60), served).await.unwrap().unwrap_err();
        error.message().to_owned()
    };
    let files = Files::of(&ours.server(), None);
    std::fs::set_permissions(files.path("server.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(files.config("", "")).await.contains("chmod 600"));
    private(&files.path("server.key"), &KeyPair::generate().unwrap().serialize_pem());
    assert!(refused(files.config("", "")).await.contains("does not fit the certificate"));
    private(&files.path("server.key"), "nothing");
    assert!(refused(files.config("", "")).await.contains("holds no private key"));
    std::fs::write(files.path("server.pem"), "nothing").unwrap();
    assert!(refused(files.config("", "")).await.contains("holds no certificate"));
    assert!(refused(files.config("client_certificates = 'required'", "")).await.contains("client_ca"));
}
