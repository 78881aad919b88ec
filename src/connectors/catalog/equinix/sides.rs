//! The two ends of a connection.
//!
//! Owns the argument that describes an end and its translation into the API's access point. The idea: say what the end
//! is (`type`) and give its id; everything else follows.
//!
//! Must not: send.

use super::parts::{choice, metro, put, text, uuid, whole};
use super::secrets;
use crate::connectors::flow::{Arguments, Run};
use crate::error::{Error, Kind, Result};
use crate::json::{Map, Value, json};

/// The schema of one end.
pub(super) fn argument(which: &str) -> Value {
    json!({
        "type": "object",
        "description": format!("The {which} end of the connection: its type, and the ids that belong to the type"),
        "properties": {
            "type": choice("What the connection ends at", &[
                "port", "virtual_device", "service_token", "service_profile", "cloud_router", "network", "metal_network"
            ]),
            "port_uuid": uuid("For a port: its id"),
            "vlan": whole("For a port: its VLAN (DOT1Q); left out means untagged", 2, 4092),
            "vlan_s": whole("For a port with two tags (QINQ): the outer VLAN", 2, 4092),
            "vlan_c": whole("For a port with two tags (QINQ): the inner VLAN", 2, 4092),
            "virtual_device_uuid": uuid("For a virtual device: its id"),
            "interface_id": whole("For a virtual device: number of its interface", 0, 65535),
            "interface_type": choice("For a virtual device: kind of its interface", &["CLOUD", "NETWORK"]),
            "service_token_uuid": secrets::handle("For a service token"),
            "service_token": secrets::received(),
            "service_profile_uuid": uuid("For a service profile (a cloud or another provider): its id"),
            "profile_type": choice("For a service profile: its type; L2_PROFILE if left out", &[
                "L2_PROFILE", "L3_PROFILE", "IA_PROFILE", "IX_PROFILE", "IC_PROFILE"
            ]),
            "authentication_key": text("For a service profile or a metal network: the key or account the provider gave you"),
            "seller_region": text("For a service profile: the provider's region, such as us-east-1"),
            "peering_type": choice("For a service profile: kind of peering", &["PRIVATE", "MICROSOFT", "PUBLIC", "MANUAL"]),
            "metro_code": metro("Metro of this end, such as SV; for a service profile, where the provider is met"),
            "router_uuid": uuid("For a cloud router: its id"),
            "network_uuid": uuid("For a network: its id"),
            "role": choice("For a tree network: role of this end", &["LEAF", "ROOT"])
        },
        "required": ["type"],
        "additionalProperties": false
    })
}

/// One end as the API wants it. Ids of service tokens that were named are added to `tokens`.
pub(super) fn side(run: Run<'_>, which: &'static str, tokens: &mut Vec<String>) -> Result<Value> {
    let missing = || Error::new(Kind::BadArguments, format!("the argument {which} is needed here"));
    let end = run.arguments.object(which).ok_or_else(missing)?;
    let kind = end.need("type")?;
    fits(end, kind, which)?;
    if kind == "service_token" {
        let id = secrets::named(run, end, "service_token_uuid")?;
        tokens.push(id.clone());
        return Ok(json!({"serviceToken": {"uuid": id}}));
    }
    let mut point = Map::new();
    let mut name = |kind: &str| put(&mut point, "type", Some(json!(kind)));
    match kind {
        "port" => {
            name("COLO");
            point.insert(String::from("port"), json!({"uuid": given(end, "port_uuid", which)?}));
            point.insert(String::from("linkProtocol"), link(end, which)?);
        }
        "virtual_device" => {
            name("VD");
            let id = given(end, "virtual_device_uuid", which)?;
            point.insert(String::from("virtualDevice"), json!({"type": "EDGE", "uuid": id}));
            put(&mut point, "interface", interface(end));
        }
        "service_profile" => {
            name("SP");
            let id = given(end, "service_profile_uuid", which)?;
            let profile = json!({"type": end.text("profile_type").unwrap_or("L2_PROFILE"), "uuid": id});
            point.insert(String::from("profile"), profile);
        }
        "cloud_router" => {
            name("CLOUD_ROUTER");
            point.insert(String::from("router"), json!({"uuid": given(end, "router_uuid", which)?}));
        }
        "network" => {
            name("NETWORK");
            point.insert(String::from("network"), json!({"uuid": given(end, "network_uuid", which)?}));
            put(&mut point, "role", end.get("role").cloned());
        }
        _ => {
            name("METAL_NETWORK");
            given(end, "authentication_key", which)?;
        }
    }
    put(&mut point, "authenticationKey", end.get("authentication_key").cloned());
    put(&mut point, "sellerRegion", end.get("seller_region").cloned());
    put(&mut point, "peeringType", end.get("peering_type").cloned());
    put(&mut point, "location", end.get("metro_code").map(|code| json!({"metroCode": code})));
    Ok(json!({"accessPoint": point}))
}

fn given<'a>(end: Arguments<'a>, name: &'static str, which: &str) -> Result<&'a str> {
    end.text(name)
        .ok_or_else(|| Error::new(Kind::BadArguments, format!("{which} of this type needs {name}; add it")))
}

/// Refuses what does not belong to the type: it would be left out silently, and mean something else than was asked.
fn fits(end: Arguments<'_>, kind: &str, which: &str) -> Result<()> {
    let belongs: &[(&str, &[&str])] = &[
        ("port_uuid", &["port"]),
        ("vlan", &["port"]),
        ("vlan_s", &["port"]),
        ("vlan_c", &["port"]),
        ("virtual_device_uuid", &["virtual_device"]),
        ("interface_id", &["virtual_device"]),
        ("interface_type", &["virtual_device"]),
        ("service_token_uuid", &["service_token"]),
        ("service_token", &["service_token"]),
        ("service_profile_uuid", &["service_profile"]),
        ("profile_type", &["service_profile"]),
        ("authentication_key", &["service_profile", "metal_network"]),
        ("seller_region", &["service_profile"]),
        ("peering_type", &["service_profile"]),
        ("metro_code", &["port", "service_profile"]),
        ("router_uuid", &["cloud_router"]),
        ("network_uuid", &["network"]),
        ("role", &["network"]),
    ];
    match belongs.iter().find(|(name, kinds)| end.get(name).is_some() && !kinds.contains(&kind)) {
        None => Ok(()),
        Some((name, kinds)) => {
            let message = format!(
                "{which}: {name} belongs to type {}; leave it out or change the type",
                kinds.join(" or ")
            );
            Err(Error::new(Kind::BadArguments, message))
        }
    }
}

/// How frames are tagged at a port.
pub(super) fn link(end: Arguments<'_>, which: &str) -> Result<Value> {
    match (end.integer("vlan"), end.integer("vlan_s"), end.integer("vlan_c")) {
        (Some(tag), None, None) => Ok(json!({"type": "DOT1Q", "vlanTag": tag})),
        (None, Some(outer), None) => Ok(json!({"type": "QINQ", "vlanSTag": outer})),
        (None, Some(outer), Some(inner)) => Ok(json!({"type": "QINQ", "vlanSTag": outer, "vlanCTag": inner})),
        (None, None, None) => Ok(json!({"type": "UNTAGGED"})),
        _ => {
            let message = format!("{which}: give vlan alone, or vlan_s with vlan_c, or none of them");
            Err(Error::new(Kind::BadArguments, message))
        }
    }
}

/// The interface of a virtual device, if one is named.
pub(super) fn interface(end: Arguments<'_>) -> Option<Value> {
    let (id, kind) = (end.get("interface_id"), end.text("interface_type"));
    if id.is_none() && kind.is_none() {
        return None;
    }
    let mut interface = Map::new();
    put(&mut interface, "type", Some(json!(kind.unwrap_or("CLOUD"))));
    put(&mut interface, "id", id.cloned());
    Some(Value::Object(interface))
}
