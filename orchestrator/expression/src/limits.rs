//! Every bound of the language. A pipeline's author reaches none of them by
//! accident; whoever tries gets an error that names it.

/// Longest expression, characters, unless the caller says otherwise (Orca's default for
/// `expression.max-expression-length`).
pub(crate) const EXPRESSION_CHARS: usize = 10_000;
/// Deepest nesting of an expression, in the parser and so in the evaluator.
pub(crate) const EXPRESSION_DEPTH: usize = 48;
/// Most conditions of a chain `a ? b : c ? d : e`.
pub(crate) const TERNARIES: usize = 200;
/// Deepest nesting of a template's maps and lists.
pub(crate) const TEMPLATE_DEPTH: usize = 128;
/// Deepest nesting of a value that an expression builds.
pub(crate) const VALUE_DEPTH: usize = 256;
/// Work one text may cause: a unit per step and per 16 characters or elements moved.
pub(crate) const STEPS: usize = 500_000;
/// The same for all texts of one template together.
pub(crate) const TEMPLATE_STEPS: usize = 5_000_000;
/// Longest text an expression may build, bytes.
pub(crate) const TEXT_BYTES: usize = 1 << 20;
/// Longest list an expression may build.
pub(crate) const LIST_LEN: usize = 100_000;
/// Longest pattern of a regular expression, characters.
pub(crate) const PATTERN_CHARS: usize = 1_000;
/// Steps back a regular expression may take.
pub(crate) const PATTERN_BACKTRACKS: usize = 100_000;
/// Longest address of a look-up, bytes.
pub(crate) const URL_BYTES: usize = 2_048;
/// Look-ups one call may ask for.
pub(crate) const NEEDS: usize = 64;
