//! Random numbers that are the same on every machine: whole numbers, and floats that only add and multiply.

/// `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). Ours, because an event of a
/// seed must never change with the version of a crate.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

/// What a stream of numbers is for: streams of one seed know nothing of each other.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Cast = 1,
    Begin,
    Latent,
    Incidents,
    Terms,
    Noise,
}

impl Random {
    /// The stream of `purpose` for a product at a moment.
    pub(super) fn of(seed: u64, purpose: Purpose, product: u32, moment: i64) -> Self {
        let mut state = Self(seed);
        for part in [purpose as u64, u64::from(product), moment.cast_unsigned()] {
            state = Self(state.next() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        }
        Self(state.next())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 on below `end`.
    pub(super) fn below(&mut self, end: i64) -> i64 {
        debug_assert!(end > 0, "no number is below {end}");
        ((u128::from(self.next()) * u128::from(end.cast_unsigned())) >> 64) as i64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(high - low + 1)
    }

    /// True once in `times`.
    pub(super) fn one_in(&mut self, times: i64) -> bool {
        self.below(times) == 0
    }

    /// A number from 0 on below 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A size around a threshold: one in three within a fifth of it, on either side; the others from a quarter of it to
    /// three times as much.
    pub(super) fn around(&mut self, threshold: i64) -> i64 {
        if self.one_in(3) {
            self.between(threshold * 8 / 10, threshold * 12 / 10)
        } else {
            self.between(threshold / 4, threshold * 3)
        }
    }

    /// How often something happens that happens `mean` times on average (Knuth); `mean` is some 20 at most.
    pub(super) fn poisson(&mut self, mean: f64) -> i64 {
        let limit = exp_of_minus(mean);
        let (mut product, mut count) = (self.fraction(), 0);
        while product > limit && count < 200 {
            product *= self.fraction();
            count += 1;
        }
        count
    }
}

/// e to the power of -x, by multiplication alone: `exp` of one system's library is not that of another.
fn exp_of_minus(x: f64) -> f64 {
    let mut power = 1.0 - x / 1024.0;
    for _ in 0..10 {
        power *= power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the published generator, as other programs give them.
    #[test]
    fn numbers_never_change() {
        let mut random = Random(1_234_567);
        let numbers: Vec<u64> = (0..3).map(|_| random.next()).collect();
        assert_eq!(numbers, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn a_poisson_number_has_its_mean_and_variance() {
        let mut random = Random::of(1, Purpose::Latent, 0, 0);
        for mean in [0.1, 1.0, 4.0] {
            let counts: Vec<f64> = (0..20_000).map(|_| random.poisson(mean) as f64).collect();
            let average = counts.iter().sum::<f64>() / 20_000.0;
            let variance = counts.iter().map(|count| (count - average) * (count - average)).sum::<f64>() / 20_000.0;
            assert!((average - mean).abs() < 0.05 * mean.max(0.4), "{average} for {mean}");
            assert!((variance - mean).abs() < 0.08 * mean.max(0.4), "{variance} for {mean}");
        }
    }
}
