//! A path that is computed: greedy senders over one bottleneck, each with a window and a pacer as the engine has it.
//!
//! The engine's part is computed as well: its pacer, its smoothed RTT, its loss detection by packets and by time, a receiver
//! that acknowledges every other packet or after 25 ms. Time is a number; nothing here sleeps, and equal seeds give equal runs.

mod cubic;
mod events;
mod line;

pub(super) use cubic::Cubic;
pub(super) use line::{Line, MTU};

use super::model::{Arrived, Model};
use super::{float, integer};
use events::{Event, Events};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Who decides how much may be in flight.
pub(super) enum Control {
    Ours(Box<Model>),
    /// TCP: CUBIC (RFC 9438) with HyStart, without pacing.
    Cubic(Cubic),
}

/// One connection.
pub(super) struct Sender {
    pub(super) control: Control,
    /// Bytes that arrived.
    pub(super) delivered: f64,
    pub(super) lost: u64,
    /// Bytes a second that there are to send.
    pub(super) demand: Option<f64>,
    began: f64,
    out: BTreeMap<u64, f64>,
    next: u64,
    in_flight: f64,
    rtt: (f64, f64),
    tokens: (f64, f64),
    woken: f64,
    /// At the receiver: what it has not acknowledged yet, and which delayed acknowledgement is the present one.
    unacknowledged: Vec<u64>,
    delayed: u64,
    largest: Option<u64>,
    timer: u64,
    timeouts: i32,
    last: (f64, f64),
}

/// The line with its senders.
pub(super) struct Path {
    pub(super) line: Line,
    pub(super) senders: Vec<Sender>,
    /// Seconds that a packet would have waited, each ten milliseconds.
    pub(super) queued: Vec<f64>,
    /// Nothing passes until then.
    pub(super) away_until: f64,
    zero: Instant,
    now: f64,
    events: Events,
    random: u64,
    busy_until: f64,
}

impl Path {
    pub(super) fn new(line: Line, seed: u64) -> Self {
        let mut path = Self {
            line,
            senders: Vec::new(),
            queued: Vec::new(),
            away_until: 0.0,
            zero: Instant::now(),
            now: 0.0,
            events: Events::default(),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            busy_until: 0.0,
        };
        path.after(0.0, Event::Look);
        path
    }

    /// With one sender of ours, which has sent little for two seconds.
    pub(super) fn with_ours(line: Line, seed: u64) -> Self {
        let mut path = Self::new(line, seed);
        path.add(Control::Ours(Box::new(Model::new(path.zero, 1452))));
        if let Some(sender) = path.senders.first_mut() {
            sender.demand = Some(6000.0);
        }
        path.run(2.0);
        path.demand(0, None);
        path
    }

    pub(super) fn add_ours(&mut self) {
        let model = Model::new(self.instant(self.now), 1452);
        self.add(Control::Ours(Box::new(model)));
    }

    pub(super) fn add(&mut self, control: Control) {
        let index = self.senders.len();
        self.senders.push(Sender {
            control,
            delivered: 0.0,
            lost: 0,
            demand: None,
            began: self.now,
            out: BTreeMap::new(),
            next: 0,
            in_flight: 0.0,
            rtt: (self.line.rtt, self.line.rtt / 2.0),
            tokens: (10.0 * MTU, self.now),
            woken: -1.0,
            unacknowledged: Vec::new(),
            delayed: 0,
            largest: None,
            timer: 0,
            timeouts: 0,
            last: (0.0, 0.0),
        });
        self.after(0.0, Event::Send(index));
    }

    /// Changes what there is to send.
    pub(super) fn demand(&mut self, index: usize, demand: Option<f64>) {
        self.senders[index].demand = demand;
        self.after(0.0, Event::Send(index));
    }

    pub(super) fn model(&self, index: usize) -> &Model {
        match &self.senders[index].control {
            Control::Ours(model) => model,
            Control::Cubic(_) => panic!("CUBIC has no model"),
        }
    }

    /// Lets time pass. Returns the part of the bottleneck that each sender had.
    pub(super) fn run(&mut self, seconds: f64) -> Vec<f64> {
        let before: Vec<_> = self.senders.iter().map(|sender| sender.delivered).collect();
        let until = self.now + seconds;
        while let Some((at, event)) = self.events.next(until) {
            self.now = at;
            self.handle(event);
        }
        self.now = until;
        let all = self.line.rate * seconds;
        let pairs = self.senders.iter().zip(before);
        pairs
            .map(|(sender, before)| (sender.delivered - before) / all)
            .collect()
    }

    /// Seconds that so much of the packets of the last `seconds` waited at most.
    pub(super) fn waited(&self, part: f64, seconds: f64) -> f64 {
        let looks = usize::try_from(integer(seconds * 100.0)).unwrap();
        let mut last = self.queued[self.queued.len() - looks..].to_vec();
        last.sort_by(f64::total_cmp);
        let index = integer(part * float(u64::try_from(last.len() - 1).unwrap()));
        last[usize::try_from(index).unwrap()]
    }

    fn instant(&self, seconds: f64) -> Instant {
        self.zero + Duration::from_secs_f64(seconds)
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.at(self.now + seconds, event);
    }

    fn at(&mut self, at: f64, event: Event) {
        self.events.add(at, event);
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        float(self.random >> 11) / float(1 << 53)
    }

    fn one_way(&mut self) -> f64 {
        let jitter = (self.chance() * 2.0 - 1.0) * self.line.jitter;
        (self.line.rtt / 2.0 + jitter).max(0.0)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Look => {
                self.queued.push((self.busy_until - self.now).max(0.0));
                self.after(0.01, Event::Look);
            }
            Event::Send(index) => {
                self.senders[index].woken = -1.0;
                self.send(index);
            }
            Event::Arrive(index, number) => {
                let sender = &mut self.senders[index];
                sender.unacknowledged.push(number);
                if sender.unacknowledged.len() >= 2 {
                    self.acknowledge(index);
                } else {
                    sender.delayed += 1;
                    let delayed = sender.delayed;
                    self.after(0.025, Event::Delayed(index, delayed));
                }
            }
            Event::Delayed(index, delayed) => {
                let sender = &self.senders[index];
                if sender.delayed == delayed && !sender.unacknowledged.is_empty() {
                    self.acknowledge(index);
                }
            }
            Event::Acknowledge(index, numbers) => self.acknowledged(index, numbers),
            Event::Timeout(index, timer) if self.senders[index].timer == timer => {
                self.senders[index].timeouts += 1;
                self.detect(index);
                self.transmit(index);
            }
            Event::Timeout(..) => {}
        }
    }

    /// The receiver acknowledges. One that is lost says the same again with the next.
    fn acknowledge(&mut self, index: usize) {
        if self.chance() < self.line.loss || self.now < self.away_until {
            return;
        }
        let way = self.one_way();
        let sender = &mut self.senders[index];
        sender.delayed += 1;
        let numbers = std::mem::take(&mut sender.unacknowledged);
        sender.last.1 = sender.last.1.max(self.now + way);
        let at = sender.last.1;
        self.at(at, Event::Acknowledge(index, numbers));
    }

    /// Sends what the window and the pacer let through.
    fn send(&mut self, index: usize) {
        loop {
            let (now, window) = (self.now, self.window(index));
            let sender = &mut self.senders[index];
            if let Some(demand) = sender.demand {
                let due = sender.began + float(sender.next) * MTU / demand;
                if due > now {
                    return self.wake(index, due);
                }
            }
            if sender.in_flight + MTU >= window {
                return;
            }
            if matches!(sender.control, Control::Ours(_)) {
                let rate = 1.25 * window / sender.rtt.0;
                let most = (window * 0.002 / sender.rtt.0).clamp(10.0 * MTU, 256.0 * MTU);
                sender.tokens.0 = (sender.tokens.0 + (now - sender.tokens.1) * rate).min(most);
                sender.tokens.1 = now;
                if sender.tokens.0 < MTU {
                    let due = now + (most - sender.tokens.0) / rate;
                    return self.wake(index, due);
                }
                sender.tokens.0 -= MTU;
            }
            self.transmit(index);
        }
    }

    fn wake(&mut self, index: usize, at: f64) {
        let sender = &mut self.senders[index];
        if sender.woken < 0.0 || at < sender.woken {
            sender.woken = at;
            self.at(at + 1e-6, Event::Send(index));
        }
    }

    fn transmit(&mut self, index: usize) {
        let (now, instant) = (self.now, self.instant(self.now));
        let sender = &mut self.senders[index];
        let number = sender.next;
        sender.next += 1;
        sender.out.insert(number, now);
        sender.in_flight += MTU;
        if let Control::Ours(model) = &mut sender.control {
            model.sent(instant, 1452);
        }
        self.set_timer(index);
        let begins = self.busy_until.max(now);
        if begins - now > self.line.queue || now < self.away_until || self.chance() < self.line.loss {
            return;
        }
        self.busy_until = begins + MTU / self.line.rate;
        let at = self.busy_until + self.one_way();
        let sender = &mut self.senders[index];
        sender.last.0 = sender.last.0.max(at);
        let at = sender.last.0;
        self.at(at, Event::Arrive(index, number));
    }

    fn set_timer(&mut self, index: usize) {
        let sender = &mut self.senders[index];
        sender.timer += 1;
        let (timer, (rtt, varies)) = (sender.timer, sender.rtt);
        let timeout = (rtt + (4.0 * varies).max(0.001) + 0.025) * 2.0_f64.powi(sender.timeouts);
        self.after(timeout.min(30.0), Event::Timeout(index, timer));
    }

    fn acknowledged(&mut self, index: usize, numbers: Vec<u64>) {
        let (now, instant, window) = (self.now, self.instant(self.now), self.window(index));
        let zero = self.zero;
        let sender = &mut self.senders[index];
        let idle = sender.demand.is_some() && sender.in_flight + 4.0 * MTU < window;
        let mut newest = None;
        for number in numbers {
            let Some(sent) = sender.out.remove(&number) else {
                continue;
            };
            sender.in_flight -= MTU;
            sender.delivered += MTU;
            match &mut sender.control {
                Control::Ours(model) => model.acknowledged(
                    instant,
                    Arrived {
                        sent: zero + Duration::from_secs_f64(sent),
                        bytes: 1452,
                        idle,
                    },
                ),
                Control::Cubic(cubic) => cubic.acknowledged(now, sent, sender.rtt.0),
            }
            if sender.largest.is_none_or(|largest| number > largest) {
                sender.largest = Some(number);
                newest = Some(sent);
            }
        }
        if let Control::Ours(model) = &mut sender.control {
            model.settle(instant, integer(sender.in_flight));
        }
        if let Some(sent) = newest {
            let took = now - sent;
            sender.timeouts = 0;
            sender.rtt.1 += ((sender.rtt.0 - took).abs() - sender.rtt.1) / 4.0;
            sender.rtt.0 += (took - sender.rtt.0) / 8.0;
        }
        self.detect(index);
        self.set_timer(index);
        self.send(index);
    }

    /// What is three packets, or nine eighths of the RTT, behind an acknowledged one is lost.
    fn detect(&mut self, index: usize) {
        let (now, zero) = (self.now, self.zero);
        let sender = &mut self.senders[index];
        let Some(largest) = sender.largest else { return };
        let late = now - sender.rtt.0 * 9.0 / 8.0;
        let missing = |(number, sent): &(&u64, &f64)| **number + 3 <= largest || **sent <= late;
        let gone: Vec<_> = sender
            .out
            .range(..largest)
            .filter(missing)
            .map(|(number, _)| *number)
            .collect();
        let mut last = None;
        for number in &gone {
            let sent = sender.out.remove(number);
            last = sent.filter(|sent| last.is_none_or(|last| *sent > last)).or(last);
            sender.in_flight -= MTU;
            sender.lost += 1;
        }
        let Some(last) = last else { return };
        match &mut sender.control {
            Control::Ours(model) => {
                let bytes = 1452 * u64::try_from(gone.len()).unwrap();
                let sent = zero + Duration::from_secs_f64(last);
                model.lost(sent, bytes);
            }
            Control::Cubic(cubic) => cubic.lost(now, last),
        }
    }

    fn window(&self, index: usize) -> f64 {
        match &self.senders[index].control {
            Control::Ours(model) => float(model.window),
            Control::Cubic(cubic) => cubic.window(),
        }
    }
}
