//! Vendors' whole documents, as tools on the line, against the practice upstream: every operation can be called.

use bartizan::connectors::openapi::load;
use bartizan::error::Kind;
use bartizan::json::{Map, Value, json};
use bartizan::pipeline::ToolSpec;
use bartizan::practice::{Auth, Options, serve};

use super::documents::{contents, shared};
use super::rig::{Rig, text};
use crate::loopback::{Upstream, answer};

/// Calls every tool of a document with the stand-in's sample arguments.
async fn every_tool_of(file: &str) {
    let Some(shared) = shared() else { return };
    let document = load(&contents(&shared.join("specs").join(file)), None).unwrap();
    let operations: Vec<(String, String)> =
        document.operations.iter().map(|it| (it.id.clone(), it.tool.clone())).collect();
    let practice = serve(document.clone(), Options { auth: Auth::Open, ..Options::default() }).await.unwrap();
    let silent = Upstream::start(|_, _| answer(500, "nobody asks here")).await;
    let base = url::Url::parse(&practice.url()).unwrap();
    let rig = Rig::at(document, "", silent, base);
    let mut wrong = Vec::new();
    for (at, (id, tool)) in operations.iter().enumerate() {
        let arguments = practice.sample_arguments(id).unwrap();
        match rig.call_as(&format!("p{at}"), tool, Value::Object(arguments.clone())).await {
            Ok(result) if !result.is_error => {}
            Ok(result) => wrong.push(format!("{id} {arguments:?}\n    {}", text(&result))),
            Err(error) => wrong.push(format!("{id} {arguments:?}\n    {error:?}")),
        }
    }
    practice.shutdown().await;
    println!("{file}: {} of {} tools answered", operations.len() - wrong.len(), operations.len());
    assert!(wrong.is_empty(), "{file}: {} of {}\n{}", wrong.len(), operations.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_tool_of_the_fabric_document_can_be_called() {
    every_tool_of("equinix/fabricv4.patched.yaml").await;
}

#[tokio::test]
async fn every_tool_of_another_vendors_documents_can_be_called() {
    for file in [
        "akamai/ccu-v3.json",
        "akamai/network-lists-v2.json",
        "akamai/edgeworkers-v1.json",
        "akamai/contract-api-v1.json",
        "akamai/reporting-api-v1.json",
        "akamai/siem-v1.json",
        "akamai/cps-v2.json",
        "akamai/config-dns-v2.json",
        "akamai/identity-management-v3.json",
        "akamai/papi-v1.reassembled.json",
        "msgraph/v1.0.deviceappmanagement.json.gz",
    ] {
        every_tool_of(file).await;
    }
}

/// Something that an argument's schema refuses however it is read.
fn wrong(tool: &ToolSpec, good: &Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
    let schema = tool.input.compiled().unwrap();
    let odd = [
        json!({"\u{1}": [[]]}),
        json!([[{"\u{1}": {}}]]),
        json!(true),
        json!(-1.5e300),
        json!("\u{1}\u{2}"),
        json!(null),
    ];
    odd.into_iter().find_map(|odd| {
        let mut bad = good.clone();
        bad.insert(name.to_owned(), odd);
        let value = Value::Object(bad.clone());
        (!schema.fits(&value) && schema.coerce(&value).is_none()).then_some(bad)
    })
}

/// Calls every tool of a document with each of its arguments made wrong, left out, and with one too many.
async fn no_wrong_call_leaves(file: &str) -> (usize, usize) {
    let Some(shared) = shared() else { return (0, 0) };
    let document = load(&contents(&shared.join("specs").join(file)), None).unwrap();
    let operations: Vec<(String, String)> =
        document.operations.iter().map(|it| (it.id.clone(), it.tool.clone())).collect();
    let practice = serve(document.clone(), Options { auth: Auth::Open, ..Options::default() }).await.unwrap();
    let rig = Rig::of(document, "", |_, _| answer(500, "nobody asks here")).await;
    let (mut refused, mut any) = (0, 0);
    for (at, (id, tool)) in operations.iter().enumerate() {
        let good = practice.sample_arguments(id).unwrap();
        let spec = rig.tool(tool).spec();
        let mut calls = Vec::new();
        for name in good.keys() {
            match wrong(spec, &good, name) {
                Some(bad) => calls.push(bad),
                None => any += 1,
            }
        }
        let required = spec.input.source().get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            let mut bad = good.clone();
            bad.remove(name);
            calls.push(bad);
        }
        let mut bad = good.clone();
        bad.insert(String::from("nobody-knows-this"), json!(1));
        calls.push(bad);
        for (number, bad) in calls.into_iter().enumerate() {
            let who = format!("p{at}-{number}");
            let error = rig.call_as(&who, tool, Value::Object(bad.clone())).await.unwrap_err();
            assert_eq!(error.kind(), Kind::BadArguments, "{id} {bad:?} {error:?}");
            refused += 1;
        }
    }
    practice.shutdown().await;
    assert!(rig.upstream.seen().is_empty(), "{file}: a wrong call was sent");
    (refused, any)
}

#[tokio::test]
async fn no_wrong_call_of_any_tool_reaches_the_upstream() {
    let (mut refused, mut any) = (0, 0);
    for file in [
        "equinix/fabricv4.patched.yaml",
        "akamai/network-lists-v2.json",
        "akamai/cps-v2.json",
        "akamai/config-dns-v2.json",
        "akamai/identity-management-v3.json",
        "akamai/papi-v1.reassembled.json",
        "akamai/appsec-v1.reassembled.json",
    ] {
        let (these, those) = no_wrong_call_leaves(file).await;
        (refused, any) = (refused + these, any + those);
    }
    println!("{refused} wrong calls were refused; {any} arguments accept anything");
    assert!(shared().is_none() || refused > 1_000 && any * 20 < refused, "{refused} {any}");
}
