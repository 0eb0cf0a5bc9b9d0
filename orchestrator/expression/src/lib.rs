//! Spinnaker's expression language: `${…}` in the texts of a pipeline, evaluated
//! against an execution.
//!
//! It owns what an expression means. It is pure: time, randomness and what lies
//! behind a URL are given to it ([`Scope`], [`Options`]); what it lacks it asks for
//! ([`Need`]) and is then called again. It never reflects on anything: types,
//! methods and functions are three lists ([`types`], `method/`, `function/`). It
//! never fails as a whole: a text that cannot be evaluated stays as written and a
//! [`Failure`] says why. It always ends: steps, depth and sizes have limits
//! (`limits`). The truth about behaviour is what the real evaluator answered
//! (`tests/fixtures`); where we differ, a comment says so.
//!
//! | Supported | How |
//! |---|---|
//! | literals | `1`, `1L`, `0x1F`, `1.5`, `1.5f`, `1e3`, `'it''s'`, `"…"`, `true`, `null` |
//! | lists and maps | `{1,2}`, `{a:1,'b':2}`, `{}` (a list), `{:}` |
//! | access | `.name`, `?.name`, `[index]`, `.method(…)`, `?.method(…)` |
//! | choosing | `.?[c]`, `.^[c]`, `.$[c]`, `.![e]`, `#this`, `#root` |
//! | operators | `? :`, `?:`, `or`, `and`, `== != < <= > >=` and their names, `matches`, `between`, `instanceof`, `+ - * / %`, `^`, `!` |
//! | functions | `#toJson(…)`, `#stage(…)`, …: the list in `function/mod.rs` |
//! | types | `T(…)`, `new …(…)`: the list in `types.rs` |
//! | assignment | yields its value and changes nothing |

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing
)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

use std::collections::BTreeMap;

use serde_json::{Map, Value};

mod access;
pub mod ast;
mod bean;
mod dates;
mod enums;
mod error;
mod eval;
mod function;
mod json;
mod lexer;
mod limits;
mod method;
mod number;
mod offline;
mod operator;
mod parser;
mod pattern;
mod primary;
mod statics;
mod template;
mod time;
mod types;
mod value;
mod walk;

pub use error::{Failure, Level, ParseError, summary};
pub use offline::Offline;

/// Answers to look-ups that were recorded, by [`Need::key`]: the text, or why there
/// is none.
pub type Answers = BTreeMap<String, Result<String, String>>;

/// What an expression can see, and what would otherwise be ambient.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Names by value: the stage's context, and `execution`, `trigger`,
    /// `parameters`, `templateVariables` where they exist. `execution` is the
    /// execution's JSON as served; the functions read it.
    pub root: &'a Map<String, Value>,
    /// Now, ms since the epoch.
    pub now_ms: i64,
    /// Recorded answers.
    pub answers: &'a Answers,
    /// Where look-ups belong (stage and attempt): the beginning of their keys.
    pub place: &'a str,
}

/// What few callers need to say.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Whether a name nobody bound is null (while a stage runs) or an error (when a
    /// pipeline is submitted). True by default.
    pub unknown_names: bool,
    /// The id of the stage whose ancestors' outputs are seen where the root has no
    /// such key. None if the root or [`Options::fallback`] has them already.
    pub inherit_for: Option<&'a str>,
    /// Values of names that the root has not; `#root` does not hold them.
    pub fallback: Option<&'a Map<String, Value>>,
    /// The id of the stage that is running: `#currentStage()`. None outside stages.
    pub current_stage: Option<&'a str>,
    /// Who asks: `#currentUser()`; by default the execution's user.
    pub user: Option<&'a str>,
    /// Where randomness starts; by default a hash of place and time.
    pub seed: Option<u64>,
    /// How long an expression may be, in characters; by default 10 000.
    pub longest: Option<usize>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            unknown_names: true,
            inherit_for: None,
            fallback: None,
            current_stage: None,
            user: None,
            seed: None,
            longest: None,
        }
    }
}

/// Something an expression asks for that is not in its scope.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Place, position and address: the same question has the same key.
    pub key: String,
    /// What to fetch: an `http:` or `https:` address, whose answer is its text; or
    /// something of ours, whose answer is JSON (`null` if there is none):
    /// `pipeline-id:<application>/<name>`, `application:<name>`,
    /// `canary-config-id:<application>/<name>`, with the names percent-encoded; or a
    /// `ref://…` of the artifact store, whose answer is its text.
    pub url: String,
}

/// What came of a template.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluated {
    /// The template with its expressions replaced; those that failed or need
    /// something as they were written.
    pub value: Value,
    /// What failed, in order.
    pub failures: Vec<Failure>,
    /// What to look up first. If any, the value is not to be used: ask again.
    pub needs: Vec<Need>,
}

/// Evaluates every expression in a template, keys included.
pub fn evaluate(template: &Value, scope: &Scope<'_>) -> Evaluated {
    evaluate_with(template, scope, &Options::default())
}

/// [`evaluate`], with what few callers need to say.
pub fn evaluate_with(template: &Value, scope: &Scope<'_>, options: &Options<'_>) -> Evaluated {
    walk::evaluate(template, *scope, *options)
}

/// Whether a text would parse, for warning of it when a pipeline is saved. Functions must
/// exist as well; everything else can only be known when it runs.
///
/// # Errors
/// The first thing wrong, with its position in the text.
pub fn parse_check(text: &str) -> Result<(), ParseError> {
    walk::check(text)
}

/// Parses one expression, without its braces.
///
/// # Errors
/// The first thing wrong, with its position in the expression.
pub fn parse(expression: &str) -> Result<ast::Expr, ParseError> {
    parser::parse(expression).map_err(|syntax| syntax.told(0))
}
