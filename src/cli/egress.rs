//! `bartizan egress`.
//!
//! Owns firewall rules made of the configuration. The idea: what bartizan may reach is written down already; a firewall
//! that says the same holds even if bartizan does not.
//!
//! Must not: resolve a name: what it leads to tomorrow is not known today.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::args::Egress;
use super::screen::Screen;
use super::settings;
use crate::app::{Target, destinations};
use crate::error::Result;
use crate::json::{Value, json};

pub(super) fn run(typed: &Egress, screen: Screen) -> Result<()> {
    let config = settings::configuration(&typed.source)?;
    let all = destinations(&config)?;
    match typed.format.as_str() {
        "json" => {
            let rows: Vec<Value> = all
                .iter()
                .map(|(host, port, protocol)| json!({"host": host, "port": port, "protocol": protocol}))
                .collect();
            screen.json(&json!({"egress": rows}));
        }
        "kubernetes" => screen.line(kubernetes(&all).trim_end()),
        _ => screen.line(nftables(&all).trim_end()),
    }
    if all.is_empty() {
        screen.note(
            "Nothing is configured that would be reached: name sources with --config FILE or --connector NAME.",
        );
    }
    for issuer in
        config.oauth.issuers.iter().filter(|one| one.jwks_uri.is_none() && one.introspection.is_none())
    {
        screen.note(&format!(
            "Where the keys of {} are is found out from its metadata; if that is another host, name it as `jwks_uri`.",
            issuer.issuer
        ));
    }
    Ok(())
}

/// A table for `nft -f`. Names are resolved when it is loaded: load it again when they move.
fn nftables(all: &BTreeSet<Target>) -> String {
    let mut text = String::from(
        "# what bartizan may reach; load with: nft -f FILE. Names are resolved then, so load it again now and then.\n\
         # runs for the user `bartizan`; everything else of that user is refused\n\
         table inet bartizan {\n    chain output {\n        type filter hook output priority filter; policy accept;\n\
        \u{20}       meta skuid != \"bartizan\" accept\n        oifname \"lo\" accept\n\
        \u{20}       ct state established,related accept\n        udp dport 53 accept\n        tcp dport 53 accept\n",
    );
    for (host, port, protocol) in all {
        let family = if host.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) { "ip6" } else { "ip" };
        let _ = writeln!(text, "        {family} daddr {host} {protocol} dport {port} accept");
    }
    text.push_str("        reject\n    }\n}\n");
    text
}

/// A `NetworkPolicy`. It knows addresses and no names: a name is let out by its port, and said in an annotation.
fn kubernetes(all: &BTreeSet<Target>) -> String {
    let mut text = String::from(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: bartizan-egress\n  annotations:\n",
    );
    let hosts: Vec<String> = all.iter().map(|(host, port, _)| format!("{host}:{port}")).collect();
    let _ = writeln!(text, "    bartizan/hosts: \"{}\"", hosts.join(" "));
    text.push_str(
        "spec:\n  podSelector:\n    matchLabels:\n      app: bartizan\n  policyTypes: [Egress]\n  egress:\n\
        \u{20}   - ports:\n        - {protocol: UDP, port: 53}\n        - {protocol: TCP, port: 53}\n",
    );
    let mut ports: BTreeSet<(u16, String)> = BTreeSet::new();
    for (host, port, protocol) in all {
        let protocol = protocol.to_uppercase();
        match host.parse::<IpAddr>() {
            Ok(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let _ = write!(
                    text,
                    "    - to:\n        - ipBlock: {{cidr: \"{address}/{bits}\"}}\n      ports:\n        - {{protocol: \
                     {protocol}, port: {port}}}\n"
                );
            }
            Err(_) => {
                ports.insert((*port, protocol));
            }
        }
    }
    for (port, protocol) in ports {
        let _ = write!(
            text,
            "    - to:\n        - ipBlock:\n            cidr: 0.0.0.0/0\n            except: [10.0.0.0/8, 172.16.0.0/12, \
             192.168.0.0/16, 169.254.0.0/16]\n      ports:\n        - {{protocol: {protocol}, port: {port}}}\n"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_is_in_every_form_and_nothing_else() {
        let all: BTreeSet<Target> = [
            ("api.example.com".to_owned(), 443, "tcp"),
            ("192.0.2.7".to_owned(), 8200, "tcp"),
            ("192.0.2.9".to_owned(), 514, "udp"),
            ("2001:db8::1".to_owned(), 443, "tcp"),
        ]
        .into();
        let text = nftables(&all);
        assert!(text.contains("ip daddr api.example.com tcp dport 443 accept"), "{text}");
        assert!(text.contains("ip daddr 192.0.2.7 tcp dport 8200 accept"));
        assert!(text.contains("ip6 daddr 2001:db8::1 tcp dport 443 accept"));
        assert_eq!(text.matches(" daddr ").count(), 4);
        assert!(text.contains("ip daddr 192.0.2.9 udp dport 514 accept"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        let policy: Value = serde_saphyr::from_str(&kubernetes(&all)).unwrap();
        let rules = policy["spec"]["egress"].as_array().unwrap();
        assert_eq!(rules.len(), 5);
        assert_eq!(rules[2]["ports"][0]["protocol"], "UDP");
        assert_eq!(rules[1]["to"][0]["ipBlock"]["cidr"], "192.0.2.7/32");
        assert_eq!(rules[4]["ports"][0]["port"], 443);
        assert!(
            policy["metadata"]["annotations"]["bartizan/hosts"]
                .as_str()
                .unwrap()
                .contains("api.example.com:443")
        );
    }
}
