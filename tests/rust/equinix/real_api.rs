//! Equinix Fabric: what the API can do beyond the usual: sorting, rarer filters, pages of plain lists, marketplaces.

use bartizan::json::Value;
use serde_json::json;

use super::rig::Rig;
use super::{ID, OTHER, PORT, data};
use crate::loopback::answer;

#[tokio::test]
async fn every_search_can_be_sorted_and_asks_for_no_order_by_itself() {
    let rig = Rig::answering(json!({"data": []})).await;
    for (tool, property, path) in [
        ("list_fabric_ports", "/bandwidth", "ports/search"),
        ("list_fabric_connections", "/changeLog/createdDateTime", "connections/search"),
        ("search_connections", "/zSide/accessPoint/location/metroCode", "connections/search"),
        ("list_fabric_routers", "/connectionsCount", "routers/search"),
        ("list_service_profiles", "/name", "serviceProfiles/search"),
        ("list_networks", "/scope", "networks/search"),
    ] {
        let (_, target, body) =
            rig.sent(tool, json!({"sort_by": property, "sort_direction": "ASC", "limit": 3})).await;
        assert_eq!(target, format!("/fabric/v4/{path}"));
        let sort = json!([{"property": property, "direction": "ASC"}]);
        let page = json!({"offset": 0, "limit": 3});
        assert_eq!(body, json!({"filter": {}, "pagination": page, "sort": sort}), "{tool}");
        let (_, _, body) = rig.sent(tool, json!({"sort_by": property})).await;
        assert_eq!(body["sort"], json!([{"property": property}]), "{tool}");
        let (_, _, body) = rig.sent(tool, json!({})).await;
        assert!(body.get("sort").is_none(), "{tool}: {body}");
    }
    for tool in ["list_advertised_routes", "list_received_routes"] {
        let arguments = json!({"connection_id": ID, "sort_by": "/prefix", "sort_direction": "DESC"});
        let (_, _, body) = rig.sent(tool, arguments).await;
        assert_eq!(body["sort"], json!([{"property": "/prefix", "direction": "DESC"}]), "{tool}");
    }
    let sent = rig.upstream.seen().len();
    for odd in [
        json!({"sort_by": "/nothing"}),
        json!({"sort_direction": "UP"}),
        json!({"sort_by": "/zSide/accessPoint/authenticationKey"}),
    ] {
        let refused = rig.call("search_connections", odd).await.unwrap_err();
        assert_eq!(refused.kind(), bartizan::error::Kind::BadArguments);
    }
    assert_eq!(rig.upstream.seen().len(), sent);
}

#[tokio::test]
async fn an_order_holds_on_every_page() {
    let rig = Rig::new(|seen, _| {
        let offset = seen.json()["pagination"]["offset"].as_u64().unwrap();
        let items = vec![json!({"uuid": ID}); 100];
        answer(200, json!({"pagination": {"offset": offset, "limit": 100, "total": 200}, "data": items}))
    })
    .await;
    rig.call("list_networks", json!({"all": true, "sort_by": "/name"})).await.unwrap();
    let seen = rig.upstream.seen();
    assert_eq!(seen.len(), 2);
    for page in seen {
        assert_eq!(page.json()["sort"], json!([{"property": "/name"}]));
    }
}

#[tokio::test]
async fn ports_and_profiles_are_found_by_their_rarer_properties() {
    let rig = Rig::answering(json!({"data": []})).await;
    let is = |property: &str, value: &str| json!({"property": property, "operator": "=", "values": [value]});
    let arguments = json!({"uuid": PORT, "org_id": "126249", "interface_name": "xe-1/0/7"});
    let (_, _, body) = rig.sent("list_fabric_ports", arguments).await;
    assert_eq!(
        body["filter"],
        json!({"and": [
            is("/uuid", PORT), is("/account/orgId", "126249"), is("/physicalPorts/interface/name", "xe-1/0/7")
        ]})
    );
    let (_, _, body) = rig.sent("list_service_profiles", json!({"uuid": ID, "port_uuid": PORT})).await;
    assert_eq!(body["filter"], json!({"and": [is("/uuid", ID), is("/ports/uuid", PORT)]}));
}

#[tokio::test]
async fn lists_without_a_search_are_paged_and_followed_too() {
    let rig = Rig::new(|seen, _| {
        let number = |name: &str| -> u64 {
            let query = seen.target.split_once('?').unwrap().1;
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(known, _)| *known == name).unwrap().1.parse().unwrap()
        };
        let (offset, limit) = (number("offset"), number("limit"));
        let items: Vec<Value> = (offset..(offset + limit).min(130))
            .map(|number| json!({"number": number, "bgpAuthKey": "k-of-bgp"}))
            .collect();
        let pagination = json!({"offset": offset, "limit": limit, "total": 130});
        answer(200, json!({"pagination": pagination, "data": items}))
    })
    .await;
    for (tool, mut arguments, path) in [
        ("list_router_packages", json!({}), String::from("routerPackages")),
        (
            "list_routing_protocols",
            json!({"connection_id": ID}),
            format!("connections/{ID}/routingProtocols"),
        ),
        (
            "list_service_profile_metros",
            json!({"profile_uuid": OTHER}),
            format!("serviceProfiles/{OTHER}/metros"),
        ),
        ("list_metros", json!({}), String::from("metros")),
    ] {
        let first = rig.sent(tool, arguments.clone()).await;
        assert_eq!(first, (String::from("GET"), format!("/fabric/v4/{path}?offset=0&limit=20"), Value::Null));
        arguments["offset"] = json!(40);
        arguments["limit"] = json!(5);
        let (_, target, _) = rig.sent(tool, arguments.clone()).await;
        assert_eq!(target, format!("/fabric/v4/{path}?offset=40&limit=5"));
        arguments["all"] = json!(true);
        let before = rig.upstream.seen().len();
        let result = rig.call(tool, arguments).await.unwrap();
        let all = data(&result)["data"].as_array().unwrap();
        assert_eq!((all.len(), &data(&result)["complete"]), (130, &json!(true)), "{tool}");
        assert!(all.iter().enumerate().all(|(at, item)| item["number"] == at));
        let asked: Vec<String> =
            rig.upstream.seen()[before..].iter().map(|seen| seen.target.clone()).collect();
        let page = |offset| format!("/fabric/v4/{path}?offset={offset}&limit=100");
        assert_eq!(asked, [page(0), page(100)]);
        assert!(tool != "list_routing_protocols" || !format!("{result:?}").contains("k-of-bgp"), "{tool}");
    }
}

#[tokio::test]
async fn a_router_is_billed_to_a_marketplace() {
    let rig = Rig::answering(json!({"uuid": ID})).await;
    let subscription = json!({"type": "AWS_MARKETPLACE_SUBSCRIPTION", "uuid": OTHER});
    let mut arguments = json!({
        "name": "r", "metro_code": "SV", "package": "LAB", "notifications": ["a@b.example"],
        "marketplace_subscription": subscription
    });
    let (_, target, body) = rig.sent("create_fabric_router", arguments.clone()).await;
    assert_eq!(target, "/fabric/v4/routers");
    assert_eq!(
        body,
        json!({
            "type": "XF_ROUTER", "name": "r", "location": {"metroCode": "SV"}, "package": {"code": "LAB"},
            "notifications": [{"type": "ALL", "emails": ["a@b.example"]}], "marketplaceSubscription": subscription
        })
    );
    arguments["marketplace_subscription"] = json!({"type": "ANOTHER", "uuid": OTHER});
    assert!(rig.call("create_fabric_router", arguments).await.is_err());
    assert_eq!(rig.upstream.seen().len(), 1);
}

#[tokio::test]
async fn what_a_provider_wants_to_know_is_added_to_a_connection_and_its_secrets_are_not_shown() {
    let info = json!([
        {"key": "asn", "value": "65001"}, {"key": "secretKey", "value": "the-secret-key-of-the-provider"}
    ]);
    let rig = Rig::answering(json!({"uuid": ID, "additionalInfo": info})).await;
    let arguments = json!({"connection_uuid": ID, "name": "n", "additional_info": info});
    let result = rig.call("update_connection", arguments).await.unwrap();
    let seen = rig.upstream.seen().pop().unwrap();
    assert_eq!(seen.header("content-type"), Some("application/json-patch+json"));
    assert_eq!(
        seen.json(),
        json!([
            {"op": "replace", "path": "/name", "value": "n"},
            {"op": "add", "path": "", "value": {"additionalInfo": info}}
        ])
    );
    assert_eq!(data(&result)["additionalInfo"][0]["value"], "65001");
    assert!(!format!("{result:?}").contains("the-secret-key-of-the-provider"), "{result:?}");
    assert!(!rig.audit().contains("the-secret-key-of-the-provider"), "{}", rig.audit());
}
