//! Texts in which nothing was found.
//!
//! Owns [`State`], [`is_clean`] and [`keep`]. The idea: the log and the audit say the same few words over and over (who
//! called, what, under which policy); what held nothing under the same rules and the same known credentials holds nothing
//! now. Texts are compared whole, never by hash alone, and each thread remembers for itself.
//!
//! Must not: remember a long text, or one in which something was found.

use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many texts a thread remembers.
const PLACES: usize = 256;
/// The longest text that is remembered.
const LONGEST: usize = 64;

/// What a judgement rests on: the version of the rules, and of what is known.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) rules: u64,
    pub(super) known: u64,
}

/// A version that nothing else has.
pub(super) fn version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// What a thread remembers, by place.
type Texts = RefCell<Vec<Option<(State, Box<str>)>>>;

thread_local! {
    static TEXTS: Texts = const { RefCell::new(Vec::new()) };
}

fn place(text: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    usize::try_from(hasher.finish() % PLACES as u64).unwrap_or_default()
}

/// Whether a text was found clean in this state.
pub(super) fn is_clean(state: State, text: &str) -> bool {
    let known = |texts: &Texts| {
        let texts = texts.borrow();
        let kept = texts.get(place(text)).and_then(Option::as_ref);
        kept.is_some_and(|(when, kept)| *when == state && **kept == *text)
    };
    text.len() <= LONGEST && TEXTS.try_with(known).unwrap_or_default()
}

/// Remembers a text that was found clean in this state.
pub(super) fn keep(state: State, text: &str) {
    if text.len() > LONGEST {
        return;
    }
    // a thread that ends remembers nothing more
    let _ = TEXTS.try_with(|texts| {
        let mut texts = texts.borrow_mut();
        if texts.is_empty() {
            texts.resize(PLACES, None);
        }
        texts[place(text)] = Some((state, text.into()));
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Redactor};
    use crate::secret::Secret;

    #[test]
    fn what_is_learnt_later_is_found_in_texts_that_were_clean_before() {
        let redactor = Redactor::new(&Config::default()).unwrap();
        let text = "widget wb7kQ2mZp9LxT4vR";
        assert_eq!(redactor.logged(text), text);
        assert_eq!(redactor.logged(text), text);
        let held = redactor.hold(&Secret::new("wb7kQ2mZp9LxT4vR"), "api-key");
        assert!(!redactor.logged(text).contains("wb7kQ2mZp9LxT4vR"));
        drop(held);
        assert!(!redactor.logged(text).contains("wb7kQ2mZp9LxT4vR"), "one that was replaced is still known");
        // another redactor knows nothing of it, and what that found clean is not clean here
        let other = Redactor::new(&Config::default()).unwrap();
        assert_eq!(other.logged(text), text);
        assert_ne!(redactor.logged(text), text);
    }

    #[test]
    fn a_token_that_passes_through_and_another_rule_are_seen_in_texts_that_were_clean_before() {
        let redactor = Redactor::new(&Config::default()).unwrap();
        let token = "Zk3vYt8qLw2nXc7rBm5s";
        let text = format!("name {token}");
        assert_eq!(redactor.logged(&text), text);
        let passes = redactor.pass(&Secret::new(token));
        assert!(!redactor.logged(&text).contains(token));
        drop(passes);
        assert_eq!(redactor.logged(&text), text);
        let ruled = Config { patterns: vec!["Zk3v[A-Za-z0-9]+".to_owned()], ..Config::default() };
        redactor.follow(&redactor.renewed(&ruled).unwrap());
        assert!(!redactor.logged(&text).contains(token));
    }
}
