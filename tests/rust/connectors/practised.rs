//! Vendors' whole documents, as tools on the line, against the practice upstream: every operation can be called.

use bartizan::connectors::openapi::load;
use bartizan::json::Value;
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
