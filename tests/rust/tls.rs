//! TLS on the way out, against loopback upstreams with certificates made on the spot.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bartizan::clock::SystemClock;
use bartizan::error::{Error, Kind};
use bartizan::http::credentials::Header;
use bartizan::http::{Client, Config, Method, Request, Response, Settings};
use bartizan::redaction::Redactor;
use bartizan::secret::Secret;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use url::Url;

use crate::authority::Authority;
use crate::loopback::soon;

impl Authority {
    /// What a server needs to call itself `name`.
    fn serves(
        &self,
        name: &str,
        expired: bool,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap()
    }
}

/// An upstream that counts the requests which come through its TLS, and answers each with `{}`.
async fn upstream(config: ServerConfig) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let (acceptor, counted) = (TlsAcceptor::from(Arc::new(config)), Arc::clone(&requests));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            if head.ends_with(b"\r\n\r\n") {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
            }
            let _ = stream.shutdown().await;
        }
    });
    (address, requests)
}

/// Asks `https://HOST:PORT/`, trusting `ca_file` besides the system's authorities.
async fn ask(
    host: &str,
    address: SocketAddr,
    ca_file: Option<std::path::PathBuf>,
) -> Result<Response, Error> {
    let place = format!("{host}:{}", address.port());
    let base = Url::parse(&format!("https://{place}/")).unwrap();
    let egress = Config { ca_file, ..Config::default().allowing(place) };
    let bearer = Header::bearer(Arc::new(Secret::new("the-token-of-the-owner")));
    let redactor = Redactor::new(&bartizan::redaction::Config::default()).unwrap();
    let settings = Settings::new("widgets", base.clone(), &egress);
    let client = Client::new(settings, Arc::new(bearer), redactor, SystemClock::shared()).unwrap();
    soon(client.send(Request::new(Method::GET, base))).await
}

/// The refusal is typed, in our words, and final: the credential left for nobody.
fn refused(done: Result<Response, Error>, words: &str, requests: &AtomicUsize) {
    let error = done.map(|response| response.status).unwrap_err();
    assert_eq!(error.kind(), Kind::UpstreamFailed, "{error}");
    assert!(error.message().contains(words), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_private_authority_is_trusted_once_the_configuration_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("private");
    for versions in [&[&TLS12][..], &[&TLS13], &[&TLS12, &TLS13]] {
        for host in ["localhost", "127.0.0.1"] {
            let (address, requests) = upstream(authority.serves(host, false, versions)).await;
            refused(ask(host, address, None).await, "certificate that is not trusted", &requests);
            assert_eq!(ask(host, address, Some(authority.file(folder.path()))).await.unwrap().status, 200);
            assert_eq!(requests.load(Ordering::SeqCst), 1);
        }
    }
}

#[tokio::test]
async fn another_authority_another_name_and_an_expired_certificate_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (trusted, other) = (Authority::new("trusted"), Authority::new("other"));
    let ca_file = trusted.file(folder.path());
    for config in [
        other.serves("localhost", false, &[&TLS13]),
        trusted.serves("elsewhere.example", false, &[&TLS13]),
        trusted.serves("localhost.example", false, &[&TLS13]),
        trusted.serves("localhost", true, &[&TLS13]),
    ] {
        let (address, requests) = upstream(config).await;
        refused(
            ask("localhost", address, Some(ca_file.clone())).await,
            "certificate that is not trusted",
            &requests,
        );
    }
}

#[tokio::test]
async fn nothing_older_than_tls_1_2_is_offered_or_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // A server of the past: whatever it is offered, it answers in TLS 1.1.
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut hello).await.unwrap();
        let mut body = vec![3, 2];
        body.extend([7; 32]); // random
        body.extend([0, 0xc0, 0x13, 0]); // no session, ECDHE_RSA_WITH_AES_128_CBC_SHA, no compression
        let length = u8::try_from(body.len()).unwrap();
        let mut record = vec![22, 3, 2, 0, length + 4, 2, 0, 0, length];
        record.extend(body);
        stream.write_all(&record).await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        (hello, rest)
    });
    let none = AtomicUsize::new(0);
    refused(ask("localhost", address, None).await, "TLS 1.2 is the least", &none);
    let (hello, rest) = soon(server).await.unwrap();
    // supported_versions (43): one byte of length, then the versions
    let at = hello.windows(2).position(|two| two == [0, 43]).expect("the offer lists its versions");
    let versions = &hello[at + 5..at + 5 + usize::from(hello[at + 4])];
    let mut offered: Vec<&[u8]> = versions.chunks(2).collect();
    offered.sort_unstable();
    assert_eq!(offered, [[3, 3], [3, 4]], "TLS 1.2 and 1.3");
    assert_eq!((rest[0], rest.len()), (21, 7), "an alert, and nothing of the request");
}
