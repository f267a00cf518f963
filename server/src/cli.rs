//! The command line of `fluidity-server`.

use crate::check::{Scope, check};
use crate::config::{Config, Flags, SCHEMA, Settings};
use anyhow::{Context, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use fluidity_daemon::admin::fetch;
use fluidity_daemon::hardening::harden;
use fluidity_daemon::output::{note, print};
use fluidity_daemon::runtime::{self, block_on};
use serde_json::Value;
use std::env::var_os;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A private internet exit: the far end of a Fluidity tunnel.
#[derive(Debug, Parser)]
#[command(name = "fluidity-server", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve agents until SIGTERM or Ctrl-C.
    Run {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Write the bound addresses to this file, as JSON.
        #[arg(long, value_name = "PATH")]
        ports_file: Option<PathBuf>,
    },
    /// Ask the server on this machine whether it is well; exits with 1 unless it is.
    Healthcheck {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration can be used: its keys, and the files that they name.
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Look at the keys alone: the files that they name may be on another machine.
        #[arg(long, visible_alias = "no-files")]
        offline: bool,
    },
    /// Show every value and where it came from.
    Show {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print a table of every key, as Markdown.
    Keys,
}

#[derive(Debug, Args)]
struct SettingsArgs {
    /// The configuration file; where it is not given, FLUIDITY_CONFIG names it.
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Where the server speaks QUIC.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    listen: Option<String>,
    /// Where the admin pages listen.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    admin: Option<String>,
    /// error, warn, info, debug, trace, or MODULE=LEVEL,…
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl SettingsArgs {
    /// Of both, an empty one names no file.
    fn file(&self) -> Option<PathBuf> {
        let variable = || var_os("FLUIDITY_CONFIG").map(PathBuf::from);
        let named = |path: &PathBuf| !path.as_os_str().is_empty();
        self.config
            .clone()
            .filter(named)
            .or_else(|| variable().filter(named))
    }

    fn read(self) -> anyhow::Result<Settings> {
        let file = self.file();
        let flags = Flags {
            listen: self.listen,
            admin: self.admin,
            log_level: self.log_level,
        };
        Ok(Settings::load(file.as_deref(), flags, std::env::vars_os())?)
    }

    /// As [`read`](Self::read), and tells what a person should know.
    fn load(self) -> anyhow::Result<Settings> {
        let settings = self.read()?;
        for warning in settings.warnings() {
            note(&format!("warning: {warning}"));
        }
        Ok(settings)
    }

    fn config(self) -> anyhow::Result<Config> {
        Ok(self.load()?.config()?)
    }
}

impl Cli {
    /// Reads a command line; what other programs call a command is told what it is called here.
    ///
    /// # Errors
    /// What clap has to say, help and version included.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let line: Vec<OsString> = line.into_iter().collect();
        let begins_with_an_option = line
            .get(1)
            .is_some_and(|first| first.as_encoded_bytes().starts_with(b"-"));
        Self::try_parse_from(line).map_err(|mut error| {
            if begins_with_an_option && error.kind() == ErrorKind::UnknownArgument {
                error.insert(
                    ContextKind::Suggested,
                    ContextValue::StyledStrs(vec![COMMAND.into()]),
                );
            }
            let other = match error.get(ContextKind::InvalidSubcommand) {
                Some(ContextValue::String(name)) => OTHER_NAMES.iter().find(|(other, _)| other == name),
                _ => None,
            };
            if let Some((_, name)) = other {
                let suggested = ContextValue::Strings(vec![(*name).to_owned()]);
                error.insert(ContextKind::SuggestedSubcommand, suggested);
            }
            if is_stop(&error) {
                error.remove(ContextKind::SuggestedSubcommand);
                error.insert(
                    ContextKind::Suggested,
                    ContextValue::StyledStrs(vec![STOP.into()]),
                );
            }
            error
        })
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// Whatever a person has to know.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run { settings, ports_file } => {
                let settings = settings.read()?;
                let mut warnings = settings.warnings().to_vec();
                warnings.extend(harden());
                let config = settings.config()?;
                return block_on(crate::run(config, &warnings, ports_file.as_deref()))?;
            }
            Command::Healthcheck { settings } => {
                let admin = settings.load()?.admin();
                block_on(healthcheck(admin))??;
                print("well\n")?;
            }
            Command::Config { command } => match command {
                ConfigCommand::Check { settings, offline } => {
                    let scope = if offline { Scope::Keys } else { Scope::Files };
                    let config = settings.config()?;
                    runtime::asked()?;
                    check(&config, scope)?;
                }
                ConfigCommand::Show { settings } => print(&settings.load()?.render())?,
                ConfigCommand::Keys => print(&SCHEMA.markdown())?,
            },
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn healthcheck(admin: SocketAddr) -> anyhow::Result<()> {
    let (code, page) = fetch(admin, "/healthz", DEADLINE)
        .await
        .context("the server does not answer on its admin address")?;
    if code != 200 {
        bail!(
            "the server is not well ({code}): {}",
            String::from_utf8_lossy(&page)
        );
    }
    let program = serde_json::from_slice::<Value>(&page).ok();
    let program = program.as_ref().and_then(|page| page.get("program")?.as_str());
    // Older servers do not say it.
    if program.is_some_and(|program| program != SCHEMA.program) {
        bail!(
            "{admin} is the admin address of an agent, not of a server: give --admin the server's; `fluidity status` asks an \
             agent"
        );
    }
    Ok(())
}

const DEADLINE: Duration = Duration::from_secs(3);

/// Whether a command was asked for that ends a daemon. None does.
fn is_stop(error: &clap::Error) -> bool {
    let name = error.get(ContextKind::InvalidSubcommand);
    matches!(name, Some(ContextValue::String(name)) if matches!(name.as_str(), "stop" | "down" | "quit" | "shutdown"))
}

const COMMAND: &str = "the command comes first, such as 'run', and its options behind it";
const STOP: &str = "a running server stops by Ctrl-C or SIGTERM, and lets its sessions end";

/// What other programs call what a command of this one does.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("start", "run"),
    ("up", "run"),
    ("serve", "run"),
    ("listen", "run"),
    ("daemon", "run"),
    ("health", "healthcheck"),
    ("status", "healthcheck"),
    ("check", "config check"),
];
