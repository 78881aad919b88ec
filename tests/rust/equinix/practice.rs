//! Every flow against the practice upstream, which checks each request against a document: ours, and the vendor's.

use std::sync::Arc;

use bartizan::clock::SystemClock;
use bartizan::connectors::catalog::equinix;
use bartizan::connectors::openapi::load;
use bartizan::http::Config;
use bartizan::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use bartizan::json::Value;
use bartizan::practice::{Auth, Options, Practice, serve};
use bartizan::secret::Secret;
use serde_json::json;

use super::rig::Tools;
use crate::connectors::documents::{contents, shared};

const FROM: &str = "2030-01-01T00:00:00Z";
const TO: &str = "2030-01-02T00:00:00Z";
const ID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";

/// A stand-in that speaks this document, and the tools in front of it, logged in as in real life.
async fn stage(document: &[u8]) -> (Practice, Tools) {
    let document = load(document, None).unwrap();
    let practice = serve(document, Options::default()).await.unwrap();
    let egress = Config { retries: 0, ..Config::default() }.allowing(practice.address().to_string());
    let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth().clone() else {
        panic!("client credentials")
    };
    let base = url::Url::parse(&practice.root()).unwrap();
    let endpoint = TokenEndpoint {
        url: base.join("/oauth2/v1/token").unwrap(),
        style: Style::Json,
        scope: None,
        audience: None,
    };
    let credentials = ClientCredentials::new(
        "equinix",
        endpoint,
        Arc::new(Secret::new(client_id)),
        Arc::new(Secret::new(client_secret)),
        &egress,
        SystemClock::shared(),
    );
    let tools = Tools::at(&base, &egress, Some(Arc::new(credentials.unwrap())));
    (practice, tools)
}

/// Calls; a refusal is printed with everything the stand-in says about it.
async fn call(tools: &Tools, tool: &str, arguments: Value) -> Value {
    let result = tools.call_as("anna", tool, arguments.clone()).await;
    let result = result.unwrap_or_else(|error| panic!("{tool} {arguments}: {error:?} {:?}", error.detail()));
    assert!(!result.is_error, "{tool} {arguments}: {:?}", result.structured_content);
    result.structured_content.unwrap()
}

/// The same for something that need not be there: any answer but a refusal of the request itself.
async fn read(tools: &Tools, tool: &str, arguments: Value) {
    let result = tools.call_as("anna", tool, arguments).await.unwrap();
    let status = result.structured_content.as_ref().map_or(0, |value| value["status"].as_u64().unwrap_or(0));
    assert!(!result.is_error || status == 404, "{tool}: {result:?}");
}

async fn story(document: &[u8], whole: bool) {
    let (practice, tools) = stage(document).await;
    let port = |vlan: u32| json!({"type": "port", "port_uuid": ID, "vlan": vlan});
    let emails = json!(["noc@example.com"]);

    for (tool, arguments) in [
        ("list_fabric_ports", json!({"metro_code": "SV", "sort_by": "/name", "sort_direction": "ASC"})),
        ("list_fabric_ports", json!({"org_id": "1", "interface_name": "x", "uuid": ID})),
        ("list_fabric_ports", json!({"all": true})),
        ("list_fabric_connections", json!({})),
        (
            "search_connections",
            json!({"name": "x", "state": "ACTIVE", "min_bandwidth": 1, "z_side_metro_code": "SV"}),
        ),
        ("list_fabric_routers", json!({"state": "PROVISIONED", "sort_by": "/order/termLength"})),
        ("list_fabric_connections", json!({"sort_by": "/geoScope", "sort_direction": "DESC"})),
        ("list_metros", json!({"all": true})),
        ("list_service_profiles", json!({"service_type": "L2_PROFILE", "view_point": "aSide"})),
        ("list_service_profiles", json!({"port_uuid": ID, "sort_by": "/state"})),
        ("list_service_tokens", json!({})),
        ("list_service_tokens", json!({"name": "x", "state": "ACTIVE"})),
        ("list_networks", json!({"scope": "LOCAL", "sort_by": "/location/region"})),
        ("search_prices", json!({"product": "connection", "connection_type": "EVPL_VC", "bandwidth": [100]})),
        ("validate_connection_config", json!({"port_uuid": ID, "vlan": 5})),
    ] {
        call(&tools, tool, arguments).await;
    }

    for (tool, arguments) in [
        ("get_fabric_port", json!({"port_id": ID})),
        ("list_port_vlans", json!({"port_id": ID})),
        ("get_port_stats", json!({"port_id": ID, "startDateTime": FROM, "endDateTime": TO})),
        ("get_fabric_router", json!({"router_id": ID})),
        ("list_router_packages", json!({})),
        ("get_router_package", json!({"package_code": "LAB"})),
        ("get_service_profile", json!({"profile_uuid": ID})),
        ("list_service_profile_metros", json!({"profile_uuid": ID})),
        ("get_metro", json!({"metro_code": "SV"})),
        ("get_network", json!({"network_id": ID})),
    ] {
        read(&tools, tool, arguments).await;
    }

    let ends = [
        (port(5), port(6), "EVPL_VC"),
        (json!({"type": "port", "port_uuid": ID}), json!({"type": "port", "port_uuid": ID}), "EPL_VC"),
        (json!({"type": "virtual_device", "virtual_device_uuid": ID, "interface_id": 2}), port(7), "EVPL_VC"),
        (
            port(8),
            json!({
                "type": "service_profile", "service_profile_uuid": ID, "metro_code": "SV",
                "seller_region": "us-west-1", "authentication_key": "123456789012", "peering_type": "PRIVATE"
            }),
            "EVPL_VC",
        ),
        (json!({"type": "cloud_router", "router_uuid": ID}), port(9), "IP_VC"),
        (port(10), json!({"type": "network", "network_uuid": ID}), "EVPLAN_VC"),
        (port(11), json!({"type": "service_token", "service_token": ID}), "EVPL_VC"),
    ];
    let mut made = Value::Null;
    for (number, (a_side, z_side, kind)) in ends.into_iter().enumerate() {
        let order = json!({
            "name": format!("c{number}"), "type": kind, "bandwidth": 100, "notifications": emails, "a_side": a_side, "z_side": z_side,
            "purchase_order_number": "po", "term_length": 1, "project_id": "p", "redundancy": {"priority": "PRIMARY"}
        });
        call(&tools, "validate_connection_config", json!({"connection_config": order})).await;
        made = call(&tools, "create_fabric_connection", order).await;
    }
    let id = &made["uuid"];
    call(&tools, "get_fabric_connection", json!({"connection_id": id})).await;
    call(&tools, "update_connection", json!({"connection_uuid": id, "name": "d", "notifications": emails}))
        .await;
    let info = json!([{"key": "asn", "value": "65001"}]);
    call(&tools, "update_connection", json!({"connection_uuid": id, "additional_info": info})).await;
    let changed = call(&tools, "get_fabric_connection", json!({"connection_id": id})).await;
    assert_eq!((&changed["name"], &changed["additionalInfo"]), (&json!("d"), &info));
    call(
        &tools,
        "accept_connection",
        json!({"connection_id": id, "request": "creation", "z_side": port(12)}),
    )
    .await;
    call(&tools, "reject_connection", json!({"connection_id": id, "request": "update", "description": "no"}))
        .await;

    call(&tools, "list_advertised_routes", json!({"connection_id": id, "type": "IPv4_BGP_ROUTE"})).await;
    call(&tools, "list_received_routes", json!({"connection_id": id})).await;
    let stats = json!({"connection_id": id, "startDateTime": FROM, "endDateTime": TO, "viewPoint": "zSide"});
    call(&tools, "get_connection_stats", stats).await;

    let direct = json!({"connection_id": id, "type": "DIRECT", "equinix_ipv4": "192.0.2.1/30"});
    let protocol = call(&tools, "create_routing_protocol", direct).await;
    let bgp = json!({
        "connection_id": id, "type": "BGP", "customer_asn": 65001, "customer_peer_ipv4": "192.0.2.2", "bfd_interval": 100
    });
    call(&tools, "create_routing_protocol", bgp).await;
    call(&tools, "list_routing_protocols", json!({"connection_id": id})).await;
    let both = json!({"connection_id": id, "routing_protocol_id": protocol["uuid"]});
    call(&tools, "get_routing_protocol", both.clone()).await;
    call(&tools, "delete_routing_protocol", both).await;
    call(&tools, "confirm_connection_deletion", json!({"connection_id": id})).await;
    call(&tools, "delete_connection", json!({"connection_uuid": id})).await;

    let order = json!({
        "name": "r", "metro_code": "SV", "package": "STANDARD", "notifications": emails, "account_number": 1,
        "project_id": "p", "marketplace_subscription": {"type": "GCP_MARKETPLACE_SUBSCRIPTION", "uuid": ID}
    });
    let router = if whole {
        call(&tools, "create_fabric_router", order).await
    } else {
        // the vendor's document requires a property `notification` that it does not have: nobody can satisfy it
        let refused = tools.call_as("anna", "create_fabric_router", order).await.unwrap();
        assert!(format!("{refused:?}").contains("/notification is required"), "{refused:?}");
        call(&tools, "list_fabric_routers", json!({})).await["data"][0].clone()
    };
    let change = json!({"router_uuid": router["uuid"], "package": "PREMIUM", "notifications": emails});
    call(&tools, "update_fabric_router", change).await;
    call(&tools, "delete_fabric_router", json!({"router_uuid": router["uuid"]})).await;

    let network =
        json!({"name": "n", "type": "EVPLAN", "scope": "LOCAL", "metro_code": "SV", "notifications": emails});
    call(&tools, "create_network", network).await;

    let token = json!({
        "name": "t", "expiration_date": "2030-01-31T00:00:00Z", "notifications": emails, "a_side": port(13),
        "bandwidth_limit": 50
    });
    let token = call(&tools, "create_service_token", token).await;
    let handle = token["uuid"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("handle:st_"), "{handle}");
    let z_side = json!({
        "name": "t", "expiration_date": "2030-01-31T00:00:00Z", "notifications": emails,
        "z_side": {"type": "virtual_device", "virtual_device_uuid": ID, "interface_id": 4}, "supported_bandwidths": [50]
    });
    call(&tools, "create_service_token", z_side).await;
    call(&tools, "get_service_token", json!({"token_uuid": handle})).await;
    let change = json!({"token_uuid": handle, "name": "u", "bandwidth_limit": 100});
    call(&tools, "update_service_token", change).await;
    call(&tools, "resend_service_token", json!({"token_uuid": handle})).await;
    call(&tools, "delete_service_token", json!({"token_uuid": handle})).await;

    assert_eq!(practice.tokens_issued(), 1, "one login for all of it");
    // what is not there yet is no fault of the request
    let wrong = |status: u16| status >= 400 && status != 404;
    let refused: Vec<_> = practice.requests().into_iter().filter(|request| wrong(request.status)).collect();
    assert_eq!(refused.len(), usize::from(!whole), "{refused:?}");
    if whole {
        let used: std::collections::BTreeSet<_> =
            practice.requests().into_iter().filter_map(|request| request.operation).collect();
        println!("{} operations used", used.len());
        assert!(practice.misfits().is_empty(), "{:?}", practice.misfits());
    }
}

#[tokio::test]
async fn every_flow_satisfies_our_own_document() {
    story(equinix::DOCUMENT, true).await;
}

#[tokio::test]
async fn every_flow_satisfies_the_vendors_document() {
    let Some(shared) = shared() else { return };
    story(&contents(&shared.join("specs/equinix/fabricv4.patched.yaml")), false).await;
}

/// A path without the names of what is put into it.
fn bare(path: &str) -> Vec<String> {
    path.split('/')
        .map(|part| if part.starts_with('{') { String::from("{}") } else { part.to_owned() })
        .collect()
}

#[tokio::test]
async fn searches_are_sorted_by_what_the_vendor_names_except_keys() {
    let Some(shared) = shared() else { return };
    let theirs = load(&contents(&shared.join("specs/equinix/fabricv4.patched.yaml")), None).unwrap();
    let (_practice, tools) = stage(equinix::DOCUMENT).await;
    let mut sorted = 0;
    for (name, tool) in &tools.all {
        let Some(ours) = tool.spec().input.source()["properties"]["sort_by"]["enum"].as_array() else {
            continue;
        };
        let target = tool.spec().target.clone().unwrap();
        let path = &target[target.find("/fabric/").unwrap()..];
        let twin =
            theirs.operations.iter().find(|twin| twin.method == "POST" && bare(&twin.path) == bare(path));
        let schema = twin.unwrap().body.as_ref().unwrap().schema.value();
        let resolved = |node: &Value| match node["$ref"].as_str() {
            Some(place) => schema.pointer(place.trim_start_matches('#')).unwrap().clone(),
            None => node.clone(),
        };
        let mut place = resolved(&schema);
        for member in ["properties", "sort", "items", "properties", "property"] {
            place = resolved(&place[member]);
        }
        let mut known = place["enum"].as_array().unwrap().clone();
        known.retain(|property| !property.as_str().unwrap().ends_with("Key"));
        let in_order = |list: &[Value]| -> Vec<String> {
            let mut list: Vec<_> = list.iter().map(|one| one.as_str().unwrap().to_owned()).collect();
            list.sort();
            list
        };
        assert_eq!(in_order(ours), in_order(&known), "{name}");
        sorted += 1;
    }
    assert_eq!(sorted, 8);
}

#[test]
fn our_document_says_nothing_that_the_vendors_does_not() {
    let Some(shared) = shared() else { return };
    let ours = load(equinix::DOCUMENT, None).unwrap();
    let theirs = load(&contents(&shared.join("specs/equinix/fabricv4.patched.yaml")), None).unwrap();
    assert!(ours.refused.is_empty(), "{:?}", ours.refused);
    for operation in &ours.operations {
        let twin = theirs
            .operations
            .iter()
            .find(|twin| twin.method == operation.method && bare(&twin.path) == bare(&operation.path))
            .unwrap_or_else(|| panic!("{} {}", operation.method, operation.path));
        if let Some(body) = &operation.body {
            let offered = &twin.body.as_ref().unwrap_or_else(|| panic!("{} has a body", twin.id)).offered;
            assert!(
                offered.contains(&body.media_type),
                "{}: {} in {offered:?}",
                operation.id,
                body.media_type
            );
        }
        let place = |operation: &bartizan::connectors::document::Operation| -> Vec<String> {
            let query = bartizan::connectors::document::Place::Query;
            operation
                .parameters
                .iter()
                .filter(|known| known.place == query)
                .map(|known| known.name.clone())
                .collect()
        };
        let (mine, known) = (place(operation), place(twin));
        assert!(mine.iter().all(|name| known.contains(name)), "{}: {mine:?} in {known:?}", operation.id);
        for needed in twin.parameters.iter().filter(|known| known.required) {
            let query = needed.place == bartizan::connectors::document::Place::Query;
            assert!(!query || mine.contains(&needed.name), "{} needs {}", operation.id, needed.name);
        }
        let answers = |operation: &bartizan::connectors::document::Operation| -> Vec<String> {
            operation.responses.keys().filter(|status| status.starts_with('2')).cloned().collect()
        };
        assert!(answers(operation).iter().any(|status| answers(twin).contains(status)), "{}", operation.id);
    }
}
