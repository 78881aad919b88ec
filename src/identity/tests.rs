//! Keys, from minting to revoking.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::keys::{Ages, Grant, KeyStore, Minted, State, Used, bearer};
use crate::clock::ManualClock;
use crate::principal::Principal;
use crate::transport::addresses::ranges;
use crate::transport::auth::{Certificate, Refusal};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn verify(store: &KeyStore, key: &str) -> Result<Arc<Principal>, Refusal> {
    store.verify(key, HERE, None)
}

fn clock() -> Arc<ManualClock> {
    ManualClock::at(Duration::from_secs(1_000_000))
}

#[test]
fn a_minted_key_is_known_until_it_is_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = KeyStore::open(folder.path(), clock.clone()).unwrap();
    let minted = store.mint(&Grant { may_approve: true, ..Grant::named("ci") }).unwrap();
    let key = minted.key.expose().to_owned();
    assert!(key.starts_with("bz_") && key.len() == 55);
    let principal = verify(&store, &key).unwrap();
    assert_eq!((&*principal.id, principal.may_approve), ("key:ci", true));

    let text = std::fs::read_to_string(folder.path().join("keys.json")).unwrap();
    assert!(!text.contains(&key[12..]), "the key itself is not kept");

    // Another process revokes it: noticed a second later.
    let other = KeyStore::open(folder.path(), clock.clone()).unwrap();
    assert!(verify(&other, &key).is_ok());
    assert!(other.revoke(&minted.id).unwrap() && !other.revoke(&minted.id).unwrap());
    clock.advance(Duration::from_secs(1));
    assert_eq!(verify(&store, &key).unwrap_err().what, "unknown key");
}

#[test]
fn keys_that_are_not_quite_right_are_refused() {
    let clock = clock();
    let store = KeyStore::in_memory(clock.clone()).unwrap();
    let until = Some(Duration::from_secs(1_000_060));
    let key = store.mint(&Grant { expires: until, ..Grant::named("x") }).unwrap().key;
    let key = key.expose();
    for wrong in ["", "bz_", "bz__", "bz_nobody00_x", &key[..key.len() - 1], &format!("{key}x"), &key[3..]] {
        assert!(verify(&store, wrong).is_err(), "{wrong}");
    }
    assert!(verify(&store, key).is_ok());
    clock.advance(Duration::from_mins(1));
    assert_eq!(verify(&store, key).unwrap_err().what, "expired key");
}

#[cfg(unix)]
#[test]
fn files_are_private_and_others_files_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::open(folder.path(), clock()).unwrap();
    let path = folder.path().join("first.key");
    let minted = store.mint_first(&path, &Grant::named("first")).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose());
    for name in ["first.key", "keys.json", "keys.pepper", "keys.lock"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(store.mint_first(&path, &Grant::named("second")).unwrap().is_none(), "there is one");
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose(), "never overwritten");
    assert_eq!(store.list().len(), 1);
    let keys = folder.path().join("keys.json");
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = KeyStore::open(folder.path(), clock()).map(|_| ()).unwrap_err();
    assert!(error.message().contains("chmod 600"), "{error}");
}

#[test]
fn of_many_first_starts_one_mints_and_what_a_crash_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.key");
    std::fs::write(&path, b"").unwrap();
    let stores: Vec<_> = (0..8).map(|_| KeyStore::open(folder.path(), clock()).unwrap()).collect();
    let minted: Vec<Minted> = std::thread::scope(|scope| {
        let all: Vec<_> = stores
            .iter()
            .map(|store| scope.spawn(|| store.mint_first(&path, &Grant::named("local")).unwrap()))
            .collect();
        all.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    let [minted] = minted.as_slice() else { panic!("{} keys", minted.len()) };
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), minted.key.expose());
    assert!(stores.iter().all(|store| verify(store, minted.key.expose()).is_ok()));

    // With all keys taken back there is none, and the next start makes one.
    assert!(stores[0].revoke(&minted.id).unwrap());
    let second = stores[0].mint_first(&path, &Grant::named("local")).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), second.key.expose());
}

#[test]
fn one_bearer_and_nothing_else() {
    let with = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        bearer(&headers).map(str::to_owned)
    };
    assert_eq!(with(&["Bearer abc"]).unwrap(), "abc");
    assert_eq!(with(&["bearer  abc "]).unwrap(), "abc");
    assert!(!with(&[]).unwrap_err().presented);
    for wrong in [&["Basic abc"][..], &["Bearer"], &["Bearer a", "Bearer a"]] {
        assert!(with(wrong).unwrap_err().presented);
    }
}

#[test]
fn a_key_of_nobody_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::open(folder.path(), clock()).unwrap();
    assert!(store.mint(&Grant { owner: "everybody".into(), ..Grant::named("x") }).is_err());
    let key = store.mint(&Grant::named("anna")).unwrap().key;
    let path = folder.path().join("keys.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"owner\": \"anna\",", "")).unwrap();
    store.reload().unwrap();
    assert_eq!(verify(&store, key.expose()).unwrap_err().what, "key without an owner");
    assert_eq!(Ages::default().state(&store.list()[0], Duration::ZERO), State::Ownerless);
}

#[test]
fn a_name_is_one_owners() {
    let store = KeyStore::in_memory(clock()).unwrap();
    store.mint(&Grant::named("ci")).unwrap();
    assert!(store.mint(&Grant::named("ci")).is_ok(), "another key of the same");
    assert!(store.mint(&Grant { owner: "bob".into(), ..Grant::named("ci") }).is_err());
}

#[test]
fn a_replaced_key_opens_the_door_until_the_overlap_ends_and_keeps_its_streams() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let store = KeyStore::open(folder.path(), clock.clone()).unwrap();
    let holder = folder.path().join("http.key");
    let old = store.mint_first(&holder, &Grant::named("local")).unwrap().unwrap();
    let draft = store.draft(&Grant::named("local")).unwrap();
    let new = store.replace(&old.id, draft, Duration::from_secs(1_000_060)).unwrap();
    assert!(store.hand_over(&holder, &old.id, &new).unwrap(), "its holder has the new one");
    assert!(!store.hand_over(&holder, &old.id, &new).unwrap());
    assert_eq!(std::fs::read_to_string(&holder).unwrap().trim(), new.key.expose());
    let both = || [&old, &new].map(|minted| verify(&store, minted.key.expose()).is_ok());
    assert_eq!(both(), [true, true]);
    clock.advance(Duration::from_mins(1));
    assert_eq!(both(), [false, true]);
    assert!(store.replace("nobody", store.draft(&Grant::named("x")).unwrap(), Duration::ZERO).is_err());
    assert_eq!(store.list().len(), 2);
}

#[test]
fn a_key_that_is_bound_to_a_place_or_a_certificate_opens_nothing_without_it() {
    let store = KeyStore::in_memory(clock()).unwrap();
    let from = ranges(&["10.0.0.0/8".into()]).unwrap();
    let print = "A".repeat(43);
    let key = store.mint(&Grant { from, certificate: Some(print.clone()), ..Grant::named("x") }).unwrap().key;
    let with = |print: &str| Certificate {
        thumbprint: print.into(),
        subject: String::new(),
        names: Vec::new(),
        issuer: "".into(),
        expires: Duration::MAX,
    };
    let (right, wrong) = (with(&print), with(&"B".repeat(43)));
    let inside: IpAddr = "::ffff:10.9.8.7".parse().unwrap();
    let asked = |address, certificate| store.verify(key.expose(), address, certificate).map_err(|no| no.what);
    assert!(asked(inside, Some(&right)).is_ok());
    assert_eq!(asked(HERE, Some(&right)).unwrap_err(), "key used from an address it is not for");
    for certificate in [None, Some(&wrong)] {
        assert_eq!(asked(inside, certificate).unwrap_err(), "key without its certificate");
    }
}

#[test]
fn what_a_key_was_used_for_survives_and_costs_no_file_for_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let clock = clock();
    let open = || KeyStore::open(folder.path(), clock.clone()).unwrap();
    let file = folder.path().join("keys.used.json");
    let (one, two) = (open(), open());
    let minted = one.mint(&Grant::named("ci")).unwrap();
    two.reload().unwrap();
    let used = |store: &KeyStore| store.list()[0].used;
    assert_eq!(used(&one), Used::default());
    let wrong = format!("bz_{}_wrong", minted.id);
    for store in [&one, &two] {
        for _ in 0..100 {
            assert!(verify(store, minted.key.expose()).is_ok());
        }
        assert!(verify(store, &wrong).is_err());
    }
    assert!(!file.exists(), "nothing is written for a request");
    one.flush().unwrap();
    two.flush().unwrap();
    let last = Some(Duration::from_secs(1_000_000));
    assert_eq!(used(&open()), Used { last, calls: 200, failures: 2 });
    let changed = std::fs::metadata(&file).unwrap().modified().unwrap();
    one.flush().unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), changed, "there was nothing to say");
    assert_eq!(used(&one), Used { last, calls: 200, failures: 2 });
    assert!(one.revoke(&minted.id).unwrap());
    let other = one.mint(&Grant::named("other")).unwrap();
    assert!(verify(&one, other.key.expose()).is_ok());
    one.flush().unwrap();
    assert!(!std::fs::read_to_string(&file).unwrap().contains(&minted.id), "gone with the key");
}
