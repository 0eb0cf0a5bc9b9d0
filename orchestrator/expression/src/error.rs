//! What can go wrong: a text that does not parse, an evaluation that fails, and how
//! both are told to people.
//!
//! Codes and texts are those that Orca shows (Spring's numbers `EL1008E` and so on),
//! because people search for them. Truth: the recorded `detail` of failing
//! expressions.

use serde_json::{Map, Value, json};

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The value was null: the text stays as it is.
    Info,
    /// The evaluation failed.
    Error,
}

impl Level {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Error => "ERROR",
        }
    }
}

/// Why a text stayed as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The key in `expressionEvaluationSummary`: the expression without its braces.
    pub key: String,
    /// `Failed to evaluate [<keys>] <reason>`, as Orca writes it.
    pub description: String,
    /// The Java class Orca names; none if the value was null.
    pub exception_type: Option<String>,
    /// How bad.
    pub level: Level,
    /// Where in the text, in characters from its start.
    pub position: usize,
    /// What would help, if we can guess it.
    pub suggestion: Option<String>,
    reason: String,
}

impl Failure {
    pub(crate) fn new(
        key: String,
        fields: &str,
        reason: String,
        exception_type: Option<String>,
        level: Level,
    ) -> Self {
        let mut failure = Self {
            key,
            description: String::new(),
            exception_type,
            level,
            position: 0,
            suggestion: None,
            reason,
        };
        failure.describe(fields);
        failure
    }

    pub(crate) fn located(mut self, position: usize, suggestion: Option<String>) -> Self {
        self.position = position;
        self.suggestion = suggestion;
        self
    }

    /// Says of which key the text was the value; for callers that evaluate a map key
    /// by key.
    pub fn name(&mut self, key: &str) {
        self.describe(&format!("[{key}]"));
    }

    fn describe(&mut self, fields: &str) {
        let text = format!("Failed to evaluate {fields} {}", self.reason);
        self.description = match self.level {
            Level::Info => text,
            // A description must not look like an expression itself.
            Level::Error => text.replace('$', ""),
        };
    }
}

/// Failures in the shape of a context's `expressionEvaluationSummary`: key → list of
/// `{description, exceptionType, timestamp, level}`.
pub fn summary(failures: &[Failure], now_ms: i64) -> Map<String, Value> {
    let mut summary: Map<String, Value> = Map::new();
    for failure in failures {
        let mut entry = json!({"description": failure.description});
        if let Some(fields) = entry.as_object_mut() {
            if let Some(class) = &failure.exception_type {
                fields.insert("exceptionType".to_owned(), class.clone().into());
            }
            fields.insert("timestamp".to_owned(), now_ms.into());
            fields.insert("level".to_owned(), failure.level.as_str().into());
        }
        if let Value::Array(list) = summary
            .entry(failure.key.clone())
            .or_insert_with(|| json!([]))
        {
            list.push(entry);
        }
    }
    summary
}

/// A text that does not parse: what is wrong with it and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at character {position}{}", remedy(suggestion.as_deref()))]
pub struct ParseError {
    /// In characters from the start of the text.
    pub position: usize,
    /// What is wrong.
    pub problem: String,
    /// What would help, if we can guess it.
    pub suggestion: Option<String>,
}

fn remedy(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |text| format!("; {text}"))
}

const PARSE_EXCEPTION: &str = "org.springframework.expression.ParseException";
const SPEL_PARSE_EXCEPTION: &str = "org.springframework.expression.spel.SpelParseException";
const SPEL_EVALUATION_EXCEPTION: &str =
    "org.springframework.expression.spel.SpelEvaluationException";
/// Class of what helper functions refuse.
const HELPER_EXCEPTION: &str = "com.netflix.spinnaker.kork.expressions.SpelHelperFunctionException";
/// Class of arguments Java refuses.
pub(crate) const ILLEGAL_ARGUMENT: &str = "java.lang.IllegalArgumentException";
/// Class of texts that are no number.
pub(crate) const NUMBER_FORMAT: &str = "java.lang.NumberFormatException";

/// A syntax error inside one text, before it is told to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) at: usize,
    pub(crate) suggestion: Option<String>,
    problem: String,
    code: Option<&'static str>,
    template: Option<String>,
    cause: Option<(&'static str, String)>,
    /// Whether it is told as an evaluation that failed, without a position.
    evaluation: bool,
}

impl Syntax {
    /// An error in an expression.
    pub(crate) fn at(at: usize, code: &'static str, problem: String) -> Self {
        Self {
            at,
            suggestion: None,
            problem,
            code: Some(code),
            template: None,
            cause: None,
            evaluation: false,
        }
    }

    /// A character no expression has outside of a text.
    pub(crate) fn unreadable(at: usize, c: char) -> Self {
        let code = u32::from(c);
        let error = Self::at(at, "", format!("Cannot handle ({code}) '{c}'"));
        Self {
            code: None,
            cause: Some(("java.lang.IllegalStateException", String::new())),
            ..error.suggest("put it between quotes, or remove it")
        }
    }

    /// An error that comes with a text but is no matter of its grammar.
    pub(crate) fn evaluation(code: &'static str, problem: String) -> Self {
        Self {
            evaluation: true,
            ..Self::at(0, code, problem)
        }
    }

    /// An error in the template around the expressions.
    pub(crate) fn template(text: &str, at: usize, problem: String) -> Self {
        Self {
            at,
            suggestion: None,
            problem,
            code: None,
            template: Some(text.to_owned()),
            cause: None,
            evaluation: false,
        }
    }

    pub(crate) fn suggest(mut self, text: impl Into<String>) -> Self {
        self.suggestion = Some(text.into());
        self
    }

    /// Says what Java threw below.
    pub(crate) fn caused(mut self, class: &'static str, text: String) -> Self {
        self.cause = Some((class, text));
        self
    }

    /// As Orca tells it: text and class.
    pub(crate) fn recorded(&self, expression: &str) -> (String, &'static str) {
        let code = self
            .code
            .map_or_else(String::new, |code| format!("{code}: "));
        let Self { at, problem, .. } = self;
        if let Some((class, text)) = &self.cause {
            if text.is_empty() {
                return (problem.clone(), class);
            }
            return (format!("{text} - {code}{problem}"), class);
        }
        if self.evaluation {
            return (format!("{code}{problem}"), SPEL_EVALUATION_EXCEPTION);
        }
        let (text, class) = match &self.template {
            Some(template) => (template.as_str(), PARSE_EXCEPTION),
            None => (expression, SPEL_PARSE_EXCEPTION),
        };
        (format!("Expression [{text}] @{at}: {code}{problem}"), class)
    }

    /// As we tell it when a pipeline is saved.
    pub(crate) fn told(self, offset: usize) -> ParseError {
        let mut problem = self.problem;
        if let Some(first) = problem.get(..1) {
            let first = first.to_lowercase();
            problem.replace_range(..1, &first);
        }
        if let Some(code) = self.code {
            problem = format!("{problem} ({code})");
        }
        ParseError {
            position: self.at + offset,
            problem,
            suggestion: self.suggestion,
        }
    }
}

/// An evaluation that failed: the deepest cause, and what Spring says around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) class: &'static str,
    pub(crate) suggestion: Option<String>,
    pub(crate) at: Option<usize>,
    cause: String,
    outer: Option<String>,
}

impl Fault {
    /// One of Spring's own messages.
    pub(crate) fn spel(code: &str, text: impl AsRef<str>) -> Self {
        Self::java(
            SPEL_EVALUATION_EXCEPTION,
            format!("{code}: {}", text.as_ref()),
        )
    }

    /// Something Java threw.
    pub(crate) fn java(class: &'static str, text: impl Into<String>) -> Self {
        Self {
            class,
            suggestion: None,
            at: None,
            cause: text.into(),
            outer: None,
        }
    }

    /// Something a helper function refuses.
    pub(crate) fn helper(text: impl Into<String>) -> Self {
        Self::java(HELPER_EXCEPTION, text)
    }

    pub(crate) fn suggest(mut self, text: impl Into<String>) -> Self {
        self.suggestion = Some(text.into());
        self
    }

    /// Keeps the deepest position.
    pub(crate) fn located(mut self, at: usize) -> Self {
        self.at.get_or_insert(at);
        self
    }

    /// What Spring says around the cause, if nothing was said yet.
    pub(crate) fn around(mut self, code: &str, text: impl AsRef<str>) -> Self {
        let text = format!("{code}: {}", text.as_ref());
        self.outer.get_or_insert(text);
        self
    }

    /// What Spring says around the cause, whatever was said before.
    pub(crate) fn instead(mut self, code: &str, text: impl AsRef<str>) -> Self {
        if self.outer.is_some() {
            self.outer = Some(format!("{code}: {}", text.as_ref()));
        }
        self
    }

    /// `<cause> - <outer>`, as in a summary.
    pub(crate) fn reason(&self) -> String {
        match &self.outer {
            Some(outer) => format!("{} - {outer}", self.cause),
            None => self.cause.clone(),
        }
    }
}

/// Why an evaluation stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It failed.
    Fault(Box<Fault>),
    /// It needs an answer first.
    Need,
    /// A method was given arguments it does not take; whoever called it says so.
    Mismatch,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(Box::new(fault))
    }
}
