//! Walking the tree: one value out of one expression.
//!
//! Three objects matter, as in Spring: the root, what is current (`#this`, where names
//! are looked up), and the root of the innermost selection or projection (where the
//! arguments of methods are evaluated). Every step is counted. Truth:
//! `spring: SpelNodeImpl` and its subclasses.

use indexmap::IndexMap;

use crate::access::bare_name;
use crate::ast::{Access, Expr, Kind, Link, Unary};
use crate::bean::{Bean, BeanKind, stages};
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::limits::{LIST_LEN, NEEDS, STEPS, TEMPLATE_STEPS, TEXT_BYTES, URL_BYTES, VALUE_DEPTH};
use crate::types::{self, Named};
use crate::value::{Heir, Key, MapVal, Seq, SeqKind, Val};
use crate::{Need, Options, Scope, function, operator, statics};

/// What an evaluation step gives.
pub(crate) type Eval<'a> = Result<Val<'a>, Stop>;

/// The evaluator of one text after another.
pub(crate) struct Machine<'a> {
    pub(crate) scope: Scope<'a>,
    pub(crate) options: Options<'a>,
    /// Look-ups asked for so far.
    pub(crate) needs: Vec<Need>,
    /// Where the text begins that is evaluated, for the keys of look-ups.
    pub(crate) offset: usize,
    /// The function call in progress.
    pub(crate) at: usize,
    pub(crate) root: Val<'a>,
    pub(crate) scope_root: Val<'a>,
    pub(crate) current: Val<'a>,
    steps: usize,
    steps_left: usize,
    random: u64,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(scope: Scope<'a>, options: Options<'a>) -> Self {
        let mut names: IndexMap<String, Val<'a>> = scope
            .root
            .iter()
            .map(|(key, value)| (key.clone(), Val::from_json(value)))
            .collect();
        let execution = scope.root.get("execution").and_then(|e| e.as_object());
        if let Some(execution) = execution {
            let bean = Bean::new(BeanKind::Execution, execution);
            names.insert("execution".to_owned(), Val::Bean(bean));
        }
        if let Some(scm) = function::scm_info(scope.root) {
            let bean = Bean::new(BeanKind::SourceControl, scm);
            names.insert("scmInfo".to_owned(), Val::Bean(bean));
        }
        let heir = execution.and_then(|execution| {
            let id = options.inherit_for?;
            let stage =
                stages(execution).find(|s| s.get("id").and_then(|v| v.as_str()) == Some(id))?;
            Some(Heir { stage, execution })
        });
        let root = Val::Map(MapVal::own(names).with_heir(heir));
        let seed = options
            .seed
            .unwrap_or_else(|| seed(scope.place, scope.now_ms));
        Self {
            scope,
            options,
            needs: Vec::new(),
            offset: 0,
            at: 0,
            scope_root: root.clone(),
            current: root.clone(),
            root,
            steps: STEPS,
            steps_left: TEMPLATE_STEPS,
            random: seed,
        }
    }

    /// Evaluates one expression with fresh limits.
    pub(crate) fn run(&mut self, expr: &Expr, offset: usize) -> Eval<'a> {
        self.offset = offset;
        let allowed = STEPS.min(self.steps_left);
        self.steps = allowed;
        self.current = self.root.clone();
        self.scope_root = self.root.clone();
        let value = self.eval(expr);
        self.steps_left -= allowed - self.steps;
        value
    }

    /// Counts work.
    pub(crate) fn charge(&mut self, units: usize) -> Result<(), Stop> {
        match self.steps.checked_sub(units) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(too_much("steps", STEPS)),
        }
    }

    /// Counts the size of a value that is about to be printed, compared or copied.
    pub(crate) fn charge_for(&mut self, value: &Val<'a>) -> Result<(), Stop> {
        let left = value.extent(self.steps, VALUE_DEPTH);
        self.steps = left.ok_or_else(|| too_much("steps", STEPS))?;
        Ok(())
    }

    /// The next random bits (SplitMix64): the same for the same seed.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// The recorded answer to a look-up, or the wish for one.
    pub(crate) fn answer(&mut self, url: &str) -> Result<&'a str, Stop> {
        if url.len() > URL_BYTES {
            return Err(too_much("bytes of an address", URL_BYTES));
        }
        let position = self.offset + self.at;
        let key = format!("{}@{position}:{url}", self.scope.place);
        match self.scope.answers.get(&key) {
            Some(Ok(text)) => Ok(text),
            Some(Err(reason)) => Err(Fault::java(ILLEGAL_ARGUMENT, reason.as_str()).into()),
            None => {
                let need = Need {
                    key,
                    url: url.to_owned(),
                };
                if !self.needs.contains(&need) {
                    if self.needs.len() >= NEEDS {
                        return Err(too_much("look-ups", NEEDS));
                    }
                    self.needs.push(need);
                }
                Err(Stop::Need)
            }
        }
    }

    pub(crate) fn eval(&mut self, expr: &Expr) -> Eval<'a> {
        self.charge(1)?;
        self.kind(expr).map_err(|stop| match stop {
            Stop::Fault(fault) => fault.located(expr.at).into(),
            Stop::Need | Stop::Mismatch => stop,
        })
    }

    fn kind(&mut self, expr: &Expr) -> Eval<'a> {
        use crate::number::Num;
        match &expr.kind {
            Kind::Null => Ok(Val::Null),
            Kind::Bool(value) => Ok(Val::Bool(*value)),
            Kind::Int(value) => Ok(Val::int(*value)),
            Kind::Long(value) => Ok(Val::long(*value)),
            Kind::Real(value) => Ok(Val::Num(Num::Double(*value))),
            Kind::Float(value) => Ok(Val::Num(Num::Float(*value))),
            Kind::Text(text) => Ok(Val::text(text.as_str())),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Variable(name) => self.variable(name),
            Kind::Function(name, args) => {
                let args = self.all(args)?;
                self.at = expr.at;
                function::call(self, name, &args)
            }
            Kind::Bean(name) => {
                let text = format!(
                    "No bean resolver registered in the context to resolve access to bean '{name}'"
                );
                Err(Fault::spel("EL1057E", text).into())
            }
            Kind::Type(name) => java_type(name),
            Kind::New(name, args) => {
                let args = self.arguments(args)?;
                statics::construct(self, name, &args)
            }
            Kind::NewArray(name, items) => {
                let items = self.all(items)?;
                statics::array(self, name, items)
            }
            Kind::NewSized(name, size) => {
                let size = self.eval(size)?;
                statics::sized(self, name, operator::whole(&size)?)
            }
            Kind::Start(access) => {
                let target = self.current.clone();
                self.access(&target, access, false)
            }
            Kind::Chain(start, links) => self.chain(start, links),
            Kind::Unary(op, operand) => {
                let value = self.eval(operand)?;
                match op {
                    Unary::Not => operator::truth(&value).map(|truth| Val::Bool(!truth)),
                    Unary::Minus => operator::signed(&value, true),
                    Unary::Plus => operator::signed(&value, false),
                }
            }
            Kind::Step(front, by, operand) => {
                if !is_assignable(operand) {
                    let text = format!("The expression component '{operand}' is not assignable");
                    return Err(Fault::spel("EL1068E", text).into());
                }
                let before = self.eval(operand)?;
                let after = operator::step(&before, *by, operand)?;
                Ok(if *front { after } else { before })
            }
            Kind::Power(base, exponent) => {
                let (base, exponent) = (self.eval(base)?, self.eval(exponent)?);
                operator::power(&base, &exponent)
            }
            Kind::Infix(first, rest) => operator::infix(self, first, rest),
            Kind::Compare(op, left, right) => {
                let (left, right) = (self.eval(left)?, self.eval(right)?);
                operator::compare(self, *op, &left, &right).map(Val::Bool)
            }
            Kind::Ternary(..) => self.ternary(expr),
            Kind::Elvis(value, default) => {
                let value = self.eval(value)?;
                if value.is_null() || value.as_text() == Some("") {
                    self.eval(default)
                } else {
                    Ok(value)
                }
            }
            // Differs from Spinnaker: there the name then has the value for whatever is
            // evaluated next, in an order nobody controls.
            Kind::Assign(target, value) => {
                if !is_assignable(target) {
                    let text =
                        format!("setValue(ExpressionState, Object) not supported for '{target}'");
                    return Err(Fault::spel("EL1032E", text).into());
                }
                // A place that is not there cannot be assigned to.
                self.eval(target)?;
                self.eval(value)
            }
        }
    }

    /// Conditions one after the other, however many.
    fn ternary(&mut self, mut expr: &Expr) -> Eval<'a> {
        while let Kind::Ternary(condition, yes, no) = &expr.kind {
            self.charge(1)?;
            let condition = self.eval(condition)?;
            if operator::truth(&condition)? {
                return self.eval(yes);
            }
            expr = no;
        }
        self.eval(expr)
    }

    fn list(&mut self, items: &[Expr]) -> Eval<'a> {
        let constant = items.iter().all(is_constant);
        let kind = if constant {
            SeqKind::Constant
        } else {
            SeqKind::List
        };
        let items = self.all(items)?;
        Ok(Val::Seq(Seq::new(kind, items)))
    }

    fn all(&mut self, exprs: &[Expr]) -> Result<Vec<Val<'a>>, Stop> {
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    /// Arguments of methods see the innermost selection's element, not the target.
    pub(crate) fn arguments(&mut self, args: &[Expr]) -> Result<Vec<Val<'a>>, Stop> {
        let scope_root = self.scope_root.clone();
        self.with_current(scope_root, |m| m.all(args))
    }

    pub(crate) fn with_current<T>(
        &mut self,
        current: Val<'a>,
        evaluate: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let before = std::mem::replace(&mut self.current, current);
        let result = evaluate(self);
        self.current = before;
        result
    }

    fn map(&mut self, entries: &[(Expr, Expr)]) -> Eval<'a> {
        let mut map: IndexMap<Key<'a>, Val<'a>> = IndexMap::new();
        for (key, value) in entries {
            let key = match bare_name(key) {
                Some(name) => Key::from(name.to_owned()),
                None => {
                    let key = self.eval(key)?;
                    self.charge_for(&key)?;
                    Key::of(&key)
                }
            };
            map.insert(key, self.eval(value)?);
        }
        Ok(Val::Map(MapVal::own(map)))
    }

    fn variable(&mut self, name: &str) -> Eval<'a> {
        Ok(match name {
            "root" => self.root.clone(),
            "this" => self.current.clone(),
            // A variable nobody set is null.
            _ => Val::Null,
        })
    }

    fn chain(&mut self, start: &Expr, links: &[Link]) -> Eval<'a> {
        let mut value = self.eval(start)?;
        for link in links {
            self.charge(1)?;
            let target = value;
            value = self
                .with_current(target.clone(), |m| {
                    m.access(&target, &link.access, link.safe)
                })
                .map_err(|stop| match stop {
                    Stop::Fault(fault) => fault.located(link.at).into(),
                    Stop::Need | Stop::Mismatch => stop,
                })?;
        }
        Ok(value)
    }
}

/// Whether an expression names a place: a property, an element, a variable.
fn is_assignable(expr: &Expr) -> bool {
    let place = |access: &Access| matches!(access, Access::Property(_) | Access::Index(_));
    if let Kind::Start(access) = &expr.kind {
        place(access)
    } else if let Kind::Chain(_, links) = &expr.kind {
        links.last().is_some_and(|link| place(&link.access))
    } else {
        matches!(expr.kind, Kind::Variable(_))
    }
}

/// Whether an expression is its own value wherever it stands.
fn is_constant(expr: &Expr) -> bool {
    if let Kind::List(items) = &expr.kind {
        return items.iter().all(is_constant);
    }
    matches!(
        expr.kind,
        Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Long(_)
            | Kind::Real(_)
            | Kind::Float(_)
            | Kind::Text(_)
    )
}

fn java_type<'a>(name: &str) -> Eval<'a> {
    match types::named(name) {
        Named::Type(java) => Ok(Val::Type(java)),
        Named::Refused(full) => Err(refused(&full).into()),
        Named::Unknown => {
            let mut fault = Fault::spel("EL1005E", format!("Type cannot be found '{name}'"));
            if let Some(full) = types::full_name(name) {
                fault = fault.suggest(format!("write T({full})"));
            }
            Err(fault.into())
        }
    }
}

/// A type that is not on the list, as Orca words it.
pub(crate) fn refused(full: &str) -> Fault {
    let text =
        format!("A problem occurred whilst attempting to access the property '{full}': '{{1}}'");
    Fault::spel("EL1021E", text).suggest("only the types listed in the documentation can be used")
}

/// A limit of ours, by its name.
pub(crate) fn too_much(what: &str, limit: usize) -> Stop {
    let text = format!("The expression needs more than {limit} {what}");
    Fault::spel("EL1079E", text)
        .suggest("split it with an evaluateVariables stage")
        .into()
}

/// A text an operation built, if it is not too long.
pub(crate) fn bounded<'a>(text: String) -> Eval<'a> {
    if text.len() > TEXT_BYTES {
        return Err(too_much("bytes of text", TEXT_BYTES));
    }
    Ok(Val::text(text))
}

/// A list an operation built, if it is not too long.
pub(crate) fn bounded_seq<'a>(kind: SeqKind, items: Vec<Val<'a>>) -> Eval<'a> {
    if items.len() > LIST_LEN {
        return Err(too_much("elements of a list", LIST_LEN));
    }
    Ok(Val::Seq(Seq::new(kind, items)))
}

/// FNV-1a over place and time.
fn seed(place: &str, now_ms: i64) -> u64 {
    let bytes = place.bytes().chain(now_ms.to_le_bytes());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}
