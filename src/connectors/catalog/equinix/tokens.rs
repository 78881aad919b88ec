//! Service tokens: a right to connect that can be given away.
//!
//! Owns their whole life. The idea: whoever holds a token's id may use it, so results show handles.
//!
//! Must not: let an id out (`secrets.rs` sees to that).

use super::parts::{
    JSON_PATCH, choice, deleted, dry_run, emails, flag, merge, notifications, patch, project, put, text,
    uuid, whole,
};
use super::search::{Narrow, by, list as listed, paging, search};
use super::secrets::{Within, conceal, conceal_outcome, handle, named, received};
use super::{path, sides};
use crate::connectors::flow::{Arguments, Ask, Outcome, Recipe, Run};
use crate::error::{Error, Kind, Result};
use crate::http::Method;
use crate::json::{Map, Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

const FILTERS: &[Narrow] = &[
    by("name", "/name", "LIKE"),
    by("state", "/state", "="),
    by("type", "/type", "="),
    by("project_id", "/project/projectId", "="),
    by("a_side_port_uuid", "/connection/aSide/accessPointSelectors/port/uuid", "="),
    by("z_side_port_uuid", "/connection/zSide/accessPointSelectors/port/uuid", "="),
];

fn list(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let narrowed = FILTERS.iter().any(|narrow| run.arguments.get(narrow.argument).is_some());
        let found = if narrowed {
            search(run, &["serviceTokens", "search"], FILTERS, None).await
        } else {
            listed(run, &["serviceTokens"], &[]).await
        };
        Ok(conceal(run, found?, Within::Tokens, &[])?)
    })
}

/// Sends a request about one token, whose id goes into the path.
async fn about(
    run: Run<'_>,
    method: Method,
    last: Option<&str>,
    body: Option<(&'static str, Value)>,
) -> Outcome {
    let id = named(run, run.arguments, "token_uuid")?;
    let mut rest = vec!["serviceTokens", id.as_str()];
    rest.extend(last);
    let path = path(&rest);
    let dry = run.arguments.flag("dry_run").then_some(true);
    let mut ask = Ask::new(method.clone(), &path).query("dryRun", dry);
    if let Some((media_type, body)) = body {
        ask = ask.body(media_type, body);
    }
    let mut answer = run.upstream.ask(ask).await;
    if method == Method::DELETE {
        answer = answer.map(|answer| deleted(answer, &id));
    }
    conceal_outcome(run, answer, Within::Tokens, std::slice::from_ref(&id))
}

fn get(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(about(run, Method::GET, None, None))
}

fn delete(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(about(run, Method::DELETE, None, None))
}

fn resend(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    let body = json!({"type": "RESEND_EMAIL_NOTIFICATION"});
    Box::pin(about(run, Method::POST, Some("actions"), Some(("application/json", body))))
}

fn update(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let value = |name: &str| run.arguments.get(name).cloned();
        let changes = patch([
            ("/name", value("name")),
            ("/description", value("description")),
            ("/expirationDateTime", value("expiration_date")),
            ("/notifications/emails", value("notifications")),
            ("/connection/bandwidthLimit", value("bandwidth_limit")),
            ("/connection/supportedBandwidths", value("supported_bandwidths")),
        ])?;
        about(run, Method::PATCH, None, Some((JSON_PATCH, changes))).await
    })
}

fn create(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let path = path(&["serviceTokens"]);
        let dry = run.arguments.flag("dry_run").then_some(true);
        let ask = Ask::new(Method::POST, &path).query("dryRun", dry).json(body(run.arguments)?);
        conceal_outcome(run, run.upstream.ask(ask).await, Within::Tokens, &[])
    })
}

fn body(arguments: Arguments<'_>) -> Result<Value> {
    let mut connection = Map::new();
    put(&mut connection, "type", Some(json!(arguments.text("connection_type").unwrap_or("EVPL_VC"))));
    put(&mut connection, "allowRemoteConnection", arguments.get("allow_remote_connection").cloned());
    put(&mut connection, "allowCustomBandwidth", arguments.get("allow_custom_bandwidth").cloned());
    let (limit, supported) = (arguments.get("bandwidth_limit"), arguments.get("supported_bandwidths"));
    let wrong = |message: &'static str| Err(Error::new(Kind::BadArguments, message));
    match (arguments.object("a_side"), arguments.object("z_side")) {
        (Some(_), None) if supported.is_some() => {
            return wrong(
                "a token of the A side has a bandwidth_limit; supported_bandwidths belong to the Z side",
            );
        }
        (None, Some(_)) if limit.is_some() => {
            return wrong(
                "a token of the Z side has supported_bandwidths; bandwidth_limit belongs to the A side",
            );
        }
        (Some(end), None) => {
            put(&mut connection, "bandwidthLimit", limit.cloned());
            put(&mut connection, "aSide", Some(json!({"accessPointSelectors": [selector(end, "a_side")?]})));
        }
        (None, Some(end)) => {
            put(&mut connection, "supportedBandwidths", supported.cloned());
            put(&mut connection, "zSide", Some(json!({"accessPointSelectors": [selector(end, "z_side")?]})));
        }
        _ => return wrong("a token is for one end: give a_side or z_side, not both"),
    }
    let mut body = Map::new();
    put(&mut body, "type", Some(json!(arguments.text("type").unwrap_or("VC_TOKEN"))));
    put(&mut body, "name", arguments.get("name").cloned());
    put(&mut body, "description", arguments.get("description").cloned());
    put(&mut body, "expirationDateTime", arguments.get("expiration_date").cloned());
    put(&mut body, "connection", Some(Value::Object(connection)));
    put(&mut body, "notifications", notifications(arguments, "ALL"));
    put(&mut body, "project", project(arguments));
    Ok(Value::Object(body))
}

/// What a token opens.
fn selector(end: Arguments<'_>, which: &str) -> Result<Value> {
    let need = |name: &str| {
        end.get(name).ok_or_else(|| {
            Error::new(Kind::BadArguments, format!("{which} of this type needs {name}; add it"))
        })
    };
    let mut selector = Map::new();
    match end.need("type")? {
        "port" => {
            put(&mut selector, "type", Some(json!("COLO")));
            put(&mut selector, "port", Some(json!({"uuid": need("port_uuid")?})));
            put(&mut selector, "linkProtocol", Some(sides::link(end, which)?));
        }
        "virtual_device" => {
            put(&mut selector, "type", Some(json!("VD")));
            let device = json!({"type": "EDGE", "uuid": need("virtual_device_uuid")?});
            put(&mut selector, "virtualDevice", Some(device));
            let interface = end.get("interface_id").map(|id| json!({"type": "NETWORK", "id": id}));
            put(&mut selector, "interface", interface);
        }
        _ => {
            put(&mut selector, "type", Some(json!("NETWORK")));
            put(&mut selector, "network", Some(json!({"uuid": need("network_uuid")?})));
        }
    }
    put(&mut selector, "hideAssetInfo", end.get("hide_asset_info").cloned());
    Ok(Value::Object(selector))
}

fn end(which: &str) -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["type"],
        "description": format!("The {which} end, if the token is for that"),
        "properties": {
            "type": choice("What the token opens", &["port", "virtual_device", "network"]),
            "port_uuid": uuid("For a port: its id"),
            "vlan": whole("For a port: its VLAN (DOT1Q)", 2, 4092),
            "vlan_s": whole("For a port with two tags: the outer VLAN", 2, 4092),
            "vlan_c": whole("For a port with two tags: the inner VLAN", 2, 4092),
            "virtual_device_uuid": uuid("For a virtual device: its id"),
            "interface_id": whole("For a virtual device: number of its interface", 0, 65535),
            "network_uuid": uuid("For a network: its id"),
            "hide_asset_info": flag("Do not show the other side what this is")
        }
    })
}

fn bandwidths() -> Value {
    json!({
        "type": "array", "minItems": 1, "maxItems": 50, "items": {"type": "integer", "minimum": 0, "maximum": 100_000},
        "description": "Z side: bandwidths in Mbps that may be chosen from"
    })
}

fn when() -> Value {
    json!({
        "type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$",
        "description": "End of the token's life, such as 2030-01-31T00:00:00Z"
    })
}

pub(super) fn recipes() -> Vec<Recipe> {
    let one = || json!({"token_uuid": handle("The token")});
    vec![
        Recipe {
            name: "list_service_tokens",
            title: "List service tokens",
            description: "Your service tokens. Their ids are secret: each is shown as a handle that other tools take.",
            effect: Effect::Read,
            input: (
                merge([
                    json!({
                        "name": text("Part of the name"),
                        "state": choice("State", &["ACTIVE", "INACTIVE", "EXPIRED", "DELETED"]),
                        "type": choice("Type", &["VC_TOKEN", "EPL_TOKEN"]),
                        "project_id": text("Project"),
                        "a_side_port_uuid": uuid("Port at the A side"),
                        "z_side_port_uuid": uuid("Port at the Z side")
                    }),
                    paging(),
                ]),
                &[],
            ),
            target: "GET /fabric/v4/serviceTokens",
            redact: &[],
            run: list,
        },
        Recipe {
            name: "get_service_token",
            title: "Get a service token",
            description: "One service token: state, expiry, and what it opens.",
            effect: Effect::Read,
            input: (merge([one(), json!({"service_token": received()})]), &[]),
            target: "GET /fabric/v4/serviceTokens/{token_uuid}",
            redact: &[],
            run: get,
        },
        Recipe {
            name: "create_service_token",
            title: "Create a service token",
            description: "Creates a right to connect to one of your ports, devices or networks. The e-mail addresses \
                          receive the token; here it is shown as a handle.",
            effect: Effect::Write,
            input: (
                json!({
                    "name": text("Name"),
                    "type": choice("Type; VC_TOKEN if left out", &["VC_TOKEN", "EPL_TOKEN"]),
                    "description": text("What it is for"),
                    "expiration_date": when(),
                    "notifications": emails(),
                    "connection_type": choice("Type of connection; EVPL_VC if left out", &[
                        "EVPL_VC", "EPL_VC", "EVPLAN_VC", "EPLAN_VC", "IPWAN_VC", "IP_VC", "EVPTREE_VC", "EPTREE_VC"
                    ]),
                    "a_side": end("A"),
                    "z_side": end("Z"),
                    "bandwidth_limit": whole("A side: most Mbps", 0, 100_000),
                    "supported_bandwidths": bandwidths(),
                    "allow_remote_connection": flag("Allow connections from other metros"),
                    "allow_custom_bandwidth": flag("Allow any bandwidth"),
                    "project_id": text("Project it belongs to"),
                    "dry_run": dry_run()
                }),
                &["name", "expiration_date", "notifications"],
            ),
            target: "POST /fabric/v4/serviceTokens",
            redact: &[],
            run: create,
        },
        Recipe {
            name: "update_service_token",
            title: "Change a service token",
            description: "Changes what is given and leaves the rest.",
            effect: Effect::Write,
            input: (
                merge([
                    one(),
                    json!({
                        "name": text("New name"), "description": text("New description"), "expiration_date": when(),
                        "notifications": emails(), "bandwidth_limit": whole("A side: most Mbps", 0, 100_000),
                        "supported_bandwidths": bandwidths(), "dry_run": dry_run()
                    }),
                ]),
                &["token_uuid"],
            ),
            target: "PATCH /fabric/v4/serviceTokens/{token_uuid}",
            redact: &[],
            run: update,
        },
        Recipe {
            name: "delete_service_token",
            title: "Delete a service token",
            description: "Takes the right to connect back. Connections that were made with it stay.",
            effect: Effect::Destroy,
            input: (one(), &["token_uuid"]),
            target: "DELETE /fabric/v4/serviceTokens/{token_uuid}",
            redact: &[],
            run: delete,
        },
        Recipe {
            name: "resend_service_token",
            title: "Send a service token again",
            description: "Sends the e-mail with the token to its addresses again.",
            effect: Effect::Write,
            input: (one(), &["token_uuid"]),
            target: "POST /fabric/v4/serviceTokens/{token_uuid}/actions",
            redact: &[],
            run: resend,
        },
    ]
}
