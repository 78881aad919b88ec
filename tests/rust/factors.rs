//! Who may agree, with what beside a passphrase, and for how long whatever the clocks do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bartizan::approvals::{
    Answer, Approvals, Begun, Channel, Config, Decision, Kept, Opens, Operator, Proven, SecondFactor, Status,
    Webhook, Wish,
};
use bartizan::clock::Clock;
use bartizan::error::{Error, Kind, Result};
use bartizan::json::{Digest, Value, json};
use bartizan::principal::{Principal, PrincipalKind};
use bartizan::secret::Secret;

const PASSPHRASE: &str = "correct horse battery";
/// Far enough from now that nobody mistakes one for the other.
const NOON: u64 = 1_800_000_000_000;

/// A clock whose two hands are wound apart from each other.
#[derive(Default)]
struct Hands {
    wall: AtomicU64,
    monotonic: AtomicU64,
}

impl Hands {
    fn pass(&self, seconds: u64) {
        self.wall.fetch_add(seconds * 1000, Ordering::SeqCst);
        self.monotonic.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn put(&self, wall: u64) {
        self.wall.store(wall, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn wall(&self) -> Duration {
        Duration::from_millis(self.wall.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
    }
}

struct Office {
    folder: Arc<tempfile::TempDir>,
    clock: Arc<Hands>,
    approvals: Arc<Approvals>,
}

impl Office {
    fn new(config: Config) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(Hands::default());
        clock.put(NOON);
        let approvals = open(folder.path(), &clock, &config);
        Self { folder, clock, approvals }
    }

    /// The same folder, as another process with this configuration sees it.
    fn again(&self, config: Config) -> Self {
        let approvals = open(self.folder.path(), &self.clock, &config);
        Self { folder: Arc::clone(&self.folder), clock: Arc::clone(&self.clock), approvals }
    }

    fn operator(&self, name: &str) -> Operator {
        let passphrase = Secret::new(PASSPHRASE);
        self.approvals.enrol(name, &passphrase, None).unwrap();
        self.unlocked(name)
    }

    fn unlocked(&self, name: &str) -> Operator {
        self.approvals.operator(name, None, &Secret::new(PASSPHRASE)).unwrap()
    }

    /// Enrols a second factor: what shows its codes, and the recovery codes.
    fn phone(&self, name: &str) -> (Phone, Vec<Secret>) {
        let begun = self.approvals.begin_factor(name).unwrap();
        let phone = Phone::scan(&begun);
        let passphrase = Secret::new(PASSPHRASE);
        let opens = Opens::Passphrase(&passphrase);
        let codes = self.approvals.confirm_factor(&begun, &phone.code(&self.clock), &opens).unwrap();
        self.clock.pass(30);
        (phone, codes)
    }

    fn check(&self, name: &str, code: &str) -> Result<Proven> {
        self.approvals.check_factor(name, Some(&Secret::new(PASSPHRASE)), code)
    }

    fn kept(&self, name: &str) -> Kept {
        self.approvals.second_factor(name).unwrap().unwrap()
    }

    fn pending(&self, case: &Case) -> String {
        match self.approvals.settle(&case.wish()).unwrap() {
            Answer::Pending(record) => record.id,
            other => panic!("not pending: {other:?}"),
        }
    }

    fn approve(&self, id: &str, operator: &Operator) -> Result<()> {
        self.approvals.decide(&self.approvals.show(id).unwrap(), Decision::Approve, operator)
    }

    fn taken(&self, case: &Case) -> bool {
        match self.approvals.settle(&case.wish()).unwrap() {
            Answer::Taken(grant) => grant.used().is_ok(),
            Answer::Pending(_) | Answer::Refused(_) | Answer::Void(_) => false,
        }
    }

    fn decision(&self) -> std::path::PathBuf {
        let folder = self.folder.path().join("state/approvals");
        let mut found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        found.find(|path| path.extension().is_some_and(|end| end == "decision")).unwrap()
    }
}

fn open(folder: &Path, clock: &Arc<Hands>, config: &Config) -> Arc<Approvals> {
    Approvals::open(config, &folder.join("state"), Arc::clone(clock) as _).unwrap()
}

/// An authenticator, as it lies in somebody's pocket.
struct Phone(totp_rs::Totp);

impl Phone {
    fn scan(begun: &Begun) -> Self {
        let address = begun.address().unwrap();
        assert!(address.expose().starts_with("otpauth://totp/bartizan"), "{}", address.expose());
        Self(totp_rs::Totp::from_url(address.expose()).unwrap())
    }

    fn code(&self, clock: &Hands) -> String {
        self.0.generate(clock.wall().as_secs()).to_string()
    }

    fn wrong(&self, clock: &Hands) -> String {
        let near: Vec<String> =
            [0, 30, 60].map(|ago| self.0.generate(clock.wall().as_secs() + 30 - ago).to_string()).into();
        (0..10).map(|digit| digit.to_string().repeat(6)).find(|code| !near.contains(code)).unwrap()
    }
}

struct Case {
    principal: Principal,
    effect: &'static str,
    arguments: Value,
}

impl Case {
    fn of(id: &str, effect: &'static str) -> Self {
        let principal = Principal::new(id, PrincipalKind::ApiKey);
        Self { principal, effect, arguments: json!({"id": "port-7"}) }
    }

    fn wish(&self) -> Wish<'_> {
        Wish {
            principal: &self.principal,
            tool: "port_change",
            source: "acme",
            fingerprint: Digest([1; 32]),
            effect: self.effect,
            target: None,
            arguments: &self.arguments,
            redacted: &self.arguments,
            policy: "v1",
            upstream: None,
            state: None,
            request: None,
            rehearsed: None,
        }
    }
}

fn refused<T>(result: Result<T>) -> Error {
    result.err().expect("it is refused")
}

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

// proves: second-factor
#[test]
fn what_destroys_needs_a_second_factor() {
    let office = Office::new(Config::default());
    let alice = office.operator("alice");
    let case = Case::of("key:ci", "destroy");
    let nobody = refused(office.approvals.settle(&case.wish()));
    assert_eq!(nobody.kind(), Kind::NeedsApproval);
    assert!(nobody.message().contains("bartizan approvals factor enrol"), "{nobody}");
    assert!(refused(office.approvals.way("destroy", true)).message().contains("factor enrol"));
    assert!(office.approvals.way("write", false).is_ok(), "what only writes goes on without");

    let (phone, _) = office.phone("alice");
    assert!(!office.approvals.way("destroy", true).unwrap().client, "no client is asked for a code");
    let id = office.pending(&case);
    let client = refused(office.approvals.agreed_by_client(&id, &case.wish()));
    assert!(client.message().contains("second factor"), "{client}");
    assert!(refused(office.approve(&id, &alice)).message().contains("second factor"));
    assert!(!office.taken(&case));

    let factor = office.check("alice", &phone.code(&office.clock)).unwrap();
    office.approve(&id, &alice.with_factor(Some(factor))).unwrap();
    let listed = office.approvals.show(&id).unwrap();
    assert_eq!((listed.status, listed.factor), (Status::Approved, Some(Proven::Totp)));

    // Whoever writes into the folder cannot add what the signature does not say, or take it away.
    let path = office.decision();
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, whole.replace("\"totp\"", "null")).unwrap();
    assert!(!office.taken(&case));
    std::fs::write(&path, whole.replace("\"totp\"", "\"recovery\"")).unwrap();
    assert!(!office.taken(&case));
    std::fs::write(&path, whole).unwrap();
    assert!(office.taken(&case));
}

#[test]
fn an_agreement_from_before_a_second_factor_was_due_counts_no_more() {
    let office = Office::new(with(|config| config.second_factor = SecondFactor::Off));
    let alice = office.operator("alice");
    let case = Case::of("key:ci", "write");
    let id = office.pending(&case);
    office.approve(&id, &alice).unwrap();
    let strict = office.again(with(|config| config.second_factor = SecondFactor::Always));
    assert!(refused(strict.approvals.settle(&case.wish())).message().contains("Every approval"));
    strict.phone("alice");
    assert!(!strict.taken(&case));
    assert!(office.taken(&case), "off is off");
}

// proves: second-factor-once
#[test]
fn one_code_is_good_once_among_many_processes() {
    let office = Office::new(Config::default());
    office.operator("alice");
    let (phone, recovery) = office.phone("alice");
    for code in [phone.code(&office.clock), recovery[0].expose().to_owned()] {
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|_| {
                    let (own, code) = (office.again(Config::default()), &code);
                    scope.spawn(move || usize::from(own.check("alice", code).is_ok()))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(winners, 1);
    }
}

// proves: second-factor-locks
#[test]
fn five_wrong_codes_lock_in_every_process_and_two_things_unlock() {
    let office = Office::new(Config::default());
    office.operator("alice");
    let (phone, recovery) = office.phone("alice");
    let lock = || {
        for _ in 0..5 {
            let wrong = phone.wrong(&office.clock);
            assert_eq!(
                refused(office.again(Config::default()).check("alice", &wrong)).kind(),
                Kind::Unauthenticated
            );
        }
        assert!(office.kept("alice").locked);
        assert!(refused(office.check("alice", &phone.code(&office.clock))).message().contains("locked"));
    };
    lock();
    assert_eq!(office.check("alice", recovery[1].expose()).unwrap(), Proven::Recovery);
    assert_eq!((office.kept("alice").locked, office.kept("alice").recovery_left), (false, 9));
    assert!(office.check("alice", recovery[1].expose()).is_err());
    lock();
    office.approvals.unlock_factor("alice").unwrap();
    assert!(office.check("alice", &phone.code(&office.clock)).is_ok());
    // a wrong passphrase is no guess at the code, and opens nothing
    office.clock.pass(30);
    let wrong = Secret::new("another one altogether");
    for _ in 0..6 {
        let code = phone.code(&office.clock);
        assert!(office.approvals.check_factor("alice", Some(&wrong), &code).is_err());
    }
    assert!(!office.kept("alice").locked);
}

#[test]
fn a_factor_counts_once_a_code_came_back() {
    let office = Office::new(Config::default());
    office.operator("alice");
    let begun = office.approvals.begin_factor("alice").unwrap();
    let phone = Phone::scan(&begun);
    let passphrase = Secret::new(PASSPHRASE);
    let wrong = phone.wrong(&office.clock);
    assert!(office.approvals.confirm_factor(&begun, &wrong, &Opens::Passphrase(&passphrase)).is_err());
    assert!(office.approvals.second_factors().unwrap().is_empty());
    let first = phone.code(&office.clock);
    office.approvals.confirm_factor(&begun, &first, &Opens::Passphrase(&passphrase)).unwrap();
    assert!(office.check("alice", &first).unwrap_err().message().contains("used already"));
    assert!(office.approvals.begin_factor("alice").is_err(), "nobody's factor is replaced by another");
    office.approvals.remove_factor("alice").unwrap();
    assert!(office.approvals.begin_factor("alice").is_ok());
    assert!(office.approvals.begin_factor("../alice").is_err());
}

// proves: approver-differs
#[test]
fn whoever_asks_over_http_cannot_agree() {
    let people = || with(|config| drop(config.people.insert("erin".into(), vec!["key:ci".into()])));
    let office = Office::new(people());
    let (alice, bob, erin) = (office.operator("alice"), office.operator("bob"), office.operator("erin"));
    let owned = |id: &str, owner: &str| {
        let mut case = Case::of(id, "write");
        case.principal.owner = Some(owner.into());
        case
    };
    for (case, own, other) in [
        (Case::of("key:alice", "write"), &alice, &bob),
        (Case::of("key:ALICE", "write"), &alice, &bob),
        (owned("key:build", "bob"), &bob, &alice),
        (Case::of("key:ci", "write"), &erin, &alice),
    ] {
        let id = office.pending(&case);
        let said = refused(office.approve(&id, own));
        assert!(said.message().contains("another person"), "{said}");
        // A command line that is told otherwise signs, and the server looks again.
        let lax = office.again(with(|config| config.self_approval = true));
        lax.approve(&id, own).unwrap();
        assert!(!office.taken(&case), "{}", case.principal.id);
        office.approve(&id, other).unwrap();
        assert!(office.taken(&case), "{}", case.principal.id);
    }
    let lax = office.again(Config { self_approval: true, ..people() });
    let case = Case::of("key:alice", "write");
    let id = lax.pending(&case);
    lax.approve(&id, &alice).unwrap();
    assert!(lax.taken(&case));
    // Whoever sits at the machine is its operator.
    let mut local = Case::of("local:alice", "write");
    local.principal.kind = PrincipalKind::Local;
    let id = office.pending(&local);
    office.approve(&id, &alice).unwrap();
    assert!(office.taken(&local));
}

#[test]
fn the_configuration_says_who_is_asked_and_nobody_is_refused_at_once() {
    let office = Office::new(Config::default());
    let nobody = refused(office.approvals.way("write", false));
    assert_eq!(nobody.kind(), Kind::NeedsApproval);
    assert!(nobody.message().contains("bartizan approvals enrol"), "{nobody}");
    let way = |office: &Office, client| office.approvals.way("write", client).unwrap();
    assert_eq!((way(&office, true).client, way(&office, true).desk), (true, None));
    let alice = office.operator("alice");
    assert_eq!((way(&office, true).client, way(&office, true).desk), (true, Some(Channel::Operator)));
    let first = |channels: &[Channel]| {
        let channels = channels.to_vec();
        office.again(with(|config| {
            config.channels = channels;
            config.webhook = Some(Webhook { link: "https://mcp.example.com".into(), ..Webhook::default() });
        }))
    };
    assert!(!way(&first(&[Channel::Operator, Channel::Client]), true).client, "the operator comes first");
    assert_eq!(way(&first(&[Channel::Webhook, Channel::Operator]), true).desk, Some(Channel::Webhook));
    let only_clients = first(&[Channel::Client]);
    assert!(only_clients.approvals.way("write", false).is_err());
    // What an operator says does not count where the configuration does not ask operators.
    let case = Case::of("key:ci", "write");
    let id = office.pending(&case);
    office.approve(&id, &alice).unwrap();
    assert!(!only_clients.taken(&case));
    assert!(office.taken(&case));
}

#[test]
fn another_profile_or_another_tenant_is_another_call() {
    let office = Office::new(Config::default());
    let alice = office.operator("alice");
    let case = Case::of("key:ci", "write");
    let id = office.pending(&case);
    office.approve(&id, &alice).unwrap();
    let staging = office.again(with(|config| config.profile = "staging".into()));
    assert!(!staging.taken(&case));
    let mut tenant = Case::of("key:ci", "write");
    tenant.principal.tenant = Some("acme".into());
    assert!(!office.taken(&tenant));
    let mut issuer = Case::of("key:ci", "write");
    issuer.principal.issuer = Some("https://elsewhere.example".into());
    assert!(!office.taken(&issuer), "the same name by another issuer is somebody else");
    assert!(office.taken(&case));
}

// proves: approval-time
#[test]
fn a_clock_that_is_put_back_prolongs_nothing() {
    let case = Case::of("key:ci", "write");
    let fresh = || {
        let office = Office::new(Config::default());
        let alice = office.operator("alice");
        let id = office.pending(&case);
        office.approve(&id, &alice).unwrap();
        (office, id)
    };
    // forward: over
    let (office, id) = fresh();
    office.clock.put(NOON + 3_600_000);
    assert!(!office.taken(&case));
    assert_eq!(office.approvals.show(&id).unwrap().status, Status::Expired);
    // back by an hour, in a process that runs on and in one that starts then
    let (office, id) = fresh();
    office.clock.put(NOON - 3_600_000);
    assert!(!office.again(Config::default()).taken(&case));
    assert!(!office.taken(&case));
    assert_ne!(office.approvals.show(&id).unwrap().status, Status::Approved);
    // back by as much as has passed: the time that has passed stays passed
    let (office, id) = fresh();
    office.clock.pass(600);
    office.clock.put(NOON + 1000);
    assert!(office.approvals.show(&id).unwrap().status == Status::Approved, "five minutes are left");
    office.clock.pass(301);
    assert!(!office.taken(&case), "and then none");
}
