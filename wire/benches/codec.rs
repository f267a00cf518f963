//! The codec: one message encoded or decoded. `cargo bench -p fluidity-wire --bench codec`

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use fluidity_wire::codec::{self, split_message};
use fluidity_wire::message::Control;
use fluidity_wire::{Kind, Open, Reply, ReplyCode, Target};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

fn open(target: &str) -> Open {
    Open::new(Kind::Connect, Target::parse(target).expect("a target"))
}

/// A message's type and fields, as the decoders take them.
fn taken_apart(bytes: &[u8]) -> (u64, &[u8]) {
    let message = split_message(bytes).expect("a whole message");
    (message.kind, message.body)
}

#[divan::bench(args = ["a-name.example.org:443", "192.0.2.1:443", "[2001:db8::1]:443"])]
fn open_encode(bencher: Bencher<'_, '_>, target: &str) {
    let open = open(target);
    let mut bytes = Vec::with_capacity(256);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        bytes.clear();
        codec::encode_open(black_box(&open), &mut bytes);
        black_box(bytes.len())
    });
}

#[divan::bench(args = ["a-name.example.org:443", "192.0.2.1:443", "[2001:db8::1]:443"])]
fn open_decode(bencher: Bencher<'_, '_>, target: &str) {
    let mut bytes = Vec::new();
    codec::encode_open(&open(target), &mut bytes);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        let (kind, body) = taken_apart(black_box(&bytes));
        codec::decode_open(kind, body)
    });
}

#[divan::bench]
fn reply_encode_and_decode(bencher: Bencher<'_, '_>) {
    let reply = Reply {
        code: ReplyCode::Ok,
        detail: String::new(),
        window: 256 * 1024,
    };
    let mut bytes = Vec::with_capacity(64);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        bytes.clear();
        codec::encode_reply(black_box(&reply), &mut bytes);
        let (kind, body) = taken_apart(&bytes);
        codec::decode_reply(kind, body)
    });
}

#[divan::bench]
fn credit_encode_and_decode(bencher: Bencher<'_, '_>) {
    let credit = Control::Credit {
        stream: 4 * 1234,
        limit: 1 << 30,
    };
    let mut bytes = Vec::with_capacity(64);
    bencher.counter(ItemsCount::new(1_u32)).bench_local(|| {
        bytes.clear();
        codec::encode_control(black_box(&credit), &mut bytes);
        let (kind, body) = taken_apart(&bytes);
        codec::decode_control(kind, body)
    });
}
