//! Second factors that instances have copies of: what one has accepted or counted, no other starts anew.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bartizan::approvals::{Approvals, Config, Opens, Proven};
use bartizan::clock::{Clock as _, ManualClock};
use bartizan::error::{Kind, Result};
use bartizan::secret::Secret;
use bartizan::state::Shared;

use super::server::{Server, opened, within};
use crate::approvals::PASSPHRASE;

struct Office {
    clock: Arc<ManualClock>,
    /// Each with its way to the store, which ends with it.
    instances: Vec<(Arc<Approvals>, Arc<Shared>)>,
    phone: totp_rs::Totp,
    recovery: Vec<Secret>,
    _folder: tempfile::TempDir,
}

async fn instance(server: &Server, folder: &Path, clock: &Arc<ManualClock>) -> (Arc<Approvals>, Arc<Shared>) {
    let shared = opened(&server.config(), folder, None, clock.clone()).await.unwrap();
    let state = folder.join("state");
    let approvals = Approvals::open_in(&Config::default(), &state, Some(&shared), clock.clone()).unwrap();
    (approvals, shared)
}

impl Office {
    /// Two instances, where the second has a copy of what was enrolled on the first.
    async fn open(server: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Duration::from_secs(1_800_000_000));
        let places = ["one", "two"].map(|name| folder.path().join(name));
        for place in &places {
            std::fs::create_dir(place).unwrap();
        }
        let one = instance(server, &places[0], &clock).await;
        let begun = one.0.begin_factor("alice").unwrap();
        let phone = totp_rs::Totp::from_url(begun.address().unwrap().expose()).unwrap();
        let (passphrase, code) =
            (Secret::new(PASSPHRASE), phone.generate(clock.wall().as_secs()).to_string());
        let recovery = one.0.confirm_factor(&begun, &code, &Opens::Passphrase(&passphrase)).unwrap();
        let two = instance(server, &places[1], &clock).await;
        let file = |place: &Path| place.join("state/factors/alice.factor");
        std::fs::copy(file(&places[0]), file(&places[1])).unwrap();
        clock.advance(Duration::from_mins(10));
        Self { clock, instances: vec![one, two], phone, recovery, _folder: folder }
    }

    fn code(&self) -> String {
        self.phone.generate(self.clock.wall().as_secs()).to_string()
    }

    fn wrong(&self) -> String {
        let near = [-30, 0, 30].map(|by| {
            let at = self.clock.wall().as_secs().saturating_add_signed(by);
            self.phone.generate(at).to_string()
        });
        (0..1_000_000).map(|number: u32| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
    }

    fn check(&self, which: usize, code: &str) -> Result<Proven> {
        self.instances[which].0.check_factor("alice", Some(&Secret::new(PASSPHRASE)), code)
    }

    fn is_locked(&self, which: usize) -> bool {
        self.instances[which].0.second_factor("alice").unwrap().unwrap().locked
    }

    fn next(&self) {
        self.clock.advance(Duration::from_mins(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_one_instance_accepted_no_other_does_and_wrong_ones_count_together() {
    let Some(mut server) = Server::start(&[]) else { return };
    let office = Office::open(&server).await;
    let office = tokio::task::spawn_blocking(move || {
        let code = office.code();
        assert_eq!(office.check(0, &code).unwrap(), Proven::Totp);
        for which in [1, 0] {
            assert!(office.check(which, &code).unwrap_err().message().contains("used already"));
        }
        office.next();
        // of many at once on both, one
        let code = office.code();
        let accepted = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|one| {
                    scope.spawn({
                        let (office, code) = (&office, &code);
                        move || office.check(one % 2, code).is_ok()
                    })
                })
                .collect();
            all.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>()
        });
        assert_eq!(accepted, 1);
        office.next();
        for which in [0, 1, 0, 1, 0] {
            assert_eq!(office.check(which, &office.wrong()).unwrap_err().kind(), Kind::Unauthenticated);
        }
        assert!(office.is_locked(0) && office.is_locked(1));
        for which in [0, 1] {
            assert!(office.check(which, &office.code()).unwrap_err().message().contains("locked"));
        }
        // a recovery code unlocks on one for all, and is good once for all
        let recovery = office.recovery[2].expose();
        assert_eq!(office.check(1, recovery).unwrap(), Proven::Recovery);
        assert!(!office.is_locked(0) && !office.is_locked(1));
        assert!(office.check(0, recovery).is_err());
        office.next();
        assert_eq!(office.check(0, &office.code()).unwrap(), Proven::Totp);
        office.next();
        office
    })
    .await
    .unwrap();
    // the store forgets; what was shown meanwhile cannot be told from what was not
    let code = office.code();
    let (office, code) = tokio::task::spawn_blocking(move || (office.check(0, &code).unwrap(), office, code))
        .await
        .map(|(proven, office, code)| {
            assert_eq!(proven, Proven::Totp);
            (office, code)
        })
        .unwrap();
    server.tell(&["FLUSHALL"]);
    let office = tokio::task::spawn_blocking(move || {
        within("the other instance can ask again", || {
            office.check(1, &code).is_err_and(|error| {
                assert!(!error.message().is_empty());
                error.message().contains("has lost") || error.message().contains("used already")
            })
        });
        for _ in 0..3 {
            assert!(office.check(1, &code).is_err());
        }
        office
    })
    .await
    .unwrap();
    // and while it is away no code is good
    server.kill();
    tokio::task::spawn_blocking(move || {
        office.clock.advance(Duration::from_mins(10));
        within("the store is away", || office.instances.iter().all(|one| one.1.problem().is_some()));
        assert_eq!(office.check(0, &office.code()).unwrap_err().kind(), Kind::RateLimited);
    })
    .await
    .unwrap();
}
