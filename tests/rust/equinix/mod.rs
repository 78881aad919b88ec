//! Equinix Fabric: what each flow sends, what comes out, and what never does.

mod practice;
mod real_api;
mod rig;

use bartizan::error::Kind;
use bartizan::json::Value;
use bartizan::protocol::types::ToolResult;
use serde_json::json;

use crate::loopback::{answer, with_header};
use rig::Rig;

const ID: &str = "3fa85f64-5717-4562-b3fc-2c963f66afa6";
const PORT: &str = "a8ba52de-faae-43b5-b0b1-6904d37ee063";
const OTHER: &str = "a00cef6f-8e35-4794-9ff9-665e084e4e6d";
const TOKEN: &str = "5a11c0de-0000-4000-8000-00000000feed";

fn data(result: &ToolResult) -> &Value {
    result.structured_content.as_ref().unwrap()
}

fn port(uuid: &str, vlan: u32) -> Value {
    json!({"type": "port", "port_uuid": uuid, "vlan": vlan})
}

fn order(a_side: Value, z_side: Value) -> Value {
    json!({
        "name": "c", "type": "EVPL_VC", "bandwidth": 100, "notifications": ["noc@example.com"],
        "a_side": a_side, "z_side": z_side
    })
}

#[tokio::test]
async fn the_seed_servers_tools_are_all_there() {
    let rig = Rig::answering(json!({})).await;
    for name in [
        "list_fabric_ports",
        "get_fabric_port",
        "list_fabric_connections",
        "get_fabric_connection",
        "get_connection_stats",
        "list_fabric_routers",
        "get_fabric_router",
        "search_connections",
        "list_metros",
        "create_fabric_connection",
        "update_connection",
        "delete_connection",
        "validate_connection_config",
        "create_fabric_router",
        "update_fabric_router",
        "delete_fabric_router",
        "list_service_profiles",
        "get_service_profile",
        "create_service_token",
        "list_service_tokens",
        "get_service_token",
        "delete_service_token",
    ] {
        assert!(rig.tools.all.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn effects_say_what_a_call_does_and_not_which_method_it_uses() {
    let rig = Rig::answering(json!({})).await;
    for (name, tool) in &rig.tools.all {
        let effect = tool.spec().effect.name();
        let expected = match name.split('_').next().unwrap() {
            "list" | "get" | "search" | "validate" => "read",
            "delete" | "reject" | "confirm" => "destroy",
            _ => "write",
        };
        assert_eq!(effect, expected, "{name}");
    }
}

#[tokio::test]
async fn searches_are_filters_of_property_operator_and_values() {
    let rig = Rig::answering(json!({"data": []})).await;
    let (method, target, body) =
        rig.sent("list_fabric_ports", json!({"metro_code": "SV", "state": "ACTIVE", "limit": 5})).await;
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/fabric/v4/ports/search"));
    let filter = json!({"and": [
        {"property": "/state", "operator": "=", "values": ["ACTIVE"]},
        {"property": "/location/metroCode", "operator": "=", "values": ["SV"]}
    ]});
    assert_eq!(body, json!({"filter": filter, "pagination": {"offset": 0, "limit": 5}}));

    let (_, target, body) = rig.sent("list_fabric_connections", json!({"offset": 40})).await;
    assert_eq!(target, "/fabric/v4/connections/search");
    assert_eq!(body, json!({"filter": {}, "pagination": {"offset": 40, "limit": 20}}));

    let arguments =
        json!({"name": "ops", "state": "PENDING_AUTO_APPROVAL", "min_bandwidth": 50, "max_bandwidth": 500});
    let (_, _, body) = rig.sent("search_connections", arguments).await;
    assert_eq!(
        body["filter"],
        json!({"and": [
            {"property": "/name", "operator": "LIKE", "values": ["%ops%"]},
            {"property": "/operation/equinixStatus", "operator": "=", "values": ["PENDING_AUTO_APPROVAL"]},
            {"property": "/bandwidth", "operator": ">=", "values": ["50"]},
            {"property": "/bandwidth", "operator": "<=", "values": ["500"]}
        ]})
    );

    let (_, target, body) =
        rig.sent("list_service_profiles", json!({"service_type": "L2_PROFILE", "view_point": "aSide"})).await;
    assert_eq!(target, "/fabric/v4/serviceProfiles/search?viewPoint=aSide");
    assert_eq!(
        body["filter"],
        json!({"and": [{"property": "/type", "operator": "=", "values": ["L2_PROFILE"]}]})
    );

    let (method, target, body) = rig.sent("list_metros", json!({"my_ports_only": true})).await;
    assert_eq!((method.as_str(), body), ("GET", Value::Null));
    assert_eq!(target, "/fabric/v4/metros?offset=0&limit=20&presence=MY_PORTS");

    let (_, target, body) =
        rig.sent("list_received_routes", json!({"connection_id": ID, "prefix": "192.0.2.0/24"})).await;
    assert_eq!(target, format!("/fabric/v4/connections/{ID}/receivedRoutes/search"));
    let prefix = json!([{"property": "/prefix", "operator": "=", "values": ["192.0.2.0/24"]}]);
    assert_eq!(body["filter"]["and"], prefix);
}

#[tokio::test]
async fn all_pages_are_collected_up_to_the_cap() {
    let rig = Rig::new(|seen, _| {
        let pagination = &seen.json()["pagination"];
        let (offset, limit) = (pagination["offset"].as_u64().unwrap(), pagination["limit"].as_u64().unwrap());
        let total = if seen.path().contains("routers") { 250 } else { 5000 };
        let items: Vec<Value> = (offset..(offset + limit).min(total)).map(|number| json!({"name": number})).collect();
        let next = (offset + limit < total).then_some("https://evil.test/steal");
        answer(200, json!({"pagination": {"offset": offset, "limit": limit, "total": total, "next": next}, "data": items}))
    })
    .await;
    let result = rig.call("list_fabric_routers", json!({"all": true})).await.unwrap();
    assert_eq!(data(&result)["data"].as_array().unwrap().len(), 250);
    assert_eq!((&data(&result)["complete"], rig.upstream.seen().len()), (&json!(true), 3));
    let result = rig.call("list_fabric_ports", json!({"all": true})).await.unwrap();
    assert_eq!(data(&result)["data"].as_array().unwrap().len(), 1000);
    assert_eq!((&data(&result)["complete"], rig.upstream.seen().len()), (&json!(false), 13));
}

#[tokio::test]
async fn a_connection_is_ordered_in_the_apis_shape() {
    let rig = Rig::answering(json!({"uuid": ID, "name": "c"})).await;
    let mut arguments = order(
        port(PORT, 1001),
        json!({
            "type": "service_profile", "service_profile_uuid": OTHER, "metro_code": "DC",
            "seller_region": "us-east-1", "authentication_key": "123456789012"
        }),
    );
    let more = json!({
        "redundancy": {"priority": "PRIMARY"}, "project_id": "p-1", "purchase_order_number": "po1", "term_length": 12
    });
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (method, target, body) = rig.sent("create_fabric_connection", arguments.clone()).await;
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/fabric/v4/connections"));
    let expected = json!({
        "type": "EVPL_VC", "name": "c", "bandwidth": 100, "redundancy": {"priority": "PRIMARY"},
        "notifications": [{"type": "ALL", "emails": ["noc@example.com"]}],
        "order": {"purchaseOrderNumber": "po1", "termLength": 12},
        "project": {"projectId": "p-1"},
        "aSide": {"accessPoint": {
            "type": "COLO", "port": {"uuid": PORT}, "linkProtocol": {"type": "DOT1Q", "vlanTag": 1001}
        }},
        "zSide": {"accessPoint": {
            "type": "SP", "profile": {"type": "L2_PROFILE", "uuid": OTHER}, "authenticationKey": "123456789012",
            "sellerRegion": "us-east-1", "location": {"metroCode": "DC"}
        }}
    });
    assert_eq!(body, expected);

    arguments["dry_run"] = json!(true);
    let (_, target, body) = rig.sent("create_fabric_connection", arguments.clone()).await;
    assert_eq!((target.as_str(), body), ("/fabric/v4/connections?dryRun=true", expected.clone()));

    arguments.as_object_mut().unwrap().remove("dry_run");
    let (_, target, body) =
        rig.sent("validate_connection_config", json!({"connection_config": arguments})).await;
    assert_eq!((target.as_str(), body), ("/fabric/v4/connections?dryRun=true", expected));
}

#[tokio::test]
async fn every_kind_of_end_has_its_own_shape() {
    let rig = Rig::answering(json!({})).await;
    let ends = [
        (
            json!({"type": "port", "port_uuid": PORT}),
            json!({"accessPoint": {"type": "COLO", "port": {"uuid": PORT}, "linkProtocol": {"type": "UNTAGGED"}}}),
        ),
        (
            json!({"type": "port", "port_uuid": PORT, "vlan_s": 10, "vlan_c": 20}),
            json!({"accessPoint": {"type": "COLO", "port": {"uuid": PORT},
                "linkProtocol": {"type": "QINQ", "vlanSTag": 10, "vlanCTag": 20}}}),
        ),
        (
            json!({"type": "virtual_device", "virtual_device_uuid": ID, "interface_id": 3, "interface_type": "NETWORK"}),
            json!({"accessPoint": {"type": "VD", "virtualDevice": {"type": "EDGE", "uuid": ID},
                "interface": {"type": "NETWORK", "id": 3}}}),
        ),
        (
            json!({"type": "cloud_router", "router_uuid": ID}),
            json!({"accessPoint": {"type": "CLOUD_ROUTER", "router": {"uuid": ID}}}),
        ),
        (
            json!({"type": "network", "network_uuid": ID, "role": "LEAF"}),
            json!({"accessPoint": {"type": "NETWORK", "network": {"uuid": ID}, "role": "LEAF"}}),
        ),
        (
            json!({"type": "metal_network", "authentication_key": "key-of-metal"}),
            json!({"accessPoint": {"type": "METAL_NETWORK", "authenticationKey": "key-of-metal"}}),
        ),
        (json!({"type": "service_token", "service_token": TOKEN}), json!({"serviceToken": {"uuid": TOKEN}})),
    ];
    for (given, expected) in ends {
        let (_, _, body) = rig.sent("create_fabric_connection", order(given, port(OTHER, 5))).await;
        assert_eq!(body["aSide"], expected);
    }
}

#[tokio::test]
async fn an_end_that_says_too_little_or_too_much_is_refused_before_anything_is_sent() {
    let rig = Rig::answering(json!({})).await;
    for (end, word) in [
        (json!({"type": "port"}), "port_uuid"),
        (json!({"type": "cloud_router", "router_uuid": ID, "vlan": 5}), "vlan"),
        (json!({"type": "port", "port_uuid": PORT, "vlan": 5, "vlan_s": 6}), "vlan"),
        (json!({"type": "port", "port_uuid": PORT, "vlan_c": 6}), "vlan"),
        (json!({"type": "service_token"}), "service_token_uuid"),
        (json!({"type": "service_token", "service_token_uuid": "handle:st_AAAAAAAAAAAAAAAA"}), "handle"),
    ] {
        let error = rig.call("create_fabric_connection", order(end, port(OTHER, 5))).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments);
        assert!(error.message().contains(word), "{error}");
    }
    for bad in ["../../ports", "a/b", "%2e%2e", "x?y", "", ".."] {
        let error = rig.call("get_fabric_connection", json!({"connection_id": bad})).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments);
    }
    assert!(rig.upstream.seen().is_empty());
}

#[tokio::test]
async fn changes_are_json_patches_and_an_empty_one_is_refused() {
    let rig = Rig::answering(json!({"uuid": ID, "href": format!("https://x.example/{TOKEN}")})).await;
    let arguments =
        json!({"connection_uuid": ID, "name": "n", "bandwidth": 200, "notifications": ["a@b.example"]});
    let (method, target, body) = rig.sent("update_connection", arguments).await;
    assert_eq!((method.as_str(), target), ("PATCH", format!("/fabric/v4/connections/{ID}")));
    assert_eq!(
        body,
        json!([
            {"op": "replace", "path": "/name", "value": "n"},
            {"op": "replace", "path": "/bandwidth", "value": 200},
            {"op": "replace", "path": "/notifications", "value": [{"type": "ALL", "emails": ["a@b.example"]}]}
        ])
    );
    let (_, target, body) =
        rig.sent("update_fabric_router", json!({"router_uuid": ID, "package": "PREMIUM"})).await;
    assert_eq!(target, format!("/fabric/v4/routers/{ID}"));
    assert_eq!(body, json!([{"op": "replace", "path": "/package/code", "value": "PREMIUM"}]));
    let sealed = rig.handle_of(TOKEN).await;
    let arguments = json!({"token_uuid": sealed, "notifications": ["a@b.example"], "dry_run": true});
    let (_, target, body) = rig.sent("update_service_token", arguments).await;
    assert_eq!(target, format!("/fabric/v4/serviceTokens/{TOKEN}?dryRun=true"));
    assert_eq!(body, json!([{"op": "replace", "path": "/notifications/emails", "value": ["a@b.example"]}]));
    for seen in rig.upstream.seen().iter().filter(|seen| seen.method == "PATCH") {
        assert_eq!(seen.header("content-type"), Some("application/json-patch+json"));
    }
    let sent = rig.upstream.seen().len();
    for (tool, id, value) in [
        ("update_connection", "connection_uuid", ID),
        ("update_fabric_router", "router_uuid", ID),
        ("update_service_token", "token_uuid", &sealed),
    ] {
        let error = rig.call(tool, json!({id: value})).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BadArguments);
        assert!(error.message().contains("nothing to change"), "{error}");
    }
    assert_eq!(rig.upstream.seen().len(), sent);
}

#[tokio::test]
async fn the_three_checks_ask_three_questions() {
    let rig = Rig::answering(json!({"additionalInfo": []})).await;
    let ask = |property: &str, value: &str| json!({"property": property, "operator": "=", "values": [value]});
    let (_, target, body) =
        rig.sent("validate_connection_config", json!({"port_uuid": PORT, "vlan": 155})).await;
    assert_eq!(target, "/fabric/v4/connections/validate");
    let expected = json!([
        ask("/zSide/accessPoint/port/uuid", PORT),
        ask("/zSide/accessPoint/linkProtocol/vlanTag", "155")
    ]);
    assert_eq!(body, json!({"filter": {"and": expected}}));
    let key = json!({"service_profile_uuid": ID, "authentication_key": "123456789012", "seller_region": "us-west-1"});
    let (_, _, body) = rig.sent("validate_connection_config", key).await;
    assert_eq!(
        body,
        json!({"filter": {"and": [
            ask("/zSide/accessPoint/authenticationKey", "123456789012"), ask("/zSide/accessPoint/profile/uuid", ID),
            ask("/zSide/accessPoint/sellerRegion", "us-west-1")
        ]}})
    );
    let sent = rig.upstream.seen().len();
    for bad in [
        json!({}),
        json!({"port_uuid": PORT}),
        json!({"port_uuid": PORT, "vlan": 5, "service_profile_uuid": ID}),
    ] {
        assert_eq!(rig.call("validate_connection_config", bad).await.unwrap_err().kind(), Kind::BadArguments);
    }
    assert_eq!(rig.upstream.seen().len(), sent);
}

#[tokio::test]
async fn routers_are_ordered_and_an_empty_answer_is_no_failure() {
    let rig = Rig::new(|seen, _| match seen.method.as_str() {
        "DELETE" => answer(204, ""),
        _ => answer(200, json!({"uuid": ID})),
    })
    .await;
    let arguments = json!({
        "name": "r", "metro_code": "SV", "package": "STANDARD", "notifications": ["a@b.example"],
        "account_number": 270_001, "project_id": "p", "purchase_order_number": "po", "dry_run": true
    });
    let (_, target, body) = rig.sent("create_fabric_router", arguments).await;
    assert_eq!(target, "/fabric/v4/routers?dryRun=true");
    assert_eq!(
        body,
        json!({
            "type": "XF_ROUTER", "name": "r", "location": {"metroCode": "SV"}, "package": {"code": "STANDARD"},
            "notifications": [{"type": "ALL", "emails": ["a@b.example"]}], "account": {"accountNumber": 270_001},
            "project": {"projectId": "p"}, "order": {"purchaseOrderNumber": "po"}
        })
    );
    let result = rig.call("delete_fabric_router", json!({"router_uuid": ID})).await.unwrap();
    assert_eq!(data(&result), &json!({"deleted": true, "uuid": ID}));
    let seen = rig.upstream.seen().pop().unwrap();
    assert_eq!((seen.method.as_str(), seen.target), ("DELETE", format!("/fabric/v4/routers/{ID}")));
}

#[tokio::test]
async fn routing_protocols_have_two_shapes() {
    let rig = Rig::answering(json!({"uuid": ID, "bgpAuthKey": "the-key-of-the-session"})).await;
    let (_, target, body) = rig
        .sent(
            "create_routing_protocol",
            json!({"connection_id": ID, "type": "DIRECT", "equinix_ipv4": "192.0.2.1/30"}),
        )
        .await;
    assert_eq!(target, format!("/fabric/v4/connections/{ID}/routingProtocols"));
    assert_eq!(body, json!({"type": "DIRECT", "directIpv4": {"equinixIfaceIp": "192.0.2.1/30"}}));
    let bgp = json!({
        "connection_id": ID, "type": "BGP", "customer_asn": 65001, "customer_peer_ipv4": "192.0.2.2", "bfd_interval": 100
    });
    let (_, _, body) = rig.sent("create_routing_protocol", bgp.clone()).await;
    assert_eq!(
        body,
        json!({
            "type": "BGP", "bgpIpv4": {"customerPeerIp": "192.0.2.2", "enabled": true}, "customerAsn": 65001,
            "bfd": {"enabled": true, "interval": "100"}
        })
    );
    let result = rig.call("create_routing_protocol", bgp).await.unwrap();
    assert!(!format!("{result:?}").contains("the-key-of-the-session"));
    for bad in [
        json!({"connection_id": ID, "type": "DIRECT"}),
        json!({"connection_id": ID, "type": "BGP", "customer_asn": 1}),
        json!({"connection_id": ID, "type": "BGP", "customer_asn": 1, "customer_peer_ipv4": "192.0.2.2", "equinix_ipv4": "x"}),
    ] {
        assert_eq!(rig.call("create_routing_protocol", bad).await.unwrap_err().kind(), Kind::BadArguments);
    }
}

#[tokio::test]
async fn requests_of_the_other_side_are_answered() {
    let rig = Rig::new(|_, _| answer(202, json!({"uuid": OTHER}))).await;
    let (_, target, body) = rig
        .sent(
            "accept_connection",
            json!({"connection_id": ID, "request": "creation", "z_side": port(PORT, 7)}),
        )
        .await;
    assert_eq!(target, format!("/fabric/v4/connections/{ID}/actions"));
    let end = json!({"accessPoint": {
        "type": "COLO", "port": {"uuid": PORT}, "linkProtocol": {"type": "DOT1Q", "vlanTag": 7}
    }});
    assert_eq!(body, json!({"type": "CONNECTION_CREATION_ACCEPTANCE", "data": {"zSide": end}}));
    let (_, _, body) = rig.sent("accept_connection", json!({"connection_id": ID, "request": "update"})).await;
    assert_eq!(body, json!({"type": "CONNECTION_UPDATE_ACCEPTANCE"}));
    let no = json!({"connection_id": ID, "request": "creation", "description": "not ours"});
    let (_, _, body) = rig.sent("reject_connection", no).await;
    assert_eq!(body, json!({"type": "CONNECTION_CREATION_REJECTION", "description": "not ours"}));
    let (_, _, body) = rig.sent("confirm_connection_deletion", json!({"connection_id": ID})).await;
    assert_eq!(body, json!({"type": "CONNECTION_DELETION_ACCEPTANCE"}));
}

#[tokio::test]
async fn prices_are_asked_by_product() {
    let rig = Rig::answering(json!({"data": []})).await;
    let arguments = json!({
        "product": "connection", "connection_type": "EVPL_VC", "bandwidth": [100, 200], "a_side_type": "COLO",
        "filters": [{"property": "/connection/aSide/accessPoint/port/settings/buyout", "values": ["false"]}]
    });
    let (_, target, body) = rig.sent("search_prices", arguments).await;
    assert_eq!(target, "/fabric/v4/prices/search");
    assert_eq!(
        body,
        json!({"filter": {"and": [
            {"property": "/type", "operator": "=", "values": ["VIRTUAL_CONNECTION_PRODUCT"]},
            {"property": "/connection/type", "operator": "=", "values": ["EVPL_VC"]},
            {"property": "/connection/bandwidth", "operator": "IN", "values": ["100", "200"]},
            {"property": "/connection/aSide/accessPoint/type", "operator": "=", "values": ["COLO"]},
            {"property": "/connection/aSide/accessPoint/port/settings/buyout", "operator": "=", "values": ["false"]}
        ]}})
    );
    let odd = json!({"product": "cloud_router", "bandwidth": [100]});
    assert_eq!(rig.call("search_prices", odd).await.unwrap_err().kind(), Kind::BadArguments);
}

#[tokio::test]
async fn networks_are_found_and_ordered() {
    let rig = Rig::answering(json!({"data": []})).await;
    let (_, target, body) = rig.sent("list_networks", json!({"name": "lan", "scope": "LOCAL"})).await;
    assert_eq!(target, "/fabric/v4/networks/search");
    assert_eq!(
        body["filter"]["and"][0],
        json!({"property": "/name", "operator": "LIKE", "values": ["%lan%"]})
    );
    let arguments = json!({
        "name": "n", "type": "EVPLAN", "scope": "LOCAL", "metro_code": "SV", "notifications": ["a@b.example"]
    });
    let (_, target, body) = rig.sent("create_network", arguments).await;
    assert_eq!(target, "/fabric/v4/networks");
    assert_eq!(
        body,
        json!({
            "type": "EVPLAN", "name": "n", "scope": "LOCAL", "location": {"metroCode": "SV"},
            "notifications": [{"type": "ALL", "emails": ["a@b.example"]}]
        })
    );
}

fn token() -> Value {
    json!({
        "uuid": TOKEN, "href": format!("https://api.equinix.com/fabric/v4/serviceTokens/{TOKEN}"), "name": "partner",
        "state": "ACTIVE", "connection": {"type": "EVPL_VC", "uuid": ID}
    })
}

#[tokio::test]
async fn a_service_token_is_asked_for_in_the_apis_shape() {
    let rig = Rig::answering(token()).await;
    let arguments = json!({
        "name": "t", "expiration_date": "2030-01-31T00:00:00Z", "notifications": ["a@b.example"],
        "a_side": port(PORT, 1399), "bandwidth_limit": 50, "allow_remote_connection": false
    });
    let (_, target, body) = rig.sent("create_service_token", arguments.clone()).await;
    assert_eq!(target, "/fabric/v4/serviceTokens");
    assert_eq!(
        body,
        json!({
            "type": "VC_TOKEN", "name": "t", "expirationDateTime": "2030-01-31T00:00:00Z",
            "connection": {
                "type": "EVPL_VC", "allowRemoteConnection": false, "bandwidthLimit": 50,
                "aSide": {"accessPointSelectors": [{
                    "type": "COLO", "port": {"uuid": PORT}, "linkProtocol": {"type": "DOT1Q", "vlanTag": 1399}
                }]}
            },
            "notifications": [{"type": "ALL", "emails": ["a@b.example"]}]
        })
    );
    let mut z = arguments.clone();
    let end = json!({"type": "virtual_device", "virtual_device_uuid": OTHER, "interface_id": 4});
    let object = z.as_object_mut().unwrap();
    object.remove("a_side");
    object.remove("bandwidth_limit");
    object.extend(json!({"z_side": end, "supported_bandwidths": [50, 200]}).as_object().unwrap().clone());
    let (_, _, body) = rig.sent("create_service_token", z.clone()).await;
    assert_eq!(body["connection"]["supportedBandwidths"], json!([50, 200]));
    assert_eq!(
        body["connection"]["zSide"]["accessPointSelectors"][0],
        json!({
            "type": "VD", "virtualDevice": {"type": "EDGE", "uuid": OTHER}, "interface": {"type": "NETWORK", "id": 4}
        })
    );
    z["a_side"] = port(PORT, 5);
    assert_eq!(rig.call("create_service_token", z).await.unwrap_err().kind(), Kind::BadArguments);
    let mut wrong = arguments;
    wrong["supported_bandwidths"] = json!([50]);
    assert_eq!(rig.call("create_service_token", wrong).await.unwrap_err().kind(), Kind::BadArguments);
}

// proves: handles-owned
#[tokio::test]
async fn a_tokens_id_never_leaves_and_its_handle_works_for_its_principal_only() {
    let rig = Rig::new(|seen, _| match (seen.method.as_str(), seen.path()) {
        ("GET", "/fabric/v4/serviceTokens") | ("POST", "/fabric/v4/serviceTokens/search") => {
            answer(200, json!({"data": [token()], "pagination": {"total": 1, "next": null}}))
        }
        ("POST", "/fabric/v4/connections") => answer(
            201,
            json!({"uuid": ID, "zSide": {"serviceToken": {"uuid": TOKEN}}, "aSide": {"accessPoint": {}}}),
        ),
        ("DELETE", _) => {
            answer(404, json!([{"errorCode": "EQ-1", "errorMessage": format!("no token {TOKEN}")}]))
        }
        _ => answer(200, token()),
    })
    .await;
    let listed = rig.call("list_service_tokens", json!({})).await.unwrap();
    let handle = data(&listed)["data"][0]["uuid"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("handle:st_"), "{handle}");
    assert_eq!(data(&listed)["data"][0]["connection"]["uuid"], ID, "other ids stay");
    assert!(!format!("{listed:?}").contains(TOKEN), "{listed:?}");
    let again = rig.call("list_service_tokens", json!({"state": "ACTIVE"})).await.unwrap();
    assert_eq!(data(&again)["data"][0]["uuid"], handle, "the same handle again");

    let got = rig.call("get_service_token", json!({"token_uuid": handle})).await.unwrap();
    assert!(!format!("{got:?}").contains(TOKEN));
    assert_eq!(rig.upstream.seen().last().unwrap().path(), format!("/fabric/v4/serviceTokens/{TOKEN}"));

    let given = rig.call("get_service_token", json!({"service_token": TOKEN})).await.unwrap();
    assert_eq!(data(&given)["uuid"], handle, "a token that was given to us is shown as a handle too");
    let both = rig
        .call("get_service_token", json!({"service_token": TOKEN, "token_uuid": handle}))
        .await
        .unwrap_err();
    assert_eq!(both.kind(), Kind::BadArguments);
    assert!(!rig.audit().contains(TOKEN), "{}", rig.audit());

    let z = json!({"type": "service_token", "service_token_uuid": handle});
    let made = rig.call("create_fabric_connection", order(port(PORT, 5), z.clone())).await.unwrap();
    assert_eq!(rig.upstream.seen().last().unwrap().json()["zSide"], json!({"serviceToken": {"uuid": TOKEN}}));
    assert_eq!(data(&made)["zSide"]["serviceToken"]["uuid"], handle);
    assert!(!format!("{made:?}").contains(TOKEN));

    let refused = rig.call("delete_service_token", json!({"token_uuid": handle})).await.unwrap();
    assert!(refused.is_error);
    let shown = format!("{refused:?}");
    assert!(!shown.contains(TOKEN) && shown.contains("EQ-1"), "{shown}");

    let sent = rig.upstream.seen().len();
    let theirs = rig.call_as("bert", "get_service_token", json!({"token_uuid": handle})).await.unwrap_err();
    let unknown = rig
        .call("get_service_token", json!({"token_uuid": "handle:st_AAAAAAAAAAAAAAAAAAAAAAAA"}))
        .await
        .unwrap_err();
    assert_eq!(theirs.message(), unknown.message(), "another principal's handle is simply unknown");
    let foreign = rig.call_as("bert", "create_fabric_connection", order(port(PORT, 5), z)).await.unwrap_err();
    assert_eq!(foreign.kind(), Kind::BadArguments);
    assert_eq!(rig.upstream.seen().len(), sent);
}

#[tokio::test]
async fn tokens_that_a_refusal_names_are_concealed_and_their_handles_work() {
    const ANOTHER: &str = "9e3c2e0c-1111-4b5e-8a52-3d1f3c7d4b5a";
    let said = json!([{
        "errorCode": "EQ-3", "errorMessage": format!("token {TOKEN} clashes with {ANOTHER}"),
        "additionalInfo": [{"property": "/zSide/serviceToken/uuid", "reason": ANOTHER}],
        "details": {"connection": {"uuid": ID, "zSide": {"serviceToken": {"uuid": ANOTHER}}}}
    }]);
    let refusal = said.clone();
    let rig = Rig::new(move |seen, _| match (seen.method.as_str(), seen.path()) {
        ("POST", "/fabric/v4/connections") => answer(409, refusal.clone()),
        ("GET", path) if path.ends_with(ANOTHER) => answer(404, json!([{"errorCode": "EQ-1"}])),
        _ => answer(200, token()),
    })
    .await;
    let z = json!({"type": "service_token", "service_token_uuid": rig.handle_of(TOKEN).await});
    let refused = rig.call("create_fabric_connection", order(port(PORT, 5), z)).await.unwrap();
    let shown = format!("{refused:?}");
    assert!(
        refused.is_error && shown.contains("EQ-3") && shown.contains("clashes with handle:st_"),
        "{shown}"
    );
    assert!(!shown.contains(TOKEN) && !shown.contains(ANOTHER), "{shown}");
    let answer = &data(&refused)["answer"][0];
    let handle = answer["details"]["connection"]["zSide"]["serviceToken"]["uuid"].as_str().unwrap();
    assert_eq!(answer["details"]["connection"]["uuid"], ID, "other ids stay");
    assert_eq!(answer["additionalInfo"][0]["reason"], handle);
    assert!(!rig.audit().contains(TOKEN) && !rig.audit().contains(ANOTHER), "{}", rig.audit());

    let gone = rig.call("get_service_token", json!({"token_uuid": handle})).await.unwrap();
    assert!(gone.is_error);
    assert_eq!(rig.upstream.seen().last().unwrap().path(), format!("/fabric/v4/serviceTokens/{ANOTHER}"));
}

#[tokio::test]
async fn keys_of_providers_are_redacted_in_results() {
    let connection =
        json!({"uuid": ID, "zSide": {"accessPoint": {"authenticationKey": "a-key-nobody-needs"}}});
    let listed = connection.clone();
    let rig = Rig::new(move |seen, _| match seen.path() {
        "/fabric/v4/connections/search" => answer(200, json!({"data": [listed.clone()]})),
        _ => answer(200, connection.clone()),
    })
    .await;
    for (tool, arguments) in [
        ("get_fabric_connection", json!({"connection_id": ID})),
        ("search_connections", json!({})),
        ("list_fabric_connections", json!({})),
    ] {
        let shown = format!("{:?}", rig.call(tool, arguments).await.unwrap());
        assert!(!shown.contains("a-key-nobody-needs") && shown.contains("redacted"), "{shown}");
        assert!(shown.contains(ID));
    }
}

#[tokio::test]
async fn what_the_upstream_says_is_typed_and_clean() {
    let rig = Rig::new(|seen, _| match seen.path().rsplit('/').next().unwrap() {
        "00000000-0000-4000-8000-000000000400" => answer(400, json!([{
            "errorCode": "EQ-3142", "errorMessage": "VLAN is taken", "details": "Bearer the-static-token-of-equinix"
        }])),
        "00000000-0000-4000-8000-000000000500" => answer(500, "<html>the-static-token-of-equinix</html>"),
        "00000000-0000-4000-8000-000000000200" => answer(200, "{\"broken"),
        "00000000-0000-4000-8000-000000000302" => {
            with_header(answer(302, ""), "location", "http://169.254.169.254/latest/meta-data/")
        }
        _ => with_header(answer(429, "[]"), "retry-after", "90"),
    })
    .await;
    let get = async |last: &str| {
        rig.call(
            "get_fabric_connection",
            json!({"connection_id": format!("00000000-0000-4000-8000-000000000{last}")}),
        )
        .await
    };
    let refused = get("400").await.unwrap();
    let shown = format!("{refused:?}");
    assert!(refused.is_error && shown.contains("EQ-3142") && shown.contains("VLAN is taken"), "{shown}");
    assert!(!shown.contains("the-static-token"), "{shown}");
    let failed = get("500").await.unwrap();
    assert!(failed.is_error && data(&failed)["status"] == 500, "{failed:?}");
    assert!(!format!("{failed:?}").contains("the-static-token"), "{failed:?}");
    for (last, word) in [("200", "not valid JSON"), ("302", "redirect")] {
        let error = get(last).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamFailed);
        assert!(error.message().contains(word), "{error}");
    }
    let failed = get("429").await.unwrap();
    assert!(failed.is_error && data(&failed)["retry_after_seconds"] == 90.0, "{failed:?}");
    let unsent = get("400").await.unwrap();
    assert!(unsent.is_error, "the upstream asked for peace");
    for told in [&failed, &unsent] {
        assert_eq!(data(told)["kind"], "RateLimited");
        assert!(data(told)["retry_after_seconds"].as_f64().unwrap() > 80.0, "{told:?}");
        assert!(format!("{told:?}").contains("Try again in "), "{told:?}");
    }
}

#[tokio::test]
async fn the_tool_list_is_what_was_agreed() {
    let rig = Rig::answering(json!({})).await;
    let list: Vec<Value> = rig
        .tools
        .all
        .values()
        .map(|tool| {
            let spec = tool.spec();
            let target = spec.target.as_deref().unwrap_or_default();
            json!({
                "name": spec.name, "effect": spec.effect.name(), "title": spec.title, "description": spec.description,
                "target": target.replace(rig.upstream.base().as_str(), "https://api.equinix.com/"),
                "input": **spec.input.source(),
                "redact": spec.redact
            })
        })
        .collect();
    insta::assert_json_snapshot!(list);
}

#[tokio::test]
async fn what_the_document_alone_describes_is_asked_as_it_says() {
    let rig = Rig::answering(json!({"uuid": ID})).await;
    for (tool, arguments, target) in [
        ("get_fabric_port", json!({"port_id": PORT}), format!("/fabric/v4/ports/{PORT}")),
        ("list_port_vlans", json!({"port_id": PORT}), format!("/fabric/v4/ports/{PORT}/linkProtocols")),
        ("get_fabric_router", json!({"router_id": ID}), format!("/fabric/v4/routers/{ID}")),
        ("get_service_profile", json!({"profile_uuid": ID}), format!("/fabric/v4/serviceProfiles/{ID}")),
        ("get_metro", json!({"metro_code": "SV"}), String::from("/fabric/v4/metros/SV")),
        ("get_router_package", json!({"package_code": "LAB"}), String::from("/fabric/v4/routerPackages/LAB")),
        ("get_network", json!({"network_id": ID}), format!("/fabric/v4/networks/{ID}")),
        (
            "get_connection_stats",
            json!({
                "connection_id": ID, "startDateTime": "2030-01-01T00:00:00Z", "endDateTime": "2030-01-02T00:00:00Z",
                "viewPoint": "aSide"
            }),
            format!(
                "/fabric/v4/connections/{ID}/stats?startDateTime=2030-01-01T00%3A00%3A00Z&\
                 endDateTime=2030-01-02T00%3A00%3A00Z&viewPoint=aSide"
            ),
        ),
    ] {
        let (method, sent, _) = rig.sent(tool, arguments).await;
        assert_eq!((method.as_str(), sent), ("GET", target));
    }
    assert_eq!(
        rig.call("get_metro", json!({"metro_code": ".."})).await.unwrap_err().kind(),
        Kind::BadArguments
    );
}

#[tokio::test]
async fn without_credentials_the_first_call_says_what_to_set() {
    let names = ["EQUINIX_API_TOKEN", "EQUINIX_CLIENT_ID", "EQUINIX_CLIENT_SECRET"];
    #[allow(clippy::disallowed_methods, reason = "somebody who has an account may run the tests")]
    if names
        .iter()
        .any(|name| std::env::var_os(name).is_some() || std::env::var_os(format!("{name}_FILE")).is_some())
    {
        crate::support::skipped("there are credentials of Equinix in the environment");
        return;
    }
    let upstream = crate::loopback::Upstream::start(|_, _| answer(200, "{}")).await;
    let tools = rig::Tools::at(&upstream.base(), &upstream.egress(), None);
    assert!(tools.all.len() > 40, "listing needs no credentials");
    let error = tools.call_as("anna", "list_fabric_ports", json!({})).await.unwrap_err();
    assert!(error.kind().is_tool_result(), "the model can read it: {error:?}");
    for name in ["EQUINIX_API_TOKEN", "EQUINIX_CLIENT_ID", "equinix-api-token", "equinix-client-id"] {
        assert!(error.message().contains(name), "{error}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn what_is_noise_to_a_model_is_left_out_and_given_to_whoever_asks() {
    let port = |number: u32| {
        let id = format!("c4d8dbce-3333-4c8a-9a64-{number:012}");
        json!({
            "href": format!("https://api.equinix.com/fabric/v4/ports/{id}"), "type": "XF_PORT", "uuid": id,
            "name": format!("ops-{number}"), "description": "", "state": "ACTIVE", "bandwidth": 10_000, "tags": [],
            "location": {"href": "https://api.equinix.com/fabric/v4/metros/SV", "metroCode": "SV", "ibx": null},
            "project": {"projectId": "567"}, "device": {"name": "SV1", "redundancy": {"group": null, "priority": ""}},
            "changeLog": {
                "createdBy": "ada", "createdByFullName": "Ada Martin", "createdByEmail": "ada@customer.example",
                "createdDateTime": "2026-01-02T03:04:05Z", "updatedBy": "ada", "updatedByFullName": "Ada Martin",
                "updatedByEmail": "ada@customer.example", "updatedDateTime": "2026-01-02T03:04:05Z"
            }
        })
    };
    let ports: Vec<Value> = (0..15).map(port).collect();
    let body = json!({"pagination": {"offset": 0, "limit": 15, "total": 15, "next": null}, "data": ports});
    let (whole, rig) = (body.to_string().len(), Rig::answering(body).await);
    let shown = rig.call("list_fabric_ports", json!({})).await.unwrap();
    let less = data(&shown).to_string().len();
    assert!(less * 100 < whole * 60, "{less} of {whole} bytes");
    let first = &data(&shown)["data"][0];
    assert_eq!(
        (&first["name"], &first["changeLog"]["createdDateTime"]),
        (&json!("ops-0"), &json!("2026-01-02T03:04:05Z"))
    );
    assert!(!shown.content.iter().any(|block| format!("{block:?}").contains("href")));
    let asked = rig.call("list_fabric_ports", json!({"fields": ["data.href"]})).await.unwrap();
    assert!(data(&asked)["data"][0]["href"].as_str().unwrap().starts_with("https://api.equinix.com/"));
}
