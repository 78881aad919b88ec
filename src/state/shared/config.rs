//! The settings of the store that instances share.
//!
//! Owns [`Config`], the `[store]` table. The idea: no address, no store; an address never holds a password, and the way
//! to another machine is encrypted unless somebody says otherwise.
//!
//! Must not: read a secret.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use crate::error::{Error, Kind, Result};

/// The `[store]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the store is: `rediss://HOST:PORT/DATABASE`, or `redis://` for one on this machine. Empty: this instance
    /// shares with the processes of its state directory alone.
    pub url: String,
    /// The store's own name of this server (an ACL user).
    pub user: Option<String>,
    /// Where its password is: `env:NAME`, `file:PATH` or `keyring:NAME`.
    pub password: Option<String>,
    /// What the names of all keys begin with; one for each installation.
    pub prefix: String,
    /// Certificates to trust in place of the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// Whether an unencrypted way to another machine is allowed.
    pub insecure_plaintext: bool,
    /// Seconds a connection may take.
    pub connect_timeout: f64,
    /// Seconds an answer may take; after that the store counts as away.
    pub timeout: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            user: None,
            password: None,
            prefix: String::from("bartizan"),
            ca_file: None,
            insecure_plaintext: false,
            connect_timeout: 2.0,
            timeout: 0.5,
        }
    }
}

/// The settings, checked.
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only a build with a store has a use for them"))]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encrypted: bool,
    pub(super) database: i64,
    pub(super) user: Option<String>,
    pub(super) prefix: String,
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) connect_timeout: Duration,
    pub(super) timeout: Duration,
}

fn wrong(what: impl std::fmt::Display) -> Error {
    Error::new(Kind::BadConfig, format!("[store] {what}"))
}

impl Config {
    /// Whether there is a store.
    pub fn is_used(&self) -> bool {
        !self.url.is_empty()
    }

    pub(super) fn settings(&self) -> Result<Settings> {
        let example = "`url` is not the address of a store; write it like rediss://redis.example.com:6379/0.";
        let url = Url::parse(&self.url).map_err(|_| wrong(example))?;
        let encrypted = match url.scheme() {
            "rediss" => true,
            "redis" => false,
            _ => return Err(wrong(example)),
        };
        if url.password().is_some() || !url.username().is_empty() {
            return Err(wrong(
                "`url` holds a user or a password; name them in `user` and `password` instead.",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(example));
        }
        let host = url.host().ok_or_else(|| wrong(example))?;
        if !encrypted && !self.insecure_plaintext && !is_here(&host) {
            return Err(wrong(
                "`url` leads to another machine unencrypted; use rediss://, or say insecure_plaintext = true.",
            ));
        }
        let database = match url.path().trim_matches('/') {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| wrong(example))?,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.bytes().all(plain) {
            return Err(wrong("`prefix` has to be 1 to 64 letters, digits, `-`, `_`, `.` or `:`."));
        }
        let authorities = match &self.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|cause| {
                wrong(format_args!("`ca_file`: {} cannot be read.", path.display())).with_source(cause)
            })?),
        };
        if self.ca_file.is_some() && !encrypted {
            return Err(wrong("`ca_file` says whom to trust, and `url` is not encrypted; use rediss://."));
        }
        Ok(Settings {
            host: host.to_string().trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(6379),
            encrypted,
            database: i64::from(database),
            user: self.user.clone(),
            prefix: self.prefix.clone(),
            authorities,
            connect_timeout: seconds(self.connect_timeout, "connect_timeout")?,
            timeout: seconds(self.timeout, "timeout")?,
        })
    }
}

fn seconds(value: f64, name: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|time| !time.is_zero() && time.as_secs() <= 60)
        .ok_or_else(|| wrong(format_args!("`{name}` has to be more than 0 and at most 60 seconds.")))
}

fn is_here(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            *name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsafe_or_unclear_is_refused_and_not_repeated() {
        let with = |url: &str| Config { url: url.to_owned(), ..Config::default() };
        for url in [
            "hunter2",
            "http://127.0.0.1",
            "redis://:hunter2@127.0.0.1",
            "redis://hunter2@127.0.0.1",
            "redis://redis.example.com",
            "rediss://redis.example.com/hunter2",
            "rediss://redis.example.com?password=hunter2",
        ] {
            let error = with(url).settings().err().unwrap();
            assert!(!error.message().contains("hunter2"), "{error}");
        }
        for url in
            ["redis://127.0.0.1:7000/3", "redis://localhost", "redis://[::1]:1", "rediss://redis.example.com"]
        {
            assert!(with(url).settings().is_ok(), "{url}");
        }
        let open = Config { insecure_plaintext: true, ..with("redis://redis.example.com") };
        assert!(open.settings().is_ok());
        for broken in [
            Config { prefix: String::from("a{b}"), ..with("redis://localhost") },
            Config { timeout: 0.0, ..with("redis://localhost") },
            Config { timeout: f64::NAN, ..with("redis://localhost") },
            Config { connect_timeout: 1e9, ..with("redis://localhost") },
        ] {
            assert!(broken.settings().is_err());
        }
    }
}
