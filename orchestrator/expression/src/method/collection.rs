//! Methods of lists, sets and maps: those that read.
//!
//! `add`, `addAll` and `remove` answer as Java does and change nothing.
//! Differs from Spinnaker: there the list is another for whatever is evaluated next.

use super::{Method, arg, int_arg, row};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::operator;
use crate::value::{MapVal, Seq, SeqKind, Val};

/// Methods of `java.util.List` beyond those of a collection.
pub(crate) const LIST: &[Method] = &[
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
    row("add", 2, 2, |_, t, a| {
        let (seq, at) = (changeable(t)?, int_arg(a, 0)?);
        if usize::try_from(at).is_ok_and(|at| at <= seq.len()) {
            return Ok(Val::Null);
        }
        let text = format!("Index: {at}, Size: {}", seq.len());
        Err(Fault::java("java.lang.IndexOutOfBoundsException", text).into())
    }),
];

/// Methods of `java.util.Collection`: of sets, of a map's values, and of lists.
pub(crate) const COLLECTION: &[Method] = &[
    row("size", 0, 0, |_, t, _| Ok(Val::count(seq(t)?.len()))),
    row("isEmpty", 0, 0, |_, t, _| Ok(Val::Bool(seq(t)?.len() == 0))),
    row("contains", 1, 1, |m, t, a| {
        Ok(Val::Bool(position(m, t, arg(a, 0)?)?.is_some()))
    }),
    row("containsAll", 1, 1, contains_all),
    row("add", 1, 1, |m, t, a| {
        let known = changeable(t)?.kind == SeqKind::Set && position(m, t, arg(a, 0)?)?.is_some();
        Ok(Val::Bool(!known))
    }),
    row("addAll", 1, 1, |_, t, a| {
        changeable(t)?;
        Ok(Val::Bool(seq(arg(a, 0)?)?.len() > 0))
    }),
    row("remove", 1, 1, |m, t, a| {
        changeable(t)?;
        Ok(Val::Bool(position(m, t, arg(a, 0)?)?.is_some()))
    }),
    row("clear", 0, 0, |_, t, _| changeable(t).map(|_| Val::Null)),
    row("removeAll", 1, 1, |m, t, a| {
        Ok(Val::Bool(shared(m, changeable(t)?, a)? > 0))
    }),
    row("retainAll", 1, 1, |m, t, a| {
        let seq = changeable(t)?;
        Ok(Val::Bool(shared(m, seq, a)? < seq.len()))
    }),
    row("hashCode", 0, 0, |m, t, _| {
        m.charge_for(t)?;
        super::object::hash_code(t).map(Val::int)
    }),
];

/// Methods of `java.util.Map`.
pub(crate) const MAP: &[Method] = &[
    row("size", 0, 0, |_, t, _| Ok(Val::count(map(t)?.len()))),
    row("isEmpty", 0, 0, |_, t, _| Ok(Val::Bool(map(t)?.len() == 0))),
    row("containsKey", 1, 1, |m, t, a| {
        let (map, key) = (map(t)?, arg(a, 0)?);
        // The keys of a context are declared to be texts, so others are converted.
        if map.heir.is_some() && !key.is_null() {
            let key = operator::text(m, key).map_err(|_| Stop::Mismatch)?;
            return Ok(Val::Bool(map.get(&key).is_some()));
        }
        Ok(Val::Bool(map.at(key).is_some()))
    }),
    row("clear", 0, 0, |_, t, _| map(t).map(|_| Val::Null)),
    row("putAll", 1, 1, |_, t, a| {
        map(arg(a, 0)?)?;
        map(t).map(|_| Val::Null)
    }),
    row("containsValue", 1, 1, |m, t, a| {
        m.charge_for(t)?;
        let wanted = arg(a, 0)?;
        let found = map(t)?.iter().any(|(_, value)| value.same(wanted));
        Ok(Val::Bool(found))
    }),
    row("keySet", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        let keys = map(t)?.iter().map(|(key, _)| key.value()).collect();
        Ok(Val::Seq(Seq::new(SeqKind::Set, keys)))
    }),
    row("values", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        let values = map(t)?.iter().map(|(_, value)| value).collect();
        Ok(Val::Seq(Seq::new(SeqKind::Values, values)))
    }),
    row("entrySet", 0, 0, |m, t, _| {
        m.charge(map(t)?.len())?;
        let entries = map(t)?
            .iter()
            .map(|entry| Val::Entry(entry.into()))
            .collect();
        Ok(Val::Seq(Seq::new(SeqKind::Set, entries)))
    }),
    row("hashCode", 0, 0, |m, t, _| {
        m.charge_for(t)?;
        super::object::hash_code(t).map(Val::int)
    }),
];

fn seq<'v, 'a>(target: &'v Val<'a>) -> Result<&'v Seq<'a>, Stop> {
    if let Val::Seq(seq) = target {
        Ok(seq)
    } else {
        Err(Stop::Mismatch)
    }
}

/// One that Java would let be changed; a list of constants it does not.
fn changeable<'v, 'a>(target: &'v Val<'a>) -> Result<&'v Seq<'a>, Stop> {
    let seq = seq(target)?;
    if seq.kind == SeqKind::Constant {
        let class = "java.lang.UnsupportedOperationException";
        return Err(Fault::java(class, "null")
            .suggest("a list of constants cannot be changed")
            .into());
    }
    Ok(seq)
}

/// How many elements are in the other collection too.
fn shared<'a>(m: &mut Machine<'a>, seq: &Seq<'a>, args: &[Val<'a>]) -> Result<usize, Stop> {
    let other = arg(args, 0)?;
    let mut count = 0;
    for item in seq.iter() {
        count += usize::from(position(m, other, &item)?.is_some());
    }
    Ok(count)
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
    let (from, to) = (int_arg(args, 0)?, int_arg(args, 1)?);
    let bounds = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    let Some((from, to)) = bounds.filter(|(from, to)| from <= to && *to <= seq.len()) else {
        let text = format!("fromIndex: {from}, toIndex: {to}, size: {}", seq.len());
        return Err(Fault::java("java.lang.IndexOutOfBoundsException", text).into());
    };
    m.charge(to - from)?;
    Ok(Val::list((from..to).filter_map(|i| seq.get(i)).collect()))
}
