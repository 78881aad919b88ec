//! Access tokens at a whole server: challenges, step-up, what travels on, and streams that end.

use std::net::SocketAddr;
use std::sync::Arc;

use bartizan::app::{App, Extra};
use bartizan::clock::SystemClock;
use bartizan::config::Config;
use bartizan::json::{Value, json};
use bartizan::protocol::Revision;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::issuer::{AuthServer, Signer, encode, hex};
use crate::loopback::{Upstream, answer, soon};
use crate::streams::{Stream, status};

const DOCUMENT: &str = r#"{
  "openapi": "3.1.0", "info": {"title": "acme", "version": "1"},
  "paths": {
    "/widgets": {
      "get": {"operationId": "listWidgets", "parameters": [
        {"name": "q", "in": "query", "schema": {"type": "string"}},
        {"name": "X-Note", "in": "header", "schema": {"type": "string"}}
      ], "responses": {"200": {"description": "fine"}}},
      "post": {"operationId": "addWidget", "requestBody": {"content": {"application/json": {"schema": {
        "type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": true
      }}}}, "responses": {"200": {"description": "fine"}}}
    },
    "/widgets/{id}": {"delete": {"operationId": "deleteWidget", "parameters": [
      {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}
    ], "responses": {"200": {"description": "fine"}}}}
  }
}"#;

/// A server with an API behind it and an authorization server beside it.
struct Site {
    address: SocketAddr,
    api: Upstream,
    server: AuthServer,
    key: Signer,
    app: Arc<App>,
    shutdown: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn now() -> u64 {
    SystemClock::shared().wall().as_secs()
}

async fn site(more: &str) -> Site {
    let key = Signer::ec("one");
    let (api, server) = (Upstream::start(|_, _| answer(200, "{}")).await, AuthServer::start(&[&key]).await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.json"), DOCUMENT).unwrap();
    let text = format!(
        "state_dir = 'state'\npolicy = 'admin'\ndiagnostics = true\n[http]\nlisten = '127.0.0.1:0'\n[egress]\nallow_private \
         = ['{api}', '{issuer}']\n[[openapi]]\nfile = 'acme.json'\nbase_url = 'http://{api}'\n[oauth]\npublic_url = \
         'https://mcp.example.com/mcp'\nissuers = [{{ issuer = 'http://{issuer}', name = 'test' }}]\n{more}",
        api = api.address,
        issuer = server.upstream.address,
    );
    let path = folder.path().join("bartizan.toml");
    std::fs::write(&path, text).unwrap();
    let app = App::build(Config::load(&path).unwrap(), Extra::default()).await.unwrap();
    let shutdown = CancellationToken::new();
    let (ready, address) = oneshot::channel();
    let (serving, stop) = (app.clone(), shutdown.clone());
    tokio::spawn(async move {
        serving
            .serve_http(false, stop, |reachable| {
                assert!(reachable.key_file.is_none(), "with tokens nobody needs a key to begin with");
                let _ = ready.send(reachable.address);
            })
            .await
            .unwrap();
    });
    let address = soon(address).await.unwrap();
    Site { address, api, server, key, app, shutdown, _folder: folder }
}

impl Site {
    fn claims(&self, scope: &str) -> Value {
        json!({
            "iss": self.server.url(), "aud": "https://mcp.example.com/mcp", "sub": "anna", "client_id": "ide",
            "exp": now() + 600, "scope": scope
        })
    }

    fn token(&self, scope: &str) -> String {
        self.key.token(&self.claims(scope))
    }

    async fn get(&self, path: &str, more: &str) -> String {
        Stream::open(self.address, &format!("GET {path} HTTP/1.1\r\n{more}"), "").await.end().await
    }

    /// One request of the stateless door; `credential` is the value of `Authorization`.
    async fn ask(&self, credential: &str, method: &str, name: Option<&str>, mut params: Value) -> String {
        let revision = Revision::NEWEST.name();
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": revision,
            "io.modelcontextprotocol/clientInfo": {"name": "oauth:test:root", "version": "key:admin"},
            "io.modelcontextprotocol/clientCapabilities": {}
        });
        let name = name.map_or(String::new(), |name| format!("Mcp-Name: {name}\r\n"));
        let head = format!(
            "POST /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             MCP-Protocol-Version: {revision}\r\nMcp-Method: {method}\r\n{name}{credential}"
        );
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
        Stream::open(self.address, &head, &body).await.end().await
    }

    async fn call(&self, token: &str, tool: &str, arguments: Value) -> String {
        let credential = format!("Authorization: Bearer {token}\r\n");
        let params = json!({"name": tool, "arguments": arguments});
        self.ask(&credential, "tools/call", Some(tool), params).await
    }
}

fn body(text: &str) -> Value {
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{text}"))
}

fn header<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let head = text.split("\r\n\r\n").next().unwrap();
    let pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[tokio::test]
async fn who_comes_without_a_token_is_told_where_there_are_some() {
    let site = site("").await;
    let refused = site.ask("", "tools/list", None, json!({})).await;
    assert_eq!(status(&refused), 401);
    let challenges = header(&refused, "www-authenticate");
    assert_eq!(
        challenges[0],
        "Bearer scope=\"mcp:read\", resource_metadata=\"https://mcp.example.com/.well-known/oauth-protected-resource/mcp\""
    );
    assert!(challenges[1].starts_with("DPoP "));
    for path in ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"] {
        let found = site.get(path, "").await;
        assert_eq!(status(&found), 200);
        let document = body(&found);
        assert_eq!(document["resource"], "https://mcp.example.com/mcp");
        assert_eq!(document["authorization_servers"], json!([site.server.url()]));
        assert_eq!(document["scopes_supported"], json!(["mcp:read"]));
        assert!(!found.contains("offline_access"));
        // checked like every other route, and made of nothing that a request says
        assert_eq!(status(&site.get(path, "Origin: https://evil.example\r\n").await), 403);
        assert_eq!(status(&site.get(path, "X-Forwarded-Host: evil.example\r\n").await), 200);
    }
    assert_eq!(status(&site.get("/.well-known/oauth-protected-resource/other", "").await), 404);
    let head = "GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: evil.example\r\n";
    assert_eq!(status(&Stream::open(site.address, head, "").await.end().await), 400, "two hosts");
}

#[tokio::test]
async fn a_host_that_is_not_ours_reads_no_document() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = site("").await;
    for (host, code) in [("evil.example", "403"), ("mcp.example.com", "200")] {
        let mut socket = tokio::net::TcpStream::connect(site.address).await.unwrap();
        let head = format!(
            "GET /.well-known/oauth-protected-resource HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        soon(socket.read_to_string(&mut text)).await.unwrap();
        assert_eq!(
            text.split(' ').nth(1),
            Some(code),
            "{host}: what clients call us is the configuration's word"
        );
    }
}

// proves: oauth-step-up
#[tokio::test]
async fn a_call_that_needs_more_scopes_is_answered_with_all_of_them_before_it_runs() {
    let site = site("").await;
    let reader = site.token("mcp:read");
    let credential = format!("Authorization: Bearer {reader}\r\n");
    let list = site.ask(&credential, "tools/list", None, json!({})).await;
    assert!(list.contains("list_widgets") && !list.contains("add_widget"), "what the token reaches: {list}");
    let (add, delete, list) = ("add_widget", "delete_widget", "list_widgets");

    let refused = site.call(&reader, add, json!({"body": {"name": "x"}})).await;
    assert_eq!(status(&refused), 403, "{refused}");
    let challenge = header(&refused, "www-authenticate");
    assert_eq!(challenge.len(), 1);
    for part in [
        "Bearer error=\"insufficient_scope\"",
        "scope=\"mcp:write\"",
        "resource_metadata=\"https://mcp.example.com/",
    ] {
        assert!(challenge[0].contains(part), "{}", challenge[0]);
    }
    assert_eq!(body(&refused)["error"]["code"], -31002);
    assert_eq!(body(&refused)["error"]["data"]["scopes"], json!(["write"]));
    let refused = site.call(&reader, delete, json!({"id": "1"})).await;
    assert_eq!(status(&refused), 403);
    assert!(header(&refused, "www-authenticate")[0].contains("mcp:"), "{refused}");
    assert!(site.api.seen().is_empty(), "nothing ran");
    let unknown = site.call(&reader, "no_such_tool", json!({})).await;
    assert!(header(&unknown, "www-authenticate").is_empty() && status(&unknown) != 403);

    let writer = site.token("mcp:write");
    let done = site.call(&writer, add, json!({"body": {"name": "x"}})).await;
    assert_eq!((status(&done), site.api.count("/widgets")), (200, 1), "{done}");
    let read = site.call(&writer, list, json!({})).await;
    assert_eq!((status(&read), site.api.count("/widgets")), (200, 2), "writing includes reading: {read}");
    let audited = std::fs::read_to_string(site.app.audit().path()).unwrap();
    let refused =
        audited.lines().filter(|line| line.contains("\"Forbidden\"") && line.contains("oauth:test:anna"));
    assert!(refused.count() >= 2, "{audited}");
}

#[tokio::test]
async fn what_could_be_asked_for_is_listed_where_that_was_said() {
    let site = site("[offer]\nbeyond_scopes = true\nwithout = ['delete_widget']").await;
    let credential = format!("Authorization: Bearer {}\r\n", site.token("mcp:read"));
    let list = site.ask(&credential, "tools/list", None, json!({})).await;
    assert!(
        list.contains("add_widget") && !list.contains("delete_widget"),
        "and nothing that no scope would bring: {list}"
    );
}

#[tokio::test]
async fn where_the_answer_is_one_of_several_the_scopes_are_in_the_message() {
    let site = site("").await;
    let token = site.token("mcp:read");
    let head = |session: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\n{session}"
        )
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}
    }});
    let hello = Stream::open(site.address, &head(""), &hello.to_string()).await.end().await;
    let session = format!("Mcp-Session-Id: {}\r\n", header(&hello, "mcp-session-id")[0]);
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(status(&Stream::open(site.address, &head(&session), &ready).await.end().await), 202);
    let call = |id: u8, tool: &str, arguments: Value| json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": arguments}});
    let batch = json!([call(2, "whoami", json!({})), call(3, "add_widget", json!({"body": {"name": "x"}}))]);
    let several = Stream::open(site.address, &head(&session), &batch.to_string()).await.end().await;
    assert_eq!(status(&several), 200, "{several}");
    assert!(several.contains("-31002") && several.contains("\"scopes\":[\"write\"]"), "{several}");
    let alone = call(4, "add_widget", json!({"body": {"name": "x"}})).to_string();
    let alone = Stream::open(site.address, &head(&session), &alone).await.end().await;
    assert_eq!(status(&alone), 403, "the older door too: {alone}");
    assert!(header(&alone, "www-authenticate")[0].contains("scope=\"mcp:write\""));
    assert!(site.api.seen().is_empty());
}

#[tokio::test]
async fn what_a_client_says_of_itself_changes_nothing() {
    let site = site("").await;
    let said = site.call(&site.token("mcp:read"), "whoami", json!({})).await;
    let said = &body(&said)["result"]["structuredContent"];
    assert_eq!(said["principal"], "oauth:test:anna");
    assert_eq!(said["kind"], "token");
}

// proves: oauth-token-stays
#[tokio::test]
async fn a_callers_token_reaches_no_upstream_in_any_byte() {
    let site = site("").await;
    let token = site.token("mcp:admin");
    assert_eq!(status(&site.call(&token, "list_widgets", json!({"q": "x", "X-Note": "y"})).await), 200);
    assert_eq!(status(&site.call(&token, "add_widget", json!({"body": {"name": "x"}})).await), 200);
    assert_eq!(site.api.seen().len(), 2);

    // and the model is no way round: as a query, a header, a path, a field, a name of one, in part, in other letters
    let signature = token.rsplit_once('.').unwrap().1.to_owned();
    let hex = hex(&token);
    for text in [
        token.clone(),
        format!("Bearer {token}"),
        signature.clone(),
        signature[3..60].to_owned(),
        hex,
        encode(&token),
        token.chars().rev().collect(),
    ] {
        for (tool, arguments) in [
            ("list_widgets", json!({"q": text})),
            ("list_widgets", json!({"X-Note": text})),
            ("add_widget", json!({"body": {"name": text}})),
            ("add_widget", json!({"body": {"name": "x", "more": [{"deep": text}]}})),
            ("add_widget", json!({"body": {(text.as_str()): "x"}})),
            ("delete_widget", json!({"id": text})),
        ] {
            let refused = site.call(&token, tool, arguments).await;
            let said = body(&refused);
            assert_eq!(said["result"]["isError"], true, "{tool}: {refused}");
            assert!(!refused.contains(&text), "nor is it repeated");
        }
    }
    assert_eq!(site.api.seen().len(), 2, "nothing left");
    for seen in site.api.seen() {
        let whole = format!("{} {:?} {}", seen.target, seen.headers, String::from_utf8_lossy(&seen.body));
        assert!(!whole.contains(&signature) && !whole.contains("eyJ"), "{whole}");
        assert!(seen.header("authorization").is_none() && seen.header("dpop").is_none(), "{whole}");
    }
    for seen in site.server.upstream.seen() {
        assert!(!format!("{} {:?}", seen.target, seen.headers).contains(&signature), "nor to the issuer");
    }
    let audited = std::fs::read_to_string(site.app.audit().path()).unwrap();
    assert!(!audited.contains(&signature), "nor into the audit");
}

#[tokio::test]
async fn a_token_in_the_address_is_refused_even_if_it_is_good() {
    let site = site("").await;
    let token = site.token("mcp:write");
    for query in [format!("access_token={token}"), format!("x={token}"), format!("a=1&Access_Token={token}")]
    {
        let head = format!(
            "POST /mcp?{query} HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: \
             application/json\r\nAuthorization: Bearer {token}\r\n"
        );
        let refused = Stream::open(site.address, &head, "{}").await.end().await;
        assert_eq!(status(&refused), 400, "{refused}");
        assert!(refused.contains("credential in the query string"));
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let site = site("leeway_seconds = 0").await;
    let mut claims = site.claims("mcp:read");
    claims["exp"] = json!(now() + 2);
    let token = site.key.token(&claims);
    let head = |method: &str, session: &str| {
        format!(
            "{method} /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\n{session}"
        )
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": Revision::NEWEST_HANDSHAKE.name(), "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"}
    }});
    let hello = Stream::open(site.address, &head("POST", ""), &hello.to_string()).await.end().await;
    let session = format!("Mcp-Session-Id: {}\r\n", header(&hello, "mcp-session-id")[0]);
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    let _ = Stream::open(site.address, &head("POST", &session), &ready).await.end().await;
    let mut stream = Stream::open(site.address, &head("GET", &session), "").await;
    stream.until("text/event-stream").await;
    assert!(now() < claims["exp"].as_u64().unwrap(), "it was open before");
    let _ = stream.end().await;
    assert!(now() >= claims["exp"].as_u64().unwrap(), "and ended then");
    let late = Stream::open(site.address, &head("POST", &session), &ready).await.end().await;
    assert_eq!(status(&late), 401);
}

#[tokio::test]
async fn a_session_is_of_no_use_to_another_subject() {
    let site = site("").await;
    let head = |token: &str, session: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\nAccept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {token}\r\n{session}"
        )
    };
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": Revision::NEWEST_HANDSHAKE.name(), "capabilities": {},
        "clientInfo": {"name": "raw", "version": "0"}
    }});
    let own = site.token("mcp:read");
    let hello = Stream::open(site.address, &head(&own, ""), &hello.to_string()).await.end().await;
    let session = format!("Mcp-Session-Id: {}\r\n", header(&hello, "mcp-session-id")[0]);
    let mut claims = site.claims("mcp:admin");
    claims["sub"] = json!("bert");
    let other = site.key.token(&claims);
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"}).to_string();
    assert_eq!(status(&Stream::open(site.address, &head(&other, &session), &ping).await.end().await), 404);
    assert_eq!(status(&Stream::open(site.address, &head(&own, &session), &ping).await.end().await), 200);
    // a token that was renewed is the same caller
    let mut claims = site.claims("mcp:read mcp:write");
    claims["exp"] = json!(now() + 900);
    let renewed = site.key.token(&claims);
    assert_eq!(status(&Stream::open(site.address, &head(&renewed, &session), &ping).await.end().await), 200);
}

#[tokio::test]
async fn a_bound_token_is_asked_for_proof_and_gets_the_nonce_along_the_way() {
    let site = site("dpop = 'required'\ndpop_nonce = true").await;
    let own = Signer::ec("own");
    let mut claims = site.claims("mcp:read");
    claims["cnf"] = json!({"jkt": own.thumbprint()});
    let token = site.key.token(&claims);
    let proof = |change: Value| own.proof(&token, ("POST", "https://mcp.example.com/mcp"), now(), change);
    let ask = async |proof: String| {
        let credential = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
        site.ask(&credential, "tools/list", None, json!({})).await
    };
    let refused = ask(proof(json!({}))).await;
    assert_eq!(status(&refused), 401);
    assert!(header(&refused, "www-authenticate")[0].contains("use_dpop_nonce"));
    let nonce = header(&refused, "dpop-nonce")[0].to_owned();
    // what is made in the second of the start may have been used before it
    let begun = now();
    crate::store::server::until("the next second", || async { now() > begun }).await;
    let good = proof(json!({"nonce": nonce}));
    let done = ask(good.clone()).await;
    assert_eq!(status(&done), 200, "{done}");
    assert_eq!(header(&done, "dpop-nonce"), [nonce.as_str()]);
    assert_eq!(status(&ask(good).await), 401, "used");
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(status(&site.ask(&bearer, "tools/list", None, json!({})).await), 401);
}

#[tokio::test]
async fn who_guesses_does_not_shut_out_a_bound_token_that_is_known() {
    let site = site("").await;
    let own = Signer::ec("own");
    let mut claims = site.claims("mcp:read");
    claims["cnf"] = json!({"jkt": own.thumbprint()});
    let token = site.key.token(&claims);
    let ask = async || {
        let proof = own.proof(&token, ("POST", "https://mcp.example.com/mcp"), now(), json!({}));
        let credential = format!("Authorization: DPoP {token}\r\nDPoP: {proof}\r\n");
        status(&site.ask(&credential, "tools/list", None, json!({})).await)
    };
    // what is made in the second of the start may have been used before it
    let begun = now();
    crate::store::server::until("the next second", || async { now() > begun }).await;
    assert_eq!(ask().await, 200);
    let guess = "Authorization: Bearer guess-guess-guess-guess\r\n";
    let mut told = 401;
    for _ in 0..40 {
        told = status(&site.ask(guess, "tools/list", None, json!({})).await);
    }
    assert_eq!(told, 429);
    assert_eq!(ask().await, 200);
    let bearer = format!("Authorization: Bearer {token}\r\n");
    assert_eq!(
        status(&site.ask(&bearer, "tools/list", None, json!({})).await),
        429,
        "without proof it is a guess"
    );
}
