//! Random numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose streams of near seeds have nothing in common, which
//! the judge's own generator, Java's, cannot promise.

/// A stream.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
    spare: Option<f64>,
}

impl Random {
    /// The stream of a run of an experiment.
    pub(crate) fn new(experiment: u64, run: u64) -> Self {
        let mut random = Self {
            state: experiment,
            spare: None,
        };
        let seed = random.next() ^ run.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self {
            state: seed,
            spare: None,
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1].
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let angle = std::f64::consts::TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// Exponential of mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Poisson of a small mean, by products of uniform numbers.
    pub(crate) fn poisson(&mut self, mean: f64) -> f64 {
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            count += 1.0;
        }
        count
    }
}

/// Noise that wanders: autoregressive, of standard deviation 1.
#[derive(Debug, Clone)]
pub(crate) struct Wander {
    coefficient: f64,
    value: f64,
}

impl Wander {
    pub(crate) fn new(coefficient: f64, random: &mut Random) -> Self {
        Self {
            coefficient,
            value: random.gaussian(),
        }
    }

    pub(crate) fn next(&mut self, random: &mut Random) -> f64 {
        let fresh = (1.0 - self.coefficient * self.coefficient).sqrt();
        self.value = self.coefficient * self.value + fresh * random.gaussian();
        self.value
    }
}
