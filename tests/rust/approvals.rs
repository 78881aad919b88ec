//! A person's agreement is for one caller, one call, one time, soon; and can be proved.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bartizan::approvals::{Answer, Approvals, Config, Decision, Destination, Operator, Seen, Status, Wish};
use bartizan::clock::ManualClock;
use bartizan::error::Kind;
use bartizan::json::{Digest, Value, json};
use bartizan::principal::Principal;
use bartizan::secret::Secret;

use crate::line::principal;

pub const PASSPHRASE: &str = "correct horse battery";

struct Office {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    approvals: Arc<Approvals>,
}

impl Office {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Duration::from_hours(500_000));
        let approvals = open(folder.path(), &clock);
        Self { folder, clock, approvals }
    }

    fn operator(&self, name: &str) -> Operator {
        let passphrase = Secret::new(PASSPHRASE);
        self.approvals.enrol(name, &passphrase, None).unwrap();
        self.approvals.operator(name, None, &passphrase).unwrap()
    }

    fn file(&self, ending: &str) -> std::path::PathBuf {
        let mut found: Vec<_> = std::fs::read_dir(self.folder.path().join("state/approvals"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().ends_with(ending))
            .collect();
        assert_eq!(found.len(), 1, "{ending}: {found:?}");
        found.remove(0)
    }

    fn decide(&self, id: &str, decision: Decision, operator: &Operator) {
        self.approvals.decide(&self.approvals.show(id).unwrap(), decision, operator).unwrap();
    }
}

fn open(folder: &Path, clock: &Arc<ManualClock>) -> Arc<Approvals> {
    Approvals::open(&Config::default(), &folder.join("state"), Arc::clone(clock) as _).unwrap()
}

/// What a test changes of the usual wish.
pub struct Case {
    pub principal: Principal,
    pub arguments: Value,
    pub policy: &'static str,
    pub fingerprint: Digest,
    pub upstream: Option<Destination>,
    pub state: Option<Seen>,
}

impl Case {
    pub fn usual() -> Self {
        Self {
            principal: principal("key:ci"),
            arguments: json!({"name": "web", "size": 2}),
            policy: "v1",
            fingerprint: Digest([1; 32]),
            upstream: None,
            state: None,
        }
    }

    fn to(shown: &str, fingerprint: &str) -> Self {
        let upstream = Destination { shown: shown.into(), fingerprint: Some(fingerprint.into()) };
        Self { upstream: Some(upstream), ..Self::usual() }
    }

    fn of_state(version: &str) -> Self {
        let state = Seen { version: version.into(), summary: format!("{{\"size\": {version}}}") };
        Self { state: Some(state), ..Self::usual() }
    }

    pub fn wish(&self) -> Wish<'_> {
        Wish {
            principal: &self.principal,
            tool: "server_create",
            source: "equinix",
            fingerprint: self.fingerprint,
            effect: "write",
            target: Some("POST https://api.example.com/servers"),
            arguments: &self.arguments,
            redacted: &self.arguments,
            policy: self.policy,
            upstream: self.upstream.as_ref(),
            state: self.state.as_ref(),
            request: None,
            rehearsed: None,
        }
    }
}

pub fn pending(approvals: &Approvals, case: &Case) -> String {
    match approvals.settle(&case.wish()).unwrap() {
        Answer::Pending(record) => record.id,
        other => panic!("not pending: {other:?}"),
    }
}

pub fn taken(approvals: &Approvals, case: &Case) -> bool {
    match approvals.settle(&case.wish()).unwrap() {
        Answer::Taken(grant) => {
            grant.used().unwrap();
            true
        }
        Answer::Pending(_) | Answer::Refused(_) | Answer::Void(_) => false,
    }
}

// proves: approval-bound
#[test]
fn a_grant_is_for_one_call_one_time() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    assert_eq!(pending(&office.approvals, &case), id, "the same call waits under the same id");
    let listed = office.approvals.show(&id).unwrap();
    assert_eq!(listed.status, Status::Pending);
    assert!(listed.record.shown.arguments.contains("\"web\""));

    office.decide(&id, Decision::Approve, &operator);
    let listed = office.approvals.show(&id).unwrap();
    assert_eq!((listed.status, listed.by.as_deref()), (Status::Approved, Some("alice")));
    assert!(taken(&office.approvals, &case));
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Used);
    assert!(!taken(&office.approvals, &case), "a spent grant is spent");
    assert_ne!(pending(&office.approvals, &case), id);
}

// proves: approval-bound
#[test]
fn anything_that_changes_voids_it() {
    let office = Office::new();
    let operator = office.operator("alice");
    let id = pending(&office.approvals, &Case::usual());
    office.decide(&id, Decision::Approve, &operator);
    let mut roles = principal("key:ci");
    roles.roles.insert("ops".into());
    for changed in [
        Case { arguments: json!({"name": "web", "size": 3}), ..Case::usual() },
        Case { arguments: json!({"name": "web"}), ..Case::usual() },
        Case { policy: "v2", ..Case::usual() },
        Case { fingerprint: Digest([2; 32]), ..Case::usual() },
        Case { principal: principal("key:other"), ..Case::usual() },
        Case::to("https://api.example.com", "a"),
        Case { principal: roles, ..Case::usual() },
    ] {
        assert!(!taken(&office.approvals, &changed));
    }
    assert!(taken(
        &office.approvals,
        &Case { arguments: json!({"size": 2.0, "name": "web"}), ..Case::usual() }
    ));
}

#[test]
fn one_of_fifty_wins() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Approve, &operator);
    // Every second thread has opened the directory by itself, as another process would.
    let winners: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..50)
            .map(|index| {
                let (office, case) = (&office, &case);
                scope.spawn(move || {
                    let own;
                    let approvals = if index % 2 == 0 {
                        &office.approvals
                    } else {
                        own = open(office.folder.path(), &office.clock);
                        &own
                    };
                    usize::from(taken(approvals, case))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(winners, 1);
}

const OFFICE: &str = "BARTIZAN_TEST_OFFICE";

/// Not a test by itself: what each process of the next one does.
#[test]
#[ignore = "run by one_of_many_processes_wins"]
fn a_process_takes_what_it_can() {
    let Some(folder) = std::env::var_os(OFFICE) else { return };
    let approvals = open(Path::new(&folder), &ManualClock::at(Duration::from_hours(500_000)));
    println!("{}", if taken(&approvals, &Case::usual()) { "it was taken" } else { "it was gone" });
}

// proves: approval-once
#[test]
fn one_of_many_processes_wins() {
    let office = Office::new();
    let operator = office.operator("alice");
    let id = pending(&office.approvals, &Case::usual());
    office.decide(&id, Decision::Approve, &operator);
    let processes: Vec<_> = (0..8)
        .map(|_| {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["approvals::a_process_takes_what_it_can", "--exact", "--ignored", "--nocapture"])
                .env(OFFICE, office.folder.path())
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let said: Vec<String> = processes
        .into_iter()
        .map(|process| String::from_utf8(process.wait_with_output().unwrap().stdout).unwrap())
        .collect();
    let count = |word: &str| said.iter().filter(|text| text.contains(word)).count();
    assert_eq!((count("it was taken"), count("it was gone")), (1, 7), "{said:?}");
}

#[test]
fn a_grant_survives_a_restart_and_a_crash_does_not_run_twice() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Approve, &operator);
    let restarted = open(office.folder.path(), &office.clock);
    let Answer::Taken(grant) = restarted.settle(&case.wish()).unwrap() else { panic!("not taken") };
    // The process dies here: the grant is dropped and nothing is written.
    drop(grant);
    let again = open(office.folder.path(), &office.clock);
    assert_eq!(again.show(&id).unwrap().status, Status::Unknown);
    assert!(!taken(&again, &case));
    let late = again.decide(&again.show(&id).unwrap(), Decision::Approve, &operator).unwrap_err();
    assert_eq!(late.kind(), Kind::Forbidden);
}

#[test]
fn refused_is_refused() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Refuse, &operator);
    let Answer::Refused(refused) = office.approvals.settle(&case.wish()).unwrap() else {
        panic!("not refused")
    };
    assert_eq!(refused, id);
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Refused);
    // A person may think better of it while it lasts.
    office.decide(&id, Decision::Approve, &operator);
    assert!(taken(&office.approvals, &case));
}

#[test]
fn who_did_not_see_a_refusal_does_not_overrule_it() {
    let office = Office::new();
    let (alice, bob) = (office.operator("alice"), office.operator("bob"));
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    let seen = office.approvals.show(&id).unwrap();
    office.decide(&id, Decision::Refuse, &alice);
    assert!(office.approvals.decide(&seen, Decision::Approve, &bob).is_err());
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Refused);
}

// proves: approval-bound
#[test]
fn time_runs_out() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Approve, &operator);
    office.clock.advance(Duration::from_mins(15));
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Expired);
    assert!(!taken(&office.approvals, &case));
    let shown = office.approvals.show(&id).unwrap();
    assert_eq!(
        office.approvals.decide(&shown, Decision::Approve, &operator).unwrap_err().kind(),
        Kind::Forbidden
    );
    // Pushing the record's own end does not help: the signed one counts.
    let file = format!("{id}.{}.pending", shown.record.binding);
    edit(&office.file(&file), |record| record["expires"] = json!(9_999_999_999_999u64));
    assert!(!taken(&office.approvals, &case));
}

fn edit(path: &Path, change: impl Fn(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

#[test]
fn what_was_tampered_with_approves_nothing() {
    type Change = fn(&mut Value);
    let decisions: [(&str, Change); 6] = [
        ("signature", |signed| signed["signature"] = json!("AAAA")),
        ("expiry", |signed| signed["expires"] = json!(9_999_999_999_999u64)),
        ("decision", |signed| signed["decision"] = json!("approve")),
        ("time", |signed| signed["at"] = json!(1)),
        ("operator", |signed| signed["operator"] = json!("mallory")),
        ("extra", |signed| signed["more"] = json!(1)),
    ];
    for (what, change) in decisions {
        let office = Office::new();
        let operator = office.operator("alice");
        let case = Case::usual();
        let id = pending(&office.approvals, &case);
        let decision = if what == "decision" { Decision::Refuse } else { Decision::Approve };
        office.decide(&id, decision, &operator);
        edit(&office.file(".decision"), change);
        assert!(!taken(&office.approvals, &case), "{what}");
        assert_ne!(office.approvals.show(&id).unwrap().status, Status::Approved, "{what}");
    }
}

#[test]
fn a_record_that_shows_something_else_approves_nothing() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case { arguments: json!({"name": "web", "size": 9000}), ..Case::usual() };
    let id = pending(&office.approvals, &case);
    let lie = |record: &mut Value| {
        record["shown"]["arguments"] = json!("{\"name\": \"web\", \"size\": 1}");
    };
    edit(&office.file(".pending"), lie);
    // The operator is shown the lie and signs it.
    office.decide(&id, Decision::Approve, &operator);
    assert!(!taken(&office.approvals, &case));
}

#[test]
fn a_decision_about_another_call_or_by_a_stranger_approves_nothing() {
    let office = Office::new();
    let operator = office.operator("alice");
    let (first, second) = (Case::usual(), Case { arguments: json!({"name": "db"}), ..Case::usual() });
    let (one, two) = (pending(&office.approvals, &first), pending(&office.approvals, &second));
    office.decide(&one, Decision::Approve, &operator);
    let folder = office.folder.path().join("state/approvals");
    let replayed = std::fs::read(folder.join(format!("{one}.decision"))).unwrap();
    std::fs::write(folder.join(format!("{two}.decision")), &replayed).unwrap();
    assert!(!taken(&office.approvals, &second));
    edit(&folder.join(format!("{two}.decision")), |signed| signed["id"] = json!(two));
    assert!(!taken(&office.approvals, &second));

    // The same name, another key: enrolled elsewhere, unknown here.
    let elsewhere = Office::new();
    let stranger = elsewhere.operator("alice");
    office.decide(&two, Decision::Approve, &stranger);
    assert!(!taken(&office.approvals, &second));
    assert_eq!(office.approvals.show(&two).unwrap().status, Status::Pending);
    assert!(taken(&office.approvals, &first));
}

#[test]
fn a_revoked_operator_decides_nothing() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Approve, &operator);
    std::fs::remove_file(office.folder.path().join("state/operators/alice.pub")).unwrap();
    assert!(!taken(&office.approvals, &case));
}

#[test]
fn a_key_opens_only_with_its_passphrase() {
    let office = Office::new();
    let good = Secret::new(PASSPHRASE);
    assert!(
        office.approvals.enrol("alice", &Secret::new("short"), None).unwrap_err().message().contains("12")
    );
    assert!(office.approvals.enrol("../alice", &good, None).is_err());
    let enrolled = office.approvals.enrol("alice", &good, None).unwrap();
    let private = std::fs::read_to_string(&enrolled.key).unwrap();
    assert!(!private.contains(PASSPHRASE));
    let again = office.approvals.enrol("alice", &good, None).unwrap_err();
    assert!(again.message().contains("exists already"), "{again}");
    assert_eq!(office.approvals.operators().unwrap(), ["alice"]);
    let wrong = office.approvals.operator("alice", None, &Secret::new("correct horse batterx"));
    assert_eq!(wrong.err().unwrap().kind(), Kind::Unauthenticated);
    edit(&enrolled.key, |file| file["memory_kib"] = json!(u32::MAX));
    assert_eq!(office.approvals.operator("alice", None, &good).err().unwrap().kind(), Kind::BadConfig);
    edit(&enrolled.key, |file| file["name"] = json!("bob"));
    assert!(office.approvals.operator("alice", None, &good).is_err());
}

#[test]
fn ids_from_outside_are_not_paths() {
    let office = Office::new();
    let case = Case::usual();
    pending(&office.approvals, &case);
    for id in ["", "..", "../../etc/passwd", "0000-0000-000/", "zzzz-zzzz-zzzz", "*"] {
        assert!(office.approvals.show(id).is_err(), "{id}");
        assert!(office.approvals.agreed_by_client(id, &case.wish()).is_err(), "{id}");
        assert!(office.approvals.resume(id, &case.wish()).is_err(), "{id}");
    }
}

#[test]
fn a_clients_agreement_is_taken_once_and_only_for_its_call() {
    let office = Office::new();
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    let other = Case { arguments: json!({"name": "db"}), ..Case::usual() };
    assert!(office.approvals.agreed_by_client(&id, &other.wish()).is_err());
    let grant = office.approvals.agreed_by_client(&id, &case.wish()).unwrap();
    assert_eq!(grant.by(), "client");
    assert!(office.approvals.agreed_by_client(&id, &case.wish()).is_err());
    grant.carry().unwrap();
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Carried);
    assert!(office.approvals.resume(&id, &other.wish()).is_err());
    let grant = office.approvals.resume(&id, &case.wish()).unwrap();
    assert!(office.approvals.resume(&id, &case.wish()).is_err());
    grant.used().unwrap();

    let id = pending(&office.approvals, &case);
    office.approvals.declined_by_client(&id, &case.wish()).unwrap();
    assert!(office.approvals.agreed_by_client(&id, &case.wish()).is_err());
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Refused);
}

#[test]
fn a_client_cannot_agree_to_what_an_operator_refused() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Refuse, &operator);
    let refusal = office.approvals.agreed_by_client(&id, &case.wish()).unwrap_err();
    assert_eq!(refusal.kind(), Kind::Declined);
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Refused);
}

#[test]
fn another_upstream_or_another_credential_is_another_call() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::to("https://api.example.com as bearer env:TOKEN", "4711");
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Approve, &operator);
    for changed in [
        Case::usual(),
        Case::to("https://api.example.com as bearer env:TOKEN", "4712"),
        Case::to("https://eu.example.com as bearer env:TOKEN", "4711"),
        Case::to("https://api.example.com as bearer env:OTHER", "4711"),
    ] {
        assert!(!taken(&office.approvals, &changed));
    }
    let record = std::fs::read_to_string(
        office
            .folder
            .path()
            .join("state/approvals")
            .join(format!("{id}.{}.pending", office.approvals.show(&id).unwrap().record.binding)),
    );
    assert!(!record.unwrap().contains("4711"), "the fingerprint is bound and not written down");
    assert!(taken(&office.approvals, &case));
}

#[test]
fn what_changed_since_it_was_shown_voids_the_grant() {
    let office = Office::new();
    let operator = office.operator("alice");
    let (old, new) = (Case::of_state("1"), Case::of_state("2"));
    let first = pending(&office.approvals, &old);
    assert!(office.approvals.show(&first).unwrap().record.shown.state.unwrap().contains("\"size\": 1"));
    // Nobody had decided: the question is asked anew, about what is there now.
    let second = pending(&office.approvals, &new);
    assert_ne!(first, second);
    let gone = office.approvals.show(&first).unwrap();
    assert_eq!(gone.status, Status::Void);
    assert_eq!(
        office.approvals.decide(&gone, Decision::Approve, &operator).unwrap_err().kind(),
        Kind::Forbidden
    );

    office.decide(&second, Decision::Approve, &operator);
    match office.approvals.settle(&old.wish()).unwrap() {
        Answer::Void(id) => assert_eq!(id, second),
        other => panic!("not void: {other:?}"),
    }
    assert_eq!(office.approvals.show(&second).unwrap().status, Status::Void);
    assert!(!taken(&office.approvals, &new), "void is void, also when the old state is back");

    // The same by way of the client.
    let third = pending(&office.approvals, &new);
    let refused = office.approvals.agreed_by_client(&third, &old.wish()).unwrap_err();
    assert!(refused.message().contains("has changed since"), "{refused}");
    assert!(office.approvals.agreed_by_client(&third, &new.wish()).is_err());
}

#[test]
fn what_is_too_long_for_a_client_is_whole_for_the_operator() {
    let office = Office::new();
    let operator = office.operator("alice");
    let mut script = "x".repeat(100_000);
    script.push_str("\u{202e}; rm -rf /");
    let arguments = json!({"script": script, "password": "[redacted:password]"});
    let case = Case { arguments, ..Case::usual() };
    let id = pending(&office.approvals, &case);
    let listed = office.approvals.show(&id).unwrap();
    assert!(listed.record.shown.arguments.contains("[cut: "));
    assert_eq!(listed.record.shown.unseen, ["/password"]);
    let all = listed.arguments.clone().unwrap();
    assert!(all.len() > 100_000 && all.contains("<U+202E>; rm -rf /"));
    let refused = office.approvals.agreed_by_client(&id, &case.wish()).unwrap_err();
    assert_eq!(refused.kind(), Kind::NeedsApproval);

    // Without the whole text nobody can agree, but anybody can refuse.
    let file = office.folder.path().join(format!("state/approvals/{id}.arguments"));
    let kept = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{}").unwrap();
    let changed = office.approvals.show(&id).unwrap();
    assert_eq!(changed.arguments, None);
    assert!(office.approvals.decide(&changed, Decision::Approve, &operator).is_err());
    std::fs::write(&file, kept).unwrap();
    office.decide(&id, Decision::Approve, &operator);
    assert!(taken(&office.approvals, &case));
}

#[test]
fn long_arguments_take_more_of_the_places() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_hours(500_000));
    let config = Config { most_pending: 40, ..Config::default() };
    let approvals = Approvals::open(&config, &folder.path().join("state"), clock as _).unwrap();
    let case =
        |name: &str| Case { arguments: json!({"name": name, "text": "x".repeat(1 << 20)}), ..Case::usual() };
    pending(&approvals, &case("one"));
    pending(&approvals, &case("two"));
    assert_eq!(approvals.settle(&case("three").wish()).unwrap_err().kind(), Kind::RateLimited);
}

#[test]
fn no_more_may_wait_than_configured() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(Duration::from_hours(500_000));
    let config = Config { most_pending: 2, ..Config::default() };
    let approvals = Approvals::open(&config, &folder.path().join("state"), Arc::clone(&clock) as _).unwrap();
    let case = |size: u32| Case { arguments: json!({"size": size}), ..Case::usual() };
    pending(&approvals, &case(1));
    pending(&approvals, &case(2));
    assert_eq!(approvals.settle(&case(3).wish()).unwrap_err().kind(), Kind::RateLimited);
    clock.advance(Duration::from_secs(901));
    pending(&approvals, &case(3));
}

fn limited(folder: &Path, clock: &Arc<ManualClock>, config: &Config) -> Arc<Approvals> {
    Approvals::open(config, &folder.join("state"), Arc::clone(clock) as _).unwrap()
}

fn long(name: &str, length: usize) -> Case {
    Case { arguments: json!({"name": name, "text": "x".repeat(length)}), ..Case::usual() }
}

#[test]
fn one_caller_cannot_keep_all_others_from_asking() {
    let office = Office::new();
    let config = Config { most_pending_each: 2, ..Config::default() };
    let approvals = limited(office.folder.path(), &office.clock, &config);
    let case = |name: &str, size: u32| Case {
        principal: principal(name),
        arguments: json!({"size": size}),
        ..Case::usual()
    };
    pending(&approvals, &case("key:ci", 1));
    pending(&approvals, &case("key:ci", 2));
    // Another role makes another call of it, and no other caller. Another process counts the same.
    let mut third = case("key:ci", 3);
    third.principal.roles.insert("ops".into());
    let other = limited(office.folder.path(), &office.clock, &config);
    for each in [&approvals, &other] {
        assert_eq!(each.settle(&third.wish()).unwrap_err().kind(), Kind::RateLimited);
        pending(each, &case("key:other", 1));
    }
    pending(&approvals, &case("key:ci", 1));
}

#[test]
fn what_is_longer_than_a_callers_share_is_refused_for_good() {
    let office = Office::new();
    let config = Config { most_pending_each: 10, ..Config::default() };
    let approvals = limited(office.folder.path(), &office.clock, &config);
    let refused = approvals.settle(&long("web", 1 << 20).wish()).unwrap_err();
    assert_eq!(refused.kind(), Kind::BadArguments, "{refused}");
    pending(&approvals, &long("web", 1 << 18));
}

#[test]
fn what_expired_undecided_does_not_pile_up() {
    let office = Office::new();
    let mut last = String::new();
    for round in 0..6 {
        last = pending(&office.approvals, &long(&round.to_string(), 20_000));
        // As though it were much longer: 257 places each, so that three are kept of 1000.
        let record = office.approvals.show(&last).unwrap().record;
        let file = office.file(&format!("{last}.{}.pending", record.binding));
        edit(&file, |record| record["shown"]["whole"]["bytes"] = json!(16 << 20));
        office.clock.advance(Duration::from_secs(901));
    }
    let approvals = open(office.folder.path(), &office.clock);
    let waits = pending(&approvals, &Case::usual());
    let left: Vec<_> = approvals.list().unwrap().iter().map(|one| one.status).collect();
    assert_eq!(left, [Status::Pending, Status::Expired, Status::Expired, Status::Expired]);
    assert_eq!(approvals.show(&last).unwrap().status, Status::Expired, "the newest are kept");
    assert_eq!(approvals.show(&waits).unwrap().status, Status::Pending);
    let beside = std::fs::read_dir(office.folder.path().join("state/approvals")).unwrap();
    let beside = beside.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".arguments"))
    });
    assert_eq!(beside.count(), 3);
}

#[test]
fn a_record_is_read_once_and_not_again_for_every_call_of_anybody() {
    let office = Office::new();
    let (one, two) = (Case::usual(), long("two", 10));
    let id = pending(&office.approvals, &one);
    let file = office.file(&format!("{id}.{}.pending", office.approvals.show(&id).unwrap().record.binding));
    // To read a folder as a file fails, whoever tries.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let other = pending(&office.approvals, &two);
    assert!(office.approvals.awaits(&other));
    assert!(open(office.folder.path(), &office.clock).settle(&two.wish()).is_err(), "reading it does fail");
}

#[test]
fn a_call_waits_until_somebody_decides_or_time_is_over() {
    let office = Office::new();
    let operator = office.operator("alice");
    let (one, two) = (Case::usual(), long("two", 10));
    let (first, second) = (pending(&office.approvals, &one), pending(&office.approvals, &two));
    let other = open(office.folder.path(), &office.clock);
    let waits = |id: &str| (office.approvals.awaits(id), other.awaits(id));
    assert_eq!((waits(&first), waits(&second)), ((true, true), (true, true)));
    office.decide(&first, Decision::Approve, &operator);
    assert_eq!((waits(&first), waits(&second)), ((false, false), (true, true)));
    assert!(taken(&office.approvals, &one));
    assert_eq!(waits(&first), (false, false));
    office.clock.advance(Duration::from_secs(901));
    assert_eq!(waits(&second), (false, false));
    assert_eq!((waits("0000-0000-0000"), waits("../secret")), ((false, false), (false, false)));
}

#[test]
fn a_client_cannot_agree_where_a_decision_cannot_be_proved() {
    let office = Office::new();
    let operator = office.operator("alice");
    let case = Case::usual();
    let id = pending(&office.approvals, &case);
    office.decide(&id, Decision::Refuse, &operator);
    let agreed = || office.approvals.agreed_by_client(&id, &case.wish()).unwrap_err().kind();
    let public = office.folder.path().join("state/operators/alice.pub");
    let key = std::fs::read(&public).unwrap();

    std::fs::remove_file(&public).unwrap();
    assert_eq!(agreed(), Kind::NeedsApproval, "the operator is no more");
    std::fs::create_dir(&public).unwrap();
    assert_eq!(agreed(), Kind::Internal, "the key cannot be read");
    assert!(office.approvals.settle(&case.wish()).is_err());
    std::fs::remove_dir(&public).unwrap();
    std::fs::write(&public, key).unwrap();
    assert_eq!(agreed(), Kind::Declined);

    let decision = office.file(".decision");
    std::fs::write(&decision, "{").unwrap();
    assert_eq!(agreed(), Kind::NeedsApproval, "the decision cannot be read");
    // An operator can decide anew.
    office.decide(&id, Decision::Approve, &operator);
    assert!(taken(&office.approvals, &case));
}

#[test]
fn what_belongs_to_no_record_is_tidied_up() {
    let office = Office::new();
    let case = long("web", 100_000);
    let id = pending(&office.approvals, &case);
    let folder = office.folder.path().join("state/approvals");
    let (orphan, stray) = (folder.join("abcd-efgh-jkmn.arguments"), folder.join("abcd-efgh-jkmn.decision"));
    std::fs::write(&orphan, "left by a process that broke off").unwrap();
    std::fs::write(&stray, "{}").unwrap();
    assert_eq!(pending(&office.approvals, &case), id);
    assert!(!orphan.exists() && !stray.exists());
    assert!(office.approvals.show(&id).unwrap().arguments.is_some(), "what belongs to a record stays");
}
