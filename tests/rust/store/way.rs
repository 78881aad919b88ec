//! The way to the store: who is let in, what is trusted, what is told.

use bartizan::clock::SystemClock;
use bartizan::error::Kind;
use bartizan::json::Digest;
use bartizan::state::Once as _;
use bartizan::state::shared::Config;

use super::server::{Server, free, opened};

const PASSWORD: &str = "canary-password-of-the-store";

#[tokio::test(flavor = "multi_thread")]
async fn an_acl_user_needs_only_its_own_keys() {
    let user = format!(
        "bz on >{PASSWORD} ~{{shop}}:* &{{shop}}:* -@all +@scripting +@string +@hash +@keyspace +@pubsub +@connection \
         +info -@dangerous +info"
    );
    let mut arguments = vec!["--user"];
    arguments.extend(user.split(' '));
    let Some(server) = Server::start(&arguments) else { return };
    let folder = tempfile::tempdir().unwrap();
    let with = |prefix: &str, user: Option<&str>| Config {
        prefix: prefix.to_owned(),
        user: user.map(String::from),
        ..server.config()
    };
    let open = async |config: &Config, password: Option<&str>| {
        opened(config, folder.path(), password, SystemClock::shared()).await
    };
    let shared = open(&with("shop", Some("bz")), Some(PASSWORD)).await.unwrap();
    let ttl = std::time::Duration::from_secs(60);
    assert!(shared.first("x", &Digest::of(b"x"), None, ttl).await.unwrap());
    for (config, password) in [
        (with("shop", Some("bz")), Some("canary-wrong")),
        (with("other", Some("bz")), Some(PASSWORD)),
        (with("shop", Some("nobody")), Some(PASSWORD)),
    ] {
        let refused = open(&config, password).await.err().unwrap();
        assert_eq!(refused.kind(), Kind::BadConfig);
        assert!(!refused.message().contains("canary"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_is_encrypted_and_only_the_named_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        std::fs::write(path(name), certificate.pem()).unwrap();
        rcgen::Issuer::new(parameters, key)
    };
    let (ours, _) = (authority("ours.pem"), authority("theirs.pem"));
    let key = rcgen::KeyPair::generate().unwrap();
    let server_side = rcgen::CertificateParams::new(vec![String::from("localhost")]).unwrap();
    std::fs::write(path("server.pem"), server_side.signed_by(&key, &ours).unwrap().pem()).unwrap();
    std::fs::write(path("server.key"), key.serialize_pem()).unwrap();
    let port = free();
    let (port_text, certificate, private, trusted) = (
        port.to_string(),
        path("server.pem").display().to_string(),
        path("server.key").display().to_string(),
        path("ours.pem").display().to_string(),
    );
    let arguments = [
        "--tls-port",
        &port_text,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &private,
        "--tls-ca-cert-file",
        &trusted,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = Server::start(&arguments) else { return };
    let with = |host: &str, authority: Option<&str>| Config {
        url: format!("rediss://{host}:{port}"),
        ca_file: authority.map(path),
        ..Config::default()
    };
    let reached = async |config: &Config| {
        let state = tempfile::tempdir().unwrap();
        opened(config, state.path(), None, SystemClock::shared()).await.unwrap().problem().is_none()
    };
    assert!(reached(&with("localhost", Some("ours.pem"))).await);
    assert!(!reached(&with("localhost", Some("theirs.pem"))).await, "another authority");
    assert!(!reached(&with("localhost", None)).await, "the system's authorities");
    assert!(!reached(&with("127.0.0.1", Some("ours.pem"))).await, "another name than the certificate's");
}
