//! Lists that the API gives by GET.
//!
//! Owns those tools. The idea: they are paged like searches, a page or all of them, though the API knows no filter here.
//!
//! Must not: search (`search.rs` does).

use super::parts::{flag, merge, uuid};
use super::search::{list, paging};
use crate::connectors::flow::{Outcome, Recipe, Run};
use crate::json::json;
use crate::pipeline::BoxFuture;
use crate::policy::Effect;

fn metros(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        let mine: &[(&str, &str)] =
            if run.arguments.flag("my_ports_only") { &[("presence", "MY_PORTS")] } else { &[] };
        list(run, &["metros"], mine).await
    })
}

fn profile_metros(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        list(run, &["serviceProfiles", run.arguments.need("profile_uuid")?, "metros"], &[]).await
    })
}

fn packages(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(list(run, &["routerPackages"], &[]))
}

fn protocols(run: Run<'_>) -> BoxFuture<'_, Outcome> {
    Box::pin(async move {
        list(run, &["connections", run.arguments.need("connection_id")?, "routingProtocols"], &[]).await
    })
}

pub(super) fn recipes() -> Vec<Recipe> {
    let read = Effect::Read;
    vec![
        Recipe {
            name: "list_metros",
            title: "List metros",
            description: "Metros with Fabric: code, region, latency and bandwidth to the others.",
            effect: read,
            input: (
                merge([json!({"my_ports_only": flag("Only metros where you have ports")}), paging()]),
                &[],
            ),
            target: "GET /fabric/v4/metros",
            redact: &[],
            run: metros,
        },
        Recipe {
            name: "list_service_profile_metros",
            title: "List the metros of a service profile",
            description: "Metros and provider regions where a service is offered.",
            effect: read,
            input: (
                merge([json!({"profile_uuid": uuid("The service profile")}), paging()]),
                &["profile_uuid"],
            ),
            target: "GET /fabric/v4/serviceProfiles/{profile_uuid}/metros",
            redact: &[],
            run: profile_metros,
        },
        Recipe {
            name: "list_router_packages",
            title: "List cloud router packages",
            description: "Packages of cloud routers and their limits.",
            effect: read,
            input: (paging(), &[]),
            target: "GET /fabric/v4/routerPackages",
            redact: &[],
            run: packages,
        },
        Recipe {
            name: "list_routing_protocols",
            title: "List routing protocols",
            description: "Routing protocols of a cloud router's connection.",
            effect: read,
            input: (merge([json!({"connection_id": uuid("The connection")}), paging()]), &["connection_id"]),
            target: "GET /fabric/v4/connections/{connection_id}/routingProtocols",
            redact: &["/data/*/bgpAuthKey"],
            run: protocols,
        },
    ]
}
