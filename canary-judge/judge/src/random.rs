//! The generator of the original: `java.util.Random`, bit for bit, and the two draws that Scala's library makes of it.
//!
//! A linear congruential generator of 48 bits (Knuth, TAOCP 2, 3.2.1) and the polar method for normal numbers
//! (3.4.1 C). The logarithm is fdlibm's, which Java prescribes and which differs from a processor's in the last bit of
//! some values; one bit decides whether two single points tie.

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const MASK: u64 = (1 << 48) - 1;

/// A generator: what it yields follows from its seed alone.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    spare: Option<f64>,
}

impl Random {
    /// As `new java.util.Random(seed)`.
    pub fn new(seed: i64) -> Self {
        Self {
            state: (seed.cast_unsigned() ^ MULTIPLIER) & MASK,
            spare: None,
        }
    }

    /// The next `bits` bits, at most 32.
    fn bits(&mut self, bits: u32) -> u64 {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        self.state >> (48 - bits)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let high = self.bits(26) << 27;
        let bits = high + self.bits(27);
        bits as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in 0 .. `bound`, which is at least 1 and below 2^31.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound.is_power_of_two() {
            return (bound * self.bits(31)) >> 31;
        }
        loop {
            let bits = self.bits(31);
            let value = bits % bound;
            // The last, incomplete run of values would make small ones likelier.
            if bits - value + (bound - 1) < 1 << 31 {
                return value;
            }
        }
    }

    /// Standard normal. Numbers come in pairs; the second one is kept.
    pub fn gaussian(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let v1 = 2.0 * self.uniform() - 1.0;
            let v2 = 2.0 * self.uniform() - 1.0;
            let s = v1 * v1 + v2 * v2;
            if s < 1.0 && s != 0.0 {
                let multiplier = (-2.0 * ln(s) / s).sqrt();
                self.spare = Some(v2 * multiplier);
                return v1 * multiplier;
            }
        }
    }

    /// The first element of `scala.util.Random.shuffle`.
    pub fn shuffled_first<T: Copy, const N: usize>(&mut self, mut list: [T; N]) -> Option<T> {
        for n in (2..=N).rev() {
            let k = usize::try_from(self.below(n as u64)).unwrap_or_default();
            list.swap(n - 1, k);
        }
        list.first().copied()
    }
}

/// The natural logarithm of a normal number in (0, 1), by the method of fdlibm's `e_log`: x = 2^k (1+f) with 1+f in
/// [√2/2, √2], then log(1+f) = f - s (f - R) with s = f/(2+f) and R an even polynomial in s.
fn ln(x: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);
    const EVEN: [f64; 3] = [
        f64::from_bits(0x3FD9_9999_9997_FA04),
        f64::from_bits(0x3FCC_71C5_1D8E_78AF),
        f64::from_bits(0x3FC3_9A09_D078_C69F),
    ];
    const ODD: [f64; 4] = [
        f64::from_bits(0x3FE5_5555_5555_5593),
        f64::from_bits(0x3FD2_4924_9422_9359),
        f64::from_bits(0x3FC7_4664_96CB_03DE),
        f64::from_bits(0x3FC2_F112_DF3E_5244),
    ];
    let bits = x.to_bits();
    let high = bits >> 32;
    let mantissa = high & 0x000F_FFFF;
    // 1 if the mantissa is above √2: then half of it is taken, and the exponent is one more.
    let halved = (mantissa + 0x9_5F64) & 0x10_0000;
    let exponent = (high >> 20) + (halved >> 20);
    let k = exponent as f64 - 1023.0;
    let top = mantissa | (halved ^ 0x3FF0_0000);
    let f = f64::from_bits((top << 32) | (bits & 0xFFFF_FFFF)) - 1.0;
    if (mantissa + 2) & 0x000F_FFFF < 3 {
        // |f| < 2^-20
        if f == 0.0 {
            return k * LN2_HIGH + k * LN2_LOW;
        }
        let r = f * f * (0.5 - 0.333_333_333_333_333_3 * f);
        return if k == 0.0 {
            f - r
        } else {
            k * LN2_HIGH - ((r - k * LN2_LOW) - f)
        };
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (EVEN[0] + w * (EVEN[1] + w * EVEN[2]));
    let odd = z * (ODD[0] + w * (ODD[1] + w * (ODD[2] + w * ODD[3])));
    let r = odd + even;
    let middle = (0x6_147A..=0x6_B851).contains(&mantissa);
    if middle {
        let half = 0.5 * f * f;
        if k == 0.0 {
            f - (half - s * (half + r))
        } else {
            k * LN2_HIGH - ((half - (s * (half + r) + k * LN2_LOW)) - f)
        }
    } else if k == 0.0 {
        f - s * (f - r)
    } else {
        k * LN2_HIGH - ((s * (f - r) - k * LN2_LOW) - f)
    }
}
