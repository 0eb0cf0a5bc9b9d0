//! What methods make of their arguments: Spring's conversions, its choice between
//! methods of one name, and a variable number of arguments.

use crate::error::{Fault, Stop};
use crate::eval::Machine;
use crate::number::{Num, narrow_float};
use crate::operator;
use crate::value::{EnumKind, Val};

/// An argument, by its number.
pub(crate) fn arg<'v, 'a>(args: &'v [Val<'a>], index: usize) -> Result<&'v Val<'a>, Stop> {
    args.get(index).ok_or(Stop::Mismatch)
}

/// An argument as a text: what Spring can convert, and never null.
pub(crate) fn text_arg<'a>(
    machine: &mut Machine<'a>,
    args: &[Val<'a>],
    index: usize,
) -> Result<String, Stop> {
    let value = arg(args, index)?;
    if value.is_null() {
        return Err(null_pointer());
    }
    operator::text(machine, value).map_err(|_| Stop::Mismatch)
}

/// An argument that must be a text already: no number becomes a `CharSequence`.
pub(crate) fn exact<'v>(args: &'v [Val<'_>], index: usize) -> Result<&'v str, Stop> {
    let value = arg(args, index)?;
    if let Val::Text(text) | Val::Enum(EnumKind::Status, text) = value {
        return Ok(text);
    }
    Err(if value.is_null() {
        null_pointer()
    } else {
        Stop::Mismatch
    })
}

fn null_pointer() -> Stop {
    Fault::java("java.lang.NullPointerException", "null").into()
}

/// An argument as an int.
pub(crate) fn int_arg(args: &[Val<'_>], index: usize) -> Result<i32, Stop> {
    operator::whole(arg(args, index)?).map_err(|_| Stop::Mismatch)
}

/// An argument as a long.
pub(crate) fn long_arg(args: &[Val<'_>], index: usize) -> Result<i64, Stop> {
    let value = arg(args, index)?;
    if let Some(num) = value.as_num() {
        return i64::try_from(num.to_i128()).map_err(|_| Stop::Mismatch);
    }
    let parsed = value.as_text().and_then(|text| text.trim().parse().ok());
    parsed.ok_or(Stop::Mismatch)
}

/// An argument as a double.
pub(crate) fn double_arg(args: &[Val<'_>], index: usize) -> Result<f64, Stop> {
    let value = arg(args, index)?;
    if let Some(num) = value.as_num() {
        return Ok(num.to_f64());
    }
    let parsed = value.as_text().and_then(crate::number::parse_real);
    parsed.ok_or(Stop::Mismatch)
}

/// An argument as a float.
pub(crate) fn float_arg(args: &[Val<'_>], index: usize) -> Result<f32, Stop> {
    double_arg(args, index).map(narrow_float)
}

/// Numbers a method may be declared for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    Int,
    Long,
    Float,
    Double,
}

impl Wide {
    fn is(self, value: &Val<'_>) -> bool {
        matches!(
            (self, value.as_num()),
            (Self::Int, Some(Num::Int(_)))
                | (Self::Long, Some(Num::Long(_)))
                | (Self::Float, Some(Num::Float(_)))
                | (Self::Double, Some(Num::Double(_)))
        )
    }
}

/// Which of several methods of a name Spring calls: the one that takes the arguments as
/// they are. Where all would have to convert them it calls none.
pub(crate) fn overload<'w>(args: &[Val<'_>], methods: &[&'w [Wide]]) -> Result<&'w [Wide], Stop> {
    let fits = |method: &&&[Wide]| {
        method.len() == args.len() && method.iter().zip(args).all(|(wide, arg)| wide.is(arg))
    };
    if let Some(found) = methods.iter().find(fits) {
        return Ok(found);
    }
    let convertible = |arg: &Val<'_>| matches!(arg, Val::Num(_) | Val::Text(_));
    if !args.iter().all(convertible) {
        return Err(Stop::Mismatch);
    }
    let mut possible = methods.iter().filter(|method| method.len() == args.len());
    match (possible.next(), possible.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(ambiguous()),
        (None, _) => Err(Stop::Mismatch),
    }
}

/// Several methods would do after a conversion.
pub(crate) fn ambiguous() -> Stop {
    let text =
        "Method call is ambiguous, supported type conversions allow multiple variants to match";
    Fault::spel("EL1033E", text)
        .suggest("give it numbers of one class: 1.0 for a double, 1L for a long")
        .into()
}

/// What the elements of a variable number of arguments are declared to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    /// `Object...`
    Any,
    /// `String...`
    Text,
}

/// A variable number of arguments. One alone is converted to an array: a text is split
/// at its commas, a list gives its elements; an array stays one argument.
pub(crate) fn variable<'a>(
    machine: &mut Machine<'a>,
    args: &[Val<'a>],
    component: Component,
) -> Result<Vec<Val<'a>>, Stop> {
    match args {
        [Val::Text(text)] => {
            machine.charge(text.len() / 8)?;
            if text.is_empty() {
                return Ok(Vec::new());
            }
            Ok(text.split(',').map(|part| Val::text(part.trim())).collect())
        }
        [Val::Seq(seq)] if !seq.kind.is_array() || component == Component::Text => {
            machine.charge(seq.len())?;
            Ok(seq.iter().collect())
        }
        other => Ok(other.to_vec()),
    }
}
