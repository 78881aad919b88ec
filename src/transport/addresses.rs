//! Where a request comes from, and whether it may.
//!
//! Owns [`Addresses`] and the reading of address ranges. The idea: the address that counts is the peer's own, unless the
//! peer is a proxy that the configuration trusts; then it is the last one that no such proxy wrote, whatever a client put
//! before it. A list that is there and empty lets nobody in.
//!
//! Must not: trust a header of anybody who is not listed.

use std::net::IpAddr;

use http::StatusCode;
use http::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer, Serialize};

use super::Config;
use super::guard::Refused;
use crate::error::{Error, Kind, Result};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which trusted proxies say who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Reads addresses and ranges of them; of a mapped address, the one it maps.
pub fn ranges(texts: &[String]) -> Result<Vec<IpNet>> {
    let read = |text: &String| {
        let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(unmapped).map_err(|_| {
            let said = "An address range here is none; write 10.0.0.0/8, 2001:db8::/32 or a single address.";
            Error::new(Kind::BadConfig, said)
        })
    };
    texts.iter().map(read).collect()
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(six) = net else { return net };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    four.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(net, IpNet::V4)
}

/// For a setting that is a list of ranges.
pub(super) fn read<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(input)?;
    ranges(&texts).map_err(|error| serde::de::Error::custom(error.message()))
}

/// The same for one that need not be there.
pub(super) fn read_some<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<IpNet>>, D::Error> {
    read(input).map(Some)
}

/// Who may connect, and who speaks for others.
pub(super) struct Addresses {
    allowed: Option<Vec<IpNet>>,
    proxies: Vec<IpNet>,
    header: HeaderName,
}

impl Addresses {
    pub(super) fn new(config: &Config) -> Self {
        let header = match config.proxy_header {
            ProxyHeader::XForwardedFor => X_FORWARDED_FOR,
            ProxyHeader::Forwarded => FORWARDED,
        };
        Self { allowed: config.allow_from.clone(), proxies: config.trusted_proxies.clone(), header }
    }

    fn is_allowed(&self, address: IpAddr) -> bool {
        self.allowed.as_ref().is_none_or(|allowed| holds(allowed, address))
    }

    /// Whether anybody at that address is listened to at all.
    pub(super) fn may_connect(&self, peer: IpAddr) -> bool {
        self.is_allowed(peer) || holds(&self.proxies, peer)
    }

    /// The address that a request of this peer comes from; whether it [may](Self::check) is another question.
    pub(super) fn of(&self, peer: IpAddr, headers: &HeaderMap) -> Result<IpAddr, Refused> {
        let mut address = peer.to_canonical();
        if holds(&self.proxies, address) {
            let values = headers.get_all(&self.header).iter();
            let lines: Vec<&str> = values.map(|value| value.to_str().unwrap_or("unreadable")).collect();
            for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
                let said = if self.header == FORWARDED { forwarded_for(hop) } else { Some(hop.trim()) };
                let Some(hop) = said.and_then(node) else {
                    let what = "the address that a proxy names cannot be read";
                    return Err(Refused { status: StatusCode::BAD_REQUEST, what });
                };
                address = hop;
                if !holds(&self.proxies, address) {
                    break;
                }
            }
        }
        Ok(address)
    }

    /// Whether requests of that address are answered.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        if self.is_allowed(address) {
            return Ok(());
        }
        Err(Refused { status: StatusCode::FORBIDDEN, what: "address not allowed" })
    }
}

fn holds(nets: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    nets.iter().any(|net| net.contains(&address))
}

/// What stands behind `for=` in one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then(|| value.trim_matches('"'))
    })
}

/// An address with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    let bracketed = || text.strip_prefix('[')?.split_once(']')?.0.parse().ok();
    let with_port = || text.rsplit_once(':')?.0.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4);
    plain.or_else(bracketed).or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Addresses {
        Addresses::new(&toml::from_str(text).unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn said(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_list_lets_in_whom_it_names_and_an_empty_one_nobody() {
        let all = addresses("");
        assert!(all.may_connect(ip("203.0.113.9")));
        let some = addresses("allow_from = ['10.0.0.0/8', '2001:db8::/32', '::ffff:192.0.2.0/120']");
        for (address, may) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("11.0.0.1", false),
            ("2001:db9::1", false),
            ("192.0.3.1", false),
        ] {
            assert_eq!(some.may_connect(ip(address)), may, "{address}");
            assert_eq!(some.check(ip(address)).is_ok(), may, "{address}");
        }
        let none = addresses("allow_from = []");
        assert!(!none.may_connect(ip("127.0.0.1")));
        assert!(toml::from_str::<Config>("allow_from = ['10.0.0.0/33']").is_err());
    }

    #[test]
    fn only_a_trusted_proxy_speaks_for_others_and_only_the_last_hop_it_does_not_know_counts() {
        let behind = addresses("trusted_proxies = ['10.0.0.0/8']");
        let lying = said("x-forwarded-for", &["127.0.0.1"]);
        assert_eq!(behind.of(ip("203.0.113.9"), &lying), Ok(ip("203.0.113.9")), "not a proxy of ours");
        for (values, address) in [
            (&["198.51.100.7"][..], "198.51.100.7"),
            (&["127.0.0.1, 198.51.100.7"], "198.51.100.7"),
            (&["127.0.0.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            (&["198.51.100.7:4711"], "198.51.100.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["::ffff:198.51.100.7"], "198.51.100.7"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1"),
        ] {
            assert_eq!(
                behind.of(ip("10.0.0.1"), &said("x-forwarded-for", values)),
                Ok(ip(address)),
                "{values:?}"
            );
        }
        for values in [&["unknown"][..], &["198.51.100.7, "], &[""], &["127.0.0.1, _hidden"]] {
            assert!(behind.of(ip("10.0.0.1"), &said("x-forwarded-for", values)).is_err(), "{values:?}");
        }
        // what the proxy does not write is not read
        let other = said("forwarded", &["for=127.0.0.1"]);
        assert_eq!(behind.of(ip("10.0.0.1"), &other), Ok(ip("10.0.0.1")));
    }

    #[test]
    fn the_standard_header_is_read_where_that_is_what_proxies_write() {
        let behind = addresses("trusted_proxies = ['::1', '10.0.0.0/8']\nproxy_header = 'forwarded'");
        for (value, address) in [
            ("for=198.51.100.7;proto=https", "198.51.100.7"),
            ("For=\"[2001:db8::1]:4711\";by=10.0.0.1, for=10.0.0.2", "2001:db8::1"),
        ] {
            assert_eq!(behind.of(ip("::1"), &said("forwarded", &[value])), Ok(ip(address)), "{value}");
        }
        for value in ["by=10.0.0.1", "for=unknown", "for=\"_x\""] {
            assert!(behind.of(ip("::1"), &said("forwarded", &[value])).is_err(), "{value}");
        }
    }

    #[test]
    fn what_a_proxy_names_has_to_be_on_the_list_too() {
        let both = addresses("trusted_proxies = ['10.0.0.1']\nallow_from = ['198.51.100.0/24']");
        assert!(both.may_connect(ip("10.0.0.1")));
        let from = |value| both.of(ip("10.0.0.1"), &said("x-forwarded-for", &[value])).unwrap();
        assert!(both.check(from("198.51.100.7")).is_ok());
        assert_eq!(both.check(from("203.0.113.9")).unwrap_err().status, StatusCode::FORBIDDEN);
        assert!(both.check(from("198.51.100.7, 203.0.113.9")).is_err(), "the first is the client's own word");
        assert!(both.check(ip("10.0.0.1")).is_err(), "the proxy itself is not on the list");
    }
}
