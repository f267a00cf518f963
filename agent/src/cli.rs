//! The command line of `fluidity`.

use crate::check::{Scope, check};
use crate::config::{Config, Flags, Order, SCHEMA, Settings};
use crate::lifecycle::command;
use crate::pki::{self, PkiCommand};
use crate::status::{self, Form, Status};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use fluidity_daemon::hardening::harden;
use fluidity_daemon::output::{note, print};
use fluidity_daemon::runtime::{self, block_on};
use std::env::var_os;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A private internet exit: the local proxy of a Fluidity tunnel.
#[derive(Debug, Parser)]
#[command(name = "fluidity", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM or Ctrl-C.
    Run {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Write the bound addresses to this file, as JSON.
        #[arg(long, value_name = "PATH")]
        ports_file: Option<PathBuf>,
    },
    /// Have the control plane wake the server, and tell how it stands.
    Wake {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Wait until the server runs; exits with 1 where it does not in time.
        #[arg(long)]
        wait: bool,
    },
    /// Have the control plane stop the server at once, whoever uses it.
    Kill {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Tell how a running agent stands; exits with 1 unless it is connected, or dormant until it is wanted.
    Status {
        #[command(flatten)]
        settings: SettingsArgs,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Go on until Ctrl-C, and look every so many seconds; without a number every 2.
        #[arg(
            long,
            value_name = "SECONDS",
            num_args = 0..=1,
            default_missing_value = "2",
            value_parser = clap::value_parser!(u64).range(1..=86_400)
        )]
        watch: Option<u64>,
    },
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make and renew the private CA and its certificates.
    Pki {
        #[command(subcommand)]
        command: PkiCommand,
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
    /// Show every value and where it came from; secrets are redacted.
    Show {
        #[command(flatten)]
        settings: SettingsArgs,
    },
    /// Print a table of every key, its default and its variable, in Markdown.
    Keys,
}

/// Where settings come from; flags win over FLUIDITY_… variables, those over the file.
#[derive(Debug, Args)]
struct SettingsArgs {
    /// The configuration file; where it is not given, FLUIDITY_CONFIG names it.
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Where the proxy listens.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    listen: Option<String>,
    /// Where the admin pages listen.
    #[arg(long, value_name = "[ADDRESS:]PORT")]
    admin: Option<String>,
    /// The server's name or address and UDP port.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
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
            server: self.server,
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

    /// Where a running agent's admin pages are. A mistake in the file keeps nobody from asking: it is told, and the agent
    /// is looked for where the file, the environment and the flags say all the same.
    fn admin(self) -> anyhow::Result<SocketAddr> {
        let (file, flag) = (self.file(), self.admin.clone());
        let settings = self.read();
        if let Err(error) = &settings
            && let Some(admin) = file
                .as_deref()
                .and_then(|file| Settings::admin_despite(file, flag))
        {
            note(&format!("warning: {error:#}"));
            return Ok(admin);
        }
        let settings = settings?;
        for warning in settings.warnings() {
            note(&format!("warning: {warning}"));
        }
        Ok(settings.admin())
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
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run { settings, ports_file } => {
                let settings = settings.read()?;
                let mut warnings = settings.warnings().to_vec();
                warnings.extend(harden());
                let config = settings.config()?;
                block_on(crate::run(config, &warnings, ports_file.as_deref()))?
            }
            Command::Wake { settings, wait } => {
                let plane = settings.load()?.control_plane(Order::Wake)?;
                let said = match wait {
                    true => block_on(command::wake_and_wait(plane))??,
                    false => block_on(command::wake(plane))??,
                };
                print(&said)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Kill { settings } => {
                let plane = settings.load()?.control_plane(Order::Kill)?;
                print(&block_on(command::kill(plane))??)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Status {
                settings,
                json,
                watch,
            } => {
                let admin = settings.admin()?;
                let form = if json { Form::Json } else { Form::Lines };
                if let Some(seconds) = watch {
                    block_on(status::watch(admin, form, Duration::from_secs(seconds)))??;
                    return Ok(ExitCode::SUCCESS);
                }
                let status = block_on(Status::fetch(admin))??;
                print(&status.render(form))?;
                Ok(ExitCode::from(u8::from(!status.is_well())))
            }
            Command::Config { command } => match command {
                ConfigCommand::Check { settings, offline } => {
                    let scope = if offline { Scope::Keys } else { Scope::Files };
                    let config = settings.config()?;
                    runtime::asked()?;
                    check(&config, scope)?;
                    Ok(ExitCode::SUCCESS)
                }
                ConfigCommand::Show { settings } => {
                    print(&settings.load()?.render())?;
                    Ok(ExitCode::SUCCESS)
                }
                ConfigCommand::Keys => {
                    print(&SCHEMA.markdown())?;
                    Ok(ExitCode::SUCCESS)
                }
            },
            Command::Pki { command } => {
                pki::run(command)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Whether a command was asked for that ends a daemon. None does: what comes near it stops the server under others.
fn is_stop(error: &clap::Error) -> bool {
    let name = error.get(ContextKind::InvalidSubcommand);
    matches!(name, Some(ContextValue::String(name)) if matches!(name.as_str(), "stop" | "down" | "quit" | "shutdown"))
}

const COMMAND: &str = "the command comes first, such as 'run', and its options behind it";
const STOP: &str = "a running agent stops by Ctrl-C or SIGTERM; 'fluidity kill' has the control plane stop the server, \
                    whoever uses it";

/// What other programs call what a command of this one does.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("start", "run"),
    ("up", "run"),
    ("serve", "run"),
    ("connect", "run"),
    ("daemon", "run"),
    ("info", "status"),
    ("check", "config check"),
    ("init", "pki init"),
    ("issue", "pki issue"),
    ("renew", "pki renew"),
];
