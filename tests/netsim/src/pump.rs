//! One direction with its devices: reads packets from one, and writes them to the other when they have arrived.

use crate::flight::Flight;
use crate::gate::{self, Gate};
use crate::line::{Fate, Line};
use crate::nat::{Nat, Way};
use crate::packet::{self, Arrival};
use crate::settings::Settings;
use crate::tally::{Tally, add};
use crate::tun::Tun;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What the control socket can reach of a direction.
#[derive(Default)]
pub struct Direction {
    pub settings: Mutex<Settings>,
    pub tally: Tally,
}

/// Where packets come from, and where they go.
pub struct Devices {
    pub from: Tun,
    pub to: Tun,
}

/// A direction and all that it needs.
pub struct Pump {
    devices: Devices,
    way: Way,
    line: Line,
    flight: Flight,
}

/// Packets read before those that have arrived are looked at again.
const BATCH: usize = 64;

impl Pump {
    pub fn new(devices: Devices, way: Way, seed: u64) -> Self {
        let line = Line::new(Instant::now(), seed);
        Self {
            devices,
            way,
            line,
            flight: Flight::default(),
        }
    }

    /// Until the process ends.
    pub fn run(mut self, direction: &Direction, nat: &Mutex<Nat>) {
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.flight
                .arrived(Instant::now(), |packet| self.devices.to.write(packet));
            self.devices.from.wait(self.flight.next());
            let settings = *lock(&direction.settings);
            for _ in 0..BATCH {
                let Some(packet) = self.devices.from.read(&mut buffer) else {
                    break;
                };
                if !self.enters(packet, &settings, &direction.tally) {
                    continue;
                }
                if lock(nat).translate(packet, self.way) {
                    self.take(packet, &settings, &direction.tally);
                } else {
                    add(&direction.tally.blocked, 1);
                }
            }
        }
    }

    /// Whether the gate lets a packet in.
    fn enters(&self, packet: &[u8], settings: &Settings, tally: &Tally) -> bool {
        let length = packet.len() as u64;
        add(&tally.packets, 1);
        add(&tally.bytes, length);
        if packet::is_udp(packet) {
            add(&tally.udp_bytes, length);
        }
        let (count, told) = match gate::judge(packet, settings) {
            Gate::Open => return true,
            Gate::Blocked(told) => (&tally.blocked, told),
            Gate::AboveMtu(told) => (&tally.above_mtu, told),
        };
        add(count, 1);
        self.tell(packet, told);
        false
    }

    fn take(&mut self, packet: &[u8], settings: &Settings, tally: &Tally) {
        let arrival = Arrival {
            at: Instant::now(),
            size: packet.len(),
            is_udp: packet::is_udp(packet),
        };
        match self.line.take(arrival, settings) {
            Fate::Lost => add(&tally.lost, 1),
            Fate::Policed => add(&tally.policed, 1),
            Fate::TailDropped => add(&tally.tail_dropped, 1),
            Fate::Arrives { at, copies, wait } => {
                if let Some(wait) = wait {
                    tally.waited(wait);
                }
                for _ in 0..copies {
                    if !self.flight.add(at, packet) {
                        add(&tally.tail_dropped, 1);
                    }
                }
            }
        }
    }

    fn tell(&self, packet: &[u8], why: Option<packet::Unreachable>) {
        if let Some(error) = why.and_then(|why| packet::unreachable(packet, why)) {
            self.devices.from.write(&error);
        }
    }
}

/// What is behind the lock is whole at any time.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
