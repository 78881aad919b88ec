//! Buckets in the store that instances share.
//!
//! Owns [`Buckets`] and [`Leased`], two [`Store`]s. The idea: the same arithmetic as `gcra.rs`, in the store, where it is
//! one step: the time comes with the call and never goes back for a bucket, numbers are pairs of seconds and nanoseconds
//! because the store counts in doubles, and everything that is multiplied or divided is so here. What is answered is
//! computed here too, from the bucket as it was found, so both can only agree or refuse.
//!
//! Reads come too often to ask each time. [`Leased`] takes some at once and hands them out for a second: what it holds
//! was counted when it was taken, so nothing is counted twice or not at all; who calls seldom never holds more than it
//! uses.
//!
//! Must not: let a call through that the store has not counted.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Store;
use super::gcra::{Decision, Quota, decide};
use crate::error::{Error, Kind, Result};
use crate::state::Shared;
use crate::state::shared::{Place, Reply, Script};

/// Answers with what was granted (2: all that was wanted, 1: all that is needed, 0: nothing), the bucket as it was, and
/// the time it was asked at.
static TAKE: Script = Script {
    name: "take",
    text: r"
local function pair(text) return string.match(text, '^(%d+) (%d+)$') end
local function later(s, n, other_s, other_n) return s > other_s or (s == other_s and n > other_n) end
local function add(s, n, more_s, more_n)
  s, n = s + more_s, n + more_n
  if n >= 1000000000 then return s + 1, n - 1000000000 end
  return s, n
end
local a = {}
for place = 2, 9 do a[place - 1] = tonumber(ARGV[place]) end
local now_s, now_n, tolerance_s, tolerance_n = a[1], a[2], a[3], a[4]
local full_s, full_n = 0, 0
local kept = redis.call('GET', KEYS[2])
if kept then
  local s, n, then_s, then_n = string.match(kept, '^(%d+) (%d+) (%d+) (%d+)$')
  full_s, full_n, then_s, then_n = tonumber(s), tonumber(n), tonumber(then_s), tonumber(then_n)
  if later(then_s, then_n, now_s, now_n) then now_s, now_n = then_s, then_n end
elseif since ~= '' then
  local s, n = pair(since)
  s, n = tonumber(s), tonumber(n)
  if later(s, n, now_s, now_n) then now_s, now_n = s, n end
  full_s, full_n = add(s, n, tolerance_s, tolerance_n)
end
local start_s, start_n = full_s, full_n
if later(now_s, now_n, full_s, full_n) then start_s, start_n = now_s, now_n end
local most_s, most_n = add(now_s, now_n, tolerance_s, tolerance_n)
local granted = 0
for grant = 2, 1, -1 do
  local next_s, next_n = add(start_s, start_n, a[9 - 2 * grant], a[10 - 2 * grant])
  if not later(next_s, next_n, most_s, most_n) then
    granted = grant
    local ahead = (next_s - now_s) * 1000 + math.ceil((next_n - now_n) / 1000000) + 1000
    redis.call('SET', KEYS[2], string.format('%.0f %.0f %.0f %.0f', next_s, next_n, now_s, now_n), 'PX',
      string.format('%.0f', ahead))
    break
  end
end
return {granted, full_s, full_n, now_s, now_n}",
};

/// Buckets, asked each time.
pub(super) struct Buckets {
    shared: Arc<Shared>,
}

/// What was taken at once, and what is left in the bucket.
struct Taken {
    count: u32,
    left: u32,
}

impl Buckets {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Takes `wanted`, or at least `cost`.
    async fn take_some(
        &self,
        key: &str,
        quota: Quota,
        cost: u32,
        wanted: u32,
        now: Duration,
    ) -> Result<Result<Taken, Decision>> {
        if let Some(never) = never(quota, cost, now) {
            return Ok(Err(never));
        }
        let wanted = wanted.clamp(cost, quota.burst);
        let name = format!("bucket:{}", Shared::digest(&[key]));
        let mut arguments = Vec::with_capacity(8);
        let tolerance = quota.empty_at(Duration::ZERO);
        for time in [now, tolerance, quota.taking(wanted), quota.taking(cost)] {
            arguments.push(time.as_secs().to_string().into_bytes());
            arguments.push(time.subsec_nanos().to_string().into_bytes());
        }
        let reply = self.shared.run(&TAKE, Place::Memory, &[&name], arguments).await?;
        let numbers: Vec<u64> =
            reply.iter().filter_map(Reply::number).filter_map(|number| u64::try_from(number).ok()).collect();
        let [granted, full_s, full_n, now_s, now_n] = numbers[..] else {
            return Err(Error::new(Kind::Internal, "The store that counts calls gave no answer to use."));
        };
        let time = |seconds, nanos| Duration::from_secs(seconds) + Duration::from_nanos(nanos);
        let (full_at, asked_at) = (time(full_s, full_n), time(now_s, now_n));
        let count = match granted {
            2 => wanted,
            1 => cost,
            _ => 0,
        };
        Ok(match decide(full_at, quota, count.max(cost), asked_at).0 {
            Decision::Allowed { left } if count > 0 => Ok(Taken { count, left }),
            Decision::Allowed { .. } => Err(Decision::Refused { retry_after: Some(Duration::from_mins(1)) }),
            refused @ Decision::Refused { .. } => Err(refused),
        })
    }
}

/// The answer where nothing can ever be granted: that need not be asked for.
fn never(quota: Quota, cost: u32, now: Duration) -> Option<Decision> {
    let (decision, _) = decide(Duration::ZERO, quota, cost, now);
    matches!(decision, Decision::Refused { retry_after: None }).then_some(decision)
}

impl Store for Buckets {
    fn take<'a>(
        &'a self,
        key: &'a str,
        quota: Quota,
        cost: u32,
        now: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Decision>> + Send + 'a>> {
        Box::pin(async move {
            let taken = self.take_some(key, quota, cost, cost, now).await?;
            Ok(taken.map_or_else(|refused| refused, |taken| Decision::Allowed { left: taken.left }))
        })
    }
}

/// How long what was taken at once is handed out.
const LASTS: Duration = Duration::from_secs(1);
/// What is taken at once is at most this part of a burst, and so many.
const PART: u32 = 16;
const MOST: u32 = 4096;
/// Callers that may hold something at once; the others ask each time.
const HOLDERS: usize = 10_000;

/// What a caller holds.
#[derive(Default)]
struct Lease {
    tokens: u32,
    left: u32,
    ends: Duration,
    /// How many are taken at once: doubled whenever that was too few for a second.
    size: u32,
    asking: bool,
}

/// Buckets of which some is taken at once.
pub(super) struct Leased {
    buckets: Buckets,
    leases: Mutex<HashMap<Box<str>, Lease>>,
}

impl Leased {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { buckets: Buckets::new(shared), leases: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Lease>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from what is held; else says how many to take at once, or none if somebody else is doing so already.
    fn held(&self, key: &str, quota: Quota, cost: u32, now: Duration) -> Result<Decision, Option<u32>> {
        let mut leases = self.lock();
        let Some(lease) = leases.get_mut(key) else {
            if leases.len() >= HOLDERS {
                leases.retain(|_, lease| lease.asking || lease.ends > now);
            }
            if leases.len() >= HOLDERS {
                return Err(None);
            }
            leases.insert(key.into(), Lease { size: 1, asking: true, ..Lease::default() });
            return Err(Some(cost));
        };
        let lasts = now < lease.ends && lease.ends <= now.saturating_add(LASTS);
        if lasts && lease.tokens >= cost && cost <= quota.burst {
            lease.tokens -= cost;
            return Ok(Decision::Allowed { left: lease.left.saturating_add(lease.tokens).min(quota.burst) });
        }
        if lease.asking {
            return Err(None);
        }
        lease.asking = true;
        let most = (quota.burst / PART).clamp(1, MOST);
        lease.size = if lasts { lease.size.saturating_mul(2).min(most) } else { 1 };
        Err(Some(lease.size.max(cost)))
    }
}

/// Whoever asks for more at once says when it is over, also when it gives up.
struct Asking<'a> {
    leased: &'a Leased,
    key: &'a str,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.leased.lock().get_mut(self.key) {
            lease.asking = false;
        }
    }
}

impl Store for Leased {
    fn take<'a>(
        &'a self,
        key: &'a str,
        quota: Quota,
        cost: u32,
        now: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<Decision>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(never) = never(quota, cost, now) {
                return Ok(never);
            }
            let wanted = match self.held(key, quota, cost, now) {
                Ok(decision) => return Ok(decision),
                Err(wanted) => wanted,
            };
            let Some(wanted) = wanted else {
                return self.buckets.take(key, quota, cost, now).await;
            };
            let _asking = Asking { leased: self, key };
            match self.buckets.take_some(key, quota, cost, wanted, now).await? {
                Err(refused) => Ok(refused),
                Ok(taken) => {
                    let more = taken.count - cost;
                    if let Some(lease) = self.lock().get_mut(key) {
                        let kept = if lease.ends <= now { 0 } else { lease.tokens };
                        lease.tokens = kept.saturating_add(more);
                        (lease.ends, lease.left) = (now.saturating_add(LASTS), taken.left);
                    }
                    Ok(Decision::Allowed { left: taken.left.saturating_add(more) })
                }
            }
        })
    }
}
