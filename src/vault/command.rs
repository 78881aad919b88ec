//! A secret that a program prints.
//!
//! Owns [`Program`]. The idea: only the configuration can name a program, by its whole path and its arguments; it runs
//! without a shell, without our environment and without a terminal, for so long and with so much to say.
//!
//! Must not: run what others could have put there, or repeat what the program said.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::LONGEST;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::ownership::{self, Care, Flaw};
use crate::secret::Secret;

/// A program under `[secrets.commands]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The whole path of the program, then its arguments, as they are.
    pub argv: Vec<String>,
    /// Seconds that it may take.
    #[serde(default = "Program::seconds")]
    pub timeout_seconds: u64,
    /// Variables of our environment that it gets; none unless named.
    #[serde(default)]
    pub keep: Vec<String>,
}

impl Program {
    const fn seconds() -> u64 {
        10
    }

    /// Whether it can be run at all.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let whole = self.argv.first().is_some_and(|program| Path::new(program).is_absolute());
        if !whole || self.argv.iter().any(|word| word.contains('\0')) || self.timeout_seconds == 0 {
            return Err(Error::new(
                Kind::BadConfig,
                format!(
                    "[secrets.commands.{name}]: `argv` begins with the whole path of a program, and `timeout_seconds` \
                     is at least 1."
                ),
            ));
        }
        Ok(())
    }

    /// Runs it and takes what it prints.
    pub(super) fn run(
        &self,
        name: &str,
        kept: &BTreeMap<String, String>,
        clock: &dyn Clock,
    ) -> Result<Secret> {
        let place = format!("the program of command:{name}");
        let failed = |what: &str| Error::new(Kind::BadConfig, format!("{place} {what}"));
        let [program, arguments @ ..] = self.argv.as_slice() else { return Err(failed("is not named")) };
        match ownership::open(Path::new(program), Care::Trusted) {
            Ok(_) => {}
            Err(Flaw::Said(said)) => return Err(failed(&said)),
            Err(Flaw::Io(cause)) => return Err(failed("cannot be read; check its path").with_source(cause)),
        }
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(kept)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().map_err(|cause| failed("could not be started").with_source(cause))?;
        let mut child = Group(child);
        let (send, receive) = mpsc::channel();
        if let Some(out) = child.0.stdout.take() {
            std::thread::spawn(move || {
                let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
                let read = out.take(LONGEST + 1).read_to_end(&mut bytes);
                let _ = send.send(read.map(|_| bytes));
            });
        }
        let until = clock.monotonic() + Duration::from_secs(self.timeout_seconds);
        let late = || failed(&format!("did not end within {} seconds and was stopped", self.timeout_seconds));
        let bytes = match receive.recv_timeout(Duration::from_secs(self.timeout_seconds)) {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(cause)) => return Err(failed("could not be heard").with_source(cause)),
            Err(_) => return Err(late()),
        };
        if bytes.len() as u64 > LONGEST {
            return Err(failed(&format!("printed more than {LONGEST} bytes and was stopped")));
        }
        let status = loop {
            match child.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if clock.monotonic() < until => std::thread::sleep(Duration::from_millis(2)),
                Ok(None) => return Err(late()),
                Err(cause) => return Err(failed("could not be waited for").with_source(cause)),
            }
        };
        if !status.success() {
            let code =
                status.code().map_or_else(|| String::from("a signal"), |code| format!("status {code}"));
            return Err(failed(&format!("ended with {code}; run it by hand to see why")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("printed something that is not text"))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.is_empty() { Err(failed("printed nothing")) } else { Ok(Secret::new(text)) }
    }
}

/// A program and whatever it started: all of it ends with this.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        #[cfg(unix)]
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    fn program(argv: &[&str], seconds: u64) -> Program {
        Program {
            argv: argv.iter().map(ToString::to_string).collect(),
            timeout_seconds: seconds,
            keep: Vec::new(),
        }
    }

    fn run(argv: &[&str]) -> Result<String> {
        let done = program(argv, 10).run("test", &BTreeMap::new(), &*SystemClock::shared());
        done.map(|secret| secret.expose().to_owned())
    }

    #[test]
    fn what_it_prints_is_the_secret_and_no_shell_reads_its_arguments() {
        assert_eq!(run(&["/bin/echo", "correct horse"]).unwrap(), "correct horse");
        assert_eq!(run(&["/bin/echo", "$HOME; id `id` | cat"]).unwrap(), "$HOME; id `id` | cat");
        assert!(run(&["/usr/bin/env"]).unwrap_err().message().contains("printed nothing"), "no environment");
        let kept = [(String::from("A"), String::from("b"))].into();
        let told = program(&["/usr/bin/env"], 10).run("test", &kept, &*SystemClock::shared()).unwrap();
        assert_eq!(told.expose(), "A=b");
    }

    #[test]
    fn what_fails_hangs_or_floods_is_ended_and_not_repeated() {
        let error = run(&["/bin/sh", "-c", "echo hunter2; echo hunter3 >&2; exit 3"]).unwrap_err();
        assert!(error.message().contains("status 3") && !error.message().contains("hunter"), "{error}");
        assert!(run(&["/bin/sh", "-c", "yes"]).unwrap_err().message().contains("more than"));
        assert!(run(&["/nowhere/at/all"]).is_err());
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("child");
        // a child of a child, too
        let script = format!("(sleep 60; touch {}) & echo $! ; exec sleep 60", mark.display());
        let slow =
            program(&["/bin/sh", "-c", &script], 1).run("test", &BTreeMap::new(), &*SystemClock::shared());
        assert!(slow.unwrap_err().message().contains("within 1 seconds"));
    }

    #[test]
    fn a_program_that_others_can_change_is_not_run() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("get");
        std::fs::write(&path, "#!/bin/sh\necho x\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = run(&[path.to_str().unwrap()]).unwrap_err();
        assert!(error.message().contains("chmod go-w"), "{error}");
        assert!(program(&["echo"], 10).check("x").is_err());
        assert!(program(&[], 10).check("x").is_err());
        assert!(program(&["/bin/echo"], 0).check("x").is_err());
    }
}
