//! Methods of `java.util.Random`: the same numbers for the same seed.

use std::cell::Cell;

use super::{Method, int_arg, row};
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::number::{Num, wrap_int};
use crate::value::Val;

/// Methods of `java.util.Random`.
pub(crate) const RANDOM: &[Method] = &[
    row("nextInt", 0, 2, |_, t, a| {
        let state = state(t)?;
        if a.is_empty() {
            return Ok(Val::int(bits(state, 32)));
        }
        if a.len() == 1 {
            let bound = int_arg(a, 0)?;
            if bound <= 0 {
                return Err(Fault::java(ILLEGAL_ARGUMENT, "bound must be positive").into());
            }
            return Ok(Val::int(below(state, bound)));
        }
        let (from, to) = (int_arg(a, 0)?, int_arg(a, 1)?);
        if from >= to {
            let text = "bound must be greater than origin";
            return Err(Fault::java(ILLEGAL_ARGUMENT, text).into());
        }
        Ok(Val::int(between(state, from, to)))
    }),
    row("nextLong", 0, 0, |_, t, _| {
        let state = state(t)?;
        let high = i64::from(bits(state, 32)) << 32;
        Ok(Val::long(high.wrapping_add(i64::from(bits(state, 32)))))
    }),
    row("nextBoolean", 0, 0, |_, t, _| {
        Ok(Val::Bool(bits(state(t)?, 1) != 0))
    }),
    row("nextFloat", 0, 0, |_, t, _| {
        let drawn = f64::from(bits(state(t)?, 24)) / f64::from(1 << 24);
        Ok(Val::Num(Num::Float(crate::number::narrow_float(drawn))))
    }),
    row("nextDouble", 0, 0, |_, t, _| {
        Ok(Val::Num(Num::Double(double(state(t)?))))
    }),
    row("nextGaussian", 0, 0, |_, t, _| {
        let state = state(t)?;
        // The polar method; the second number it yields is thrown away here.
        loop {
            let (a, b) = (2.0 * double(state) - 1.0, 2.0 * double(state) - 1.0);
            let square = a * a + b * b;
            if square < 1.0 && square > 0.0 {
                let factor = (-2.0 * square.ln() / square).sqrt();
                return Ok(Val::Num(Num::Double(a * factor)));
            }
        }
    }),
];

fn state<'v>(target: &'v Val<'_>) -> Result<&'v Cell<u64>, Stop> {
    if let Val::Random(state) = target {
        Ok(state)
    } else {
        Err(Stop::Mismatch)
    }
}

/// Java's generator: 48 bits, of which the upper ones are given out.
fn bits(state: &Cell<u64>, count: u32) -> i32 {
    let next = state.get().wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & ((1 << 48) - 1);
    state.set(next);
    wrap_int(i128::from(next >> (48 - count)))
}

fn double(state: &Cell<u64>) -> f64 {
    let high = i64::from(bits(state, 26)) << 27;
    let whole = high + i64::from(bits(state, 27));
    whole as f64 / (1u64 << 53) as f64
}

fn below(state: &Cell<u64>, bound: i32) -> i32 {
    if bound.count_ones() == 1 {
        return wrap_int((i128::from(bound) * i128::from(bits(state, 31))) >> 31);
    }
    loop {
        let drawn = bits(state, 31);
        let value = drawn % bound;
        // Draws from the incomplete last stretch are thrown away, so that none is likelier.
        if drawn.wrapping_sub(value).wrapping_add(bound - 1) >= 0 {
            return value;
        }
    }
}

/// `nextInt(origin, bound)`, which draws otherwise than `nextInt(bound)`
/// (`jdk: RandomSupport.boundedNextInt`).
fn between(state: &Cell<u64>, from: i32, to: i32) -> i32 {
    let mut drawn = bits(state, 32);
    let width = to.wrapping_sub(from);
    if width > 0 && width.count_ones() == 1 {
        return (drawn & (width - 1)).wrapping_add(from);
    }
    if width <= 0 {
        while drawn < from || drawn >= to {
            drawn = bits(state, 32);
        }
        return drawn;
    }
    loop {
        let positive = wrap_int(i128::from(drawn.cast_unsigned() >> 1));
        let value = positive % width;
        if positive.wrapping_add(width - 1).wrapping_sub(value) >= 0 {
            return value.wrapping_add(from);
        }
        drawn = bits(state, 32);
    }
}
