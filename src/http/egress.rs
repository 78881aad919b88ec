//! Which destinations may be reached.
//!
//! Owns the rules for addresses and origins, and the resolver that applies them to the addresses which are really
//! connected to. The idea: a name is judged by what it resolves to at the moment of connecting, so that nothing can
//! change in between.
//!
//! Must not: send.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::error::{Error, Kind, Result};

/// Private destinations that configuration lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Exemptions {
    hosts: Vec<(String, u16)>,
    ranges: Vec<IpNet>,
}

impl Exemptions {
    /// Reads `[egress] allow_private`.
    pub(super) fn parse(listed: &[String]) -> Result<Self> {
        let mut all = Self::default();
        for entry in listed {
            if let Ok(range) = entry.parse::<IpNet>() {
                all.ranges.push(range);
            } else if let Some(pair) = split(entry) {
                all.hosts.push(pair);
            } else {
                return Err(Error::new(
                    Kind::BadConfig,
                    "an entry of [egress] allow_private is neither HOST:PORT nor an address range such as 10.0.0.0/8",
                ));
            }
        }
        Ok(all)
    }

    /// Whether this host is listed with this port.
    fn lists(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|(listed, on)| *on == port && listed.eq_ignore_ascii_case(host))
    }

    /// Whether an address may be connected to on behalf of `host`.
    fn permit(&self, host: &str, port: u16, address: IpAddr) -> bool {
        is_public(address)
            || self.lists(host, port)
            || self.lists(&address.to_string(), port)
            || self.ranges.iter().any(|range| range.contains(&address))
    }
}

fn split(entry: &str) -> Option<(String, u16)> {
    let (host, port) = entry.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let plain = !host.is_empty() && !host.contains(['/', '@', ' ', '*', '?', '#']);
    plain.then(|| port.parse().ok().map(|port| (host.to_ascii_lowercase(), port)))?
}

/// The one scheme, host and port that an upstream is reached at.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    scheme: String,
    host: Host<String>,
    port: u16,
    exemptions: Exemptions,
}

impl Origin {
    /// The origin of a configured base address. `hosts` lists what the connector may reach at all.
    pub(super) fn of(base: &Url, hosts: &[String], exemptions: &Exemptions, name: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Err(Error::new(Kind::BadConfig, format!("the base address of {name} cannot be used: {reason}")))
        };
        let (Some(host), Some(port)) = (base.host(), base.port_or_known_default()) else {
            return wrong("it names no host");
        };
        if !base.username().is_empty() || base.password().is_some() {
            return wrong("it holds a user name or password; name a credential reference instead");
        }
        let text = bare(base);
        let listed = exemptions.lists(&text, port);
        if !hosts.is_empty() && !listed && !hosts.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
            return wrong("its host is not among the connector's hosts");
        }
        let origin = Self {
            scheme: base.scheme().to_owned(),
            host: host.to_owned(),
            port,
            exemptions: exemptions.clone(),
        };
        match base.scheme() {
            "https" => {}
            "http"
                if listed
                    || origin
                        .literal()
                        .is_some_and(|ip| exemptions.permit(&text, port, ip) && !is_public(ip)) => {}
            "http" => return wrong("plain http needs the host and port in [egress] allow_private"),
            _ => return wrong("its scheme is not https"),
        }
        if origin.literal().is_some_and(|address| !exemptions.permit(&text, port, address)) {
            return wrong("its address is private; list it in [egress] allow_private if it is meant");
        }
        Ok(origin)
    }

    /// Refuses an address that leads anywhere else.
    pub(super) fn check(&self, url: &Url, name: &str) -> Result<()> {
        let same = url.scheme() == self.scheme
            && url.host().is_some_and(|host| host.to_owned() == self.host)
            && url.port_or_known_default() == Some(self.port)
            && url.username().is_empty()
            && url.password().is_none();
        if same {
            return Ok(());
        }
        Err(Error::new(
            Kind::Forbidden,
            format!("the request would leave for another destination than {name}'s; it was not sent"),
        ))
    }

    /// Whether it is a name, which somebody has to resolve.
    pub(super) fn is_named(&self) -> bool {
        matches!(self.host, Host::Domain(_))
    }

    fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        }
    }
}

/// The host without the brackets of an IPv6 address.
fn bare(url: &Url) -> String {
    match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Domain(name)) => name.to_owned(),
        None => String::new(),
    }
}

/// Resolves the origin's name (and the proxy's), and nothing else, to addresses that may be connected to.
pub(super) struct Resolver {
    pub(super) origin: Origin,
    /// The proxy's host: the operator named it, so its address is not judged.
    pub(super) proxy: Option<String>,
}

/// Every address of a name is one that may not be reached.
#[derive(Debug)]
pub(super) struct AddressRefused;

impl fmt::Display for AddressRefused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the name resolves to addresses that may not be reached")
    }
}

impl std::error::Error for AddressRefused {}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let known = match &self.origin.host {
            Host::Domain(host) => host.eq_ignore_ascii_case(&name),
            Host::Ipv4(_) | Host::Ipv6(_) => false,
        };
        let proxy = self.proxy.as_ref().is_some_and(|proxy| proxy.eq_ignore_ascii_case(&name));
        let (exemptions, port) = (self.origin.exemptions.clone(), self.origin.port);
        Box::pin(async move {
            if !known && !proxy {
                return Err(Box::new(AddressRefused) as Box<dyn std::error::Error + Send + Sync>);
            }
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept = if proxy { found } else { judged(&exemptions, (&name, port), found)? };
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// Of what a name leads to just now, the addresses that may be connected to. These and no others are: the name is not
/// looked up again in between.
fn judged(
    exemptions: &Exemptions,
    (name, port): (&str, u16),
    found: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, AddressRefused> {
    let any = !found.is_empty();
    let kept: Vec<SocketAddr> =
        found.into_iter().filter(|address| exemptions.permit(name, port, address.ip())).collect();
    if kept.is_empty() && any { Err(AddressRefused) } else { Ok(kept) }
}

/// A resolver, shared with the HTTP client.
pub(super) fn resolver(origin: Origin, proxy: Option<String>) -> Arc<Resolver> {
    Arc::new(Resolver { origin, proxy })
}

/// Whether an address is one of the public internet's.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    !matches!(
        (a, b, c, d),
        (0 | 10 | 127 | 224..=255, ..)              // this network, private, loopback, multicast, reserved
            | (100, 64..=127, ..)                   // carrier-grade NAT, one cloud's metadata
            | (169, 254, ..)                        // link-local, metadata
            | (172, 16..=31, ..)                    // private
            | (192, 168, ..)                        // private
            | (192, 0, 0 | 2, _)                    // protocol assignments, documentation, one cloud's metadata
            | (192, 88, 99, _)                      // 6to4 relays
            | (198, 18 | 19, ..)                    // benchmarks
            | (198, 51, 100, _)                     // documentation
            | (203, 0, 113, _)                      // documentation
            | (168, 63, 129, 16) // one cloud's host agent
    )
}

/// Only global unicast, without the ranges that carry an IPv4 address or lead to a special place. Mapped (`::ffff:`),
/// NAT64 (`64:ff9b::`), loopback, unique-local, link-local and multicast lie outside of `2000::/3`.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    (0x2000..=0x3fff).contains(&a)
        && !(a == 0x2001 && b < 0x0200)             // Teredo and other protocol assignments
        && !(a == 0x2001 && b == 0x0db8)            // documentation
        && a != 0x2002                              // 6to4
        && !(a == 0x3fff && b < 0x1000) // documentation
}

#[cfg(test)]
mod tests {
    use super::{Exemptions, Origin, is_public, judged};
    use url::Url;

    #[test]
    fn only_public_addresses_are_public() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.100.100.200",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.192",
            "198.18.0.1",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private} is not public");
        }
        for public in
            ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2001:4860:4860::8888"]
        {
            assert!(is_public(public.parse().unwrap()), "{public} is public");
        }
    }

    fn origin(base: &str, listed: &[&str]) -> crate::error::Result<Origin> {
        let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
        Origin::of(&Url::parse(base).unwrap(), &[], &Exemptions::parse(&listed)?, "test")
    }

    /// A name whose owner answers otherwise the second time gains nothing: each answer is judged, and what was judged is
    /// what is connected to.
    #[test]
    fn a_name_that_is_rebound_leads_nowhere() {
        let listed = [String::from("10.0.0.0/8")];
        let look = |exemptions: &Exemptions, answer: &[&str]| {
            let found = answer.iter().map(|address| format!("{address}:0").parse().unwrap()).collect();
            let kept = judged(exemptions, ("api.example.com", 443), found);
            kept.map(|kept| kept.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>()).ok()
        };
        let none = Exemptions::parse(&[]).unwrap();
        assert_eq!(look(&none, &["93.184.215.14"]), Some(vec![String::from("93.184.215.14")]));
        for rebound in [
            "127.0.0.1",
            "10.0.0.8",
            "169.254.169.254",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[fd00:ec2::254]",
            "[64:ff9b::a9fe:a9fe]",
        ] {
            assert_eq!(look(&none, &[rebound]), None, "{rebound}");
            assert_eq!(
                look(&none, &[rebound, "93.184.215.14"]),
                Some(vec![String::from("93.184.215.14")]),
                "beside a good one {rebound} is not tried"
            );
        }
        let some = Exemptions::parse(&listed).unwrap();
        assert!(look(&some, &["10.0.0.8"]).is_some() && look(&some, &["169.254.169.254"]).is_none());
        assert_eq!(look(&none, &[]), Some(Vec::new()), "no address is no refusal");
    }

    #[test]
    fn a_base_address_must_be_https_and_public_unless_it_is_listed() {
        assert!(origin("https://api.example.com/v1", &[]).is_ok());
        assert!(origin("http://api.example.com/v1", &[]).is_err());
        assert!(origin("http://api.example.com/v1", &["api.example.com:80"]).is_ok());
        assert!(origin("http://127.0.0.1:9000", &[]).is_err());
        assert!(origin("http://127.0.0.1:9000", &["127.0.0.1:9001"]).is_err());
        assert!(origin("http://127.0.0.1:9000", &["127.0.0.1:9000"]).is_ok());
        assert!(origin("http://[::1]:9000", &["[::1]:9000"]).is_ok());
        assert!(origin("https://10.0.0.8", &["10.0.0.0/8"]).is_ok());
        assert!(origin("https://0x7f.1/", &[]).is_err());
        assert!(origin("https://2130706433/", &[]).is_err());
        assert!(origin("https://[::ffff:169.254.169.254]/", &[]).is_err());
        assert!(origin("https://me:secret@api.example.com/", &[]).is_err());
        assert!(origin("ftp://api.example.com/", &[]).is_err());
        assert!(Exemptions::parse(&[String::from("nonsense")]).is_err());
    }

    #[test]
    fn a_url_must_keep_scheme_host_and_port() {
        let origin = origin("https://api.example.com/v1", &[]).unwrap();
        let check = |url: &str| origin.check(&Url::parse(url).unwrap(), "test").is_ok();
        assert!(check("https://api.example.com/v1/x"));
        assert!(check("https://API.example.com:443/v1/x"));
        assert!(!check("http://api.example.com/v1/x"));
        assert!(!check("https://api.example.com:444/v1/x"));
        assert!(!check("https://api.example.com.evil.test/"));
        assert!(!check("https://api.example.com@evil.test/"));
        assert!(!check("https://user@api.example.com/"));
    }
}
