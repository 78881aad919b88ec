//! Searches.
//!
//! Owns filters, paging and the tools that search. The idea: a tool declares which of its arguments is which
//! property of the API; the filter is built from those that are given.
//!
//! Must not: follow an address that the upstream names; pages are asked for by number.

use super::parts::{choice, flag, merge, metro, put, text, uuid, whole};
use super::path;
use super::secrets::{Within, conceal};
use super::sort;
use crate::connectors::flow::{Arguments, Ask, Outcome, Recipe, Run};
use crate::error::{Error, Kind, Result};
use crate::http::Method;
use crate::json::{Map, Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

/// Most items that `all` collects.
const MOST: usize = 1000;
/// Items of a page when all are wanted.
const PAGE: u64 = 100;

/// Most pages that are asked for, however short they are.
const PAGES: usize = 20;

/// How an argument narrows a search.
#[derive(Clone, Copy)]
pub(super) struct Narrow {
    pub(super) argument: &'static str,
    pub(super) property: &'static str,
    pub(super) operator: &'static str,
}

pub(super) const fn by(argument: &'static str, property: &'static str, operator: &'static str) -> Narrow {
    Narrow { argument, property, operator }
}

/// The arguments of every list.
pub(super) fn paging() -> Value {
    json!({
        "offset": {"type": "integer", "minimum": 0, "default": 0, "description": "How many to skip"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20, "description": "How many to show"},
        "all": flag("Follow the pages and show everything, at most 1000 items; offset and limit are then not used")
    })
}

/// `filter.and` from the arguments that are given; none if none is.
pub(super) fn filter(arguments: Arguments<'_>, narrows: &[Narrow]) -> Result<Option<Value>> {
    let mut all = Vec::new();
    for narrow in narrows {
        let Some(given) = arguments.get(narrow.argument) else { continue };
        let mut values = match given {
            Value::Array(items) => items.iter().map(plain).collect::<Result<Vec<_>>>()?,
            one => vec![plain(one)?],
        };
        if narrow.operator.contains("LIKE") {
            for value in &mut values {
                *value = format!("%{value}%");
            }
        }
        let operator = if values.len() > 1 && narrow.operator == "=" { "IN" } else { narrow.operator };
        all.push(json!({"property": narrow.property, "operator": operator, "values": values}));
    }
    Ok((!all.is_empty()).then(|| json!({"and": all})))
}

/// Values of a filter are always texts.
fn plain(value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(Error::new(Kind::BadArguments, "a search compares with texts and numbers; give one of those"))
        }
    }
}

/// A list, and how its pages are asked for.
struct Pages<'a> {
    run: Run<'a>,
    path: Vec<&'a str>,
    query: Vec<(&'static str, &'a str)>,
    /// The filter of a search by POST; none for a list by GET.
    filter: Option<Value>,
}

/// Searches by POST: a page, or all of them.
pub(super) async fn search<'a>(
    run: Run<'a>,
    rest: &[&'a str],
    narrows: &[Narrow],
    query: Option<(&'static str, &'a str)>,
) -> Outcome {
    let filter = Some(filter(run.arguments, narrows)?.unwrap_or_else(|| json!({})));
    Pages { run, path: path(rest), query: query.into_iter().collect(), filter }.collect().await
}

/// Lists by GET: a page, or all of them.
pub(super) async fn list<'a>(run: Run<'a>, rest: &[&'a str], query: &[(&'static str, &'a str)]) -> Outcome {
    Pages { run, path: path(rest), query: query.to_vec(), filter: None }.collect().await
}

impl Pages<'_> {
    async fn page(&self, offset: u64, limit: u64) -> Outcome {
        let mut ask = if let Some(filter) = &self.filter {
            let mut body = Map::new();
            put(&mut body, "filter", Some(filter.clone()));
            put(&mut body, "pagination", Some(json!({"offset": offset, "limit": limit})));
            put(&mut body, "sort", sort::wanted(self.run.arguments));
            let body = Value::Object(body);
            Ask::new(Method::POST, &self.path).safe().json(body)
        } else {
            Ask::new(Method::GET, &self.path).query("offset", Some(offset)).query("limit", Some(limit))
        };
        for (name, value) in &self.query {
            ask = ask.query(name, Some(value));
        }
        self.run.upstream.ask(ask).await
    }

    /// The page that was asked for; or, for `all`, one page after the other up to the cap.
    async fn collect(self) -> Outcome {
        let arguments = self.run.arguments;
        let number = |name: &str| arguments.get(name).and_then(Value::as_u64);
        if !arguments.flag("all") {
            let page = self.page(number("offset").unwrap_or(0), number("limit").unwrap_or(20)).await?;
            return Ok(if page.is_null() { json!({"data": []}) } else { page });
        }
        let (mut data, mut total, mut complete) = (Vec::new(), None, false);
        for _ in 0..PAGES {
            if data.len() >= MOST || complete {
                break;
            }
            let page = self.page(data.len() as u64, PAGE).await?;
            let items = page.get("data").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let pagination = page.get("pagination");
            total = pagination.and_then(|page| page.get("total")).and_then(Value::as_u64).or(total);
            let more = pagination.and_then(|page| page.get("next")).is_some_and(|next| !next.is_null());
            data.extend(items.iter().cloned());
            let reached = total.is_none_or(|total| data.len() as u64 >= total);
            complete = items.is_empty() || (reached && !more);
        }
        data.truncate(MOST);
        let shown = data.len();
        Ok(json!({
            "data": data, "complete": complete, "pagination": {"offset": 0, "limit": shown, "total": total}
        }))
    }
}

const PORTS: &[Narrow] = &[
    by("name", "/name", "="),
    by("state", "/state", "="),
    by("metro_code", "/location/metroCode", "="),
    by("project_id", "/project/projectId", "="),
    by("uuid", "/uuid", "="),
    by("org_id", "/account/orgId", "="),
    by("account_number", "/account/accountNumber", "="),
    by("device_name", "/device/name", "="),
    by("cross_connect_id", "/physicalPorts/tether/crossConnectId", "="),
    by("interface_name", "/physicalPorts/interface/name", "="),
];

const CONNECTIONS: &[Narrow] = &[
    by("uuid", "/uuid", "="),
    by("name", "/name", "LIKE"),
    by("type", "/type", "="),
    by("state", "/state", "="),
    by("equinix_status", "/operation/equinixStatus", "="),
    by("provider_status", "/operation/providerStatus", "="),
    by("min_bandwidth", "/bandwidth", ">="),
    by("max_bandwidth", "/bandwidth", "<="),
    by("project_id", "/project/projectId", "="),
    by("redundancy_group", "/redundancy/group", "="),
    by("a_side_port_uuid", "/aSide/accessPoint/port/uuid", "="),
    by("a_side_metro_code", "/aSide/accessPoint/location/metroCode", "="),
    by("a_side_virtual_device_uuid", "/aSide/accessPoint/virtualDevice/uuid", "="),
    by("router_uuid", "/aSide/accessPoint/router/uuid", "="),
    by("z_side_port_uuid", "/zSide/accessPoint/port/uuid", "="),
    by("z_side_metro_code", "/zSide/accessPoint/location/metroCode", "="),
    by("z_side_virtual_device_uuid", "/zSide/accessPoint/virtualDevice/uuid", "="),
    by("service_profile_uuid", "/zSide/accessPoint/profile/uuid", "="),
    by("network_uuid", "/zSide/accessPoint/network/uuid", "="),
];

const ROUTERS: &[Narrow] = &[
    by("name", "/name", "="),
    by("state", "/state", "="),
    by("metro_code", "/location/metroCode", "="),
    by("package", "/package/code", "="),
    by("project_id", "/project/projectId", "="),
];

const PROFILES: &[Narrow] = &[
    by("name", "/name", "="),
    by("service_type", "/type", "="),
    by("metro_code", "/metros/code", "="),
    by("state", "/state", "="),
    by("visibility", "/visibility", "="),
    by("project_id", "/project/projectId", "="),
    by("uuid", "/uuid", "="),
    by("port_uuid", "/ports/uuid", "="),
];

const ROUTES: &[Narrow] = &[
    by("type", "/type", "="),
    by("state", "/state", "="),
    by("prefix", "/prefix", "="),
    by("next_hop", "/nextHop", "="),
    by("med", "/med", "="),
];

fn ports(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(search(run, &["ports", "search"], PORTS, None))
}

fn all_connections(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let found = search(run, &["connections", "search"], &[], None).await?;
        Ok(conceal(run, found, Within::Connections, &[])?)
    })
}

fn connections(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        // one "state" that people look for is a status of the order
        let mut arguments = run.arguments.object_clone();
        if run.arguments.text("state") == Some("PENDING_AUTO_APPROVAL") {
            arguments.remove("state");
            arguments.insert(String::from("equinix_status"), json!("PENDING_AUTO_APPROVAL"));
        }
        let run = Run { arguments: Arguments::new(&arguments), ..run };
        let found = search(run, &["connections", "search"], CONNECTIONS, None).await?;
        Ok(conceal(run, found, Within::Connections, &[])?)
    })
}

fn routers(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(search(run, &["routers", "search"], ROUTERS, None))
}

fn profiles(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let side = run.arguments.text("view_point").map(|side| ("viewPoint", side));
        search(run, &["serviceProfiles", "search"], PROFILES, side).await
    })
}

fn advertised(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let id = run.arguments.need("connection_id")?;
        search(run, &["connections", id, "advertisedRoutes", "search"], ROUTES, None).await
    })
}

fn received(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let id = run.arguments.need("connection_id")?;
        search(run, &["connections", id, "receivedRoutes", "search"], ROUTES, None).await
    })
}

/// States of a connection, and the one status that is looked for like a state.
const STATES: &[&str] = &[
    "ACTIVE",
    "CANCELLED",
    "DEPROVISIONED",
    "DEPROVISIONING",
    "DRAFT",
    "FAILED",
    "PENDING",
    "PROVISIONED",
    "PROVISIONING",
    "REPROVISIONING",
    "PENDING_AUTO_APPROVAL",
];

fn connection_filters() -> Value {
    json!({
        "uuid": uuid("Exactly this connection"),
        "name": text("Part of the name"),
        "type": choice("Type of connection", super::connections::TYPES),
        "state": choice("State", STATES),
        "equinix_status": text("Status of the order at Equinix, such as PENDING_APPROVAL"),
        "provider_status": text("Status at the provider, such as AVAILABLE"),
        "min_bandwidth": whole("At least so many Mbps", 0, 100_000),
        "max_bandwidth": whole("At most so many Mbps", 0, 100_000),
        "project_id": text("Project"),
        "redundancy_group": text("Redundancy group"),
        "a_side_port_uuid": uuid("Port at the A side"),
        "a_side_metro_code": metro("Metro of the A side"),
        "a_side_virtual_device_uuid": uuid("Virtual device at the A side"),
        "router_uuid": uuid("Cloud router at the A side"),
        "z_side_port_uuid": uuid("Port at the Z side"),
        "z_side_metro_code": metro("Metro of the Z side"),
        "z_side_virtual_device_uuid": uuid("Virtual device at the Z side"),
        "service_profile_uuid": uuid("Service profile at the Z side"),
        "network_uuid": uuid("Network at the Z side")
    })
}

fn route_filters() -> Value {
    json!({
        "connection_id": uuid("The connection"),
        "type": choice("Type of route", &["IPv4_BGP_ROUTE", "IPv6_BGP_ROUTE"]),
        "state": choice("State of the route", &["ACTIVE", "INACTIVE"]),
        "prefix": text("Prefix, such as 192.0.2.0/24"),
        "next_hop": text("Next hop"),
        "med": whole("Multi-exit discriminator", 0, 4_294_967_295)
    })
}

/// Keys in a connection that nobody needs to see.
pub(super) const KEYS_IN_LIST: &[&str] = &[
    "/data/*/aSide/accessPoint/authenticationKey",
    "/data/*/zSide/accessPoint/authenticationKey",
    "/data/*/zSide/accessPoint/activationKey",
];

pub(super) fn recipes() -> Vec<Recipe> {
    let read = Effect::Read;
    vec![
        Recipe {
            name: "list_fabric_ports",
            title: "List ports",
            description: "Your Fabric ports: id, name, state, bandwidth, metro. Narrow by any of the arguments.",
            effect: read,
            input: (
                merge([
                    json!({
                        "name": text("Exact name"), "state": text("State, such as ACTIVE"),
                        "metro_code": metro("Metro, such as SV"), "project_id": text("Project"),
                        "account_number": text("Account number"), "device_name": text("Name of the device"),
                        "cross_connect_id": text("Cross connect"), "uuid": uuid("Exactly this port"),
                        "org_id": text("Organization of the account"),
                        "interface_name": text("Name of the physical interface")
                    }),
                    sort::arguments(sort::PORTS),
                    paging(),
                ]),
                &[],
            ),
            target: "POST /fabric/v4/ports/search",
            redact: &[],
            run: ports,
        },
        Recipe {
            name: "list_fabric_connections",
            title: "List connections",
            description: "Your connections, newest change first unless sorted. To look for some, use search_connections.",
            effect: read,
            input: (merge([sort::arguments(sort::CONNECTIONS), paging()]), &[]),
            target: "POST /fabric/v4/connections/search",
            redact: KEYS_IN_LIST,
            run: all_connections,
        },
        Recipe {
            name: "search_connections",
            title: "Search connections",
            description: "Connections that fit every given argument.",
            effect: read,
            input: (merge([connection_filters(), sort::arguments(sort::CONNECTIONS), paging()]), &[]),
            target: "POST /fabric/v4/connections/search",
            redact: KEYS_IN_LIST,
            run: connections,
        },
        Recipe {
            name: "list_fabric_routers",
            title: "List cloud routers",
            description: "Your Fabric cloud routers. Narrow by any of the arguments.",
            effect: read,
            input: (
                merge([
                    json!({
                        "name": text("Exact name"), "state": choice("State", super::routers::STATES),
                        "metro_code": metro("Metro, such as SV"),
                        "package": choice("Package", super::routers::PACKAGES), "project_id": text("Project")
                    }),
                    sort::arguments(sort::ROUTERS),
                    paging(),
                ]),
                &[],
            ),
            target: "POST /fabric/v4/routers/search",
            redact: &[],
            run: routers,
        },
        Recipe {
            name: "list_service_profiles",
            title: "List service profiles",
            description: "Services that can be connected to: clouds and other providers. Narrow by any of the arguments.",
            effect: read,
            input: (
                merge([
                    json!({
                        "name": text("Exact name"), "metro_code": metro("Metro where it is offered"),
                        "service_type": choice("Type", &["L2_PROFILE", "L3_PROFILE", "IA_PROFILE", "IX_PROFILE", "IC_PROFILE", "LMAAS_PROFILE"]),
                        "state": text("State, such as ACTIVE"),
                        "visibility": choice("Who may see it", &["PUBLIC", "PRIVATE"]),
                        "project_id": text("Project"), "uuid": uuid("Exactly this profile"),
                        "port_uuid": uuid("Port of the provider that it is offered on"),
                        "view_point": choice("As buyer (aSide) or as provider (zSide)", &["aSide", "zSide"])
                    }),
                    sort::arguments(sort::PROFILES),
                    paging(),
                ]),
                &[],
            ),
            target: "POST /fabric/v4/serviceProfiles/search",
            redact: &[],
            run: profiles,
        },
        Recipe {
            name: "list_advertised_routes",
            title: "List advertised routes",
            description: "Routes that Equinix advertises over a cloud router's connection.",
            effect: read,
            input: (merge([route_filters(), sort::arguments(sort::ROUTES), paging()]), &["connection_id"]),
            target: "POST /fabric/v4/connections/{connection_id}/advertisedRoutes/search",
            redact: &[],
            run: advertised,
        },
        Recipe {
            name: "list_received_routes",
            title: "List received routes",
            description: "Routes that Equinix receives over a cloud router's connection.",
            effect: read,
            input: (merge([route_filters(), sort::arguments(sort::ROUTES), paging()]), &["connection_id"]),
            target: "POST /fabric/v4/connections/{connection_id}/receivedRoutes/search",
            redact: &[],
            run: received,
        },
    ]
}
