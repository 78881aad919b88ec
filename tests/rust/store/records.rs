//! Records that instances share: approvals and tasks, each with a state directory of its own.

use std::sync::Arc;
use std::time::Duration;

use bartizan::approvals::{Answer, Approvals, Config, Decision, Operator, Status};
use bartizan::clock::{ManualClock, SharedClock, SystemClock};
use bartizan::error::Kind;
use bartizan::json::json;
use bartizan::secret::Secret;
use bartizan::state::Shared;
use bartizan::tasks::{self, Mail, State, Store};

use super::server::{Server, instance, until, within};
use crate::approvals::{Case, PASSPHRASE, pending, taken};

const CANARY: &str = "canary-argument-of-a-call";

struct Offices {
    folder: tempfile::TempDir,
    operator: Operator,
    shared: Vec<Arc<Shared>>,
    approvals: Vec<Arc<Approvals>>,
}

/// Two instances that know the same operators.
async fn offices(server: &Server) -> Offices {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { operators: Some(folder.path().join("operators")), ..Config::default() };
    std::fs::create_dir(folder.path().join("operators")).unwrap();
    let (mut shared, mut approvals) = (Vec::new(), Vec::new());
    for name in ["one", "two"] {
        let state = folder.path().join(name);
        std::fs::create_dir(&state).unwrap();
        let store = instance(&server.config(), &state).await;
        let state = state.join("state");
        approvals.push(Approvals::open_in(&config, &state, Some(&store), SystemClock::shared()).unwrap());
        shared.push(store);
    }
    let passphrase = Secret::new(PASSPHRASE);
    approvals[1].enrol("alice", &passphrase, None).unwrap();
    let operator = approvals[1].operator("alice", None, &passphrase).unwrap();
    Offices { folder, operator, shared, approvals }
}

impl Offices {
    /// Decides on the second instance.
    fn agree(&self, id: &str) {
        let shown = self.approvals[1].show(id).unwrap();
        self.approvals[1].decide(&shown, Decision::Approve, &self.operator).unwrap();
    }

    fn is_down(&self) -> bool {
        self.shared.iter().all(|shared| shared.problem().is_some())
    }

    fn is_up(&self) -> bool {
        self.shared.iter().all(|shared| shared.problem().is_none())
    }
}

// proves: approval-once
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_taken_once_on_whatever_instance() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let offices = offices(&server).await;
    let case = Case { arguments: json!({"name": CANARY, "size": 2}), ..Case::usual() };
    let id = pending(&offices.approvals[0], &case);
    assert_eq!(pending(&offices.approvals[1], &case), id, "the other instance knows of it");
    offices.agree(&id);
    let winners: usize = std::thread::scope(|scope| {
        let (offices, case) = (&offices, &case);
        let threads: Vec<_> =
            (0..50).map(|index| scope.spawn(move || taken(&offices.approvals[index % 2], case))).collect();
        threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
    });
    assert_eq!(winners, 1);
    assert_eq!(offices.approvals[0].show(&id).unwrap().status, Status::Used);
    assert_eq!(offices.approvals[0].list().unwrap().len(), 2, "whoever came late asked again, once");
    let written = server.written();
    assert!(written.contains("folder:approvals"), "what was written is looked at");
    for word in [CANARY, "server_create", "key:ci", "alice", "api.example.com"] {
        assert!(!written.contains(word), "{word} lies in the store in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_agreed_to_is_gone_with_the_stores_memory_and_never_comes_back() {
    let Some(mut server) = Server::start(&["--save", "3600 100000"]) else { return };
    let offices = offices(&server).await;
    let case = Case::usual();
    // agreed to, and then flushed
    offices.agree(&pending(&offices.approvals[0], &case));
    server.tell(&["FLUSHALL"]);
    within("it is up again", || {
        matches!(offices.approvals[0].settle(&case.wish()), Ok(Answer::Pending(_))) && offices.is_up()
    });
    // agreed to, written down, taken, and then the server begins again with what was written down
    let id = pending(&offices.approvals[0], &case);
    offices.agree(&id);
    server.tell(&["SAVE"]);
    assert!(taken(&offices.approvals[0], &case));
    server.kill();
    let refused = offices.approvals[0].settle(&case.wish()).unwrap_err();
    assert_eq!((refused.kind(), refused.retry_after()), (Kind::RateLimited, Some(Duration::from_secs(1))));
    within("it is away", || offices.is_down());
    server.run();
    within("it is up again", || offices.is_up());
    for approvals in &offices.approvals {
        assert!(!taken(approvals, &case), "a grant that was taken is not there again");
        assert!(approvals.show(&id).is_err());
    }
    // frozen in between: it is taken once, or not at all
    offices.agree(&pending(&offices.approvals[0], &case));
    server.freeze();
    assert!(offices.approvals[0].settle(&case.wish()).is_err());
    within("it is away", || offices.is_down());
    server.thaw();
    within("it is up again", || offices.is_up());
    let mut winners = 0;
    for index in 0..10 {
        winners += usize::from(taken(&offices.approvals[index % 2], &case));
    }
    assert!(winners <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_write_to_the_store_cannot_put_a_spent_grant_back() {
    let Some(server) = Server::start(&[]) else { return };
    let offices = offices(&server).await;
    let case = Case::usual();
    let id = pending(&offices.approvals[0], &case);
    offices.agree(&id);
    let key = server.tell(&["KEYS", "*:folder:approvals"]).trim().to_owned();
    let lua = |text: &str| server.tell(&["EVAL", text, "1", &key]);
    let of = "local function of(state) for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do \
              if string.sub(name, -#state) == state then return name end end end ";
    lua(&format!(
        "{of} redis.call('SET', 'name', of('.pending')) \
                  redis.call('SET', 'bytes', redis.call('HGET', KEYS[1], of('.pending')))"
    ));
    assert!(taken(&offices.approvals[0], &case));
    let gone = |what: &str| {
        let answer = offices.approvals[0].settle(&case.wish());
        assert!(!matches!(answer, Ok(Answer::Taken(_))), "{what}");
    };
    // the record of what was taken, under the name of what waits
    let spent = format!(
        "{of} redis.call('HSET', KEYS[1], redis.call('GET', 'name'), redis.call('HGET', KEYS[1], of('.used') or of('.taken')))"
    );
    assert!(!lua(&spent).contains("ERR"));
    gone("a state is sealed");
    // and what waited then, as it was
    assert!(
        !lua("redis.call('HSET', KEYS[1], redis.call('GET', 'name'), redis.call('GET', 'bytes'))")
            .contains("ERR")
    );
    assert!(server.tell(&["HKEYS", &key]).contains(&format!("{id}.")));
    gone("an old state is over");
    gone("for ever");
}

fn store(shared: &Arc<Shared>, folder: &std::path::Path, clock: SharedClock) -> Arc<Store> {
    Store::open_in(&tasks::Config::default(), folder, Some(shared), clock).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_seen_heard_and_answered_on_every_instance() {
    let Some(server) = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let offices = offices(&server).await;
    let clock = SystemClock::shared();
    let [one, two] = [0, 1].map(|index| store(&offices.shared[index], offices.folder.path(), clock.clone()));
    let owner = "ab".repeat(32);
    let mut record = one.create(&owner, None, true, 1000).unwrap();
    assert_eq!(two.read(&owner, &record.id).unwrap().as_ref(), Some(&record));
    assert!(!two.is_mine(&record) && two.read(&"cd".repeat(32), &record.id).unwrap().is_none());
    two.post(&record, &Mail::Cancel).unwrap();
    assert_eq!(one.mail(&[(owner.clone(), record.id.clone())]), [(record.id.clone(), Mail::Cancel)]);
    assert!(one.mail(&[(owner.clone(), record.id.clone())]).is_empty(), "nothing counts twice");
    let result = json!({"content": [{"type": "text", "text": CANARY.repeat(100_000)}]});
    record.state = State::Completed { result };
    one.write(&record).unwrap();
    assert_eq!(two.read(&owner, &record.id).unwrap(), Some(record));
    assert!(!server.written().contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_instance_has_gone_is_over_and_one_whose_store_was_away_is_not() {
    let Some(mut server) = Server::start(&["--save", "3600 100000"]) else { return };
    let offices = offices(&server).await;
    let clock = ManualClock::at(Duration::from_hours(500_000));
    let [one, two] = [0, 1].map(|index| store(&offices.shared[index], offices.folder.path(), clock.clone()));
    let owner = "ab".repeat(32);
    let (lives, goes) =
        (one.create(&owner, None, true, 0).unwrap(), two.create(&owner, None, true, 0).unwrap());
    server.tell(&["SAVE"]);
    server.kill();
    within("it is away", || offices.is_down());
    server.run();
    within("it is up again", || offices.is_up());
    // nobody has said yet that it lives, and nobody is buried for that
    assert_eq!(two.read(&owner, &lives.id).unwrap().unwrap().state, State::Working);
    drop(two);
    let looks = || one.read(&owner, &goes.id).unwrap().unwrap().state;
    until("it is over", || async { matches!(looks(), State::Failed { .. }) }).await;
    assert_eq!(one.read(&owner, &lives.id).unwrap().unwrap().state, State::Working);
}
