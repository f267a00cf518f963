//! The `fluidity-server` command.

use clap::Parser;
use fluidity_server::cli::Cli;
use std::io::{Write, stderr};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // Nowhere else to tell it, should standard error be closed.
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
