//! Client certificates on the way out, against upstreams that ask for them and check them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bartizan::error::Kind;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::authority::Authority;
use crate::credentials::{Site, list};

impl Authority {
    /// A certificate and its key, both PEM.
    fn pair(&self, name: &str, expired: bool) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Who asked: what the certificate calls itself, and the head of the request.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// An upstream that lets in whom the authority vouches for.
async fn upstream(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> (SocketAddr, Asked) {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![String::from("localhost")]).unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Asked = Arc::default();
    let (acceptor, log) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                let (_, parsed) = x509_parser::parse_x509_certificate(&shown).unwrap();
                let name = parsed.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned();
                // one connection serves many requests
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    log.lock().unwrap().push((name.clone(), String::from_utf8(head).unwrap()));
                    let body =
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
                    if stream.write_all(body).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, asked)
}

const MUTUAL: &str = "[credentials]\nkind = 'certificate'\ncertificate = 'file:FOLDER/client.pem'\n\
                      key = 'file:FOLDER/client.key'\n";

fn site(address: SocketAddr, authority: &Authority, credentials: &str) -> Site {
    let place = format!("localhost:{}", address.port());
    let site = Site::new(&format!("https://{place}"), &place, credentials);
    let file = site.path("ca.pem");
    std::fs::write(&file, authority.0.pem()).unwrap();
    site.with_egress(&format!("ca_file = '{}'", file.display()))
}

fn give(site: &Site, (certificate, key): &(String, String)) {
    std::fs::write(site.path("client.pem"), certificate).unwrap();
    // anybody may read a certificate
    mode(&site.path("client.pem"), 0o644);
    site.keep("client.key", key);
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn names(asked: &Asked) -> Vec<String> {
    asked.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn the_upstream_sees_the_certificate_and_a_replaced_one_from_then_on() {
    for version in [&TLS12, &TLS13] {
        let authority = Authority::new("upstream's authority");
        let (address, asked) = upstream(&authority, &[version]).await;
        let site = site(address, &authority, MUTUAL);
        let first = authority.pair("first", false);
        give(&site, &first);
        let app = site.start("").await.unwrap();
        for _ in 0..2 {
            assert!(!list(&app).await.unwrap().is_error);
        }
        let second = authority.pair("second", false);
        // half of a replacement: the pair does not fit, and the former one stays in use
        std::fs::write(site.path("client.pem"), &second.0).unwrap();
        assert!(!list(&app).await.unwrap().is_error);
        assert_eq!(names(&asked), ["first", "first", "first"]);
        give(&site, &second);
        assert!(!list(&app).await.unwrap().is_error);
        assert_eq!(names(&asked)[3], "second");
        app.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_and_a_token_go_together() {
    let authority = Authority::new("upstream's authority");
    let (address, asked) = upstream(&authority, &[&TLS13]).await;
    let both = format!("{MUTUAL}and = {{ kind = 'bearer', from = 'file:FOLDER/token' }}\n");
    let site = site(address, &authority, &both);
    give(&site, &authority.pair("client", false));
    site.keep("token", "the-token-of-the-owner-4711");
    let app = site.start("").await.unwrap();
    assert!(!list(&app).await.unwrap().is_error);
    let (name, head) = asked.lock().unwrap()[0].clone();
    assert!(name == "client" && head.contains("authorization: Bearer the-token-of-the-owner-4711"), "{head}");
    app.close().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_is_said_and_nothing_is_sent() {
    let authority = Authority::new("upstream's authority");
    let stranger = Authority::new("another authority");
    let (address, asked) = upstream(&authority, &[&TLS12, &TLS13]).await;
    let good = authority.pair("client", false);
    let fails = async |site: &Site, said: &str| {
        let app = site.start("").await.unwrap();
        let error = list(&app).await.map(|result| format!("{result:?}")).unwrap_err();
        assert!(error.message().contains(said), "{said}: {error}");
        assert!(!error.message().contains("PRIVATE"), "{error}");
        app.close().await.unwrap();
        error.kind()
    };
    let site = site(address, &authority, MUTUAL);
    give(&site, &authority.pair("client", true));
    assert_eq!(fails(&site, "has ended").await, Kind::ToolFailed);
    give(&site, &(good.0.clone(), authority.pair("other", false).1));
    assert_eq!(fails(&site, "does not fit the private key").await, Kind::ToolFailed);
    give(&site, &(String::from("no certificate"), good.1.clone()));
    fails(&site, "is not PEM").await;
    give(&site, &(good.0.clone(), String::from("no key")));
    fails(&site, "is not PEM, or is encrypted").await;
    give(&site, &good);
    mode(&site.path("client.key"), 0o640);
    fails(&site, "chmod 600").await;
    give(&site, &good);
    mode(&site.path("client.pem"), 0o666);
    fails(&site, "can be changed by others").await;
    // a file that holds the key as well is as private as the key
    give(&site, &(format!("{}{}", good.0, good.1), good.1.clone()));
    fails(&site, "chmod 600").await;
    std::fs::remove_file(site.path("client.key")).unwrap();
    give(&site, &stranger.pair("stranger", false));
    assert_eq!(fails(&site, "does not let us in").await, Kind::UpstreamFailed);
    assert!(names(&asked).is_empty());
    give(&site, &good);
    let app = site.start("").await.unwrap();
    list(&app).await.unwrap();
    app.close().await.unwrap();
    assert_eq!(names(&asked), ["client"]);
}

#[tokio::test]
async fn a_certificate_needs_an_encrypted_connection_of_its_own() {
    let plain = crate::loopback::Upstream::start(|_, _| crate::loopback::answer(200, "{}")).await;
    let site = Site::new(plain.base().as_str(), &plain.address.to_string(), MUTUAL);
    let error = site.start("").await.map(drop).unwrap_err();
    assert!(error.kind() == Kind::BadConfig && error.message().contains("https://"), "{error}");
    let authority = Authority::new("upstream's authority");
    let (address, asked) = upstream(&authority, &[&TLS13]).await;
    let site = self::site(address, &authority, "");
    let app = site.start("").await.unwrap();
    let error = list(&app).await.map(drop).unwrap_err();
    assert!(error.message().contains("wants a client certificate"), "{error}");
    app.close().await.unwrap();
    let site = self::site(address, &authority, MUTUAL)
        .with_egress("proxy = 'https://127.0.0.1:9'\nproxy_resolves = true");
    give(&site, &authority.pair("client", false));
    let app = site.start("").await.unwrap();
    let error = list(&app).await.map(drop).unwrap_err();
    assert!(error.message().contains("[egress] proxy"), "{error}");
    app.close().await.unwrap();
    assert!(names(&asked).is_empty() && plain.seen().is_empty());
}
