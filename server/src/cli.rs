//! The command line of `fluidity-server`.

use crate::config::{Config, Flags, SCHEMA, Settings};
use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use fluidity_daemon::admin::fetch;
use fluidity_daemon::runtime::block_on;
use std::io::{self, Write};
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
    /// Say whether the configuration can be used.
    Check {
        #[command(flatten)]
        settings: SettingsArgs,
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
    /// The configuration file.
    #[arg(short, long, value_name = "PATH", env = "FLUIDITY_CONFIG")]
    config: Option<PathBuf>,
    /// Where the server speaks QUIC.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Where the admin pages listen.
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<String>,
    /// error, warn, info, debug, trace, or MODULE=LEVEL,…
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl SettingsArgs {
    fn read(self) -> anyhow::Result<Settings> {
        let flags = Flags {
            listen: self.listen,
            admin: self.admin,
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
    ///
    /// # Errors
    /// Whatever a person has to know.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run { settings, ports_file } => {
                let settings = settings.read()?;
                let warnings = settings.warnings().to_vec();
                let config = settings.config()?;
                return block_on(crate::run(config, &warnings, ports_file.as_deref()))?;
            }
            Command::Healthcheck { settings } => {
                let admin = settings.load()?.admin();
                block_on(healthcheck(admin))??;
                print("well\n")?;
            }
            Command::Config { command } => match command {
                ConfigCommand::Check { settings } => {
                    settings.config()?;
                    print("the configuration is in order\n")?;
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
    Ok(())
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

const DEADLINE: Duration = Duration::from_secs(3);
