//! The command line.
//!
//! Owns [`main`]: arguments in, exit code out. The idea: a command is a file; each turns what was typed into the one
//! configuration and hands it to `app`.
//!
//! Must not: hold a rule that a server without a command line would lack.

mod accept;
mod alerts;
mod approvals;
mod args;
mod audit;
mod audit_args;
mod call;
mod check;
mod credential;
mod demo;
mod doctor;
mod egress;
mod evidence;
mod factor;
mod freeze;
mod hushed;
mod import;
mod import_args;
mod key;
mod migrate;
mod operator;
mod policy;
mod policy_args;
mod practice;
mod renaming;
mod rotate;
mod screen;
mod serve;
mod settings;
mod stop;
mod story;
mod tokens;
mod tools;
mod version;

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::app::Loader;
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use args::{Cli, Command};
use policy_args::PolicyAction;
use screen::Screen;
use stop::Stop;

/// Runs one command and returns its exit code. `arguments` begins with the program's name; `loader` brings in Python
/// tools, where there is a Python.
pub fn main(arguments: impl IntoIterator<Item = OsString>, loader: Option<&dyn Loader>) -> u8 {
    let screen = Screen::new();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = myself(arguments.first());
    let typed = match Cli::try_parse_from(arguments) {
        Ok(typed) => typed,
        Err(help) => {
            let code = if help.use_stderr() { 2 } else { 0 };
            // A closed pipe is no failure of ours.
            let _ = help.print();
            return code;
        }
    };
    let as_json = typed.command.is_json();
    match run(typed.command, &command, loader, screen).and_then(|()| screen.written()) {
        Ok(()) => 0,
        Err(error) => {
            screen.error(&error, as_json);
            error.kind().exit_code()
        }
    }
}

/// Serves what `own` brings as `bartizan serve` would with these arguments (without program and command), laid over
/// `config` (which was read from `path`, if from a file), and returns the exit code.
pub fn serve(
    arguments: impl IntoIterator<Item = OsString>,
    config: Config,
    path: Option<PathBuf>,
    own: &dyn Loader,
) -> u8 {
    let screen = Screen::new();
    let words = [OsString::from("bartizan"), OsString::from("serve")].into_iter().chain(arguments);
    let typed = match Cli::try_parse_from(words) {
        Ok(Cli { command: Command::Serve(typed) }) => typed,
        Ok(_) => return 2,
        Err(help) => {
            let code = if help.use_stderr() { 2 } else { 0 };
            // A closed pipe is no failure of ours.
            let _ = help.print();
            return code;
        }
    };
    match block_on(serve::run_over(&typed, Some(serve::Base { config, path }), Some(own), screen)) {
        Ok(()) => 0,
        Err(error) => {
            screen.error(&error, false);
            error.kind().exit_code()
        }
    }
}

fn run(typed: Command, command: &str, loader: Option<&dyn Loader>, screen: Screen) -> Result<()> {
    match typed {
        Command::Serve(typed) => block_on(serve::run(&typed, loader, screen)),
        Command::Demo(typed) => block_on(unless_stopped(demo::run(&typed, command, screen))),
        Command::Practice(typed) => block_on(practice::run(&typed, screen)),
        Command::Import(typed) => import::run(&typed, screen),
        Command::Check(typed) => block_on(unless_stopped(check::run(&typed, loader, screen))),
        Command::Tools(typed) => block_on(unless_stopped(tools::run(&typed, loader, screen))),
        Command::Call(typed) => block_on(call::run(&typed, loader, screen)),
        Command::Approvals(typed) => approvals::run(&typed, screen),
        Command::Key(typed) => key::run(&typed, screen),
        Command::Policy(typed) => match &typed.action {
            PolicyAction::Look(look) => block_on(unless_stopped(policy::run(look, loader, screen))),
            PolicyAction::Accept(typed) => accept::run(typed, screen),
        },
        Command::Audit(typed) => audit::run(&typed, screen),
        Command::Alerts(typed) => block_on(unless_stopped(alerts::run(&typed, screen))),
        Command::Freeze(typed) => freeze::freeze(&typed, screen),
        Command::Unfreeze(typed) => freeze::unfreeze(&typed, screen),
        Command::Tokens(typed) => tokens::run(&typed, screen),
        Command::Credential(typed) => credential::run(&typed, screen),
        Command::Rotate(typed) => rotate::run(&typed, screen),
        Command::Evidence(typed) => evidence::run(&typed, screen),
        Command::Config(typed) => migrate::run(&typed, screen),
        Command::Doctor(typed) => doctor::run(&typed, screen),
        Command::Egress(typed) => egress::run(&typed, screen),
        Command::Version(typed) => version::run(&typed, screen),
        Command::Runbook => {
            screen.line(include_str!("runbook.txt").trim_end());
            Ok(())
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "bartizan", &mut text);
            screen.line(String::from_utf8_lossy(&text).trim_end());
            Ok(())
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::new(Kind::Internal, "The operating system gave no threads to run on.").with_source(error)
    })?;
    let done = runtime.block_on(work);
    // Whatever still blocks (a read of standard input, a keyring) is not waited for.
    runtime.shutdown_background();
    done
}

/// Work that a signal ends.
async fn unless_stopped(work: impl Future<Output = Result<()>>) -> Result<()> {
    let stop = Stop::at_once();
    tokio::select! {
        done = work => done,
        () = stop.token().cancelled() => Err(Error::new(Kind::Cancelled, "Stopped before it was done.")),
    }
}

/// How somebody else starts this program: by its path, if it was started by one.
fn myself(first: Option<&OsString>) -> String {
    let path = first.map(std::path::Path::new).filter(|path| path.is_absolute() && path.is_file());
    let named = path.filter(|path| path.file_stem().is_some_and(|stem| stem == "bartizan"));
    named.and_then(std::path::Path::to_str).unwrap_or("bartizan").to_owned()
}
