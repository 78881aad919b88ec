//! Tokens that are bound to a key: whoever has the token alone has nothing.

use std::time::Duration;

use bartizan::json::{Value, json};
use http::Method;

use crate::issuer::{AuthServer, Signer};
use crate::oauth::{ADDRESS, Door, Show};

/// An issuer's key and a caller's, a door, and a token that is bound to the caller's.
async fn bound(more: &str) -> (Signer, Signer, AuthServer, Door, String) {
    let (key, own) = (Signer::ec("one"), Signer::ec("own"));
    let server = AuthServer::start(&[&key]).await;
    let door = Door::with(&server, more);
    let mut claims = door.claims(&server);
    claims["cnf"] = json!({"jkt": own.thumbprint()});
    let token = key.token(&claims);
    (key, own, server, door, token)
}

async fn what(door: &Door, show: Show) -> &'static str {
    let refusal = door.show(&show).await.expect_err("it is refused");
    assert_eq!(refusal.status, 401);
    assert!(refusal.challenges.iter().any(|one| one.starts_with("DPoP ")), "{:?}", refusal.challenges);
    refusal.what
}

// proves: dpop-bound
#[tokio::test]
async fn a_bound_token_opens_with_a_proof_by_its_key_and_with_nothing_else() {
    let (_, own, _, door, token) = bound("").await;
    let proof = |change: Value| own.proof(&token, ("POST", ADDRESS), door.now(), change);
    let principal = door.show(&Show::bound(&token, &proof(json!({})))).await.unwrap();
    assert_eq!(&*principal.id, "oauth:test:anna");

    // stolen, and used without the key
    assert_eq!(what(&door, Show::bearer(&token)).await, "token is bound to a key and came without proof");
    let mut beside = Show::bearer(&token);
    beside.headers.push(("dpop", proof(json!({}))));
    assert_eq!(
        what(&door, beside).await,
        "token is bound to a key and came without proof",
        "no way down to Bearer"
    );
    let mut alone = Show::bound(&token, "x");
    alone.headers.pop();
    assert_eq!(what(&door, alone).await, "no proof of possession");
    let thief = Signer::ec("thief");
    let forged = thief.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    assert_eq!(what(&door, Show::bound(&token, &forged)).await, "proof by another key");

    // replayed, twice in one request, or for something else
    let once = proof(json!({}));
    assert!(door.show(&Show::bound(&token, &once)).await.is_ok());
    assert_eq!(what(&door, Show::bound(&token, &once)).await, "proof was used before");
    let id = json!({"jti": "the-same"});
    assert!(door.show(&Show::bound(&token, &proof(id.clone()))).await.is_ok());
    assert_eq!(what(&door, Show::bound(&token, &proof(id))).await, "proof was used before");
    let mut two = Show::bound(&token, &proof(json!({})));
    two.headers.push(("dpop", proof(json!({}))));
    assert_eq!(what(&door, two).await, "more than one proof of possession");
    let get = Show { method: Method::GET, ..Show::bound(&token, &proof(json!({}))) };
    assert_eq!(what(&door, get).await, "proof for another method");
    for (change, words) in [
        (json!({"htu": "https://mcp.example.com/other"}), "proof for another address"),
        (json!({"htu": "https://127.0.0.1/mcp"}), "proof for another address"),
        (json!({"ath": "x"}), "proof for another token"),
        (json!({"iat": door.now() - 301}), "proof is too old"),
        (json!({"iat": door.now() + 120}), "proof is from the future"),
    ] {
        assert_eq!(what(&door, Show::bound(&token, &proof(change))).await, words);
    }
    door.clock.advance(Duration::from_secs(301));
    assert_eq!(
        what(&door, Show::bound(&token, &once)).await,
        "proof is too old",
        "forgotten, and too old by then"
    );
}

#[tokio::test]
async fn a_proof_does_not_bind_what_the_issuer_did_not() {
    let (key, own, server, door, _) = bound("").await;
    let token = key.token(&door.claims(&server));
    let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    assert_eq!(what(&door, Show::bound(&token, &proof)).await, "token is not bound to a key");
    assert!(door.show(&Show::bearer(&token)).await.is_ok());
}

#[tokio::test]
async fn dpop_can_be_required_or_switched_off() {
    let (key, own, server, door, token) = bound("dpop = \"required\"").await;
    let plain = key.token(&door.claims(&server));
    assert_eq!(what(&door, Show::bearer(&plain)).await, "only tokens that are bound to a key are accepted");
    let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    assert!(door.show(&Show::bound(&token, &proof)).await.is_ok());

    let (key, own, server, door, token) = bound("dpop = \"off\"").await;
    let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    for show in [Show::bound(&token, &proof), Show::bearer(&token)] {
        let refusal = door.show(&show).await.unwrap_err();
        assert_eq!(refusal.what, "tokens that are bound to a key are not accepted");
        assert!(refusal.challenges.iter().all(|one| one.starts_with("Bearer ")));
    }
    assert!(door.show(&Show::bearer(&key.token(&door.claims(&server)))).await.is_ok());
}

#[tokio::test]
async fn where_a_nonce_is_asked_for_the_challenge_hands_it_out() {
    let (_, own, _, door, token) = bound("dpop_nonce = true").await;
    let proof = |change: Value| own.proof(&token, ("POST", ADDRESS), door.now(), change);
    let refusal = door.show(&Show::bound(&token, &proof(json!({})))).await.unwrap_err();
    assert!(refusal.challenges[0].contains("error=\"use_dpop_nonce\""), "{:?}", refusal.challenges);
    assert!(!refusal.presented, "that is no guess");
    let nonce = refusal.nonce.unwrap();
    assert!(door.show(&Show::bound(&token, &proof(json!({"nonce": nonce})))).await.is_ok());
    door.clock.advance(Duration::from_mins(5));
    assert!(
        door.show(&Show::bound(&token, &proof(json!({"nonce": nonce})))).await.is_ok(),
        "for as long again"
    );
    door.clock.advance(Duration::from_mins(5));
    let again = door.show(&Show::bound(&token, &proof(json!({"nonce": nonce})))).await.unwrap_err();
    assert!(again.nonce.is_some_and(|fresh| fresh != nonce));
}

#[tokio::test]
async fn of_many_who_show_one_proof_at_once_one_gets_in() {
    let (_, own, _, door, token) = bound("").await;
    let door = std::sync::Arc::new(door);
    let warm = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    assert!(door.show(&Show::bound(&token, &warm)).await.is_ok());
    let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (door, show) = (door.clone(), Show::bound(&token, &proof));
            tokio::spawn(async move { door.show(&show).await.is_ok() })
        })
        .collect();
    let mut entered = 0;
    for one in all {
        entered += usize::from(one.await.unwrap());
    }
    assert_eq!(entered, 1);
}

#[tokio::test]
async fn what_goes_on_without_the_request_needs_no_second_proof() {
    use bartizan::transport::auth::{Presented, Right};
    let (_, own, _, door, token) = bound("").await;
    let show = Show::bound(&token, &own.proof(&token, ("POST", ADDRESS), door.now(), json!({})));
    assert!(door.show(&show).await.is_ok());
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("DPoP {token}").parse().unwrap());
    let presented = Presented {
        headers: &headers,
        method: &Method::POST,
        path: "/mcp",
        address: [127, 0, 0, 1].into(),
        certificate: None,
    };
    let lease = Right::new(door.oauth.clone(), &presented).lease().unwrap();
    assert!(lease(), "the task goes on after the yes");
    door.clock.advance(Duration::from_secs(661));
    assert!(!lease(), "as long as the token does");
}

#[tokio::test]
async fn one_caller_with_many_keys_does_not_use_up_what_is_remembered_for_others() {
    let (key, _, server, door, _) = bound("").await;
    let with_key = |subject: &str, own: &Signer| {
        let mut claims = door.claims(&server);
        claims["sub"] = json!(subject);
        claims["cnf"] = json!({"jkt": own.thumbprint()});
        key.token(&claims)
    };
    let mut refused = 0;
    for _ in 0..8 {
        let own = Signer::ec("own");
        let token = with_key("greedy", &own);
        for _ in 0..150 {
            let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
            refused += usize::from(door.show(&Show::bound(&token, &proof)).await.is_err());
        }
    }
    assert!(refused > 300, "a sixteenth is a caller's share, however many keys: {refused}");
    for subject in ["anna", "bert"] {
        let own = Signer::ec("own");
        let token = with_key(subject, &own);
        let proof = own.proof(&token, ("POST", ADDRESS), door.now(), json!({}));
        assert!(door.show(&Show::bound(&token, &proof)).await.is_ok(), "{subject}");
    }
}
