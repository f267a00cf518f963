//! The model against a path that is computed: a bottleneck with a queue, a delay, and losses.

use super::*;
use std::collections::VecDeque;

const MTU: u64 = 1452;
const TICK: Duration = Duration::from_millis(1);

/// A bottleneck that passes `rate` bytes a second, after `delay`, and drops what its queue does not hold.
struct Path {
    rate: f64,
    delay: Duration,
    queue: f64,
    /// Each so many-th packet is lost on the way.
    unlucky: Option<u64>,
    now: Instant,
    sent: u64,
    in_flight: u64,
    /// Bytes that wait for the bottleneck.
    waiting: f64,
    /// When each packet is known to have arrived or not, and when it was sent.
    arriving: VecDeque<(Instant, Instant, bool)>,
    delivered: u64,
    model: Model,
}

impl Path {
    fn new(rate: f64, delay: Duration) -> Self {
        let now = Instant::now();
        Self {
            rate,
            delay,
            queue: rate * 0.1,
            unlucky: None,
            now,
            sent: 0,
            in_flight: 0,
            waiting: 0.0,
            arriving: VecDeque::new(),
            delivered: 0,
            model: Model::new(now, 1452),
        }
    }

    /// Sends whatever the window lets through, or a packet now and then. Returns bytes a second.
    fn run(&mut self, time: Duration, greedy: bool) -> f64 {
        let (end, before) = (self.now + time, self.delivered);
        while self.now < end {
            self.now += TICK;
            self.waiting = (self.waiting - self.rate * TICK.as_secs_f64()).max(0.0);
            self.receive(greedy);
            while self.in_flight + MTU <= self.model.window && (greedy || self.in_flight == 0) {
                self.send();
            }
        }
        float(self.delivered - before) / time.as_secs_f64()
    }

    fn send(&mut self) {
        self.sent += 1;
        self.in_flight += MTU;
        let unlucky = self.unlucky.is_some_and(|each| self.sent.is_multiple_of(each));
        let dropped = self.waiting + float(MTU) > self.queue;
        if !dropped {
            self.waiting += float(MTU);
        }
        let queued = Duration::from_secs_f64(self.waiting / self.rate);
        let known = self.now + self.delay + queued;
        self.arriving.push_back((known, self.now, !dropped && !unlucky));
    }

    fn receive(&mut self, greedy: bool) {
        while let Some((known, sent, arrived)) = self.arriving.front().copied()
            && known <= self.now
        {
            self.arriving.pop_front();
            self.in_flight -= MTU;
            if arrived {
                self.delivered += MTU;
                let (bytes, idle) = (MTU, !greedy);
                self.model.acknowledged(self.now, Arrived { sent, bytes, idle });
            } else {
                self.model.lost(self.now, MTU, false);
            }
        }
        self.model.settle(self.now, self.in_flight);
    }

    /// How long a packet waits for the bottleneck.
    fn queued(&self) -> Duration {
        Duration::from_secs_f64(self.waiting / self.rate)
    }
}

const FAST_PATH: f64 = 25e6;
const DELAY: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_long_path_is_filled_and_its_queue_stays_short() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 4, true);
    let mut waited = Vec::new();
    for _ in 0..100 {
        assert!(path.run(SECOND / 5, true) <= FAST_PATH * 1.02);
        waited.push(path.queued());
    }
    assert!(path.run(SECOND * 5, true) > FAST_PATH * 0.93);
    waited.sort();
    assert!(waited[50] < Duration::from_millis(20), "{:?}", waited[50]);
}

#[test]
fn packets_lost_at_random_cost_themselves_only() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.unlucky = Some(50);
    path.run(SECOND * 4, true);
    let rate = path.run(SECOND * 10, true);
    assert!(rate > FAST_PATH * 0.90, "{rate}");
}

#[test]
fn a_path_that_drops_much_gets_less() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 4, true);
    let before = path.model.window;
    path.unlucky = Some(5);
    path.run(SECOND * 4, true);
    assert!(path.model.window < before / 2, "{} {before}", path.model.window);
}

#[test]
fn a_path_that_becomes_slow_or_fast_is_learnt_anew() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 4, true);
    path.rate = FAST_PATH / 10.0;
    path.queue = path.rate;
    path.run(SECOND * 8, true);
    assert!(path.run(SECOND * 4, true) > path.rate * 0.9);
    assert!(path.queued() < DELAY, "{:?}", path.queued());
    path.rate = FAST_PATH;
    path.run(SECOND * 12, true);
    let rate = path.run(SECOND * 4, true);
    assert!(rate > FAST_PATH * 0.85, "{rate}");
}

#[test]
fn a_pause_does_not_make_a_path_forgotten() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 4, true);
    path.run(SECOND * 30, false);
    let rate = path.run(SECOND, true);
    assert!(rate > FAST_PATH * 0.7, "{rate}");
}

#[test]
fn regression_a_path_that_was_hardly_used_is_not_taken_for_learnt() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 3, false);
    assert_eq!(path.model.window, INITIAL_WINDOW);
    path.run(SECOND * 2, true);
    let rate = path.run(SECOND, true);
    assert!(rate > FAST_PATH * 0.85, "{rate}");
}

#[test]
fn on_a_path_without_delay_the_window_is_what_scheduling_needs() {
    let mut path = Path::new(500e6, Duration::from_micros(50));
    path.run(SECOND, true);
    let window = float(path.model.window);
    assert!(window > 500e6 * 0.004 * 0.5 && window < 500e6 * 0.012, "{window}");
}

#[test]
fn where_nothing_arrives_the_window_is_the_least_and_grows_again() {
    let mut path = Path::new(FAST_PATH, DELAY);
    path.run(SECOND * 4, true);
    path.model.lost(path.now, MTU, true);
    assert_eq!(path.model.window, LEAST_WINDOW * MTU);
    path.run(SECOND * 8, true);
    assert!(path.run(SECOND * 2, true) > FAST_PATH * 0.85);
}

#[test]
fn the_window_is_bounded_whatever_the_path_looks_like() {
    let mut path = Path::new(10e9, DELAY);
    path.run(SECOND * 3, true);
    assert!(path.model.window <= MOST_WINDOW);
    let mut path = Path::new(2_000.0, DELAY);
    path.queue = 3_000.0;
    path.run(SECOND * 30, true);
    assert!(path.model.window >= LEAST_WINDOW * MTU);
}
