//! The root finder of the original, iterate by iterate.
//!
//! The function is a step function, so the answer is the first iterate that is close enough to a jump: it depends on
//! the sequence of iterates, and another root finder, or the exact jump, would give another answer. Source: Brent,
//! *Algorithms for Minimization without Derivatives* (1973), chapter 4, as in R's `zeroin` (`kayenta: BrentSolver`).

/// How close an iterate must be to a change of sign, absolute.
const TOLERANCE: f64 = 1e-4;
/// After so many iterations the last iterate is the answer.
const ITERATIONS: u32 = 1001;

/// What counts as zero: nothing but the least number.
fn is_zero(value: f64) -> bool {
    value.abs() <= f64::from_bits(1)
}

/// The root of `f` between `a` and `b`, where it is `fa` and `fb`.
pub(crate) fn root<E>(
    (mut a, mut fa): (f64, f64),
    (mut b, mut fb): (f64, f64),
    mut f: impl FnMut(f64) -> Result<f64, E>,
) -> Result<f64, E> {
    let (mut c, mut fc) = (a, fa);
    if is_zero(fa) {
        return Ok(a);
    }
    if is_zero(fb) {
        return Ok(b);
    }
    for _ in 0..ITERATIONS {
        let previous = b - a;
        if fc.abs() < fb.abs() {
            (a, b, c) = (b, c, b);
            (fa, fb, fc) = (fb, fc, fb);
        }
        let tolerance = 2.0 * f64::EPSILON * b.abs() + TOLERANCE / 2.0;
        let mut step = (c - b) / 2.0;
        if step.abs() <= tolerance || is_zero(fb) {
            return Ok(b);
        }
        if previous.abs() >= tolerance && fa.abs() > fb.abs() {
            let (p, q) = interpolated((a, fa), (b, fb), (c, fc));
            if p < 0.75 * (c - b) * q - (tolerance * q).abs() / 2.0
                && p < (previous * q / 2.0).abs()
            {
                step = p / q;
            }
        }
        if step.abs() < tolerance {
            step = if step > 0.0 { tolerance } else { -tolerance };
        }
        (a, fa) = (b, fb);
        b += step;
        fb = f(b)?;
        if (fb > 0.0 && fc > 0.0) || (fb < 0.0 && fc < 0.0) {
            (c, fc) = (a, fa);
        }
    }
    Ok(b)
}

/// The step from `b` as p/q with p not negative: linear if there are two points, else by the inverse parabola.
#[expect(clippy::float_cmp, reason = "whether two iterates are one")]
fn interpolated((a, fa): (f64, f64), (b, fb): (f64, f64), (c, fc): (f64, f64)) -> (f64, f64) {
    let width = c - b;
    let (p, q) = if a == c {
        let t1 = fb / fa;
        (width * t1, 1.0 - t1)
    } else {
        let q = fa / fc;
        let t1 = fb / fc;
        let t2 = fb / fa;
        (
            t2 * (width * q * (q - t1) - (b - a) * (t1 - 1.0)),
            (q - 1.0) * (t1 - 1.0) * (t2 - 1.0),
        )
    };
    if p > 0.0 { (p, -q) } else { (-p, q) }
}
