//! How a Redis server is spoken to.
//!
//! Owns what every script begins with, the setting of the mark, and the reading of answers. The idea: words in, words
//! out; nothing here knows a connection.
//!
//! Must not: ask anything.

use redis::{Client, RedisError, Value};

use super::Reply;
use super::config::Settings;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// What each script begins with: nothing is done in a memory that is not the one its instance knows.
pub(super) const PRELUDE: &str = "local mark = redis.call('HMGET', KEYS[1], 'id', 'since')\n\
                       if mark[1] ~= ARGV[1] then return {'!'} end\n\
                       local since = mark[2]\n";

/// Sets the mark, or agrees with the one that is there. A memory that somebody knew and that is not there any more, or
/// that is held by a server that was started again, is a new one that has forgotten.
pub(super) const MARK: &str = r"
local id, run, since = unpack(redis.call('HMGET', KEYS[1], 'id', 'run', 'since'))
local known, now = ARGV[1], ARGV[4]
if not id then
  id, since = ARGV[3], known ~= '' and now or ''
elseif run ~= ARGV[2] then
  id, since = ARGV[3], now
elseif known ~= '' and known ~= id and since == '' then
  since = now
else
  return {id}
end
redis.call('HSET', KEYS[1], 'id', id, 'run', ARGV[2], 'since', since)
return {id}";

/// A line of INFO.
pub(super) fn said<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// What a script answered; none if it found another memory.
pub(super) fn replies(value: Value) -> Option<Vec<Reply>> {
    let Value::Array(all) = value else { return Some(Vec::new()) };
    if let [Value::BulkString(one)] = all.as_slice()
        && one == b"!"
    {
        return None;
    }
    let reply = |one: Value| match one {
        Value::Int(number) => Reply::Number(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes),
        Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
        _ => Reply::Nil,
    };
    Some(all.into_iter().map(reply).collect())
}

pub(super) fn client(settings: &Settings, password: Option<&Secret>) -> Result<Client> {
    let wrong = |cause: RedisError| {
        Error::new(Kind::BadConfig, "[store] cannot be used as it is; check `url` and `ca_file`.")
            .with_source(cause)
    };
    let (host, port) = (settings.host.clone(), settings.port);
    let address = if settings.encrypted {
        redis::ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        redis::ConnectionAddr::Tcp(host, port)
    };
    let mut who = redis::RedisConnectionInfo::default().set_db(settings.database);
    if let Some(user) = &settings.user {
        who = who.set_username(user);
    }
    if let Some(password) = password {
        who = who.set_password(password.expose());
    }
    let info =
        redis::IntoConnectionInfo::into_connection_info(address).map_err(wrong)?.set_redis_settings(who);
    if settings.encrypted {
        let authorities =
            redis::TlsCertificates { client_tls: None, root_cert: settings.authorities.clone() };
        return Client::build_with_tls(info, authorities).map_err(wrong);
    }
    Client::open(info).map_err(wrong)
}
