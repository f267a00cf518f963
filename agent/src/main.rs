//! The `fluidity` command.

use fluidity_agent::cli::Cli;
use fluidity_daemon::output::failed;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match Cli::read(std::env::args_os()) {
        Ok(command) => command,
        Err(said) => said.exit(),
    };
    match command.run() {
        Ok(code) => code,
        Err(error) => {
            failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
