//! Connections: look at one, create, check, change, delete, and answer what the other side asks for.
//!
//! Owns those flows and their argument shapes. The idea: what is checked and what is created is put together by the
//! same function, so a check means something.
//!
//! Must not: know how ends are spelled (`sides.rs` does).

use super::parts::{
    JSON_PATCH, additional_info, choice, dry_run, emails, marketplace, marketplace_argument, merge,
    notifications, order, order_arguments, patch, project, put, term, text, uuid, whole,
};
use super::secrets::{Within, conceal_outcome};
use super::{path, sides};
use crate::connectors::flow::{Arguments, Ask, Outcome, Recipe, Run};
use crate::error::{Error, Kind, Result};
use crate::http::Method;
use crate::json::{Map, Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

/// Types of connection.
pub(super) const TYPES: &[&str] = &[
    "EVPL_VC",
    "EPL_VC",
    "IP_VC",
    "IPWAN_VC",
    "EVPLAN_VC",
    "EPLAN_VC",
    "EVPTREE_VC",
    "EPTREE_VC",
    "ACCESS_EPL_VC",
    "EC_VC",
    "EIA_VC",
    "IA_VC",
    "MC_VC",
    "IX_VC",
    "IC_VC",
];

/// Keys in a connection that nobody needs to see.
const KEYS: &[&str] = &[
    "/aSide/accessPoint/authenticationKey",
    "/zSide/accessPoint/authenticationKey",
    "/zSide/accessPoint/activationKey",
];

/// A new connection as the API wants it. Ids of service tokens that were named are added to `tokens`.
fn body(run: Run<'_>, tokens: &mut Vec<String>) -> Result<Value> {
    let arguments = run.arguments;
    let mut body = Map::new();
    for (argument, member) in [
        ("type", "type"),
        ("name", "name"),
        ("bandwidth", "bandwidth"),
        ("geo_scope", "geoScope"),
        ("redundancy", "redundancy"),
        ("additional_info", "additionalInfo"),
    ] {
        put(&mut body, member, arguments.get(argument).cloned());
    }
    put(&mut body, "notifications", notifications(arguments, "ALL"));
    put(&mut body, "order", order(arguments));
    put(&mut body, "project", project(arguments));
    put(&mut body, "aSide", Some(sides::side(run, "a_side", tokens)?));
    put(&mut body, "zSide", Some(sides::side(run, "z_side", tokens)?));
    put(&mut body, "marketplaceSubscription", marketplace(arguments));
    Ok(Value::Object(body))
}

async fn post(run: Run<'_>, dry: bool) -> Outcome {
    let mut tokens = Vec::new();
    let body = body(run, &mut tokens)?;
    let path = path(&["connections"]);
    let mut ask = Ask::new(Method::POST, &path).query("dryRun", dry.then_some(true)).json(body);
    if dry {
        ask = ask.safe();
    }
    let answer = run.upstream.ask(ask).await;
    conceal_outcome(run, answer, Within::Connections, &tokens)
}

fn create(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(post(run, run.arguments.flag("dry_run")))
}

fn get(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let path = path(&["connections", run.arguments.need("connection_id")?]);
        let ask = Ask::new(Method::GET, &path).query("direction", run.arguments.text("direction"));
        conceal_outcome(run, run.upstream.ask(ask).await, Within::Connections, &[])
    })
}

fn update(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = run.arguments;
        let changes = patch([
            ("/name", arguments.get("name").cloned()),
            ("/bandwidth", arguments.get("bandwidth").cloned()),
            ("/order/termLength", arguments.get("term_length").cloned()),
            ("/notifications", notifications(arguments, "ALL")),
            ("/aSide/accessPoint/port/uuid", arguments.get("a_side_port_uuid").cloned()),
            ("/aSide/accessPoint/linkProtocol/vlanTag", arguments.get("a_side_vlan").cloned()),
            ("", arguments.get("additional_info").map(|info| json!({"additionalInfo": info}))),
        ])?;
        let path = path(&["connections", arguments.need("connection_uuid")?]);
        let dry = arguments.flag("dry_run").then_some(true);
        let ask = Ask::new(Method::PATCH, &path).query("dryRun", dry).body(JSON_PATCH, changes);
        conceal_outcome(run, run.upstream.ask(ask).await, Within::Connections, &[])
    })
}

fn delete(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let id = run.arguments.need("connection_uuid")?;
        let path = path(&["connections", id]);
        let answer = run.upstream.ask(Ask::new(Method::DELETE, &path)).await;
        let answer = answer.map(|answer| super::parts::deleted(answer, id));
        conceal_outcome(run, answer, Within::Connections, &[])
    })
}

/// Three questions under one name: is this whole configuration possible, is this VLAN free, is this key good?
fn validate(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = run.arguments;
        let given = |names: &[&str]| names.iter().any(|name| arguments.get(name).is_some());
        let whole = arguments.object("connection_config");
        let vlan = given(&["port_uuid", "vlan", "vlan_s", "vlan_c"]);
        let key = given(&["service_profile_uuid", "authentication_key", "seller_region"]);
        let filter = match (whole, vlan, key) {
            (Some(arguments), false, false) => return post(Run { arguments, ..run }, true).await,
            (None, true, false) => vlan_filter(arguments)?,
            (None, false, true) => key_filter(arguments)?,
            _ => {
                let message = "give one of: connection_config; port_uuid with a VLAN; service_profile_uuid with \
                               authentication_key";
                return Err(Error::new(Kind::BadArguments, message).into());
            }
        };
        let path = path(&["connections", "validate"]);
        let ask = Ask::new(Method::POST, &path).safe().json(json!({"filter": {"and": filter}}));
        conceal_outcome(run, run.upstream.ask(ask).await, Within::Connections, &[])
    })
}

fn equals(property: &str, value: &str) -> Value {
    json!({"property": property, "operator": "=", "values": [value]})
}

fn vlan_filter(arguments: Arguments<'_>) -> Result<Vec<Value>> {
    let point = "/zSide/accessPoint";
    let mut filter = vec![equals(&format!("{point}/port/uuid"), arguments.need("port_uuid")?)];
    let tags = [("vlan", "vlanTag"), ("vlan_s", "vlanSTag"), ("vlan_c", "vlanCTag")];
    for (argument, member) in tags {
        if let Some(tag) = arguments.integer(argument) {
            filter.push(equals(&format!("{point}/linkProtocol/{member}"), &tag.to_string()));
        }
    }
    let (one, outer, inner) = (arguments.get("vlan"), arguments.get("vlan_s"), arguments.get("vlan_c"));
    if one.is_some() == (outer.is_some() && inner.is_some()) || outer.is_some() != inner.is_some() {
        return Err(Error::new(Kind::BadArguments, "to check a port give vlan, or vlan_s with vlan_c"));
    }
    Ok(filter)
}

fn key_filter(arguments: Arguments<'_>) -> Result<Vec<Value>> {
    let point = "/zSide/accessPoint";
    let mut filter = vec![
        equals(&format!("{point}/authenticationKey"), arguments.need("authentication_key")?),
        equals(&format!("{point}/profile/uuid"), arguments.need("service_profile_uuid")?),
    ];
    if let Some(region) = arguments.text("seller_region") {
        filter.push(equals(&format!("{point}/sellerRegion"), region));
    }
    Ok(filter)
}

/// Answers a request of the other side.
async fn act(run: Run<'_>, action: &str, z_side: bool) -> Outcome {
    let mut tokens = Vec::new();
    let mut body = Map::new();
    put(&mut body, "type", Some(json!(action)));
    put(&mut body, "description", run.arguments.get("description").cloned());
    if z_side && run.arguments.get("z_side").is_some() {
        let side = sides::side(run, "z_side", &mut tokens)?;
        put(&mut body, "data", Some(json!({"zSide": side})));
    }
    let path = path(&["connections", run.arguments.need("connection_id")?, "actions"]);
    let answer = run.upstream.ask(Ask::new(Method::POST, &path).json(Value::Object(body))).await;
    conceal_outcome(run, answer, Within::Connections, &tokens)
}

fn accept(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let update = run.arguments.text("request") == Some("update");
        let action = if update { "CONNECTION_UPDATE_ACCEPTANCE" } else { "CONNECTION_CREATION_ACCEPTANCE" };
        act(run, action, !update).await
    })
}

fn reject(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let update = run.arguments.text("request") == Some("update");
        act(run, if update { "CONNECTION_UPDATE_REJECTION" } else { "CONNECTION_CREATION_REJECTION" }, false)
            .await
    })
}

fn confirm_deletion(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(act(run, "CONNECTION_DELETION_ACCEPTANCE", false))
}

fn connection() -> Value {
    merge([
        json!({
            "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Name of the connection"},
            "type": choice("Type: EVPL_VC between ports, devices and providers; IP_VC from a cloud router; the LAN, TREE and WAN types to a network", TYPES),
            "bandwidth": whole("Mbps", 0, 100_000),
            "a_side": sides::argument("A"),
            "z_side": sides::argument("Z"),
            "notifications": emails(),
            "redundancy": {
                "type": "object", "additionalProperties": false, "required": ["priority"],
                "description": "Makes it one of a redundant pair",
                "properties": {
                    "priority": choice("Role in the pair", &["PRIMARY", "SECONDARY"]),
                    "group": text("For the secondary: group of the primary")
                }
            },
            "project_id": text("Project it belongs to"),
            "geo_scope": choice("Keep the traffic within", &[
                "CANADA", "CONUS", "JAPAN", "UK", "AUSTRALIA", "BRAZIL", "SWITZERLAND", "EU"
            ]),
            "additional_info": additional_info()
        }),
        marketplace_argument(),
        order_arguments(),
    ])
}

const NEEDED: &[&str] = &["name", "type", "bandwidth", "a_side", "z_side", "notifications"];

pub(super) fn recipes() -> Vec<Recipe> {
    let request = || choice("What the other side asked for", &["creation", "update"]);
    vec![
        Recipe {
            name: "get_fabric_connection",
            title: "Get a connection",
            description: "One connection with both ends, state, bandwidth and order.",
            effect: Effect::Read,
            input: (
                json!({
                    "connection_id": uuid("The connection"),
                    "direction": choice("Seen from", &["INTERNAL", "INCOMING", "OUTGOING"])
                }),
                &["connection_id"],
            ),
            target: "GET /fabric/v4/connections/{connection_id}",
            redact: KEYS,
            run: get,
        },
        Recipe {
            name: "create_fabric_connection",
            title: "Create a connection",
            description: "Orders a connection between two ends. This is billed. With dry_run it is only checked.",
            effect: Effect::Write,
            input: (merge([connection(), json!({"dry_run": dry_run()})]), NEEDED),
            target: "POST /fabric/v4/connections",
            redact: KEYS,
            run: create,
        },
        Recipe {
            name: "update_connection",
            title: "Change a connection",
            description: "Changes what is given and leaves the rest. More bandwidth is billed.",
            effect: Effect::Write,
            input: (
                json!({
                    "connection_uuid": uuid("The connection"),
                    "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "New name"},
                    "bandwidth": whole("New bandwidth in Mbps", 0, 100_000),
                    "term_length": term(),
                    "notifications": emails(),
                    "a_side_port_uuid": uuid("Move the A side to this port"),
                    "a_side_vlan": whole("New VLAN at the A side", 2, 4092),
                    "additional_info": additional_info(),
                    "dry_run": dry_run()
                }),
                &["connection_uuid"],
            ),
            target: "PATCH /fabric/v4/connections/{connection_uuid}",
            redact: KEYS,
            run: update,
        },
        Recipe {
            name: "delete_connection",
            title: "Delete a connection",
            description: "Ends a connection. Traffic over it stops; it cannot be brought back.",
            effect: Effect::Destroy,
            input: (json!({"connection_uuid": uuid("The connection")}), &["connection_uuid"]),
            target: "DELETE /fabric/v4/connections/{connection_uuid}",
            redact: KEYS,
            run: delete,
        },
        Recipe {
            name: "validate_connection_config",
            title: "Check a connection before ordering it",
            description: "Checks one of three things: a whole configuration (connection_config), whether a VLAN is free \
                          on a port (port_uuid and VLAN), or whether a provider knows a key (service_profile_uuid and \
                          authentication_key). Nothing is created.",
            effect: Effect::Read,
            input: (
                json!({
                    "connection_config": {
                        "type": "object", "description": "The same arguments as create_fabric_connection",
                        "properties": connection(), "required": NEEDED, "additionalProperties": false
                    },
                    "port_uuid": uuid("Port whose VLAN is checked"),
                    "vlan": whole("VLAN (DOT1Q)", 2, 4092),
                    "vlan_s": whole("Outer VLAN (QINQ)", 2, 4092),
                    "vlan_c": whole("Inner VLAN (QINQ)", 2, 4092),
                    "service_profile_uuid": uuid("Provider whose key is checked"),
                    "authentication_key": text("Key or account at the provider"),
                    "seller_region": text("The provider's region")
                }),
                &[],
            ),
            target: "POST /fabric/v4/connections/validate",
            redact: KEYS,
            run: validate,
        },
        Recipe {
            name: "accept_connection",
            title: "Accept a connection",
            description: "Accepts a connection, or a change of one, that somebody else asked you for. For a new \
                          connection z_side may say where it ends.",
            effect: Effect::Write,
            input: (
                json!({
                    "connection_id": uuid("The connection"), "request": request(),
                    "description": text("A note"), "z_side": sides::argument("Z")
                }),
                &["connection_id", "request"],
            ),
            target: "POST /fabric/v4/connections/{connection_id}/actions",
            redact: &[],
            run: accept,
        },
        Recipe {
            name: "reject_connection",
            title: "Reject a connection",
            description: "Rejects a connection, or a change of one, that somebody else asked you for.",
            effect: Effect::Destroy,
            input: (
                json!({"connection_id": uuid("The connection"), "request": request(), "description": text("Why")}),
                &["connection_id", "request"],
            ),
            target: "POST /fabric/v4/connections/{connection_id}/actions",
            redact: &[],
            run: reject,
        },
        Recipe {
            name: "confirm_connection_deletion",
            title: "Confirm the deletion of a connection",
            description: "Agrees that a connection which ends at you is deleted by the other side.",
            effect: Effect::Destroy,
            input: (
                json!({"connection_id": uuid("The connection"), "description": text("A note")}),
                &["connection_id"],
            ),
            target: "POST /fabric/v4/connections/{connection_id}/actions",
            redact: &[],
            run: confirm_deletion,
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::{key_filter, vlan_filter};
    use crate::connectors::flow::Arguments;
    use crate::json::json;

    #[test]
    fn a_vlan_check_needs_one_tag_or_both() {
        let check = |value: crate::json::Value| {
            let object = value.as_object().unwrap().clone();
            vlan_filter(Arguments::new(&object)).map(|filter| filter.len()).ok()
        };
        assert_eq!(check(json!({"port_uuid": "p", "vlan": 5})), Some(2));
        assert_eq!(check(json!({"port_uuid": "p", "vlan_s": 5, "vlan_c": 6})), Some(3));
        assert_eq!(check(json!({"port_uuid": "p"})), None);
        assert_eq!(check(json!({"port_uuid": "p", "vlan_s": 5})), None);
        assert_eq!(check(json!({"port_uuid": "p", "vlan": 1, "vlan_s": 5, "vlan_c": 6})), None);
        assert_eq!(check(json!({"vlan": 5})), None);
    }

    #[test]
    fn a_key_check_needs_key_and_profile() {
        let object =
            json!({"authentication_key": "k", "service_profile_uuid": "s"}).as_object().unwrap().clone();
        assert_eq!(key_filter(Arguments::new(&object)).unwrap().len(), 2);
        let object = json!({"authentication_key": "k"}).as_object().unwrap().clone();
        assert!(key_filter(Arguments::new(&object)).is_err());
    }
}
