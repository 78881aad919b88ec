//! The order of what a search finds.
//!
//! Owns what each search can be sorted by. The idea: the API's own names, so that nothing is lost in between; what is not
//! given is left to the API.
//!
//! Must not: offer what would tell the order of secrets.

use super::parts::{choice, put};
use crate::connectors::flow::Arguments;
use crate::json::{Map, Value, json};

/// What ports can be sorted by.
pub(super) const PORTS: &[&str] = &[
    "/name",
    "/state",
    "/bandwidth",
    "/location/metroName",
    "/device/name",
    "/device/redundancy/priority",
    "/demarcationPointIbx",
    "/lagEnabled",
    "/physicalPortsSpeed",
    "/physicalPorts/tether/crossConnectId",
    "/encapsulation/type",
    "/package/code",
    "/serviceCode",
    "/changeLog/createdDateTime",
    "/changeLog/updatedDateTime",
];

/// What connections can be sorted by.
pub(super) const CONNECTIONS: &[&str] = &[
    "/name",
    "/uuid",
    "/bandwidth",
    "/direction",
    "/geoScope",
    "/operation/equinixStatus",
    "/operation/providerStatus",
    "/redundancy/priority",
    "/aSide/accessPoint/name",
    "/aSide/accessPoint/type",
    "/aSide/accessPoint/account/accountName",
    "/aSide/accessPoint/location/metroName",
    "/aSide/accessPoint/location/metroCode",
    "/aSide/accessPoint/linkProtocol/vlanCTag",
    "/aSide/accessPoint/linkProtocol/vlanSTag",
    "/zSide/accessPoint/name",
    "/zSide/accessPoint/type",
    "/zSide/accessPoint/role",
    "/zSide/accessPoint/account/accountName",
    "/zSide/accessPoint/location/metroName",
    "/zSide/accessPoint/location/metroCode",
    "/zSide/accessPoint/linkProtocol/vlanCTag",
    "/zSide/accessPoint/linkProtocol/vlanSTag",
    "/changeLog/createdDateTime",
    "/changeLog/updatedDateTime",
];

/// What cloud routers can be sorted by.
pub(super) const ROUTERS: &[&str] = &[
    "/name",
    "/uuid",
    "/state",
    "/type",
    "/location/metroCode",
    "/location/metroName",
    "/package/code",
    "/connectionsCount",
    "/order/termLength",
    "/changeLog/createdDateTime",
    "/changeLog/updatedDateTime",
    "/changeLog/deletedDateTime",
];

/// What service profiles can be sorted by.
pub(super) const PROFILES: &[&str] =
    &["/name", "/state", "/changeLog/createdDateTime", "/changeLog/updatedDateTime"];

/// What networks can be sorted by.
pub(super) const NETWORKS: &[&str] = &[
    "/name",
    "/uuid",
    "/scope",
    "/operation/equinixStatus",
    "/location/region",
    "/changeLog/createdDateTime",
    "/changeLog/updatedDateTime",
];

/// What routes can be sorted by.
pub(super) const ROUTES: &[&str] = &[
    "/prefix",
    "/nextHop",
    "/med",
    "/type",
    "/connection/name",
    "/changeLog/createdDateTime",
    "/changeLog/updatedDateTime",
];

/// The arguments that [`wanted`] reads.
pub(super) fn arguments(properties: &[&str]) -> Value {
    json!({
        "sort_by": choice("What to sort by", properties),
        "sort_direction": choice("Which way to sort; DESC if left out", &["ASC", "DESC"])
    })
}

/// The order that is asked for, if any is.
pub(super) fn wanted(arguments: Arguments<'_>) -> Option<Value> {
    let mut sort = Map::new();
    put(&mut sort, "property", arguments.get("sort_by").cloned());
    put(&mut sort, "direction", arguments.get("sort_direction").cloned());
    (!sort.is_empty()).then(|| json!([sort]))
}
