//! What an upstream says in its own words: redacted whole, and only then cut.

use bartizan::json::{Value, json};

use super::rig::{Rig, TOKEN};
use crate::loopback::{Act, Seen, answer, with_header};

fn document(media: &str) -> Value {
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    json!({"openapi": "3.1.0", "info": {"title": "Acme"}, "paths": {"/echo": {"get": {"operationId": "echo",
        "parameters": [query("status"), query("pad")],
        "responses": {"200": {"description": "ok", "content": {media: {"schema": {"type": "object"}}}}}}}}})
}

/// The value of a query parameter, as a number.
fn number(seen: &Seen, name: &str) -> usize {
    let query = seen.target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    value.map_or(0, |value| value.parse().unwrap())
}

/// The longest beginning of the credential that is in a result.
fn longest(shown: &str) -> usize {
    (0..=TOKEN.len()).rev().find(|end| shown.contains(&TOKEN[..*end])).unwrap_or_default()
}

#[tokio::test]
async fn no_part_of_a_credential_is_left_where_an_upstreams_words_are_cut() {
    type Page = fn(&str, &str) -> String;
    let json: Page = |pad, key| json!({"error": "bad", "q": pad, "seen": key}).to_string();
    let text: Page = |pad, key| format!("bad {pad} {key} tail");
    let html: Page = |pad, key| format!("<html><body><p>bad {pad} {key} tail</p></body></html>");
    let style: Page = |pad, key| format!("<style>{pad} </style><p>{key}</p>");
    let near = |cut: usize| (cut.saturating_sub(60)..cut + 20).step_by(5).collect::<Vec<_>>();
    let all = (0..4_100).step_by(13).collect::<Vec<_>>();
    let mut cut = 0;
    for (status, media, page, pads) in [
        (400, "application/json", json, all.clone()),
        (409, "text/plain", text, all),
        (400, "text/plain", json, near(4_000)),
        (403, "text/html", html, (0..1_100).step_by(13).collect()),
        (200, "text/html", html, (0..1_100).step_by(13).collect()),
        (200, "text/html", style, near(16 << 10)),
        (500, "application/json", json, near(3_970)[..4].to_vec()),
        (502, "text/html", html, near(995)[..4].to_vec()),
        (503, "text/plain", text, near(3_985)[..4].to_vec()),
    ] {
        let rig = Rig::new(document("text/html"), "", move |seen, _| {
            let key = seen.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
            let words = page(&"b".repeat(number(seen, "pad")), key);
            with_header(answer(status, words), "content-type", media)
        })
        .await;
        for pad in pads {
            let result =
                rig.call_as(&pad.to_string(), "echo", json!({"pad": pad.to_string()})).await.unwrap();
            let shown = serde_json::to_string(&result).unwrap();
            assert!(longest(&shown) < 8, "{status} {media} {pad}: {} characters", longest(&shown));
            cut += usize::from(shown.contains("[redacted:cut]"));
        }
    }
    assert!(cut > 50, "{cut} of them were long enough");
}

/// An upstream that answers the same thing in many ways.
fn plans(seen: &Seen, wrap: fn(String) -> String, media: &str) -> Act {
    let plan = |name: &str| json!({"plan": name, "x": 1});
    let pad = "p".repeat(number(seen, "pad"));
    let body = json!({"pad": pad, "owner": plan("PLAN-ALPHA"), "data": [plan("PLAN-BETA")], "now": {"owner": plan("PLAN-GAMMA")}});
    let status = u16::try_from(number(seen, "status")).unwrap();
    with_header(answer(status, wrap(body.to_string())), "content-type", media)
}

#[tokio::test]
async fn what_a_manifest_blanks_is_blank_in_failures_and_in_words_too() {
    let manifest = "[[operation]]\nid = 'echo'\nredact = ['/owner/plan', '/data/*/plan']";
    let behind: fn(String) -> String = |body| format!("x {body}");
    let twice: fn(String) -> String =
        |body| format!("{{\"owner\":{{\"plan\":\"PLAN-ALPHA\"}},{}", &body[1..]);
    let said: fn(String) -> String = |body| Value::String(body).to_string();
    let cut: fn(String) -> String = |body| body[..body.len() - 1].to_owned();
    let page: fn(String) -> String = |body| format!("<p>{body}</p>");
    for (wrap, media) in [
        (behind, "text/plain"),
        (twice, "text/plain"),
        (twice, "application/json"),
        (said, "application/json"),
        (cut, "application/json"),
        (cut, "text/plain"),
        (page, "text/html"),
        (behind, "application/octet-stream"),
        (behind, "application/xml"),
    ] {
        for expects in ["application/json", "text/plain"] {
            let rig = Rig::new(document(expects), manifest, move |seen, _| plans(seen, wrap, media)).await;
            for status in ["200", "400", "409", "500"] {
                for pad in ["0", "5000"] {
                    let who = format!("{status}{pad}");
                    let shown = match rig.call_as(&who, "echo", json!({"status": status, "pad": pad})).await {
                        Ok(result) => serde_json::to_string(&result).unwrap(),
                        Err(error) => format!("{} {:?}", error.message(), error.detail()),
                    };
                    let known = ["PLAN-ALPHA", "PLAN-BETA"].iter().any(|name| shown.contains(name));
                    assert!(!known, "{media} {expects} {status} {pad}: {shown}");
                    // what a failure says has another form
                    assert!(
                        status == "200" || !shown.contains("PLAN-GAMMA"),
                        "{media} {expects} {status} {pad}: {shown}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_failure_whose_fields_can_be_blanked_still_says_the_rest() {
    let manifest = "[[operation]]\nid = 'echo'\nredact = ['/owner/plan', '/data/*/plan']";
    let rig = Rig::new(document("application/json"), manifest, |seen, _| {
        plans(seen, |body| body, "application/json")
    })
    .await;
    let refused = rig.call("echo", json!({"status": "409"})).await.unwrap().structured_content.unwrap();
    assert_eq!(refused["answer"]["owner"], json!({"plan": "[redacted:field]", "x": 1}));
    assert_eq!((&refused["kind"], &refused["status"]), (&json!("UpstreamRefused"), &json!(409)));
}
