//! What QUIC itself can do on a machine, without a tunnel around it: one process serves, one asks for streams of bulk data.
//!
//!   quinnlab server HOST:PORT
//!   quinnlab client HOST:PORT [streams] [seconds] [down|up]
//!
//! Knobs (environment, both sides): PROVIDER=aws|ring, CIPHER=aes128|aes256|chacha, GSO=1|0, MTU=largest UDP payload (1452),
//! INITIAL_MTU (1200), CC=cubic|bbr|newreno, WINDOW=bytes (16 MiB), THREADS=N (1 = current thread), SOCKBUF=bytes (0 = leave),
//! ACKFREQ=1 (acknowledgement frequency), CHUNK=bytes a write (65536).
mod client;
mod knobs;
mod server;
mod stream;
mod usage;

use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |index: usize, default| arguments.get(index).map_or(default, String::as_str);
    let address = given(1, "")
        .parse()
        .expect("usage: quinnlab server|client HOST:PORT; see src/main.rs");
    let runtime = match knobs::number("THREADS", 2) {
        0 | 1 => Builder::new_current_thread().enable_all().build(),
        threads => Builder::new_multi_thread()
            .worker_threads(threads as usize)
            .enable_all()
            .build(),
    };
    let runtime = runtime.expect("a runtime");
    if given(0, "") == "server" {
        runtime.block_on(server::run(address));
    } else {
        let streams = given(2, "1").parse().expect("how many streams");
        let seconds = given(3, "4").parse().expect("how many seconds");
        runtime.block_on(client::run(address, streams, seconds, given(4, "down") == "up"));
    }
}
