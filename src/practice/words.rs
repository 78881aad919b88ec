//! Plausible words for well-known property names.
//!
//! Owns the tables of words, and the little arithmetic that makes them repeatable. The idea: what the schema leaves
//! open is filled by what people usually mean by a name; everything depends only on the seed, the place and an index.
//!
//! Must not: look at a schema.

/// States that a settled thing is in, best first.
const SETTLED: &[&str] = &[
    "ACTIVE",
    "PROVISIONED",
    "ENABLED",
    "AVAILABLE",
    "UP",
    "RUNNING",
    "ONLINE",
    "APPROVED",
    "COMPLETED",
    "SUCCEEDED",
    "SUCCESS",
    "OK",
    "active",
    "enabled",
    "succeeded",
    "replace",
];

/// States that a deleted thing is in, best first.
const LEAVING: &[&str] =
    &["DEPROVISIONING", "DELETING", "DELETED", "DEPROVISIONED", "INACTIVE", "deleted", "deleting"];

/// Where acts lead: what the act's word holds, and the states it aims at, best first. The first row that fits counts.
const GOALS: &[(&str, &[&str])] = &[
    ("deletion_acceptance", LEAVING),
    ("deactivat", &["INACTIVE", "DEACTIVATED", "DISABLED"]),
    ("disable", &["DISABLED", "INACTIVE"]),
    ("suspend", &["SUSPENDED", "INACTIVE"]),
    ("cancel", &["CANCELLED", "CANCELED"]),
    ("abort", &["ABORTED", "CANCELLED", "CANCELED"]),
    ("reject", &["REJECTED", "DECLINED"]),
    ("decline", &["DECLINED", "REJECTED"]),
    ("accept", SETTLED),
    ("approve", &["APPROVED", "ACTIVE"]),
    ("activate", &["ACTIVE", "ACTIVATED", "ENABLED"]),
    ("enable", &["ENABLED", "ACTIVE"]),
    ("resume", &["ACTIVE", "RUNNING"]),
    ("retry", &["PENDING", "PROVISIONING"]),
    ("start", &["RUNNING", "ACTIVE", "STARTED"]),
    ("stop", &["STOPPED", "INACTIVE"]),
    ("complete", &["COMPLETED", "SUCCEEDED"]),
];

/// The states that an act leads to, when its word tells.
pub(super) fn goals(word: &str) -> Option<&'static [&'static str]> {
    let lower = word.to_ascii_lowercase();
    GOALS.iter().find(|(part, _)| lower.contains(part)).map(|(_, goals)| *goals)
}

const METROS: &[(&str, &str, &str, &str)] = &[
    ("SV", "Silicon Valley", "AMER", "US"),
    ("DC", "Washington, DC", "AMER", "US"),
    ("LD", "London", "EMEA", "GB"),
    ("FR", "Frankfurt", "EMEA", "DE"),
    ("SG", "Singapore", "APAC", "SG"),
    ("TY", "Tokyo", "APAC", "JP"),
];

/// Name and region of a metro that is in the table.
pub(super) fn metro(code: &str) -> Option<(&'static str, &'static str)> {
    METROS.iter().find(|metro| metro.0 == code).map(|metro| (metro.1, metro.2))
}

/// The choice among an enumeration's values for a settled thing, if one stands out.
pub(super) fn settled<'a>(choices: &[&'a str]) -> Option<&'a str> {
    SETTLED.iter().find_map(|best| choices.iter().copied().find(|choice| choice == best))
}

/// The choice among an enumeration's values for a thing that is being deleted.
pub(super) fn leaving<'a>(choices: &[&'a str]) -> Option<&'a str> {
    LEAVING.iter().find_map(|best| choices.iter().copied().find(|choice| choice == best))
}

/// A text for a property without format, pattern or enumeration.
pub(super) fn text(name: &str, noun: &str, index: usize) -> String {
    let number = index + 1;
    let metro = METROS[index % METROS.len()];
    let lower = name.to_ascii_lowercase();
    let ends = |end: &str| lower.ends_with(end);
    match lower.as_str() {
        "name" | "displayname" | "title" | "label" => format!("{noun}-{number:02}"),
        "description" | "notes" | "comment" | "summary" => format!("A practice {noun}, number {number}"),
        "code" | "metrocode" | "sellermetrocode" => metro.0.to_owned(),
        "metroname" | "city" => metro.1.to_owned(),
        "region" => metro.2.to_owned(),
        "country" | "countrycode" => metro.3.to_owned(),
        "ibx" | "demarcationpointibx" | "tetheribx" => format!("{}{number}", metro.0),
        "email" | "emails" | "mail" | "userprincipalname" => "ops@example.com".to_owned(),
        "username" | "createdby" | "updatedby" | "deletedby" | "user" | "owner" => "practice-user".to_owned(),
        "firstname" => "Ada".to_owned(),
        "lastname" => "Lovelace".to_owned(),
        "orgname" | "organizationname" | "company" | "companyname" => "Practice Ltd".to_owned(),
        "currency" => "USD".to_owned(),
        "version" => "1.0".to_owned(),
        "timezone" => "UTC".to_owned(),
        "unit" => "Mbps".to_owned(),
        "property" | "path" => "/name".to_owned(),
        _ if ends("url") || ends("uri") || ends("href") => {
            format!("https://practice.example/{noun}/{number}")
        }
        _ if ends("email") => "ops@example.com".to_owned(),
        _ if ends("phone") || ends("phonenumber") => "+1 555 0100".to_owned(),
        _ if ends("ip") || ends("ipv4") || ends("ipaddress") => format!("192.0.2.{}", 10 + index % 200),
        _ if ends("ipv6") => format!("2001:db8::{}", 10 + index % 200),
        _ if ends("subnet") || ends("prefix") || ends("cidr") => {
            format!("198.51.100.{}/30", 4 * (index % 60))
        }
        _ if ends("macaddress") => format!("02:00:00:00:00:{:02x}", index % 256),
        _ if ends("datetime") || ends("timestamp") => String::new(),
        _ if ends("number") => format!("27{number:04}"),
        _ if ends("id") => format!("{noun}-{number:04}"),
        _ => format!("practice {}", spaced(name)),
    }
}

/// A number for a property, before its bounds are applied.
pub(super) fn number(name: &str, index: usize) -> f64 {
    let lower = name.to_ascii_lowercase();
    let step = u32::try_from(index % 1000).unwrap_or(0);
    let number = match lower.as_str() {
        _ if lower.contains("bandwidth") => 1000,
        _ if lower.contains("speed") => 10_000,
        _ if lower.contains("vlan") => 100 + step,
        _ if lower.ends_with("asn") => 65_000 + step,
        "accountnumber" => 270_001,
        "orgid" => 160_001,
        "termlength" => 12,
        "limit" => 20,
        "offset" => 0,
        "total" => 1,
        _ => 1 + step,
    };
    f64::from(number)
}

/// `availableBandwidth` as words.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(if letter.is_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' });
    }
    words
}

/// The singular of a collection's name: `servicePolicies` is `service-policy`.
pub(super) fn singular(plural: &str) -> String {
    let words = spaced(plural).replace(' ', "-");
    let words = words.trim_matches('-');
    if let Some(stem) = words.strip_suffix("ies") {
        format!("{stem}y")
    } else if let Some(stem) = words.strip_suffix("sses") {
        format!("{stem}ss")
    } else {
        words.strip_suffix('s').unwrap_or(words).to_owned()
    }
}

/// A number that depends on a text and a seed, and on nothing else.
pub(super) fn hash(text: &str, seed: u64) -> u64 {
    let folded = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(folded)
}

/// One step of splitmix64.
pub(super) fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// A version 4 uuid that depends on a number alone.
pub(super) fn uuid(from: u64) -> String {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&mix(from).to_be_bytes());
    bytes[8..].copy_from_slice(&mix(mix(from)).to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_act_leads_where_its_word_says() {
        assert_eq!(goals("CONNECTION_CREATION_REJECTION").unwrap()[0], "REJECTED");
        assert_eq!(goals("deactivate").unwrap()[0], "INACTIVE");
        assert_eq!(goals("CONNECTION_DELETION_ACCEPTANCE").unwrap()[0], "DEPROVISIONING");
        assert_eq!(goals("RESEND_EMAIL_NOTIFICATION"), None);
    }

    #[test]
    fn names_become_words() {
        assert_eq!(singular("serviceProfiles"), "service-profile");
        assert_eq!(singular("policies"), "policy");
        assert_eq!(text("name", "port", 1), "port-02");
        assert_eq!(settled(&["DRAFT", "PROVISIONED"]), Some("PROVISIONED"));
        assert_eq!(uuid(7), uuid(7));
        assert_ne!(uuid(7), uuid(8));
    }
}
