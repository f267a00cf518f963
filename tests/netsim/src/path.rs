//! The emulated path: two TUN devices, a thread for each direction, and a control socket. A stand-in for `tc netem`, which many
//! kernels lack, and which changes at run time.

use crate::control;
use crate::nat::{Nat, Way};
use crate::options::Options;
use crate::pump::{Devices, Direction, Pump, lock};
use crate::tun::Tun;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;

/// `ab` leads from the first namespace to the second, `ba` back.
#[derive(Default)]
pub struct Path {
    ab: Arc<Direction>,
    ba: Arc<Direction>,
    nat: Arc<Mutex<Nat>>,
}

/// Runs until the process is stopped.
pub fn run(options: &Options) -> io::Result<()> {
    let path = Path::default();
    path.obey(options.text("set", "")).map_err(io::Error::other)?;
    let (a, b) = (
        Tun::open(options.needed("ns-a")?)?,
        Tun::open(options.needed("ns-b")?)?,
    );
    // The same seed loses the same packets in every run.
    let seed: u64 = options.number("seed", 1)?;
    let (from, to) = (a.try_clone()?, b.try_clone()?);
    path.start(
        Devices { from, to },
        Way::Out,
        0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed),
    );
    path.start(
        Devices { from: b, to: a },
        Way::In,
        0xD1B5_4A32_D192_ED03_u64.wrapping_mul(seed),
    );
    control::serve(options.needed("control")?, &path)
}

impl Path {
    /// Does what words say, and answers: `ok`, or what `stats` told.
    pub fn obey(&self, words: &str) -> Result<String, String> {
        let mut answer = "ok".to_owned();
        for word in words.split_whitespace() {
            if word == "stats" {
                answer = format!(
                    "{{\"ab\":{},\"ba\":{}}}",
                    self.ab.tally.take(),
                    self.ba.tally.take()
                );
                continue;
            }
            let (name, value) = word
                .split_once('=')
                .ok_or_else(|| format!("{word}: no such word"))?;
            if name == "nat" {
                let generation = value.parse().map_err(|_| format!("{word}: not a number"))?;
                lock(&self.nat).switch(generation);
                continue;
            }
            match name.split_once('.') {
                Some(("ab", name)) => lock(&self.ab.settings).set(name, value)?,
                Some(("ba", name)) => lock(&self.ba.settings).set(name, value)?,
                Some(_) => return Err(format!("{word}: a direction is ab or ba")),
                None => {
                    lock(&self.ab.settings).set(name, value)?;
                    lock(&self.ba.settings).set(name, value)?;
                }
            }
        }
        Ok(answer)
    }

    fn start(&self, devices: Devices, way: Way, seed: u64) {
        let direction = match way {
            Way::Out => &self.ab,
            Way::In => &self.ba,
        };
        let (direction, nat) = (Arc::clone(direction), Arc::clone(&self.nat));
        thread::spawn(move || Pump::new(devices, way, seed).run(&direction, &nat));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_for_one_direction_or_for_both() {
        let path = Path::default();
        assert_eq!(path.obey("rate=20 ba.loss=3 nat=1").as_deref(), Ok("ok"));
        let (ab, ba) = (*lock(&path.ab.settings), *lock(&path.ba.settings));
        assert_eq!((ab.rate, ba.rate), (20e6, 20e6));
        assert_eq!((ab.loss, ba.loss), (0.0, 3.0));
        assert!(
            path.obey("stats")
                .expect("stats")
                .starts_with("{\"ab\":{\"packets\":0,")
        );
    }

    #[test]
    fn a_word_that_is_wrong_is_told() {
        for words in ["colour", "cd.loss=3", "loss=much", "nat=x"] {
            assert!(Path::default().obey(words).is_err(), "{words}");
        }
    }
}
