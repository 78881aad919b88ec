//! Cloud routers and the routing protocols of their connections.
//!
//! Owns what creates, changes and deletes them. The idea: addresses and numbers are named for what they are; the API's
//! two protocol shapes are put together here.
//!
//! Must not: list (`search.rs` does) or read one (the document does).

use super::parts::{
    JSON_PATCH, choice, deleted, dry_run, emails, flag, marketplace, marketplace_argument, merge, metro,
    notifications, order, order_arguments, patch, project, put, term, text, uuid, whole,
};
use super::path;
use crate::connectors::flow::{Arguments, Ask, Outcome, Recipe, Run};
use crate::error::{Error, Kind, Result};
use crate::http::Method;
use crate::json::{Map, Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

/// Packages of a cloud router, smallest first.
pub(super) const PACKAGES: &[&str] = &["LAB", "BASIC", "STANDARD", "ADVANCED", "PREMIUM"];
/// States of a cloud router.
pub(super) const STATES: &[&str] = &[
    "PROVISIONED",
    "PROVISIONING",
    "DEPROVISIONING",
    "DEPROVISIONED",
    "REPROVISIONING",
    "NOT_PROVISIONED",
    "NOT_DEPROVISIONED",
];

fn create(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = run.arguments;
        let mut body = Map::new();
        put(&mut body, "type", Some(json!("XF_ROUTER")));
        put(&mut body, "name", arguments.get("name").cloned());
        put(&mut body, "location", Some(json!({"metroCode": arguments.need("metro_code")?})));
        put(&mut body, "package", Some(json!({"code": arguments.need("package")?})));
        put(&mut body, "notifications", notifications(arguments, "ALL"));
        put(
            &mut body,
            "account",
            arguments.get("account_number").map(|number| json!({"accountNumber": number})),
        );
        put(&mut body, "project", project(arguments));
        put(&mut body, "order", order(arguments));
        put(&mut body, "marketplaceSubscription", marketplace(arguments));
        let path = path(&["routers"]);
        let dry = arguments.flag("dry_run").then_some(true);
        run.upstream.ask(Ask::new(Method::POST, &path).query("dryRun", dry).json(Value::Object(body))).await
    })
}

fn update(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = run.arguments;
        let changes = patch([
            ("/name", arguments.get("name").cloned()),
            ("/package/code", arguments.get("package").cloned()),
            ("/order/termLength", arguments.get("term_length").cloned()),
            ("/notifications", notifications(arguments, "ALL")),
        ])?;
        let path = path(&["routers", arguments.need("router_uuid")?]);
        run.upstream.ask(Ask::new(Method::PATCH, &path).body(JSON_PATCH, changes)).await
    })
}

fn delete(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let id = run.arguments.need("router_uuid")?;
        let path = path(&["routers", id]);
        Ok(deleted(run.upstream.ask(Ask::new(Method::DELETE, &path)).await?, id))
    })
}

fn create_protocol(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let body = protocol(run.arguments)?;
        let path = path(&["connections", run.arguments.need("connection_id")?, "routingProtocols"]);
        run.upstream.ask(Ask::new(Method::POST, &path).json(body)).await
    })
}

fn delete_protocol(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let id = run.arguments.need("routing_protocol_id")?;
        let path = path(&["connections", run.arguments.need("connection_id")?, "routingProtocols", id]);
        Ok(deleted(run.upstream.ask(Ask::new(Method::DELETE, &path)).await?, id))
    })
}

/// A routing protocol as the API wants it: DIRECT first, BGP on top of it.
fn protocol(arguments: Arguments<'_>) -> Result<Value> {
    let kind = arguments.need("type")?;
    let mut body = Map::new();
    put(&mut body, "type", Some(json!(kind)));
    put(&mut body, "name", arguments.get("name").cloned());
    let direct = ["equinix_ipv4", "equinix_ipv6"];
    let bgp = [
        "customer_asn",
        "customer_peer_ipv4",
        "customer_peer_ipv6",
        "equinix_peer_ipv4",
        "equinix_peer_ipv6",
        "bgp_auth_key",
        "as_override",
        "bfd_interval",
        "outbound_as_prepend_ipv4",
        "outbound_as_prepend_ipv6",
    ];
    let given = |names: &[&str]| names.iter().any(|name| arguments.get(name).is_some());
    if kind == "DIRECT" {
        if given(&bgp) || !given(&direct) {
            let message = "a DIRECT protocol needs equinix_ipv4 or equinix_ipv6, and nothing of BGP's";
            return Err(Error::new(Kind::BadArguments, message));
        }
        let interface = |name| arguments.get(name).map(|address| json!({"equinixIfaceIp": address}));
        put(&mut body, "directIpv4", interface("equinix_ipv4"));
        put(&mut body, "directIpv6", interface("equinix_ipv6"));
        return Ok(Value::Object(body));
    }
    let peers = given(&["customer_peer_ipv4", "customer_peer_ipv6"]);
    if given(&direct) || !peers || arguments.get("customer_asn").is_none() {
        let message = "a BGP protocol needs customer_asn and customer_peer_ipv4 or customer_peer_ipv6, and nothing of \
                       DIRECT's";
        return Err(Error::new(Kind::BadArguments, message));
    }
    put(&mut body, "bgpIpv4", peer(arguments, "4"));
    put(&mut body, "bgpIpv6", peer(arguments, "6"));
    put(&mut body, "customerAsn", arguments.get("customer_asn").cloned());
    put(&mut body, "bgpAuthKey", arguments.get("bgp_auth_key").cloned());
    put(&mut body, "asOverrideEnabled", arguments.get("as_override").cloned());
    let bfd = arguments.integer("bfd_interval");
    put(&mut body, "bfd", bfd.map(|interval| json!({"enabled": true, "interval": interval.to_string()})));
    Ok(Value::Object(body))
}

fn peer(arguments: Arguments<'_>, version: &str) -> Option<Value> {
    let get = |name: &str| arguments.get(&format!("{name}{version}")).cloned();
    let mut peer = Map::new();
    put(&mut peer, "customerPeerIp", Some(get("customer_peer_ipv")?));
    put(&mut peer, "equinixPeerIp", get("equinix_peer_ipv"));
    put(&mut peer, "enabled", Some(json!(true)));
    put(&mut peer, "outboundASPrependCount", get("outbound_as_prepend_ipv"));
    Some(Value::Object(peer))
}

pub(super) fn recipes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "create_fabric_router",
            title: "Create a cloud router",
            description: "Orders a Fabric cloud router in a metro. This is billed. With dry_run it is only checked.",
            effect: Effect::Write,
            input: (
                merge([
                    json!({
                        "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Name of the router"},
                        "metro_code": metro("Metro, such as SV"),
                        "package": choice("Size; list_router_packages has the limits", PACKAGES),
                        "notifications": emails(),
                        "account_number": whole("Account that is billed", 1, i64::MAX),
                        "project_id": text("Project it belongs to"),
                        "dry_run": dry_run()
                    }),
                    order_arguments(),
                    marketplace_argument(),
                ]),
                &["name", "metro_code", "package", "notifications"],
            ),
            target: "POST /fabric/v4/routers",
            redact: &[],
            run: create,
        },
        Recipe {
            name: "update_fabric_router",
            title: "Change a cloud router",
            description: "Changes what is given and leaves the rest. A larger package is billed.",
            effect: Effect::Write,
            input: (
                json!({
                    "router_uuid": uuid("The router"),
                    "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "New name"},
                    "package": choice("New size", PACKAGES),
                    "notifications": emails(),
                    "term_length": term()
                }),
                &["router_uuid"],
            ),
            target: "PATCH /fabric/v4/routers/{router_uuid}",
            redact: &[],
            run: update,
        },
        Recipe {
            name: "delete_fabric_router",
            title: "Delete a cloud router",
            description: "Ends a cloud router. Its connections have to be deleted first.",
            effect: Effect::Destroy,
            input: (json!({"router_uuid": uuid("The router")}), &["router_uuid"]),
            target: "DELETE /fabric/v4/routers/{router_uuid}",
            redact: &[],
            run: delete,
        },
        Recipe {
            name: "create_routing_protocol",
            title: "Create a routing protocol",
            description: "Gives a cloud router's connection its addresses (DIRECT, first) or a BGP session (afterwards).",
            effect: Effect::Write,
            input: (
                json!({
                    "connection_id": uuid("The connection"),
                    "type": choice("Protocol", &["DIRECT", "BGP"]),
                    "name": text("Name"),
                    "equinix_ipv4": text("DIRECT: address and prefix of the Equinix interface, such as 192.0.2.1/30"),
                    "equinix_ipv6": text("DIRECT: the same for IPv6"),
                    "customer_asn": whole("BGP: your autonomous system", 1, 4_294_967_295),
                    "customer_peer_ipv4": text("BGP: address of your peer"),
                    "customer_peer_ipv6": text("BGP: the same for IPv6"),
                    "equinix_peer_ipv4": text("BGP: address of the Equinix peer"),
                    "equinix_peer_ipv6": text("BGP: the same for IPv6"),
                    "outbound_as_prepend_ipv4": whole("BGP: how often the AS is prepended", 0, 20),
                    "outbound_as_prepend_ipv6": whole("BGP: the same for IPv6", 0, 20),
                    "bgp_auth_key": text("BGP: key of the session"),
                    "as_override": flag("BGP: override the AS"),
                    "bfd_interval": whole("BGP: switch on failure detection with this interval in milliseconds", 100, 30_000)
                }),
                &["connection_id", "type"],
            ),
            target: "POST /fabric/v4/connections/{connection_id}/routingProtocols",
            redact: &["/bgpAuthKey"],
            run: create_protocol,
        },
        Recipe {
            name: "delete_routing_protocol",
            title: "Delete a routing protocol",
            description: "Takes a routing protocol from a connection. Traffic over it stops.",
            effect: Effect::Destroy,
            input: (
                json!({"connection_id": uuid("The connection"), "routing_protocol_id": uuid("The protocol")}),
                &["connection_id", "routing_protocol_id"],
            ),
            target: "DELETE /fabric/v4/connections/{connection_id}/routingProtocols/{routing_protocol_id}",
            redact: &["/bgpAuthKey"],
            run: delete_protocol,
        },
    ]
}
