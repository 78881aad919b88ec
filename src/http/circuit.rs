//! An upstream that fails is left alone.
//!
//! Owns [`Circuit`]. The idea: failures in a row, or half of many, open it; then nothing is sent until a while has passed,
//! and one probe decides whether it closes or stays open for longer.
//!
//! Must not: send, or ask the time.

use std::time::Duration;

/// How often failures are weighed against successes.
const WINDOW: Duration = Duration::from_secs(30);
/// So many answers before their share says anything.
const ENOUGH: u32 = 20;
/// What others are told to wait while a probe is under way.
const MOMENT: Duration = Duration::from_secs(1);
/// An upstream that goes on failing is left alone for at most so many times as long.
const LONGEST: u32 = 8;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Failures in a row; 0 means never.
    pub(super) failures: u32,
    /// The first time it is open.
    pub(super) open: Duration,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Good,
    Bad,
    /// It ended without saying anything about the upstream.
    Neither,
}

/// What a report changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Opened(Duration),
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Probing,
}

#[derive(Debug)]
pub(super) struct Circuit {
    rules: Rules,
    state: State,
    streak: u32,
    /// Of this window: answers, failures, and when it began.
    seen: (u32, u32, Duration),
    /// How often it opened since it was last closed.
    opened: u32,
}

impl Circuit {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, state: State::Closed, streak: 0, seen: (0, 0, Duration::ZERO), opened: 0 }
    }

    pub(super) fn tune(&mut self, rules: Rules) {
        self.rules = rules;
        if rules.failures == 0 {
            (self.state, self.streak, self.opened) = (State::Closed, 0, 0);
        }
    }

    /// How long nothing may be sent; none where something may.
    pub(super) fn shut(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { until } => (now < until).then(|| until.saturating_sub(now)),
            State::Probing => Some(MOMENT),
        }
    }

    /// Something is sent now. True if it is the probe. Only where [`Circuit::shut`] says none.
    pub(super) fn sends(&mut self) -> bool {
        let probe = matches!(self.state, State::Open { .. });
        if probe {
            self.state = State::Probing;
        }
        probe
    }

    /// What became of it.
    pub(super) fn report(&mut self, now: Duration, probe: bool, outcome: Outcome) -> Option<Change> {
        match (probe && self.state == State::Probing, outcome) {
            (true, Outcome::Good) => {
                (self.state, self.streak, self.opened, self.seen) = (State::Closed, 0, 0, (0, 0, now));
                Some(Change::Closed)
            }
            (true, Outcome::Bad) => Some(self.open(now)),
            // the next one is the probe
            (true, Outcome::Neither) => {
                self.state = State::Open { until: now };
                None
            }
            (false, _) if self.state != State::Closed || self.rules.failures == 0 => None,
            (false, Outcome::Neither) => None,
            (false, outcome) => {
                let bad = outcome == Outcome::Bad;
                self.streak = if bad { self.streak.saturating_add(1) } else { 0 };
                if now.saturating_sub(self.seen.2) > WINDOW {
                    self.seen = (0, 0, now);
                }
                self.seen.0 += 1;
                self.seen.1 += u32::from(bad);
                let half = self.seen.0 >= ENOUGH && self.seen.1.saturating_mul(2) >= self.seen.0;
                (bad && (self.streak >= self.rules.failures || half)).then(|| self.open(now))
            }
        }
    }

    fn open(&mut self, now: Duration) -> Change {
        let times = 2_u32.saturating_pow(self.opened.min(8)).min(LONGEST);
        let pause = self.rules.open.saturating_mul(times);
        self.opened = self.opened.saturating_add(1);
        self.state = State::Open { until: now.saturating_add(pause) };
        (self.streak, self.seen) = (0, (0, 0, now));
        Change::Opened(pause)
    }

    /// `closed`, `open` or `half-open`.
    pub(super) const fn name(&self) -> &'static str {
        match self.state {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::Probing => "half-open",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Bad, Good, Neither};
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);
    const RULES: Rules = Rules { failures: 3, open: Duration::from_secs(10) };

    #[test]
    fn it_opens_probes_once_and_closes() {
        let mut circuit = Circuit::new(RULES);
        for outcome in [Bad, Bad, Good, Bad, Bad, Neither] {
            assert_eq!(circuit.report(S, false, outcome), None);
        }
        assert_eq!(circuit.report(S, false, Bad), Some(Change::Opened(S * 10)));
        assert_eq!((circuit.shut(S), circuit.name()), (Some(S * 10), "open"));
        assert_eq!(circuit.report(S * 2, false, Good), None, "what was under way changes nothing");
        assert_eq!(circuit.shut(S * 11), None);
        assert!(circuit.sends());
        assert_eq!((circuit.shut(S * 11), circuit.name()), (Some(MOMENT), "half-open"));
        assert_eq!(circuit.report(S * 12, true, Bad), Some(Change::Opened(S * 20)), "longer each time");
        assert!(circuit.shut(S * 31).is_some() && circuit.shut(S * 32).is_none());
        assert!(circuit.sends());
        assert_eq!(circuit.report(S * 33, true, Neither), None);
        assert_eq!(circuit.shut(S * 33), None, "a probe that says nothing is made again");
        assert!(circuit.sends());
        assert_eq!(circuit.report(S * 34, true, Good), Some(Change::Closed));
        assert!(!circuit.sends());
        assert_eq!(circuit.shut(S * 34), None);
    }

    #[test]
    fn half_of_many_opens_it_too_and_zero_means_never() {
        let mut circuit = Circuit::new(Rules { failures: 100, ..RULES });
        let reports: Vec<_> = (0..20)
            .map(|number| circuit.report(S, false, if number % 2 == 0 { Good } else { Bad }))
            .collect();
        assert_eq!(reports[19], Some(Change::Opened(S * 10)));
        assert!(reports[..19].iter().all(Option::is_none));
        let mut never = Circuit::new(Rules { failures: 0, ..RULES });
        assert!((0..500).all(|_| never.report(S, false, Bad).is_none() && never.shut(S).is_none()));
        circuit.tune(Rules { failures: 0, ..RULES });
        assert_eq!(circuit.shut(S), None);
    }

    proptest! {
        /// However things come: while it is shut nothing is sent, and never two probes at once.
        #[test]
        fn at_most_one_request_meets_an_upstream_that_was_given_up(
            steps in prop::collection::vec((0u64..20, 0u8..4), 1..200)
        ) {
            let (mut circuit, mut now) = (Circuit::new(RULES), S);
            let mut flying: Vec<bool> = Vec::new();
            for (pause, act) in steps {
                now += S * u32::try_from(pause).unwrap();
                if act == 0 || flying.is_empty() {
                    if circuit.shut(now).is_none() {
                        let probe = circuit.sends();
                        flying.push(probe);
                    }
                } else {
                    let probe = flying.remove(0);
                    let outcome = [Good, Bad, Neither][usize::from(act) - 1];
                    let change = circuit.report(now, probe, outcome);
                    if matches!(change, Some(Change::Opened(_))) {
                        prop_assert!(circuit.shut(now).is_some());
                    }
                }
                prop_assert!(flying.iter().filter(|probe| **probe).count() <= 1);
                prop_assert_eq!(circuit.name() == "half-open", flying.iter().any(|probe| *probe));
            }
        }
    }
}
