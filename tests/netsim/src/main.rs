//! An emulated network path, an origin and clients. `netsim` without arguments prints the modes and their options.
mod bottleneck;
mod chance;
mod clock;
mod control;
mod delay;
mod flight;
mod gate;
mod line;
mod nat;
mod options;
mod origin;
mod packet;
mod page;
mod path;
mod policer;
mod pump;
mod response;
mod route;
mod settings;
mod small;
mod tally;
mod transfer;
mod tun;

use options::Options;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netsim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    match options.mode.as_str() {
        "path" => path::run(options),
        "control" => control::send(options),
        "origin" => origin::run(options),
        "down" => transfer::down(options),
        "up" => transfer::up(options),
        "small" => small::run(options),
        "page" => page::run(options),
        _ => Err(io::Error::other(options::USAGE)),
    }
}
