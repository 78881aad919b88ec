//! Two servers as they are started, with one store: what one is told, the other does.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bartizan::app::{Extra, Loader};
use bartizan::clock::SystemClock;
use bartizan::error::Result;
use bartizan::freeze::Extent;
use bartizan::identity::keys::{Grant, KeyStore};
use bartizan::json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::server::{Server, until, within};
use crate::doors::{Started, exchange, post, started_in};
use crate::loopback::soon;
use crate::stage;
use crate::support::in_time;

const CONFIG: &str = "BARTIZAN_TEST_INSTANCE";

pub fn settings(server: &Server, folder: &Path, more: &str) -> String {
    let key = folder.join("seal");
    std::fs::write(&key, "ab".repeat(32)).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    format!(
        "{more}\n[server]\nsealing_keys = ['file:{}']\n[store]\nurl = '{}'\n[http]\nlisten = '127.0.0.1:0'\n\
         drain_delay = 0\ndrain = 0.2\n",
        key.display(),
        server.url()
    )
}

/// Two instances that have the same keys.
async fn two(server: &Server, more: &str) -> ([Started; 2], tempfile::TempDir) {
    let common = tempfile::tempdir().unwrap();
    let text = settings(server, common.path(), more);
    let one = started_in(tempfile::tempdir().unwrap(), &text).await;
    let other = tempfile::tempdir().unwrap();
    copy_keys(&one.folder.path().join("state"), &other.path().join("state"));
    let two = started_in(other, &text).await;
    ([one, two], common)
}

pub fn copy_keys(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-rp").arg(from).arg(to).status().unwrap();
    assert!(status.success());
    for name in std::fs::read_dir(to).unwrap().flatten() {
        if !name.file_name().to_string_lossy().starts_with("keys") {
            let _ = std::fs::remove_file(name.path()).or_else(|_| std::fs::remove_dir_all(name.path()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_one_instance_takes_back_is_refused_by_all_within_a_second() {
    let Some(server) = Server::start(&[]) else { return };
    let common = tempfile::tempdir().unwrap();
    let text = settings(&server, common.path(), "");
    let first = tempfile::tempdir().unwrap();
    let state = bartizan::state::StateDir::open(first.path().join("state")).unwrap();
    let keys = KeyStore::open(state.path(), SystemClock::shared()).unwrap();
    let minted = ["first", "second", "third", "fourth", "fifth"]
        .map(|name| keys.mint(&Grant { scopes: ["read".to_owned()].into(), ..Grant::named(name) }).unwrap());
    let one = started_in(first, &text).await;
    let other = tempfile::tempdir().unwrap();
    copy_keys(&one.folder.path().join("state"), &other.path().join("state"));
    let two = started_in(other, &text).await;
    let status = async |server: &Started, which: usize| {
        server.ask(minted[which].key.expose(), "tools/list", json!({})).await.0
    };
    for which in 0..5 {
        assert_eq!((status(&one, which).await, status(&two, which).await), (200, 200));
    }
    let mut tries = Vec::new();
    for which in [0, 3, 4] {
        let begun = Instant::now();
        assert!(one.keys().revoke(&minted[which].id).unwrap());
        until("both refuse it", || async {
            (status(&one, which).await, status(&two, which).await) == (401, 401)
        })
        .await;
        if in_time(&mut tries, begun.elapsed()) {
            break;
        }
    }
    println!("a key was refused on both instances after {tries:?}");
    assert_eq!((status(&one, 1).await, status(&two, 1).await), (200, 200), "no other key is");
    // the store forgets, and is told again: a key file of former days brings nothing back
    server.tell(&["FLUSHALL"]);
    within("it is said again", || server.tell(&["KEYS", "*"]).contains("folder:revoked"));
    assert!(one.keys().revoke(&minted[1].id).unwrap());
    until("the other instance refuses it", || async { status(&two, 1).await == 401 }).await;
    assert_eq!((status(&one, 2).await, status(&two, 2).await), (200, 200));
    two.ended().await;
    one.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_instance_freezes_is_frozen_on_all_and_stays_so_when_the_store_forgets() {
    let mut tries = Vec::new();
    let (server, [one, two], _common) = loop {
        let Some(server) = Server::start(&[]) else { return };
        let ([one, two], common) = two(&server, "[policy]\nset = 'admin'\n").await;
        let begun = Instant::now();
        one.app.freeze().freeze(Extent::Writes, "test", None).unwrap();
        until("the other is frozen", || async { two.app.freeze().extent() == Extent::Writes }).await;
        if in_time(&mut tries, begun.elapsed()) {
            break (server, [one, two], common);
        }
        one.ended().await;
        two.ended().await;
    };
    println!("the other instance was frozen after {tries:?}");
    server.tell(&["FLUSHALL"]);
    within("it is said again", || server.tell(&["KEYS", "*"]).contains("folder:switch"));
    assert_eq!(two.app.freeze().extent(), Extent::Writes);
    one.ended().await;
    // and one that comes later hears of it
    let common = tempfile::tempdir().unwrap();
    let three = started_in(tempfile::tempdir().unwrap(), &settings(&server, common.path(), "")).await;
    assert_eq!(three.app.freeze().extent(), Extent::Writes, "before it runs anything");
    three.ended().await;
    two.ended().await;
}

fn switch(server: &Server) -> String {
    let name = server.tell(&["KEYS", "*folder:switch"]);
    name.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wider_freeze_holds_and_garbage_in_the_store_silences_nobody() {
    let Some(server) = Server::start(&[]) else { return };
    let ([one, two], _common) = two(&server, "").await;
    one.app.freeze().freeze(Extent::All, "test", None).unwrap();
    until("the other is frozen", || async { two.app.freeze().extent() == Extent::All }).await;
    // what an instance that was away froze later, and less of
    let key = switch(&server);
    assert!(!key.is_empty());
    server.tell(&["HSET", &key, "freeze", "garbage"]);
    server.tell(&["INCR", &key.replace("folder:switch", "news")]);
    until("it is said again", || async { server.tell(&["HGET", &key, "freeze"]).trim() != "garbage" }).await;
    within("somebody noted it", || {
        [&one, &two].iter().any(|server| server.audited().contains("stored secret rejected"))
    });
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let approvals =
        bartizan::approvals::Approvals::open(&Default::default(), &state, SystemClock::shared()).unwrap();
    let less = bartizan::freeze::Freeze::open(&state, approvals, SystemClock::shared()).unwrap();
    less.freeze(Extent::Writes, "test", None).unwrap();
    let wide = one.app.freeze().sheet().unwrap();
    assert!(less.news(Some(&wide)).is_none(), "a later narrower freeze is no news");
    assert!(one.app.freeze().news(less.sheet().as_ref()).is_some(), "an earlier wider one is");
    // what cannot be read here is frozen here, and no word for others
    std::fs::write(state.join("freeze.json"), "{").unwrap();
    less.refresh();
    assert_eq!(less.extent(), Extent::All);
    assert!(less.news(None).is_none());
    let common = tempfile::tempdir().unwrap();
    let three = started_in(folder, &settings(&server, common.path(), "")).await;
    assert_eq!(three.app.freeze().extent(), Extent::All);
    for started in [three, two, one] {
        started.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_read_waits_until_other_instances_were_heard() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let common = tempfile::tempdir().unwrap();
    let one = started_in(tempfile::tempdir().unwrap(), &settings(&server, common.path(), "")).await;
    let refused = one.app.freeze().check(true).unwrap_err();
    assert_eq!(refused.kind(), bartizan::error::Kind::RateLimited);
    assert!(refused.retry_after().is_some());
    one.app.freeze().check(false).unwrap();
    server.run();
    until("it was heard", || async { one.app.freeze().check(true).is_ok() }).await;
    one.ended().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_taken_back_in_so_many_words_is_told_or_believed() {
    let Some(server) = Server::start(&[]) else { return };
    let common = tempfile::tempdir().unwrap();
    let text = settings(&server, common.path(), "");
    let first = tempfile::tempdir().unwrap();
    let state = first.path().join("state");
    drop(bartizan::state::StateDir::open(&state).unwrap());
    let keys = KeyStore::open(&state, SystemClock::shared()).unwrap();
    let minted = ["first", "second"].map(|name| keys.mint(&Grant::named(name)).unwrap());
    let other = tempfile::tempdir().unwrap();
    copy_keys(&state, &other.path().join("state"));
    // before anybody runs, with no store in sight
    assert!(keys.revoke(&minted[0].id).unwrap());
    let two = started_in(other, &text).await;
    assert_eq!(two.keys().ids().len(), 2);
    let one = started_in(first, &text).await;
    until("it is told at the start", || async { !two.keys().ids().contains(&minted[0].id) }).await;
    assert!(two.keys().ids().contains(&minted[1].id));
    // a file that is away for a moment, and a name that somebody wrote into the store
    let file = state.join("keys.json");
    std::fs::rename(&file, state.join("aside")).unwrap();
    until("it is noticed", || async { one.keys().is_empty() }).await;
    let key = server.tell(&["KEYS", "*folder:revoked"]).trim().to_owned();
    server.tell(&["HSET", &key, &minted[1].id, "garbage"]);
    std::fs::rename(state.join("aside"), &file).unwrap();
    until("it is back", || async { one.keys().ids().contains(&minted[1].id) }).await;
    // whatever is told is told in order: what is said now comes after it
    let last = one.keys().mint(&Grant::named("last")).unwrap();
    assert!(one.keys().revoke(&last.id).unwrap());
    until("it is told", || async { server.tell(&["HKEYS", &key]).contains(&last.id) }).await;
    server.tell(&["INCR", &key.replace("folder:revoked", "news")]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        assert!(two.keys().ids().contains(&minted[1].id), "nobody took it back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(one.keys().ids().contains(&minted[1].id));
    two.ended().await;
    one.ended().await;
}

/// Brings the tools of a test into `bartizan serve`.
struct Tools;

impl Loader for Tools {
    fn load(&self, _: &str) -> Result<Extra> {
        unreachable!("no tools are named")
    }

    fn own(&self) -> Result<Option<Extra>> {
        let tools = vec![
            stage::echo(),
            stage::played(
                bartizan::pipeline::ToolSpec {
                    effect: bartizan::policy::Effect::Write,
                    ..stage::spec("make", json!({}))
                },
                |_, _| stage::text("made"),
            ),
        ];
        Ok(Some(Extra { tools, ..Extra::default() }))
    }
}

/// Not a test by itself: an instance of the next one.
#[test]
#[ignore = "run by two_processes_never_let_more_through_than_the_quota_and_one_burst"]
fn a_process_serves() {
    let Some(config) = std::env::var_os(CONFIG) else { return };
    let words = ["bartizan".into(), "serve".into(), "--config".into(), config];
    assert_eq!(bartizan::cli::main(words, Some(&Tools)), 0);
}

/// A process, its address and its key.
struct Process {
    child: Child,
    address: SocketAddr,
    key: String,
    _folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn process(text: &str) -> Process {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bartizan.toml");
    std::fs::write(&path, format!("state_dir = 'state'\n{text}")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::instances::a_process_serves", "--exact", "--ignored", "--nocapture"])
        .env(CONFIG, &path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines
        .find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("http://")?;
            rest.split('/').next().unwrap().parse().ok()
        })
        .unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let key = std::fs::read_to_string(folder.path().join("state/http.key")).unwrap().trim().to_owned();
    Process { child, address, key, _folder: folder }
}

impl Process {
    async fn call(&self, tool: &str) -> Value {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let params = json!({"name": tool, "arguments": {}});
        let request =
            post("/mcp", &[("Authorization", &format!("Bearer {}", self.key))], "tools/call", params);
        let (_, text) = soon(exchange(stream, &request)).await.unwrap();
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn ready(&self) -> u16 {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        soon(exchange(stream, request)).await.unwrap().0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_never_let_more_through_than_the_quota_and_one_burst() {
    let Some(mut server) = Server::start(&[]) else { return };
    let common = tempfile::tempdir().unwrap();
    let quota = "{ per_minute = 600, burst = 20 }";
    let patient = "{ per_minute = 1000000, burst = 1000000 }";
    let limits =
        format!("[policy]\nset = 'admin'\n[limits]\nread = {quota}\nwrite = {quota}\nrefusals = {patient}\n");
    let text = settings(&server, common.path(), &limits);
    let processes = [process(&text), process(&text)].map(Arc::new);
    for tool in ["make", "echo"] {
        // calls are on their way to both whenever something happens to the store
        let (made, turns, since) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Instant::now());
        let mut callers = JoinSet::new();
        for index in 0..10 {
            let (process, made, turns) = (processes[index % 2].clone(), made.clone(), turns.clone());
            callers.spawn(async move {
                loop {
                    let answer = process.call(tool).await;
                    let done = answer["result"]["isError"] != true && answer["result"]["content"].is_array();
                    made.fetch_add(u32::from(done), Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let (made, turns) = (|| made.load(Ordering::SeqCst), || turns.load(Ordering::SeqCst));
        let fits = || {
            let made = made();
            let most = 20.0 + 10.0 * since.elapsed().as_secs_f64();
            assert!(f64::from(made) <= most, "{tool}: {made} of {most}");
        };
        let goes_on = async || {
            let before = turns();
            until("callers go on", || async { turns() > before + 40 }).await;
            fits();
        };
        let gains = async || {
            let before = made();
            until("calls are let through", || async { made() > before }).await;
            fits();
        };
        until("the burst is let through", || async { made() >= 20 }).await;
        goes_on().await;
        server.tell(&["FLUSHALL"]);
        goes_on().await;
        server.freeze();
        goes_on().await;
        server.thaw();
        gains().await;
        server.kill();
        goes_on().await;
        server.run();
        gains().await;
        goes_on().await;
        println!("{tool}: {} of {} calls were let through in {:?}", made(), turns(), since.elapsed());
    }
    for process in &processes {
        until("it is ready", || async { process.ready().await == 200 }).await;
    }
    server.kill();
    for process in &processes {
        until("it is not ready", || async { process.ready().await == 503 }).await;
        let refused = process.call("make").await;
        assert_eq!(refused["result"]["isError"], true, "{refused}");
        let said = &refused["result"]["structuredContent"]["error"];
        assert_eq!(said["kind"], "RateLimited", "{refused}");
        assert!(said["retryAfter"].as_f64().is_some_and(|wait| wait > 0.0), "{refused}");
    }
    server.run();
    for process in &processes {
        until("it is ready again, without a restart", || async { process.ready().await == 200 }).await;
    }
    until("calls are let through", || async { processes[0].call("make").await["result"]["isError"] != true })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_store_went_and_came_back_is_in_the_audit_with_what_it_means() {
    let Some(mut server) = Server::start(&[]) else { return };
    let common = tempfile::tempdir().unwrap();
    let one = started_in(tempfile::tempdir().unwrap(), &settings(&server, common.path(), "")).await;
    let noted = |event: &str| {
        let lines = one.audited();
        lines.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).count()
    };
    assert_eq!(noted("shared store lost"), 0);
    server.kill();
    within("the loss is written down", || noted("shared store lost") > 0);
    let lines = one.audited();
    let line = lines.lines().find(|line| line.contains("shared store lost")).unwrap();
    assert!(line.contains("\"mode\":\"refuse\"") && line.contains("cannot be reached"), "{line}");
    assert_eq!(noted("shared store back"), 0);
    server.run();
    within("so is the return", || noted("shared store back") == 1);
    one.ended().await;
}
