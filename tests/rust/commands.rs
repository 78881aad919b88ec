//! Commands of an operator, as they are typed: their exit codes, and what they leave behind.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// An installation of its own.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// One whose configuration says `more`.
    pub(crate) fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bartizan.toml"), format!("state_dir = 'state'\n{more}")).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Types a command, and returns its exit code.
    fn run(&self, words: &[&str]) -> u8 {
        let config = self.path("bartizan.toml").into_os_string();
        let words = words.iter().map(OsString::from);
        let all = [OsString::from("bartizan")].into_iter().chain(words);
        bartizan::cli::main(all.chain([OsString::from("--config"), config]), None)
    }

    fn audited(&self) -> String {
        std::fs::read_to_string(self.path("state/audit.jsonl")).unwrap_or_default()
    }
}

#[test]
fn every_command_explains_itself() {
    for words in [
        &["serve"][..],
        &["import"],
        &["freeze"],
        &["unfreeze"],
        &["policy", "accept"],
        &["tokens"],
        &["tokens", "rotate-key"],
        &["doctor"],
        &["credential"],
        &["credential", "switch"],
        &["rotate"],
        &["evidence"],
        &["evidence", "verify"],
        &["config", "migrate"],
        &["egress"],
        &["runbook"],
        &["version"],
    ] {
        let all = [&["bartizan"], words, &["--help"]].concat();
        assert_eq!(bartizan::cli::main(all.into_iter().map(OsString::from), None), 0, "{words:?}");
    }
    for words in [&["bartizan", "runbook"][..], &["bartizan", "version"], &["bartizan", "version", "--json"]]
    {
        assert_eq!(bartizan::cli::main(words.iter().map(OsString::from), None), 0, "{words:?}");
    }
}

#[test]
fn freezing_needs_no_key_and_thawing_does() {
    let place = Place::new("");
    assert_eq!(place.run(&["freeze", "status", "--json"]), 0);
    assert_eq!(place.run(&["freeze", "writes", "--reason", "odd orders"]), 0);
    assert_eq!(place.run(&["freeze"]), 0);
    assert_eq!(place.run(&["freeze", "writes"]), 2, "less than holds");
    assert_eq!(place.run(&["unfreeze"]), 2, "nobody is enrolled");
    let secret = place.path("passphrase");
    std::fs::write(&secret, "correct horse battery").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let reference = format!("file:{}", secret.display());
    assert_eq!(place.run(&["approvals", "enrol", "alice", "--passphrase", &reference]), 0);
    let frozen = std::fs::read(place.path("state/freeze.json")).unwrap();
    std::fs::write(&secret, "another horse battery").unwrap();
    assert_eq!(place.run(&["unfreeze", "--passphrase", &reference]), 3);
    assert_eq!(std::fs::read(place.path("state/freeze.json")).unwrap(), frozen);
    std::fs::write(&secret, "correct horse battery").unwrap();
    assert_eq!(place.run(&["unfreeze", "--passphrase", &reference]), 0);
    assert!(
        String::from_utf8(std::fs::read(place.path("state/freeze.json")).unwrap()).unwrap().contains("lift")
    );
    let audited = place.audited();
    for event in ["frozen", "unfrozen", "odd orders", "operator act failed"] {
        assert!(audited.contains(event), "{event}: {audited}");
    }
}

#[test]
fn the_doctor_fails_where_something_has_to_be_mended_and_mends_it() {
    let place = Place::new("");
    assert_eq!(place.run(&["doctor"]), 0);
    let key = place.path("state/fingerprint.key");
    std::fs::write(&key, [1; 32]).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.run(&["doctor", "--json"]), 2);
    assert_eq!(place.run(&["doctor", "--fix"]), 0);
    assert_eq!(place.run(&["doctor", "--done", "logs"]), 0);
    assert_eq!(place.run(&["doctor", "--done", "dishes"]), 2);
    assert!(place.audited().contains("duty done"));
}

#[test]
fn a_credential_that_an_operator_types_by_mistake_is_not_in_the_audit() {
    let place = Place::new("");
    let reference = |name: &str, value: &str| {
        std::fs::write(place.path(name), value).unwrap();
        std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        format!("file:{}", place.path(name).display())
    };
    let first = reference("first", "kuh6-the-first-one");
    let seal = reference("seal", &"kuh6".repeat(8));
    let text = format!(
        "state_dir = 'state'\n[server]\nsealing_keys = ['{seal}']\n\
         [[openapi]]\nfile = 'acme.json'\nbase_url = 'https://api.example.com'\nauth = 'bearer:{first}'\n\
         [secrets.standby.acme]\nreplace = {{ '{first}' = 'command:second' }}\n\
         [secrets.commands.second]\nargv = ['/bin/echo', 'kuh6-the-second-one']\n"
    );
    std::fs::write(place.path("bartizan.toml"), text).unwrap();
    let reason = format!("odd: kuh6-the-first-one, kuh6-the-second-one and {}", "kuh6".repeat(8));
    assert_eq!(place.run(&["freeze", "writes", "--reason", &reason]), 0);
    assert_eq!(place.run(&["doctor", "--done", "kuh6-the-first-one"]), 2, "no such duty");
    assert_eq!(place.run(&["key", "new", "--owner", "ann", "--name", "kuh6-the-second-one"]), 0);
    let audited = place.audited();
    for event in ["frozen", "odd: [redacted:", "duty done", "key issued"] {
        assert!(audited.contains(event), "{event}: {audited}");
    }
    assert!(!audited.contains("kuh6"), "{audited}");
}

#[test]
fn the_doctor_mends_a_state_directory_that_is_open_and_nothing_that_is_not_its_own() {
    let place = Place::new("");
    let (state, config) = (place.path("state"), place.path("bartizan.toml"));
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&config).unwrap()) == 0;
    assert_eq!(place.run(&["doctor"]), 0);
    set(&state, 0o755);
    assert_eq!(place.run(&["doctor"]), 2);
    assert_eq!(mode(&state), 0o755);
    set(&config, 0o644);
    assert_eq!(place.run(&["doctor", "--fix"]), 0);
    assert_eq!(mode(&state), 0o700);
    // what root has written may be for a server of another user
    assert_eq!(mode(&config), if root { 0o644 } else { 0o600 });
    // through a link nothing is mended
    set(&config, 0o644);
    std::fs::rename(&config, place.path("real.toml")).unwrap();
    std::os::unix::fs::symlink("real.toml", &config).unwrap();
    assert_eq!(place.run(&["doctor", "--fix"]), 0);
    assert_eq!(mode(&place.path("real.toml")), 0o644);
    // nor what has another name, or a name that bartizan does not give
    let outside = place.path("somebody's");
    std::fs::write(&outside, "{}").unwrap();
    set(&outside, 0o644);
    std::fs::hard_link(&outside, state.join("ages.json.kept")).unwrap();
    std::fs::hard_link(&outside, state.join("standby.key.old")).unwrap();
    std::fs::remove_file(state.join("limits.json")).ok();
    std::fs::hard_link(&outside, state.join("limits.json")).unwrap();
    std::fs::create_dir(state.join("project")).unwrap();
    std::fs::write(state.join("project/limits.json"), "{}").unwrap();
    for path in ["project", "project/limits.json"] {
        set(&state.join(path), 0o755);
    }
    std::fs::write(state.join("fingerprint.key"), [1; 32]).unwrap();
    set(&state.join("fingerprint.key"), 0o644);
    assert_eq!(place.run(&["doctor", "--fix"]), 2);
    assert_eq!((mode(&outside), mode(&state.join("fingerprint.key"))), (0o644, 0o600));
    assert_eq!((mode(&state.join("project")), mode(&state.join("project/limits.json"))), (0o755, 0o755));
}

#[test]
fn the_doctor_follows_no_state_directory_that_another_user_planted() {
    let place = Place::new("");
    let (mine, planted) = (place.path("mine"), place.path("state"));
    std::fs::create_dir(&mine).unwrap();
    std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(mine.join("audit.key"), "x").unwrap();
    std::fs::set_permissions(mine.join("audit.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&mine, &planted).unwrap();
    let given = std::os::unix::fs::lchown(&planted, Some(12345), None);
    if given.is_err() {
        eprintln!("not root: a link cannot be given to another user, so none that was planted is tried");
        return;
    }
    assert_eq!(place.run(&["doctor", "--fix"]), 2);
    assert_eq!(place.run(&["freeze", "status"]), 2);
    let mode = std::fs::metadata(mine.join("audit.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "nothing is touched");
    assert_eq!(std::fs::read_dir(&mine).unwrap().count(), 1, "and nothing made");
}

#[test]
fn rules_for_a_firewall_and_kept_tokens_are_told() {
    let place = Place::new("[[connector]]\nname = 'equinix'\n");
    for format in ["nftables", "kubernetes", "json"] {
        assert_eq!(place.run(&["egress", "--format", format]), 0, "{format}");
    }
    assert_eq!(place.run(&["tokens", "list"]), 2, "none are kept");
}

#[test]
fn a_configuration_with_old_names_is_brought_up_to_date() {
    let old = "# deadlines\n[line]\ntimeout_seconds = 7   # short\n";
    let place = Place::new(old);
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    let before = read("bartizan.toml");
    assert_eq!(place.run(&["check"]), 2, "and it names the command");
    assert_eq!(place.run(&["config", "migrate"]), 0);
    assert_eq!(read("bartizan.toml"), before, "nothing is written without being told to");
    std::fs::set_permissions(place.path("bartizan.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(place.run(&["config", "migrate", "--write", "--json"]), 0);
    assert_eq!(read("bartizan.toml"), before.replace("[line]", "[calls]"));
    assert_eq!(read("bartizan.toml.bak"), before);
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bartizan.toml"), mode("bartizan.toml.bak")), (0o640, 0o640));
    assert_eq!(place.run(&["check"]), 0);
    assert_eq!(place.run(&["config", "migrate", "--write"]), 0, "it is up to date");
    assert!(!place.path("bartizan.toml.bak.1").exists());
    // a backup is never replaced
    std::fs::write(place.path("bartizan.toml"), &before).unwrap();
    assert_eq!(place.run(&["config", "migrate", "--write"]), 0);
    assert_eq!(read("bartizan.toml.bak.1"), before);
    std::fs::write(place.path("bartizan.toml"), "[nonsense]\n").unwrap();
    assert_eq!(place.run(&["config", "migrate", "--write"]), 2);
}

#[test]
fn evidence_is_taken_and_verified_by_command() {
    let place = Place::new("");
    let out = place.path("bundle.tar").display().to_string();
    assert_eq!(place.run(&["evidence", "--out", &out]), 0);
    assert!(place.audited().contains("evidence taken"));
    assert_eq!(place.run(&["evidence", "--out", &out]), 2, "a file that is there is not replaced");
    assert_eq!(place.run(&["evidence", "--since", "soon", "--out", "x.tar"]), 2);
    let words = |more: &[&str]| {
        let all = [&["bartizan", "evidence", "verify", out.as_str()], more].concat();
        bartizan::cli::main(all.into_iter().map(OsString::from), None)
    };
    assert_eq!(words(&[]), 0);
    let key = place.path("state/audit.jsonl.pub").display().to_string();
    assert_eq!(words(&["--key", &key, "--json"]), 0);
    assert_eq!(words(&["--key", "hunter2"]), 2);
    assert_eq!(words(&["--key", &"0".repeat(64)]), 1);
    let mut bytes = std::fs::read(&out).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&out, bytes).unwrap();
    assert_ne!(words(&[]), 0);
}
