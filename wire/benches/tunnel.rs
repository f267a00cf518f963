//! One whole tunnel in one process on one thread: client, relay, QUIC, relay, origin, on loopback sockets.
//!
//! `cargo bench -p fluidity-wire --bench tunnel` times it and counts its allocations. With `open N` or `relay N` behind
//! `--`, it opens N sessions or relays N MiB and ends, for a profiler to count instructions
//! (`scripts/bench.sh instructions`).

#[allow(clippy::unwrap_used, reason = "the tests' own")]
#[path = "../tests/loopback/certificates.rs"]
mod certificates;
#[path = "tunnel/chain.rs"]
mod chain;

use chain::{Chain, MIB};
use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    let mut asked = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (what, count) = (
        asked.next(),
        asked.next().and_then(|count| count.parse::<u32>().ok()),
    );
    match (what.as_deref(), count) {
        (Some("open"), Some(count)) => {
            let (runtime, chain) = connected();
            for _ in 0..count {
                runtime.block_on(chain.session());
            }
        }
        (Some("relay"), Some(count)) => {
            let (runtime, chain) = connected();
            let mut ends = runtime.block_on(chain.relayed());
            for _ in 0..count {
                runtime.block_on(ends.pass(MIB));
            }
        }
        _ => divan::main(),
    }
}

fn connected() -> (Runtime, Chain) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let chain = runtime.block_on(Chain::connect());
    (runtime, chain)
}

/// `Open`, the answer, a byte each way, the end.
#[divan::bench]
fn session(bencher: Bencher<'_, '_>) {
    let (runtime, chain) = connected();
    bencher
        .counter(ItemsCount::new(1_u32))
        .bench_local(|| runtime.block_on(chain.session()));
}

/// From the origin's socket to the client's, through both relays.
#[divan::bench]
fn relay_one_mib(bencher: Bencher<'_, '_>) {
    let (runtime, chain) = connected();
    let mut ends = runtime.block_on(chain.relayed());
    bencher
        .counter(BytesCount::new(MIB))
        .bench_local(|| runtime.block_on(ends.pass(MIB)));
}
