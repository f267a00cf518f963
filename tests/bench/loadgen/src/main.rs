//! Load, upload sink and emulated WAN for the benchmarks. Every mode prints one JSON object on stdout.
//!
//! loadgen down|up|rr|crr|idle --proxy direct|http://H:P|socks5://H:P --target H:P
//!         [--c N] [--duration S] [--warmup S] [--path /p] [--absolute] [--count N] [--late S]
//! loadgen sink  --listen H:P              (takes chunked POSTs, answers with the byte count)
//! loadgen relay --ns-a NAME --ns-b NAME --delay-ms D --loss PCT --rate-mbit R --queue-ms Q
mod head;
mod idle;
mod load;
mod options;
mod pipe;
mod relay;
mod sink;
mod tally;

use options::Options;
use std::io;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    if options.mode == "relay" {
        return relay::run(options);
    }
    // One thread: a tunnel under test shares the machine with its load.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    match options.mode.as_str() {
        "sink" => local.block_on(
            &runtime,
            sink::serve(options.address("listen", "127.0.0.1:18081")?),
        ),
        "idle" => local.block_on(&runtime, idle::hold(options.pipe()?, options.number("c", 1)?)),
        _ => local.block_on(&runtime, load::run(options)),
    }
}
