//! Networks: what more than two ends can join.
//!
//! Owns the search and the order of one. The idea: the same shapes as elsewhere.
//!
//! Must not: delete (a network's connections are deleted one by one).

use super::parts::{choice, dry_run, emails, merge, metro, notifications, project, put, text, uuid};
use super::path;
use super::search::{Narrow, by, paging, search};
use super::sort;
use crate::connectors::flow::{Ask, Outcome, Recipe, Run};
use crate::http::Method;
use crate::json::{Map, Value, json};
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

const TYPES: &[&str] = &["EVPLAN", "EPLAN", "IPWAN", "EVPTREE", "EPTREE"];
const SCOPES: &[&str] = &["LOCAL", "REGIONAL", "GLOBAL"];

const FILTERS: &[Narrow] = &[
    by("uuid", "/uuid", "="),
    by("name", "/name", "LIKE"),
    by("type", "/type", "="),
    by("scope", "/scope", "="),
    by("state", "/state", "="),
    by("metro_code", "/location/metroCode", "="),
    by("project_id", "/project/projectId", "="),
];

fn list(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(search(run, &["networks", "search"], FILTERS, None))
}

fn create(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let arguments = run.arguments;
        let mut body = Map::new();
        for member in ["type", "name", "scope"] {
            put(&mut body, member, arguments.get(member).cloned());
        }
        put(&mut body, "location", arguments.get("metro_code").map(|code| json!({"metroCode": code})));
        put(&mut body, "project", project(arguments));
        put(&mut body, "notifications", notifications(arguments, "ALL"));
        let path = path(&["networks"]);
        let dry = arguments.flag("dry_run").then_some(true);
        run.upstream.ask(Ask::new(Method::POST, &path).query("dryRun", dry).json(Value::Object(body))).await
    })
}

pub(super) fn recipes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "list_networks",
            title: "List networks",
            description: "Your Fabric networks. Narrow by any of the arguments.",
            effect: Effect::Read,
            input: (
                merge([
                    json!({
                        "uuid": uuid("Exactly this network"), "name": text("Part of the name"),
                        "type": choice("Type", TYPES), "scope": choice("Reach", SCOPES),
                        "state": choice("State", &["ACTIVE", "INACTIVE", "DELETED"]),
                        "metro_code": metro("Metro, such as SV"), "project_id": text("Project")
                    }),
                    sort::arguments(sort::NETWORKS),
                    paging(),
                ]),
                &[],
            ),
            target: "POST /fabric/v4/networks/search",
            redact: &[],
            run: list,
        },
        Recipe {
            name: "create_network",
            title: "Create a network",
            description: "Orders a network that several ends can join. With dry_run it is only checked.",
            effect: Effect::Write,
            input: (
                json!({
                    "name": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Name of the network"},
                    "type": choice("Type", TYPES), "scope": choice("Reach", SCOPES),
                    "metro_code": metro("For a LOCAL network: its metro"), "project_id": text("Project it belongs to"),
                    "notifications": emails(), "dry_run": dry_run()
                }),
                &["name", "type", "scope", "notifications"],
            ),
            target: "POST /fabric/v4/networks",
            redact: &[],
            run: create,
        },
    ]
}
