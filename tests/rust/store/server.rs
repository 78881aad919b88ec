//! A Redis server of a test's own: on a free port, in a folder of its own, killed with the test.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bartizan::clock::{SharedClock, SystemClock};
use bartizan::error::Error;
use bartizan::secret::Secret;
use bartizan::state::shared::Config;
use bartizan::state::{KeyRing, Shared, StateDir};

pub struct Server {
    folder: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// A port that nobody has, and that nobody here gets again: a server that is started again needs its own. Below the
/// ports that connections are given.
pub fn free() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id() * 97;
    loop {
        let port = 12_000 + (start + NEXT.fetch_add(1, Ordering::SeqCst)) % 20_000;
        let port = u16::try_from(port).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Server {
    /// None where whoever runs the tests said to leave these out; without a Redis they fail.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        if std::env::var_os("BARTIZAN_SKIP_REDIS").is_some_and(|said| said == "1") {
            crate::support::skipped("BARTIZAN_SKIP_REDIS is 1");
            return None;
        }
        let there = Command::new("redis-server").arg("--version").stdout(Stdio::null()).status();
        assert!(
            there.is_ok(),
            "redis-server is not installed, and this test needs it: install it (apt-get install redis-server), or set \
             BARTIZAN_SKIP_REDIS=1 to leave the tests of the shared store out"
        );
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments.iter().map(|one| (*one).to_owned()).collect();
        let mut server = Self { folder, port: free(), arguments, child: None };
        server.run();
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it on the port it had.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.folder.path());
        if !self.arguments.iter().any(|one| one == "--save") {
            command.args(["--save", ""]);
        }
        command.args(&self.arguments).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        within("the server listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
        let own = format!("process_id:{}\r", self.child.as_ref().unwrap().id());
        within("the server answers", || self.tell(&["INFO", "server"]).contains(&own));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, name: &str) {
        let number = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([name, &number]).status().unwrap().success());
    }

    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Says a command to it, and returns what it answers.
    pub fn tell(&self, words: &[&str]) -> String {
        let answer = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(words)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned() + &String::from_utf8_lossy(&answer.stderr)
    }

    /// Everything that was ever written, where it keeps a log of that (`--appendonly yes`).
    pub fn written(&self) -> String {
        let files = std::fs::read_dir(self.folder.path().join("appendonlydir")).unwrap();
        let bytes: Vec<u8> = files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn config(&self) -> Config {
        Config { url: self.url(), ..Config::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.thaw();
        }
        self.kill();
    }
}

/// Waits, not for ever, until something is so.
pub fn within(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The same for what is asked asynchronously.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn ring() -> KeyRing {
    KeyRing::new(&[[7; 32]]).unwrap()
}

/// One instance's way to the store, with a state directory of its own.
pub async fn instance(config: &Config, state: &Path) -> Arc<Shared> {
    opened(config, state, None, SystemClock::shared()).await.unwrap()
}

pub async fn opened(
    config: &Config,
    state: &Path,
    password: Option<&str>,
    clock: SharedClock,
) -> Result<Arc<Shared>, Error> {
    let state = StateDir::open(state.join("state")).unwrap();
    Shared::open(config, password.map(Secret::new), ring(), state, clock).await
}
