//! The ways into a value: properties, indexes, projections, selections.
//!
//! Truth: `spring: PropertyOrFieldReference`, `Indexer`, `Selection`, `Projection`;
//! `orca: StageContext` for what a context falls back to.

use std::rc::Rc;

use crate::ast::{Access, Expr, Kind, Pick};
use crate::bean::inherited;
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine};
use crate::value::{MapVal, Seq, SeqKind, Text, Val};
use crate::{function, method, operator};

impl<'a> Machine<'a> {
    pub(crate) fn access(&mut self, target: &Val<'a>, access: &Access, safe: bool) -> Eval<'a> {
        match access {
            Access::Property(name) => self.property(target, name, safe),
            Access::Method(name, args) => {
                if target.is_null() && safe {
                    return Ok(Val::Null);
                }
                let args = self.arguments(args)?;
                method::call(self, target, name, &args)
            }
            Access::Index(index) => self.index(target, index),
            Access::Project(expr) => self.project(target, expr, safe),
            Access::Select(pick, condition) => self.select(target, *pick, condition, safe),
        }
    }

    /// `.name`: of a map its key, of an object its property, of the rest its getter.
    fn property(&mut self, target: &Val<'a>, name: &str, safe: bool) -> Eval<'a> {
        if target.is_null() {
            if safe {
                return Ok(Val::Null);
            }
            let text = format!("Property or field '{name}' cannot be found on null");
            return Err(Fault::spel("EL1007E", text)
                .suggest(format!(
                    "write ?.{name} where what is before may be missing"
                ))
                .into());
        }
        if let Val::Map(map) = target {
            if let Some(value) = self.key(map, name)? {
                return Ok(value);
            }
            if self.options.unknown_names {
                return Ok(Val::Null);
            }
        }
        if let Val::Bean(bean) = target
            && target.rejects(name).is_none()
            && let Some(value) = bean.property(name)
        {
            return Ok(value);
        }
        if let Val::Seq(seq) = target
            && seq.kind.is_array()
            && name == "length"
        {
            return Ok(Val::count(seq.len()));
        }
        if let Some(class) = target.rejects(name) {
            let text = format!(
                "found getter for requested {name} but rejected due to return type class {class}"
            );
            return Err(unreadable(name, &text).into());
        }
        if let Some(value) = method::getter(self, target, name) {
            return value;
        }
        let class = if let Val::Type(java) = target {
            java.name().to_owned()
        } else {
            target.class()
        };
        let text = format!("requested getter {name} not found on type class {class}");
        Err(unreadable(name, &text).into())
    }

    /// A key of a map; of a stage's context also what its ancestors have put out.
    fn key(&mut self, map: &MapVal<'a>, name: &str) -> Result<Option<Val<'a>>, Stop> {
        if let Some(value) = map.get(name) {
            return Ok(Some(value));
        }
        if let Some(value) = map.heir.and_then(|heir| inherited(heir, name)) {
            return Ok(Some(value));
        }
        let is_root = matches!(&self.root, Val::Map(root) if root.is(map));
        if is_root && let Some(value) = self.options.fallback.and_then(|names| names.get(name)) {
            return Ok(Some(Val::from_json(value)));
        }
        if is_root && name == "deployedServerGroups" && map.get("execution").is_some() {
            return function::call(self, name, &[]).map(Some);
        }
        Ok(None)
    }

    fn index(&mut self, target: &Val<'a>, index: &Expr) -> Eval<'a> {
        if let (Val::Map(map), Some(name)) = (target, bare_name(index)) {
            return Ok(self.key(map, name)?.unwrap_or(Val::Null));
        }
        let root = self.root.clone();
        let index = self.with_current(root, |m| m.eval(index))?;
        if index.is_null() {
            return Err(Fault::java("java.lang.IllegalStateException", "No index")
                .suggest("what is between the brackets is null: give it a default with ?:")
                .into());
        }
        if target.is_null() {
            return Err(Fault::spel("EL1012E", "Cannot index into a null value")
                .suggest("check first: x == null ? null : x[…]")
                .into());
        }
        if let Val::Map(map) = target {
            // The keys of a context are declared to be texts, so others are converted.
            if map.heir.is_some() {
                let key = operator::text(self, &index)?;
                return Ok(self.key(map, &key)?.unwrap_or(Val::Null));
            }
            let found = match index.as_text() {
                Some(key) => self.key(map, key)?,
                None => map.at(&index),
            };
            return Ok(found.unwrap_or(Val::Null));
        }
        if let Val::Seq(seq) = target {
            return element(seq, &index);
        }
        if let Val::Text(text) = target {
            return character(text, &index);
        }
        if let Some(name) = index.as_text() {
            return self.property(target, name, false);
        }
        let text = format!("Indexing into type '{}' is not supported", target.class());
        Err(Fault::spel("EL1027E", text).into())
    }

    /// The elements that a projection or selection walks over, and what they came from.
    fn elements(
        &mut self,
        target: &Val<'a>,
        code: &str,
        doing: &str,
    ) -> Result<(Vec<Val<'a>>, SeqKind), Stop> {
        let (items, kind) = if let Val::Seq(seq) = target {
            (seq.iter().collect::<Vec<_>>(), seq.kind)
        } else if let Val::Map(map) = target {
            let entry = |(key, value)| Val::Entry(Rc::new((key, value)));
            (map.iter().map(entry).collect(), SeqKind::List)
        } else {
            let text = format!("{doing} '{}'", target.class());
            return Err(Fault::spel(code, text).into());
        };
        self.charge(items.len())?;
        Ok((items, kind))
    }

    fn in_element(&mut self, element: &Val<'a>, expr: &Expr) -> Eval<'a> {
        let before = std::mem::replace(&mut self.scope_root, element.clone());
        let value = self.with_current(element.clone(), |m| m.eval(expr));
        self.scope_root = before;
        value
    }

    fn project(&mut self, target: &Val<'a>, expr: &Expr, safe: bool) -> Eval<'a> {
        if target.is_null() && safe {
            return Ok(Val::Null);
        }
        let (items, kind) =
            self.elements(target, "EL1019E", "Projection is not supported on the type")?;
        let mut results = Vec::new();
        for item in &items {
            results.push(self.in_element(item, expr)?);
        }
        Ok(Val::Seq(Seq::new(kind.chosen(), results)))
    }

    fn select(&mut self, target: &Val<'a>, pick: Pick, condition: &Expr, safe: bool) -> Eval<'a> {
        if target.is_null() && safe {
            return Ok(Val::Null);
        }
        let doing = "Cannot perform selection on input data of type";
        let (items, kind) = self.elements(target, "EL1015E", doing)?;
        let mut chosen: Vec<Val<'a>> = Vec::new();
        for item in &items {
            let Val::Bool(matches) = self.in_element(item, condition)? else {
                let text = "Result of selection criteria is not boolean";
                return Err(Fault::spel("EL1016E", text).into());
            };
            if !matches {
                continue;
            }
            if pick == Pick::First {
                return Ok(picked(target, vec![item.clone()], pick, kind));
            }
            if pick == Pick::Last {
                chosen.clear();
            }
            chosen.push(item.clone());
        }
        Ok(picked(target, chosen, pick, kind))
    }
}

/// The result of a selection: of a map a map, else one element or a list of them.
fn picked<'a>(target: &Val<'a>, chosen: Vec<Val<'a>>, pick: Pick, kind: SeqKind) -> Val<'a> {
    if target.as_map().is_some() {
        if chosen.is_empty() && pick != Pick::All {
            return Val::Null;
        }
        let entries = chosen.iter().filter_map(|value| {
            let Val::Entry(entry) = value else {
                return None;
            };
            Some((entry.0.clone(), entry.1.clone()))
        });
        return Val::Map(MapVal::own(entries));
    }
    match pick {
        Pick::All => Val::Seq(Seq::new(kind.chosen(), chosen)),
        Pick::First | Pick::Last => chosen.into_iter().next().unwrap_or(Val::Null),
    }
}

/// A name standing alone, which in a map's braces or brackets is a text.
pub(crate) fn bare_name(expr: &Expr) -> Option<&str> {
    if let Kind::Start(Access::Property(name)) = &expr.kind {
        Some(name)
    } else {
        None
    }
}

fn unreadable(name: &str, text: &str) -> Fault {
    let outer =
        format!("A problem occurred whilst attempting to access the property '{name}': '{text}'");
    Fault::java(ILLEGAL_ARGUMENT, text).around("EL1021E", outer)
}

fn element<'a>(seq: &Seq<'a>, index: &Val<'a>) -> Eval<'a> {
    let index = operator::whole(index)?;
    let found = usize::try_from(index).ok().and_then(|i| seq.get(i));
    found.ok_or_else(|| {
        let (code, what) = match seq.kind {
            SeqKind::Array | SeqKind::Primitive => ("EL1024E", "array"),
            SeqKind::List | SeqKind::Constant | SeqKind::Set | SeqKind::Values => {
                ("EL1025E", "collection")
            }
        };
        let text = format!(
            "The {what} has '{}' elements, index '{index}' is invalid",
            seq.len()
        );
        Fault::spel(code, text).into()
    })
}

fn character<'a>(text: &Text<'a>, index: &Val<'a>) -> Eval<'a> {
    let index = operator::whole(index)?;
    let found = usize::try_from(index)
        .ok()
        .and_then(|i| method::utf16_slice(text, i, i + 1));
    found.map(Val::text).ok_or_else(|| {
        let length = method::utf16_len(text);
        let text = format!("The string has '{length}' characters, index '{index}' is invalid");
        Fault::spel("EL1026E", text).into()
    })
}
