//! Ids that may be used once, where one process alone has to know.
//!
//! Owns [`Remembered`], which keeps [`Once`] in memory. The idea: whoever asks first about an id is told so, and nobody
//! else until the id has ended by itself; what cannot be remembered counts as used, so that a full memory refuses and
//! never forgets. Over a restart it forgets everything, so what was made before that is refused; and where clocks of others
//! may be ahead of ours, the latest time up to which something was accepted is written down first ([`Mark`]).
//!
//! Must not: keep an id itself (a digest comes in), or let one namespace fill the memory for all others.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::StateDir;
use super::shared::Once;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::json::Digest;

/// Parts with a lock each.
const PARTS: usize = 16;

/// Namespaces that fill the memory between them.
const SHARES: usize = 16;

/// Ids of this process.
pub struct Remembered {
    parts: [Mutex<Part>; PARTS],
    most: usize,
    clock: SharedClock,
    /// When this began to remember, by the wall and by the monotonic clock.
    begun: (Duration, Duration),
    mark: Option<Mark>,
}

/// Up to when something was accepted that is dated ahead, as the disk knows it.
struct Mark {
    state: StateDir,
    /// In seconds.
    kept: AtomicU64,
}

/// The file of a [`Mark`].
const MARK: &str = "proofs.mark";

impl Mark {
    /// Seconds beyond what was accepted, so that a clock that is ahead does not make a write of each request.
    const ROOM: u64 = 5;

    /// What the disk knows; a file that cannot be read as one says `unclear`.
    fn read(state: &StateDir, unclear: u64) -> Result<u64> {
        let Some(bytes) = state.read(MARK)? else { return Ok(0) };
        Ok(std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(unclear))
    }

    /// Writes down that something up to `until` may have been accepted. Blocks.
    fn write(state: &StateDir, until: u64) -> Result<u64> {
        let _turn = state.lock(MARK)?;
        let known = Self::read(state, 0)?;
        if known < until {
            state.write(MARK, until.to_string().as_bytes())?;
        }
        Ok(known.max(until))
    }
}

/// Whole seconds, none too few.
fn whole(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[derive(Default)]
struct Part {
    /// When each ends, in whole seconds. Half a digest tells ids apart well enough, in half the room.
    ends: HashMap<(Arc<str>, [u8; 16]), u32>,
    /// How many each namespace has.
    each: HashMap<Arc<str>, usize>,
    /// No look for ended ones before this.
    swept: Duration,
}

impl Part {
    fn sweep(&mut self, now: Duration) {
        self.swept = now + Duration::from_secs(1);
        let each = &mut self.each;
        self.ends.retain(|(namespace, _), ends| {
            let stays = Duration::from_secs(u64::from(*ends)) > now;
            if !stays && let Some(count) = each.get_mut(namespace) {
                *count -= 1;
            }
            stays
        });
        each.retain(|_, count| *count > 0);
    }
}

impl Remembered {
    /// At most `most` ids; a namespace has at most a sixteenth of them.
    pub fn new(most: usize, clock: SharedClock) -> Self {
        let begun = (clock.wall(), clock.monotonic());
        Self {
            parts: std::array::from_fn(|_| Mutex::default()),
            most: (most / PARTS).max(SHARES),
            clock,
            begun,
            mark: None,
        }
    }

    /// The same for what may be dated up to `ahead` after now: what was accepted before a restart is not accepted after
    /// it, whatever its date.
    pub fn lasting(most: usize, clock: SharedClock, state: &StateDir, ahead: Duration) -> Result<Self> {
        let mut remembered = Self::new(most, clock);
        let begun = &mut remembered.begun.0;
        // one that is unclear says as much as it may
        let kept = Mark::read(state, whole(*begun + ahead))?;
        *begun = (*begun).max(Duration::from_secs(kept));
        remembered.mark = Some(Mark { state: state.clone(), kept: AtomicU64::new(kept) });
        Ok(remembered)
    }

    /// Sees to it that the next process knows up to when something was accepted.
    async fn note(&self, made: Duration) -> Result<()> {
        let Some(mark) = &self.mark else { return Ok(()) };
        if made <= self.clock.wall() || whole(made) <= mark.kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let (state, until) = (mark.state.clone(), whole(made).saturating_add(Mark::ROOM));
        let written = tokio::task::spawn_blocking(move || Mark::write(&state, until)).await;
        let failed = |_| Error::new(Kind::Internal, "What was accepted could not be written down.");
        mark.kept.fetch_max(written.map_err(failed)??, Ordering::Release);
        Ok(())
    }

    /// What was made before this began may have been used before that.
    fn begun_after(&self, made: Duration, ttl: Duration) -> Result<()> {
        let (wall, monotonic) = self.begun;
        if made > wall || self.clock.monotonic() >= monotonic + ttl {
            return Ok(());
        }
        let message =
            "What was made before this server started cannot be told from what was used then; make it anew.";
        Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_secs(1)))
    }

    fn take(&self, namespace: &str, id: [u8; 32], ttl: Duration) -> Result<bool> {
        let now = self.clock.monotonic();
        let mut part = self.parts[usize::from(id[0]) % PARTS].lock().unwrap_or_else(PoisonError::into_inner);
        let known = part.each.get_key_value(namespace).map(|(known, _)| Arc::clone(known));
        let mut half = [0; 16];
        half.copy_from_slice(&id[..16]);
        let key = (known.unwrap_or_else(|| Arc::from(namespace)), half);
        if part.ends.get(&key).is_some_and(|ends| Duration::from_secs(u64::from(*ends)) > now) {
            return Ok(false);
        }
        let share = self.most / SHARES;
        let full = |part: &Part| {
            part.ends.len() >= self.most || part.each.get(namespace).is_some_and(|count| *count >= share)
        };
        if full(&part) && part.swept <= now {
            part.sweep(now);
        }
        if full(&part) {
            let message = "Too many ids that may be used once are in use; try again later.";
            return Err(Error::new(Kind::RateLimited, message).with_retry_after(Duration::from_secs(1)));
        }
        let namespace = key.0.clone();
        let seconds = (now + ttl).as_millis().div_ceil(1000);
        let ends = u32::try_from(seconds).unwrap_or(u32::MAX);
        if part.ends.insert(key, ends).is_none() {
            *part.each.entry(namespace).or_default() += 1;
        }
        Ok(true)
    }
}

impl Once for Remembered {
    fn first<'a>(
        &'a self,
        namespace: &'a str,
        id: &'a Digest,
        made: Option<Duration>,
        ttl: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<bool>> + Send + 'a>> {
        Box::pin(async move {
            if let Some(made) = made {
                self.begun_after(made, ttl)?;
                self.note(made).await?;
            }
            self.take(namespace, id.0, ttl)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn id(number: u32) -> [u8; 32] {
        let mut id = [0; 32];
        id[1..5].copy_from_slice(&number.to_be_bytes());
        id
    }

    #[test]
    fn an_id_is_new_once_until_it_has_ended() {
        let clock = ManualClock::at(Duration::from_secs(1000));
        let once = Remembered::new(1000, clock.clone());
        let minute = Duration::from_mins(1);
        assert!(once.take("a", id(1), minute).unwrap());
        assert!(!once.take("a", id(1), minute).unwrap());
        assert!(once.take("b", id(1), minute).unwrap(), "another namespace");
        clock.advance(minute);
        assert!(once.take("a", id(1), minute).unwrap());
        assert!(!once.take("a", id(1), minute).unwrap());
    }

    #[tokio::test]
    async fn what_was_made_before_the_start_may_have_been_used_then() {
        let clock = ManualClock::at(Duration::from_secs(1000));
        let once = Remembered::new(1000, clock.clone());
        let (before, minute) = (Some(Duration::from_secs(1000)), Duration::from_mins(1));
        let refused = once.first("a", &Digest(id(1)), before, minute).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::RateLimited);
        assert!(once.first("a", &Digest(id(1)), Some(Duration::from_secs(1001)), minute).await.unwrap());
        clock.advance(minute);
        assert!(once.first("a", &Digest(id(2)), before, minute).await.unwrap(), "it would have ended by now");
    }

    #[tokio::test]
    async fn what_was_dated_ahead_and_accepted_is_not_accepted_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(folder.path().join("state")).unwrap();
        let (ttl, minute) = (Duration::from_secs(361), Duration::from_mins(1));
        let clock = ManualClock::at(Duration::from_secs(1000));
        let start = || Remembered::lasting(1000, clock.clone(), &state, minute).unwrap();
        let show = async |once: &Remembered, number: u32, made: u64| {
            once.first("a", &Digest(id(number)), Some(Duration::from_secs(made)), ttl).await
        };
        let one = start();
        clock.advance(Duration::from_secs(1));
        assert!(show(&one, 1, 1001).await.unwrap(), "its own time");
        clock.advance(Duration::from_secs(1));
        let two = start();
        clock.advance(Duration::from_secs(1));
        assert!(show(&two, 2, 1003).await.unwrap(), "nothing was dated ahead, so nobody waits");
        assert!(show(&two, 3, 1030).await.unwrap(), "by a clock that is 27 seconds ahead");
        clock.advance(Duration::from_secs(1));
        let three = start();
        assert!(show(&three, 3, 1030).await.is_err(), "the same one");
        assert!(show(&three, 4, 1035).await.is_err(), "it may have been used as well");
        assert!(show(&three, 5, 1036).await.unwrap(), "nobody waits longer than that");
        clock.advance(minute);
        assert!(show(&three, 6, 1064).await.unwrap());
        assert!(show(&three, 3, 1030).await.is_err());
        clock.advance(ttl);
        state.write(MARK, b"what is this").unwrap();
        let four = start();
        assert!(show(&four, 7, 1427).await.is_err(), "a mark that cannot be read says as much as it may");
        clock.advance(Duration::from_secs(62));
        assert!(show(&four, 8, 1488).await.unwrap());
    }

    #[test]
    fn a_full_store_refuses_and_nobody_fills_it_for_others() {
        let clock = ManualClock::at(Duration::from_secs(1000));
        let once = Remembered::new(PARTS * 160, clock.clone());
        let minute = Duration::from_mins(1);
        let taken = (0..100).filter(|number| once.take("greedy", id(*number), minute).is_ok()).count();
        assert_eq!(taken, 10);
        assert!(once.take("modest", id(0), minute).unwrap());
        for other in 0..16 {
            for number in 0..10 {
                let _ = once.take(&format!("n{other}"), id(number), minute);
            }
        }
        assert_eq!(once.take("late", id(0), minute).unwrap_err().kind(), Kind::RateLimited);
        assert!(!once.take("greedy", id(0), minute).unwrap(), "and has forgotten nothing");
        clock.advance(minute);
        assert!(once.take("late", id(0), minute).unwrap(), "what has ended makes room");
    }

    #[test]
    fn of_many_at_once_one_is_first() {
        let once = Remembered::new(1000, ManualClock::at(Duration::from_secs(1)));
        let firsts = std::thread::scope(|scope| {
            let all: Vec<_> = (0..32)
                .map(|_| scope.spawn(|| once.take("a", id(7), Duration::from_mins(1)).unwrap()))
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|first| *first).count()
        });
        assert_eq!(firsts, 1);
    }
}
