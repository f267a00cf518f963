//! Randomness that is the same in every run: xorshift from a seed.

/// A source of it.
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in so many of a hundred cases. Nothing is drawn where that is none.
    pub fn percent(&mut self, percent: f64) -> bool {
        percent > 0.0 && self.share() * 100.0 < percent
    }

    /// From -1 to 1.
    pub fn either_way(&mut self) -> f64 {
        self.share() * 2.0 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            std::array::from_fn::<_, 8, _>(|_| chance.share().to_bits())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(9));
    }

    #[test]
    fn a_share_of_the_cases_is_what_was_asked_for() {
        let mut chance = Chance::new(3);
        let hits = (0..100_000).filter(|_| chance.percent(3.0)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!(0..1_000).any(|_| chance.percent(0.0)));
    }
}
