//! Methods of lists, sets and maps: those that read.
//!
//! `add`, `addAll` and `remove` answer as Java does and change nothing.
//! Differs from Spinnaker: there the list is another for whatever is evaluated next.

use super::{Method, arg, int_arg, row, text_arg};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::value::{MapVal, Seq, SeqKind, Val};

/// Methods of `java.util.List`, and of sets as far as they have a meaning there.
pub(crate) const LIST: &[Method] = &[
    row("size", 0, 0, |_, t, _| Ok(Val::count(seq(t)?.len()))),
    row("isEmpty", 0, 0, |_, t, _| Ok(Val::Bool(seq(t)?.len() == 0))),
    row("contains", 1, 1, |m, t, a| {
        Ok(Val::Bool(position(m, t, arg(a, 0)?)?.is_some()))
    }),
    row("containsAll", 1, 1, contains_all),
    row("indexOf", 1, 1, |m, t, a| {
        found(position(m, t, arg(a, 0)?)?)
    }),
    row("lastIndexOf", 1, 1, |m, t, a| {
        m.charge_for(t)?;
        let wanted = arg(a, 0)?;
        let items: Vec<Val<'_>> = seq(t)?.iter().collect();
        found(items.iter().rposition(|item| item.same(wanted)))
    }),
    row("subList", 2, 2, sub_list),
    row("add", 1, 1, |_, t, _| {
        seq(t)?;
        Ok(Val::Bool(true))
    }),
    row("addAll", 1, 1, |_, t, a| {
        seq(t)?;
        Ok(Val::Bool(seq(arg(a, 0)?)?.len() > 0))
    }),
    row("remove", 1, 1, |m, t, a| {
        Ok(Val::Bool(position(m, t, arg(a, 0)?)?.is_some()))
    }),
];

/// Methods of `java.util.Map`.
pub(crate) const MAP: &[Method] = &[
    row("size", 0, 0, |_, t, _| Ok(Val::count(map(t)?.len()))),
    row("isEmpty", 0, 0, |_, t, _| Ok(Val::Bool(map(t)?.len() == 0))),
    row("containsKey", 1, 1, |m, t, a| {
        if arg(a, 0)?.is_null() {
            return Ok(Val::Bool(false));
        }
        let key = text_arg(m, a, 0)?;
        Ok(Val::Bool(map(t)?.get(&key).is_some()))
    }),
    row("containsValue", 1, 1, |m, t, a| {
        m.charge_for(t)?;
        let wanted = arg(a, 0)?;
        let found = map(t)?.iter().any(|(_, value)| value.same(wanted));
        Ok(Val::Bool(found))
    }),
    row("keySet", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        let keys = map(t)?.iter().map(|(key, _)| Val::Text(key)).collect();
        Ok(Val::Seq(Seq::new(SeqKind::Set, keys)))
    }),
    row("values", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        Ok(Val::list(map(t)?.iter().map(|(_, value)| value).collect()))
    }),
    row("entrySet", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        let entries = map(t)?
            .iter()
            .map(|entry| Val::Entry(entry.into()))
            .collect();
        Ok(Val::Seq(Seq::new(SeqKind::Set, entries)))
    }),
];

fn seq<'v, 'a>(target: &'v Val<'a>) -> Result<&'v Seq<'a>, Stop> {
    if let Val::Seq(seq) = target {
        Ok(seq)
    } else {
        Err(Stop::Mismatch)
    }
}

fn map<'v, 'a>(target: &'v Val<'a>) -> Result<&'v MapVal<'a>, Stop> {
    target.as_map().ok_or(Stop::Mismatch)
}

fn position<'a>(
    m: &mut Machine<'a>,
    target: &Val<'a>,
    wanted: &Val<'a>,
) -> Result<Option<usize>, Stop> {
    m.charge_for(target)?;
    let found = seq(target)?.iter().position(|item| item.same(wanted));
    Ok(found)
}

fn found<'a>(position: Option<usize>) -> Eval<'a> {
    Ok(position.map_or_else(|| Val::int(-1), Val::count))
}

fn contains_all<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    for wanted in seq(arg(args, 0)?)?.iter() {
        if position(m, target, &wanted)?.is_none() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sub_list<'a>(m: &mut Machine<'a>, target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let seq = seq(target)?;
    if seq.kind != SeqKind::List {
        return Err(Stop::Mismatch);
    }
    let (from, to) = (int_arg(args, 0)?, int_arg(args, 1)?);
    let bounds = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let Some((from, to)) = bounds.filter(|(from, to)| from <= to && *to <= seq.len()) else {
        let text = format!("fromIndex: {from}, toIndex: {to}, size: {}", seq.len());
        return Err(Fault::java("java.lang.IndexOutOfBoundsException", text).into());
    };
    m.charge(to - from)?;
    Ok(Val::list((from..to).filter_map(|i| seq.get(i)).collect()))
}
