//! Things that may be used once.
//!
//! Owns the [`Once`] port, [`Dated`] and what keeps them in the shared store. The idea: of many who come with one id, on whatever
//! instance, exactly one is the first; an id is remembered, as a digest, for as long as what it belongs to would be
//! accepted. Where the store has forgotten, what was made before that cannot be told from what was used before that, so
//! it is refused until it has ended by itself.
//!
//! Must not: take silence for an answer.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Place, Reply, Script, Shared};
use crate::error::{Error, Kind, Result};
use crate::json::Digest;

/// Clocks of whoever makes ids may go wrong by so much.
const SKEW: Duration = Duration::from_secs(5);

/// Remembers what was used.
pub trait Once: Send + Sync + 'static {
    /// True for the first who comes with this id; an error means that it cannot be told, which is a refusal too. `made`
    /// is when (in wall time) what it belongs to was made, where that is known; it is not accepted any more after `ttl`.
    fn first<'a>(
        &'a self,
        namespace: &'a str,
        id: &'a Digest,
        made: Option<Duration>,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>>;
}

static FIRST: Script = Script {
    name: "first",
    text: r"
local made, now, ttl = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if since ~= '' then
  local lost = tonumber(string.match(since, '^(%d+) ')) * 1000 + 1000
  local wait = lost + ttl - now
  if made > 0 and made <= lost then return {-1, math.max(wait, 1000)} end
  if made <= 0 and wait > 0 then return {-1, wait} end
end
if redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[4]) then return {1, 0} end
return {0, 0}",
};

/// What [`FIRST`] is asked: the name, and when it was made, now, and for how long.
fn asked(
    namespace: &str,
    id: &Digest,
    made: Option<Duration>,
    now: Duration,
    ttl: Duration,
) -> (String, Vec<Vec<u8>>) {
    let name = format!("once:{}", Shared::digest(&[namespace, &id.hex()]));
    let millis = |time: Duration| time.as_millis().to_string().into_bytes();
    let made = made.map_or(Duration::ZERO, |made| made.min(now).saturating_sub(SKEW));
    let arguments =
        vec![millis(made), millis(now), millis(ttl.saturating_add(SKEW).max(Duration::from_millis(1)))];
    (name, arguments)
}

/// What it answered.
fn answered(reply: &[Reply]) -> Result<bool> {
    match reply.first().and_then(Reply::number) {
        Some(1) => Ok(true),
        Some(0) => Ok(false),
        _ => {
            let wait = reply.get(1).and_then(Reply::number).and_then(|wait| u64::try_from(wait).ok());
            let said = "The store that instances share has lost which of these were used, so what was made before that \
                        is refused; begin anew.";
            Err(Error::new(Kind::RateLimited, said)
                .with_retry_after(Duration::from_millis(wait.unwrap_or(1000))))
        }
    }
}

impl Shared {
    /// The same as [`Once::first`], for a thread that may wait.
    pub(crate) fn first_now(
        &self,
        namespace: &str,
        id: &Digest,
        made: Option<Duration>,
        ttl: Duration,
    ) -> Result<bool> {
        let (name, arguments) = asked(namespace, id, made, self.clock().wall(), ttl);
        answered(&self.run_now(&FIRST, Place::Memory, &[&name], arguments)?)
    }
}

impl Once for Shared {
    fn first<'a>(
        &'a self,
        namespace: &'a str,
        id: &'a Digest,
        made: Option<Duration>,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>> {
        let (name, arguments) = asked(namespace, id, made, self.clock().wall(), ttl);
        Box::pin(async move { answered(&self.run(&FIRST, Place::Memory, &[&name], arguments).await?) })
    }
}

/// Used ids of what others date, by clocks that may be ahead of ours.
pub struct Dated {
    once: Arc<dyn Once>,
    ahead: Duration,
}

impl Dated {
    /// What is dated up to `ahead` after now is accepted, so it may have been used by so much before it says it was made.
    pub fn new(once: Arc<dyn Once>, ahead: Duration) -> Self {
        Self { once, ahead }
    }
}

impl Once for Dated {
    fn first<'a>(
        &'a self,
        namespace: &'a str,
        id: &'a Digest,
        made: Option<Duration>,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>> {
        self.once.first(namespace, id, made.map(|made| made.saturating_sub(self.ahead)), ttl)
    }
}
