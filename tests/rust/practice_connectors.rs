//! Real connectors against the practice upstream: real tools, a real line, a real token exchange, real sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bartizan::audit::Audit;
use bartizan::clock::SystemClock;
use bartizan::connectors::document::Document;
use bartizan::connectors::handles::Handles;
use bartizan::connectors::manifest::Manifest;
use bartizan::connectors::{BUILT_IN, Connector, FAILURE, Instead, Surroundings, openapi};
use bartizan::error::Error;
use bartizan::http::Config as Egress;
use bartizan::http::oauth::{ClientCredentials, Style, TokenEndpoint};
use bartizan::json::{Map, Value};
use bartizan::limits::{self, Limiter};
use bartizan::pipeline::{Context, Line, LineParts, Outcome, Proposed, Reply, Tool};
use bartizan::policy::{Filter, Policy};
use bartizan::practice::{Auth, Fault, Options, Practice, Rule, serve};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::protocol::Revision;
use bartizan::protocol::types::ToolResult;
use bartizan::redaction::{self, Redactor};
use bartizan::secret::Secret;
use serde_json::json;

/// A connector's tools on a line that allows everything, in front of the practice upstream.
struct Rig {
    practice: Practice,
    tools: BTreeMap<String, Arc<dyn Tool>>,
    line: Line,
    _folder: tempfile::TempDir,
}

impl Rig {
    /// The built-in connector in front of its own document, or a document by itself.
    async fn new(built_in: Option<&str>, document: Document, options: Options) -> Self {
        let practice = serve(document.clone(), options).await.unwrap();
        let clock = SystemClock::shared();
        let redactor = Redactor::new(&redaction::Config::default()).unwrap();
        let mut egress = Egress::default().allowing(practice.address().to_string());
        egress.per_minute = Some(100_000);
        let surroundings = Surroundings {
            secrets: Default::default(),
            logins: None,
            egress: egress.clone(),
            redactor: redactor.clone(),
            clock: clock.clone(),
            handles: Handles::new([7; 32]),
        };
        let Auth::ClientCredentials { client_id, client_secret, .. } = practice.auth() else { panic!() };
        let endpoint = TokenEndpoint {
            url: practice.token_url().unwrap().parse().unwrap(),
            style: Style::Json,
            scope: None,
            audience: None,
        };
        let secret = |text: &str| Arc::new(Secret::new(text));
        let credentials = ClientCredentials::new(
            "practice",
            endpoint,
            secret(client_id),
            secret(client_secret),
            &egress,
            clock.clone(),
        );
        let instead = Instead {
            base: Some(practice.root().parse().unwrap()),
            credentials: Some(Arc::new(credentials.unwrap())),
            practice: true,
            ..Instead::default()
        };
        let connector = if let Some(name) = built_in {
            Connector::built_in(name, &surroundings, instead).unwrap()
        } else {
            let manifest = Manifest { name: "vendor".into(), ..Manifest::default() };
            Connector::new(&manifest, document, "openapi", &surroundings, instead).unwrap()
        };
        let tools = connector.tools();
        let tools = tools.iter().map(|tool| (tool.spec().name.clone(), Arc::clone(tool))).collect();
        let folder = tempfile::tempdir().unwrap();
        let audit = bartizan::audit::Config { state: folder.path().to_owned(), ..Default::default() };
        let plenty = |text: &str| serde_json::from_str::<limits::Config>(text).unwrap();
        let quota = r#"{"per_minute": 100000, "burst": 100000}"#;
        let limits = plenty(&format!(r#"{{"read": {quota}, "write": {quota}, "destroy": {quota}}}"#));
        let line = Line::new(LineParts {
            profile: "production",
            audit: Audit::open(&audit, redactor.clone(), clock.clone()).unwrap(),
            limiter: Arc::new(Limiter::new(&limits, clock.clone())),
            policy: Arc::new(Policy::from_text("test", "permit(principal, action, resource);").unwrap()),
            filter: Filter::default(),
            guards: Vec::new(),
            redactor,
            approvals: None,
            clock,
            config: bartizan::pipeline::Config::default(),
        });
        Self { practice, tools, line, _folder: folder }
    }

    async fn equinix(options: Options) -> Self {
        let built_in = BUILT_IN.iter().find(|built_in| built_in.name == "equinix").unwrap();
        Self::new(Some("equinix"), openapi::load(built_in.document, None).unwrap(), options).await
    }

    async fn run(&self, tool: &str, arguments: Map<String, Value>) -> Result<ToolResult, Error> {
        let principal = Arc::new(Principal::new("anna", PrincipalKind::Process));
        let context = Context::new(Revision::NEWEST, principal, "memory");
        let tool = self.tools.get(tool).unwrap_or_else(|| panic!("{tool} is a tool"));
        let call = Proposed { tool: Arc::clone(tool), arguments, method: "tools/call" };
        match self.line.run(call, &context).await? {
            Outcome::Done(done) => match done.into_reply() {
                Reply::Tool(result) => Ok(result),
                other => panic!("a tool's result, not {other:?}"),
            },
            Outcome::Paused(_) => panic!("nothing asks here"),
        }
    }

    /// Calls a tool that must fail: the kind of failure, and all that is shown of it.
    async fn fail(&self, tool: &str, arguments: Value) -> (String, String) {
        match self.run(tool, arguments.as_object().unwrap().clone()).await {
            Ok(result) => {
                assert!(result.is_error, "{tool} must fail: {result:?}");
                let failure = result.meta.as_ref().and_then(|meta| meta.get(FAILURE));
                let failure = failure.or(result.structured_content.as_ref()).unwrap();
                (failure["kind"].as_str().unwrap().to_owned(), format!("{result:?}"))
            }
            Err(error) => (error.kind().name().to_owned(), format!("{error:?} {:?}", error.detail())),
        }
    }

    /// Calls a tool that must succeed; its structured result.
    async fn call(&self, tool: &str, arguments: Value) -> Value {
        let result = match self.run(tool, arguments.as_object().unwrap().clone()).await {
            Ok(result) => result,
            Err(error) => panic!("{tool}: {error:?} {:?}", error.detail()),
        };
        assert!(!result.is_error, "{tool}: {result:?}");
        result.structured_content.unwrap_or_default()
    }
}

/// Keeps what was sent for `tests/python/test_practice_independent.py`, which holds it against the same document with
/// a validator that shares no line with us.
fn keep(name: &str, practice: &Practice) {
    let requests: Vec<_> =
        practice.requests().into_iter().filter(|request| !request.path.starts_with("/oauth2")).collect();
    let file = format!("{}/practice-requests-{name}.json", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(file, serde_json::to_vec(&requests).unwrap()).unwrap();
}

#[tokio::test]
async fn every_operation_of_the_vendors_own_document_is_called_through_its_tool() {
    let Some(document) = crate::practice::shared("specs/equinix/fabricv4.patched.yaml") else { return };
    let operations = document.operations.clone();
    assert_eq!(operations.len(), 194);
    let rig = Rig::new(None, document, Options::default()).await;
    let mut wrong = Vec::new();
    for operation in &operations {
        let arguments = rig.practice.sample_arguments(&operation.id).unwrap();
        match rig.run(&operation.tool, arguments.clone()).await {
            Ok(result) if !result.is_error => {}
            Ok(result) => wrong.push(format!("{}: {result:?}", operation.id)),
            Err(error) => wrong.push(format!(
                "{}: {error:?} {:?} {}",
                operation.id,
                error.detail(),
                Value::Object(arguments)
            )),
        }
    }
    assert!(wrong.is_empty(), "{} failed:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(rig.practice.misfits(), Vec::<String>::new());
    assert_eq!(rig.practice.tokens_issued(), 1);
    keep("vendor", &rig.practice);
    let refused: Vec<_> =
        rig.practice.requests().into_iter().filter(|request| request.status >= 400).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[tokio::test]
async fn the_equinix_tools_work_against_the_practice_upstream() {
    let rig = Rig::equinix(Options::default()).await;
    let ports = rig.call("list_fabric_ports", json!({})).await;
    let port = ports["data"][0]["uuid"].clone();
    assert_eq!(ports["data"].as_array().unwrap().len(), 3);
    let profile = rig.call("list_service_profiles", json!({})).await["data"][0]["uuid"].clone();
    let connections = rig.call("list_fabric_connections", json!({})).await;
    assert_eq!(
        connections["data"][0]["aSide"]["accessPoint"]["port"]["uuid"], port,
        "it mentions what is there"
    );
    assert_ne!(connections["data"][0]["uuid"], port);
    let order = json!({
        "name": "cloud-1", "type": "EVPL_VC", "bandwidth": 50, "notifications": ["noc@example.com"],
        "a_side": {"type": "port", "port_uuid": port, "vlan": 1010},
        "z_side": {"type": "service_profile", "service_profile_uuid": profile, "metro_code": "SV"}
    });
    let made = rig.call("create_fabric_connection", order).await;
    let connection = made["uuid"].clone();
    assert_eq!((&made["name"], &made["bandwidth"]), (&json!("cloud-1"), &json!(50)));
    let found = rig.call("search_connections", json!({"name": "cloud-1"})).await;
    assert_eq!(found["data"][0]["uuid"], connection);
    rig.call(
        "update_connection",
        json!({"connection_uuid": connection, "name": "cloud-2", "bandwidth": 100}),
    )
    .await;
    let read = rig.call("get_fabric_connection", json!({"connection_id": connection})).await;
    assert_eq!((&read["name"], &read["bandwidth"]), (&json!("cloud-2"), &json!(100)));
    rig.call("delete_connection", json!({"connection_uuid": connection})).await;
    let (kind, _) = rig.fail("get_fabric_connection", json!({"connection_id": connection})).await;
    assert_eq!(kind, "UpstreamRefused");

    let router = rig.call(
        "create_fabric_router",
        json!({
            "name": "r1", "metro_code": "SV", "package": "STANDARD", "notifications": ["noc@example.com"],
            "account_number": 270_001, "project_id": "p"
        }),
    );
    let router = router.await["uuid"].clone();
    rig.call("update_fabric_router", json!({"router_uuid": router, "package": "ADVANCED"})).await;
    let read = rig.call("get_fabric_router", json!({"router_id": router})).await;
    assert_eq!(read["package"]["code"], "ADVANCED");
    rig.call("delete_fabric_router", json!({"router_uuid": router})).await;

    let token = rig.call(
        "create_service_token",
        json!({
            "name": "t1", "expiration_date": "2030-01-01T00:00:00Z", "notifications": ["noc@example.com"],
            "a_side": {"type": "port", "port_uuid": port}, "bandwidth_limit": 100
        }),
    );
    let token = token.await["uuid"].clone();
    let read = rig.call("get_service_token", json!({"token_uuid": token})).await;
    assert_eq!(read["name"], "t1");
    rig.call("update_service_token", json!({"token_uuid": token, "name": "t2"})).await;
    rig.call("resend_service_token", json!({"token_uuid": token})).await;
    let tokens = rig.call("list_service_tokens", json!({"name": "t2"})).await;
    assert_eq!(tokens["data"].as_array().unwrap().len(), 1);
    rig.call("delete_service_token", json!({"token_uuid": token})).await;

    let network = json!({
        "name": "n1", "type": "EVPLAN", "scope": "LOCAL", "metro_code": "SV", "notifications": ["noc@example.com"]
    });
    rig.call("create_network", network).await;
    assert_eq!(rig.call("list_networks", json!({"name": "n1"})).await["data"][0]["name"], "n1");
    let metros = rig.call("list_metros", json!({})).await;
    assert_eq!(metros["data"][0]["code"], "SV");
    assert_eq!(rig.call("get_metro", json!({"metro_code": "SV"})).await["code"], "SV");
    let prices =
        rig.call("search_prices", json!({"product": "cloud_router", "router_metro_code": "SV"})).await;
    assert!(!prices["data"].as_array().unwrap().is_empty());
    rig.call("list_router_packages", json!({})).await;
    assert_eq!(rig.call("get_router_package", json!({"package_code": "LAB"})).await["code"], "LAB");

    let known = rig.call("list_fabric_connections", json!({})).await["data"][0]["uuid"].clone();
    for (tool, arguments) in [
        ("get_fabric_port", json!({"port_id": port})),
        ("list_port_vlans", json!({"port_id": port})),
        ("list_advertised_routes", json!({"connection_id": known})),
        ("list_received_routes", json!({"connection_id": known})),
        ("list_routing_protocols", json!({"connection_id": known})),
        (
            "create_routing_protocol",
            json!({"connection_id": known, "type": "DIRECT", "equinix_ipv4": "192.0.2.1/30"}),
        ),
        ("accept_connection", json!({"connection_id": known, "request": "creation"})),
        ("validate_connection_config", json!({"port_uuid": port, "vlan": 100})),
    ] {
        rig.call(tool, arguments).await;
    }
    keep("equinix", &rig.practice);
    assert_eq!(rig.practice.misfits(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_token_costs_one_more_and_a_busy_upstream_a_pause() {
    let rig = Rig::equinix(Options::default()).await;
    rig.call("list_fabric_ports", json!({})).await;
    rig.practice.revoke_tokens();
    rig.call("list_fabric_ports", json!({})).await;
    assert_eq!(rig.practice.tokens_issued(), 2);
    rig.practice.fault(Rule::once(Fault::TooMany(0)).at("/ports/search"));
    rig.call("list_fabric_ports", json!({})).await;
    let statuses: Vec<u16> = rig.practice.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [200, 200, 401, 200, 200, 429, 200]);
}

#[tokio::test]
async fn an_upstream_that_misbehaves_makes_typed_failures_that_leak_nothing() {
    let leak = "Managed by ops. key AKIAIOSFODNN7EXAMPLE".to_owned();
    let options = Options { leak: Some(leak), leak_in: Some("ports".into()), ..Options::default() };
    let rig = Rig::equinix(options).await;
    let port = rig.call("list_fabric_ports", json!({})).await["data"][0].clone();
    assert!(port["description"].as_str().unwrap().contains("[redacted:"), "{port}");
    let arguments = json!({"port_id": port["uuid"]});
    for (fault, kind) in [
        (Fault::Status(400), "UpstreamRefused"),
        (Fault::Html(500), "UpstreamFailed"),
        (Fault::BrokenJson, "UpstreamFailed"),
        (Fault::Redirect, "UpstreamFailed"),
        (Fault::Reset, "UpstreamFailed"),
    ] {
        rig.practice.fault(Rule::always(fault.clone()));
        let (what, shown) = rig.fail("get_fabric_port", arguments.clone()).await;
        assert_eq!(what, kind, "{fault:?}: {shown}");
        assert!(!shown.contains("169.254") && !shown.contains("<html"), "{shown}");
        rig.practice.clear_faults();
    }
    rig.practice.fault(Rule::once(Fault::Echo));
    let answer = rig.run("get_fabric_port", arguments.as_object().unwrap().clone()).await;
    let shown = match answer {
        Ok(result) => format!("{result:?}"),
        Err(error) => format!("{error:?} {:?}", error.detail()),
    };
    assert!(!shown.contains("practice-access-"), "the token came out: {shown}");
}
