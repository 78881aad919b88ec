//! What things cost.
//!
//! Owns the price search. The idea: the usual questions have arguments of their own; any other property of the API can
//! be given as a filter.
//!
//! Must not: order.

use super::parts::{choice, metro, uuid, whole};
use super::path;
use super::search::{Narrow, by, filter};
use crate::connectors::flow::{Arguments, Ask, Outcome, Recipe, Run};
use crate::error::{Error, Kind, Result};
use crate::http::Method;
use crate::json::{Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

const POINTS: &[&str] = &["COLO", "VD", "SP", "CLOUD_ROUTER", "NETWORK"];

const CONNECTION: &[Narrow] = &[
    by("connection_type", "/connection/type", "="),
    by("bandwidth", "/connection/bandwidth", "IN"),
    by("a_side_type", "/connection/aSide/accessPoint/type", "="),
    by("a_side_metro_code", "/connection/aSide/accessPoint/location/metroCode", "="),
    by("a_side_port_uuid", "/connection/aSide/accessPoint/port/uuid", "="),
    by("z_side_type", "/connection/zSide/accessPoint/type", "="),
    by("z_side_metro_code", "/connection/zSide/accessPoint/location/metroCode", "="),
    by("service_profile_uuid", "/connection/zSide/accessPoint/profile/uuid", "="),
];

const ROUTER: &[Narrow] = &[
    by("router_metro_code", "/router/location/metroCode", "="),
    by("router_package", "/router/package/code", "IN"),
];

const ACCOUNT: &[Narrow] = &[by("account_number", "/account/accountNumber", "=")];

fn prices(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let body = json!({"filter": {"and": question(run.arguments)?}});
        let path = path(&["prices", "search"]);
        run.upstream.ask(Ask::new(Method::POST, &path).safe().json(body)).await
    })
}

fn question(arguments: Arguments<'_>) -> Result<Vec<Value>> {
    let product = match arguments.need("product")? {
        "connection" => "VIRTUAL_CONNECTION_PRODUCT",
        "cloud_router" => "CLOUD_ROUTER_PRODUCT",
        "port" => "VIRTUAL_PORT_PRODUCT",
        "ip_block" => "IP_BLOCK_PRODUCT",
        "precision_time" => "PRECISION_TIME_PRODUCT",
        _ => "METRO_CONNECT_PRODUCT",
    };
    for (narrows, own, name) in [
        (CONNECTION, "VIRTUAL_CONNECTION_PRODUCT", "connections"),
        (ROUTER, "CLOUD_ROUTER_PRODUCT", "cloud routers"),
    ] {
        let odd = narrows.iter().find(|narrow| arguments.get(narrow.argument).is_some() && product != own);
        if let Some(odd) = odd {
            let message = format!("the argument {} asks for prices of {name}; leave it out", odd.argument);
            return Err(Error::new(Kind::BadArguments, message));
        }
    }
    let mut all = vec![json!({"property": "/type", "operator": "=", "values": [product]})];
    for narrows in [ACCOUNT, CONNECTION, ROUTER] {
        if let Some(Value::Array(more)) =
            filter(arguments, narrows)?.and_then(|mut filter| filter.get_mut("and").map(Value::take))
        {
            all.extend(more);
        }
    }
    for extra in arguments.list("filters") {
        let values = extra.get("values").and_then(Value::as_array).map_or(0, Vec::len);
        let operator = if values > 1 { "IN" } else { "=" };
        all.push(json!({"property": extra["property"], "operator": operator, "values": extra["values"]}));
    }
    Ok(all)
}

pub(super) fn recipes() -> Vec<Recipe> {
    let bandwidths = json!({
        "type": "array", "minItems": 1, "maxItems": 20, "items": {"type": "integer", "minimum": 0, "maximum": 100_000},
        "description": "Mbps; several to compare"
    });
    let packages = json!({
        "type": "array", "minItems": 1, "maxItems": 5, "items": {"type": "string", "enum": super::routers::PACKAGES},
        "description": "Packages; several to compare"
    });
    let filters = json!({
        "type": "array", "maxItems": 20, "description": "More properties of the API, such as /port/location/ibx",
        "items": {
            "type": "object", "additionalProperties": false, "required": ["property", "values"],
            "properties": {
                "property": {"type": "string", "pattern": "^/[A-Za-z0-9/]{1,120}$"},
                "values": {"type": "array", "minItems": 1, "maxItems": 20, "items": {"type": "string"}}
            }
        }
    });
    vec![Recipe {
        name: "search_prices",
        title: "Search prices",
        description: "What a connection, cloud router, port or other product costs, as charged to your account.",
        effect: Effect::Read,
        input: (
            json!({
                "product": choice("Product", &["connection", "cloud_router", "port", "ip_block", "precision_time", "metro_connect"]),
                "account_number": whole("Prices of this account", 1, i64::MAX),
                "connection_type": choice("Type of connection", super::connections::TYPES),
                "bandwidth": bandwidths,
                "a_side_type": choice("Kind of A side", POINTS),
                "a_side_metro_code": metro("Metro of the A side"),
                "a_side_port_uuid": uuid("Port at the A side"),
                "z_side_type": choice("Kind of Z side", POINTS),
                "z_side_metro_code": metro("Metro of the Z side"),
                "service_profile_uuid": uuid("Service profile at the Z side"),
                "router_metro_code": metro("Metro of the cloud router"),
                "router_package": packages,
                "filters": filters
            }),
            &["product"],
        ),
        target: "POST /fabric/v4/prices/search",
        redact: &[],
        run: prices,
    }]
}
