//! The `fluidity-server` command.

use fluidity_daemon::output::failed;
use fluidity_server::cli::Cli;
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
