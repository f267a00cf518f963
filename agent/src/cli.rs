//! The command line of `fluidity`.

use crate::config::{Config, Flags, SCHEMA, Settings};
use crate::lifecycle::command;
use crate::pki::{self, PkiCommand};
use crate::status::Status;
use clap::{Args, Parser, Subcommand};
use fluidity_daemon::runtime::block_on;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

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
    /// Say whether the configuration can be used.
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
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
    /// The configuration file.
    #[arg(short, long, value_name = "PATH", env = "FLUIDITY_CONFIG")]
    config: Option<PathBuf>,
    /// Where the proxy listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the admin pages listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// The server's name or address and UDP port.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// error, warn, info, debug, trace, or MODULE=LEVEL,…
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl SettingsArgs {
    fn read(self) -> anyhow::Result<Settings> {
        let flags = Flags {
            listen: self.listen,
            admin: self.admin,
            server: self.server,
            log_level: self.log_level,
        };
        Ok(Settings::load(
            self.config.as_deref(),
            flags,
            std::env::vars_os(),
        )?)
    }

    /// As [`read`](Self::read), and tells what a person should know.
    fn load(self) -> anyhow::Result<Settings> {
        let settings = self.read()?;
        for warning in settings.warnings() {
            writeln!(io::stderr(), "warning: {warning}")?;
        }
        Ok(settings)
    }

    fn config(self) -> anyhow::Result<Config> {
        Ok(self.load()?.config()?)
    }
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run { settings, ports_file } => {
                let settings = settings.read()?;
                let warnings = settings.warnings().to_vec();
                let config = settings.config()?;
                block_on(crate::run(config, &warnings, ports_file.as_deref()))?
            }
            Command::Wake { settings, wait } => {
                let plane = settings.load()?.control_plane()?;
                let said = match wait {
                    true => block_on(command::wake_and_wait(plane))??,
                    false => block_on(command::wake(plane))??,
                };
                print(&said)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Kill { settings } => {
                let plane = settings.load()?.control_plane()?;
                print(&block_on(command::kill(plane))??)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Status { settings, json } => {
                let admin = settings.load()?.admin();
                let status = block_on(Status::fetch(admin))??;
                print(&if json { status.json() } else { status.lines() })?;
                Ok(ExitCode::from(u8::from(!status.is_well())))
            }
            Command::Config { command } => match command {
                ConfigCommand::Check { settings } => {
                    settings.config()?;
                    print("the configuration is in order\n")?;
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

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}
