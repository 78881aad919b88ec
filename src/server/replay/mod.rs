//! Streams that can be picked up where they broke off.
//!
//! Owns [`Shelf`], what one session keeps of its streams; `tape.rs` is one request's way onto it. The idea: an event's
//! id names its stream by a random number and its place in it, and is looked up in its own session only, so that an id
//! of another session is as unknown as a made-up one. What is kept is bounded for each session and for all together;
//! the oldest goes first.
//!
//! Must not: give one stream's messages to another, or keep anything of a request that was answered in one piece.

mod tape;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

pub(in crate::server) use tape::Tape;

use super::session::lock;
use crate::transport::{Event, Outlet};

/// What a kept message costs beside its text.
const OVERHEAD: usize = 64;

/// How much is kept, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Messages of one session; none means that no stream can be picked up.
    pub(super) events: usize,
    /// Bytes of one session.
    pub(super) bytes: usize,
    /// Bytes of all sessions.
    pub(super) total: usize,
    /// How long a call goes on whose client has not come back.
    pub(super) patience: Duration,
    /// When a client is asked to come back.
    pub(super) retry: Duration,
}

struct Kept {
    stream: u64,
    place: u64,
    message: Box<str>,
}

struct Stream {
    places: u64,
    kept: usize,
    outlet: Option<Arc<dyn Outlet>>,
    /// Counts the connections it was on.
    turn: u64,
    over: bool,
    moved: Arc<Notify>,
}

#[derive(Default)]
struct Shelved {
    kept: VecDeque<Kept>,
    bytes: usize,
    streams: HashMap<u64, Stream>,
    /// The stream that belongs to no request.
    standing: Option<u64>,
    closed: bool,
}

/// What a session keeps.
pub(super) struct Shelf {
    bounds: Bounds,
    primes: bool,
    all: Arc<AtomicUsize>,
    own: Arc<AtomicUsize>,
    inner: Mutex<Shelved>,
}

/// The text of an event's id.
fn name(stream: u64, place: u64) -> String {
    format!("{stream:016x}-{place:x}")
}

fn parse(text: &str) -> Option<(u64, u64)> {
    let (stream, place) = text.split_once('-')?;
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if stream.len() != 16 || !(1..=16).contains(&place.len()) || !plain(stream) || !plain(place) {
        return None;
    }
    Some((u64::from_str_radix(stream, 16).ok()?, u64::from_str_radix(place, 16).ok()?))
}

impl Shelf {
    /// `primes` says whether a stream opens with an event that has an id and nothing else; `all` counts the bytes of
    /// every shelf, `own` those of one caller's, who may have half.
    pub(super) fn new(
        bounds: Bounds,
        primes: bool,
        all: Arc<AtomicUsize>,
        own: Arc<AtomicUsize>,
    ) -> Arc<Self> {
        Arc::new(Self { bounds, primes, all, own, inner: Mutex::default() })
    }

    /// What counts this caller's bytes.
    pub(super) fn own(&self) -> &Arc<AtomicUsize> {
        &self.own
    }

    fn count(&self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.own.fetch_add(bytes, Ordering::Relaxed);
    }

    fn uncount(&self, bytes: usize) {
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        self.own.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Forgets everything; nothing is kept from here on.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        self.uncount(inner.bytes);
        inner.bytes = 0;
        inner.kept = VecDeque::new();
        for (_, stream) in inner.streams.drain() {
            if let Some(outlet) = stream.outlet {
                outlet.end();
            }
            stream.moved.notify_waiters();
        }
        inner.standing = None;
    }

    fn open(&self, inner: &mut Shelved, outlet: Option<Arc<dyn Outlet>>) -> u64 {
        let id = loop {
            let id: u64 = rand::random();
            if id != 0 && !inner.streams.contains_key(&id) {
                break id;
            }
        };
        if let Some(outlet) = &outlet {
            self.prime(id, 0, outlet);
        }
        let moved = Arc::default();
        inner.streams.insert(id, Stream { places: 0, kept: 0, outlet, turn: 0, over: false, moved });
        id
    }

    fn prime(&self, stream: u64, place: u64, outlet: &Arc<dyn Outlet>) {
        if self.primes {
            let retry = Some(self.bounds.retry);
            outlet.event(Event { id: Some(name(stream, place)), retry, message: String::new() });
        }
    }

    /// Puts a message on a stream: its id, and what it is, if nobody could be handed it.
    fn keep(&self, inner: &mut Shelved, id: u64, message: &str) -> Option<String> {
        let Shelved { kept, bytes, streams, closed: false, .. } = inner else { return None };
        let place = {
            let stream = streams.get_mut(&id)?;
            stream.places += 1;
            stream.places
        };
        let cost = message.len() + OVERHEAD;
        let crowded = |count: usize, bytes: usize| {
            count >= self.bounds.events
                || bytes.saturating_add(cost) > self.bounds.bytes
                || self.all.load(Ordering::Relaxed).saturating_add(cost) > self.bounds.total
                || self.own.load(Ordering::Relaxed).saturating_add(cost) > self.bounds.total / 2
        };
        while crowded(kept.len(), *bytes)
            && let Some(oldest) = kept.pop_front()
        {
            let weight = oldest.message.len() + OVERHEAD;
            *bytes -= weight;
            self.uncount(weight);
            if let Some(stream) = streams.get_mut(&oldest.stream) {
                stream.kept -= 1;
                if stream.over && stream.kept == 0 && oldest.stream != id {
                    streams.remove(&oldest.stream);
                }
            }
        }
        if !crowded(kept.len(), *bytes) {
            kept.push_back(Kept { stream: id, place, message: message.into() });
            *bytes += cost;
            self.count(cost);
            if let Some(stream) = streams.get_mut(&id) {
                stream.kept += 1;
            }
        }
        Some(name(id, place))
    }

    /// Says something on a stream, to whoever is there and to whoever comes back.
    fn say(&self, inner: &mut Shelved, id: u64, message: String) -> bool {
        let Some(event) = self.keep(inner, id, &message) else { return false };
        let Some(stream) = inner.streams.get_mut(&id) else { return false };
        if let Some(outlet) = &stream.outlet
            && !outlet.event(Event { id: Some(event), retry: None, message })
        {
            // gone, or too slow: it comes back for what it has not seen
            outlet.end();
            stream.outlet = None;
            stream.moved.notify_waiters();
        }
        true
    }

    /// Puts an outlet on the standing stream: as a new beginning.
    pub(super) fn stand(self: &Arc<Self>, outlet: Arc<dyn Outlet>) -> Option<Attached> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return None;
        }
        let id = match inner.standing {
            Some(id) => id,
            None => self.open(&mut inner, None),
        };
        inner.standing = Some(id);
        let stream = inner.streams.get_mut(&id)?;
        self.prime(id, stream.places, &outlet);
        let mut attached = self.seat(id, stream, outlet);
        attached.standing = true;
        Some(attached)
    }

    fn seat(self: &Arc<Self>, id: u64, stream: &mut Stream, outlet: Arc<dyn Outlet>) -> Attached {
        if stream.over {
            return Attached { shelf: Arc::clone(self), id, turn: 0, over: true, standing: false };
        }
        if let Some(former) = stream.outlet.replace(outlet) {
            former.end();
        }
        stream.turn += 1;
        stream.moved.notify_waiters();
        Attached { shelf: Arc::clone(self), id, turn: stream.turn, over: false, standing: false }
    }

    /// Says something on the standing stream, if there ever was somebody on it.
    pub(super) fn tell(&self, message: impl FnOnce() -> String) {
        let mut inner = lock(&self.inner);
        if let Some(id) = inner.standing {
            self.say(&mut inner, id, message());
        }
    }

    /// Picks a stream up behind the event of that id. Nothing if this session has no such stream, gave no such id, or
    /// has not kept all that came behind it.
    pub(super) fn resume(self: &Arc<Self>, last: &str, outlet: Arc<dyn Outlet>) -> Option<Attached> {
        let (id, place) = parse(last)?;
        let mut inner = lock(&self.inner);
        let Shelved { kept, streams, .. } = &mut *inner;
        let stream = streams.get_mut(&id).filter(|stream| place <= stream.places)?;
        let missed = || kept.iter().filter(|kept| kept.stream == id && kept.place > place);
        // a gap would go unseen, and what is missing may be the answer
        if u64::try_from(missed().count()) != Ok(stream.places - place) {
            return None;
        }
        let events = missed().map(|kept| Event {
            id: Some(name(id, kept.place)),
            retry: None,
            message: kept.message.to_string(),
        });
        outlet.replay(events.collect());
        let mut attached = self.seat(id, stream, outlet);
        attached.standing = inner.standing == Some(id);
        Some(attached)
    }

    /// Takes an outlet away, if it is still the one of that turn.
    fn leave(&self, id: u64, turn: u64) {
        if let Some(stream) = lock(&self.inner).streams.get_mut(&id)
            && stream.turn == turn
            && stream.outlet.take().is_some()
        {
            stream.moved.notify_waiters();
        }
    }

    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        let inner = lock(&self.inner);
        (inner.kept.len(), inner.streams.len())
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection that a stream is on; it is off again when this goes.
pub(super) struct Attached {
    shelf: Arc<Shelf>,
    id: u64,
    turn: u64,
    /// Whether the stream had ended: what it held was said, and nothing more comes.
    pub(super) over: bool,
    /// Whether it is the stream that belongs to no request.
    pub(super) standing: bool,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.shelf.leave(self.id, self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Answer;
    use tokio_util::sync::CancellationToken;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>, AtomicUsize);

    impl Heard {
        fn texts(&self) -> Vec<String> {
            self.0.lock().unwrap().iter().map(|event| event.message.clone()).collect()
        }

        fn last(&self) -> String {
            self.0.lock().unwrap().last().unwrap().id.clone().unwrap()
        }
    }

    impl Outlet for Heard {
        fn send(&self, _message: String) -> bool {
            panic!("everything has an id")
        }

        fn event(&self, event: Event) -> bool {
            self.0.lock().unwrap().push(event);
            true
        }

        fn end(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn bounds() -> Bounds {
        Bounds {
            events: 4,
            bytes: 1000,
            total: 1500,
            patience: Duration::from_secs(60),
            retry: Duration::from_secs(1),
        }
    }

    fn shelf(all: &Arc<AtomicUsize>) -> Arc<Shelf> {
        Shelf::new(bounds(), true, Arc::clone(all), Arc::default())
    }

    fn heard() -> Arc<Heard> {
        Arc::default()
    }

    #[test]
    fn a_stream_is_picked_up_behind_what_was_seen_and_nothing_else_is_given() {
        let shelf = shelf(&Arc::default());
        let (first, other) = (heard(), heard());
        let (tape, beside) =
            (Tape::new(shelf.clone(), first.clone()), Tape::new(shelf.clone(), other.clone()));
        assert!(tape.send("one".into()) && beside.send("elsewhere".into()) && tape.send("two".into()));
        assert_eq!(first.texts(), ["", "one", "two"], "it begins with an id and nothing else");
        let seen = first.0.lock().unwrap()[1].id.clone().unwrap();
        let again = heard();
        let attached = shelf.resume(&seen, again.clone()).unwrap();
        assert!(!attached.over);
        assert_eq!(first.1.load(Ordering::SeqCst), 1, "the former connection is ended");
        tape.send("three".into());
        assert_eq!(again.texts(), ["two", "three"]);
        let answer = Answer { status: 200, body: Some("done".into()), ..Answer::default() };
        tape.finish(answer);
        assert_eq!(again.texts(), ["two", "three", "done"]);
        drop(attached);
        let late = heard();
        assert!(shelf.resume(&again.0.lock().unwrap()[1].id.clone().unwrap(), late.clone()).unwrap().over);
        assert_eq!(late.texts(), ["done"], "what was answered can be fetched once more");
        assert!(!late.last().is_empty());
    }

    #[test]
    fn ids_that_were_not_given_here_lead_nowhere() {
        let all = Arc::default();
        let (one, two) = (shelf(&all), shelf(&all));
        let out = heard();
        Tape::new(one.clone(), out.clone()).send("secret".into());
        let id = out.last();
        let ahead = format!("{}-ff", &id[..16]);
        for wrong in
            ["", "-", "1", "0000000000000000-0", &id[..17], &ahead, &id.to_uppercase().replace('-', "_")]
        {
            assert!(one.resume(wrong, heard()).is_none(), "{wrong}");
        }
        let stolen = heard();
        assert!(two.resume(&id, stolen.clone()).is_none() && stolen.texts().is_empty());
        assert!(one.resume(&id, heard()).is_some());
    }

    #[test]
    fn what_is_kept_is_bounded_and_forgotten() {
        let all = Arc::default();
        let (one, two) = (shelf(&all), shelf(&all));
        for shelf in [&one, &two] {
            for number in 0..100 {
                let tape = Tape::new(Arc::clone(shelf), heard());
                tape.send(format!("{number}"));
                tape.send("x".repeat(150));
                tape.finish(Answer::default());
            }
        }
        assert!(one.held().0 <= 4 && one.held().1 <= 4, "{:?}", one.held());
        assert!(all.load(Ordering::SeqCst) <= 1500);
        let large = Tape::new(one.clone(), heard());
        assert!(large.send("x".repeat(5000)), "said, and not kept");
        let alone = Tape::new(one.clone(), heard());
        let answer = alone.finish(Answer { status: 200, body: Some("{}".into()), ..Answer::default() });
        assert_eq!(answer.body.as_deref(), Some("{}"), "an answer that stands alone is not touched");
        one.close();
        assert_eq!(one.held(), (0, 0));
        assert!(!large.send("late".into()));
        drop(two);
        assert_eq!(all.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_stream_with_a_gap_is_not_picked_up() {
        let shelf = shelf(&Arc::default());
        let out = heard();
        let tape = Tape::new(shelf.clone(), out.clone());
        tape.send("one".into());
        let first = out.last();
        tape.send("two".into());
        tape.finish(Answer { status: 200, body: Some("x".repeat(5000)), ..Answer::default() });
        let late = heard();
        assert!(shelf.resume(&first, late.clone()).is_none(), "the answer was too large to be kept");
        assert!(late.texts().is_empty());

        let out = heard();
        let tape = Tape::new(shelf.clone(), out.clone());
        tape.send("one".into());
        let first = out.last();
        for number in 0..6 {
            tape.send(format!("{number}"));
        }
        assert!(shelf.resume(&first, heard()).is_none(), "what came behind it is gone in part");
        let middle = out.0.lock().unwrap()[5].id.clone().unwrap();
        let late = heard();
        assert!(shelf.resume(&middle, late.clone()).is_some());
        assert_eq!(late.texts(), ["4", "5"]);
    }

    #[tokio::test]
    async fn who_does_not_come_back_is_given_up() {
        let shelf =
            Shelf::new(Bounds { patience: Duration::ZERO, ..bounds() }, true, Arc::default(), Arc::default());
        let out = heard();
        let tape = Tape::new(shelf.clone(), out.clone());
        let gone = CancellationToken::new();
        tape.pause();
        assert_eq!((out.texts().len(), out.1.load(Ordering::SeqCst)), (1, 1), "an id to come back with");
        let back = shelf.resume(&out.last(), heard()).unwrap();
        gone.cancel();
        let waiting = tokio::time::timeout(Duration::from_millis(1), tape.abandoned(&gone)).await;
        assert!(waiting.is_err(), "it is back");
        drop(back);
        tokio::time::timeout(Duration::from_secs(10), tape.abandoned(&gone)).await.unwrap();
    }
}
