//! What a run counts, and the JSON that says so.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::{Duration, Instant};

/// Counts of one run; only what falls between `from` and `until` is measured.
pub struct Tally {
    pub start: Instant,
    pub from: Instant,
    pub until: Instant,
    /// Bytes inside the window.
    pub bytes: Cell<u64>,
    /// Bytes in all.
    pub total: Cell<u64>,
    pub done: Cell<u64>,
    pub reconnects: Cell<u64>,
    errors: Cell<u64>,
    first_error: RefCell<String>,
    /// Microseconds to the end of each answer.
    pub latencies: RefCell<Vec<u32>>,
    /// Microseconds until each pipe was open, or the first answer began.
    pub first: RefCell<Vec<u32>>,
}

impl Tally {
    pub fn new(warmup: Duration, window: Duration) -> Self {
        let start = Instant::now();
        Self {
            start,
            from: start + warmup,
            until: start + warmup + window,
            bytes: Cell::default(),
            total: Cell::default(),
            done: Cell::default(),
            reconnects: Cell::default(),
            errors: Cell::default(),
            first_error: RefCell::default(),
            latencies: RefCell::default(),
            first: RefCell::default(),
        }
    }

    pub fn error(&self, error: &io::Error) {
        self.errors.set(self.errors.get() + 1);
        let mut first = self.first_error.borrow_mut();
        if first.is_empty() {
            *first = error.to_string().replace(['"', '\\', '\n', '\r', '\t'], " ");
        }
    }

    pub fn over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Everything as one JSON object. `seconds` is what rates of bytes are counted by, `busy` what those of requests are.
    pub fn json(&self, mode: &str, seconds: f64, busy: f64) -> String {
        let (bytes, done) = (self.bytes.get(), self.done.get());
        format!(
            "{{\"mode\":\"{mode}\",\"secs\":{seconds:.3},\"wall\":{:.3},\"bytes\":{bytes},\"total_bytes\":{},\
             \"MBps\":{:.2},\"done\":{done},\"rate\":{:.1},\"reconnects\":{},\"errors\":{},\"first_error\":\"{}\",{},{}}}",
            self.start.elapsed().as_secs_f64(),
            self.total.get(),
            bytes as f64 / seconds / 1e6,
            done as f64 / busy,
            self.reconnects.get(),
            self.errors.get(),
            self.first_error.borrow(),
            quantiles("lat", &mut self.latencies.borrow_mut()),
            quantiles("first", &mut self.first.borrow_mut()),
        )
    }
}

/// Microseconds of an instant so far, as they are kept.
pub fn micros(since: Instant) -> u32 {
    u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX)
}

/// Adds to a counter.
pub fn add(counter: &Cell<u64>, more: u64) {
    counter.set(counter.get() + more);
}

fn quantiles(name: &str, micros: &mut [u32]) -> String {
    micros.sort_unstable();
    let at = |part: f64| match micros.len() {
        0 => 0.0,
        count => f64::from(micros[((count - 1) as f64 * part).round() as usize]) / 1000.0,
    };
    let told = [
        ("p50", 0.5),
        ("p90", 0.9),
        ("p99", 0.99),
        ("p999", 0.999),
        ("max", 1.0),
    ];
    let told = told.map(|(what, part)| format!("\"{name}_{what}_ms\":{:.3}", at(part)));
    told.join(",")
}
