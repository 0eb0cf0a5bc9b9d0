//! Templates of queries: `${variable}`, `${variable:-default}`, `$${literal}` (`kayenta: QueryConfigUtils`).
//!
//! A template is its author's word; a value is not. Inside quotes a value is escaped, outside of them it may only
//! have characters that cannot end a name, and what fits neither is refused with field, value and remedy.
//! Differs from Spinnaker: there a value is put in as it is, and one with a quote asks whatever it likes.

use std::collections::BTreeMap;

use crate::query::Fault;

/// How deep variables may stand in values of variables.
const DEEPEST: usize = 8;
/// The longest query, in bytes.
const LONGEST: usize = 64 * 1024;
/// How many variables are replaced in one template, those in values of variables among them.
const MOST: usize = 10_000;
/// Bytes of values that are read for one template: what is read need not become part of the query.
const MOST_READ: usize = 16 * LONGEST;

/// What a variable stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A value of a request.
    Given {
        /// The value.
        value: String,
        /// Where it came from, for errors.
        field: String,
    },
    /// A part of a query that was made here, in the store's language.
    Ours(String),
}

/// Variables by name.
pub(crate) type Bindings = BTreeMap<String, Binding>;

/// How a store's language quotes.
#[derive(Debug)]
pub(crate) struct Language {
    /// Its name, for errors.
    pub(crate) name: &'static str,
    /// Quotes within which a backslash escapes.
    pub(crate) escaping: &'static [char],
    /// Quotes within which nothing can be escaped.
    pub(crate) raw: &'static [char],
    /// Beside letters, digits and `_`, what a value outside of quotes may have.
    pub(crate) bare: &'static str,
    /// What begins a comment to the end of the line.
    pub(crate) comment: Option<char>,
    /// Whether `$scope` and `$location` are variables too.
    pub(crate) bare_names: bool,
    /// Whether it is no language at all: any value may stand anywhere.
    pub(crate) is_text: bool,
}

/// A text that is sent as such, within JSON.
pub(crate) const TEXT: Language = Language {
    name: "text",
    escaping: &[],
    raw: &[],
    bare: "",
    comment: None,
    bare_names: false,
    is_text: true,
};

/// Prometheus.
pub(crate) const PROMQL: Language = Language {
    name: "PromQL",
    escaping: &['"', '\''],
    raw: &['`'],
    bare: ".:",
    comment: Some('#'),
    bare_names: false,
    is_text: false,
};

/// InfluxDB 1.x.
pub(crate) const INFLUXQL: Language = Language {
    name: "InfluxQL",
    escaping: &['"', '\''],
    raw: &[],
    bare: ".",
    comment: None,
    bare_names: false,
    is_text: false,
};

/// Graphite's targets: no escapes, braces and commas have a meaning.
pub(crate) const GRAPHITE: Language = Language {
    name: "Graphite",
    escaping: &[],
    raw: &['"', '\''],
    bare: ".:-*?%",
    comment: None,
    bare_names: true,
    is_text: false,
};

/// Datadog: no quotes at all; what stands between braces are tags.
pub(crate) const DATADOG: Language = Language {
    name: "Datadog",
    escaping: &[],
    raw: &['"', '\''],
    bare: ".:-*/",
    comment: None,
    bare_names: false,
    is_text: false,
};

/// New Relic.
pub(crate) const NRQL: Language = Language {
    name: "NRQL",
    escaping: &['\'', '`'],
    raw: &[],
    bare: ".:",
    comment: None,
    bare_names: false,
    is_text: false,
};

/// CloudWatch's expressions.
pub(crate) const METRIC_MATH: Language = Language {
    name: "metric math",
    escaping: &[],
    raw: &['"', '\''],
    bare: ".:-/",
    comment: None,
    bare_names: false,
    is_text: false,
};

/// Without the escapes that keep a pipeline's own expressions out of a template: `$\{` is `${`.
pub(crate) fn unescaped(template: &str) -> String {
    template.replace("$\\{", "${")
}

/// Expands the template that stands at `field`.
///
/// # Errors
/// A variable nobody knows, variables in a circle, a value that does not fit where it stands, a quote that is not
/// closed, a query that is too long or has too many variables.
pub(crate) fn expand(
    field: &str,
    template: &str,
    bindings: &Bindings,
    language: &Language,
) -> Result<String, Fault> {
    let mut expansion = Expansion {
        field,
        bindings,
        language,
        out: String::with_capacity(template.len()),
        place: Place::Bare,
        replaced: 0,
        read: 0,
    };
    expansion.walk(template, 0)?;
    if let Place::Quoted(quote) = expansion.place {
        let remedy = format!("close the quote {quote}");
        return Err(Fault::new(field, template, remedy));
    }
    Ok(expansion.out)
}

/// Where in the query's language the next character stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Bare,
    Quoted(char),
    Comment,
}

struct Expansion<'a> {
    field: &'a str,
    bindings: &'a Bindings,
    language: &'a Language,
    out: String,
    place: Place,
    /// Variables so far.
    replaced: usize,
    /// Bytes of values so far.
    read: usize,
}

impl Expansion<'_> {
    fn walk(&mut self, template: &str, depth: usize) -> Result<(), Fault> {
        if depth > DEEPEST {
            let remedy = format!("variables stand in one another more than {DEEPEST} deep");
            return Err(Fault::new(self.field, template, remedy));
        }
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            if self.out.len() > LONGEST {
                let remedy = format!("the query may have {LONGEST} bytes; shorten it");
                return Err(Fault::new(self.field, template, remedy));
            }
            if let Some(literal) = rest.strip_prefix("$${") {
                let end = close(literal).ok_or_else(|| self.open(rest))?;
                let (name, after) = literal.split_at(end);
                self.out.push_str("${");
                self.out.push_str(name);
                self.out.push('}');
                rest = after.get(1..).unwrap_or_default();
            } else if let Some(variable) = rest.strip_prefix("${") {
                let end = close(variable).ok_or_else(|| self.open(rest))?;
                let (variable, after) = variable.split_at(end);
                let (name, default) = match variable.split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (variable, None),
                };
                self.variable(name, default, depth)?;
                rest = after.get(1..).unwrap_or_default();
            } else if let Some((name, after)) = self.bare_name(rest) {
                self.variable(name, None, depth)?;
                rest = after;
            } else {
                rest = self.own(first, rest);
            }
        }
        Ok(())
    }

    fn open(&self, rest: &str) -> Fault {
        Fault::new(self.field, rest, "close the variable with }")
    }

    /// `$scope` where the language has it.
    fn bare_name<'r>(&self, rest: &'r str) -> Option<(&'r str, &'r str)> {
        let after = rest
            .strip_prefix('$')
            .filter(|_| self.language.bare_names)?;
        let names = ["scope", "location"];
        let name = names.iter().find(|name| after.starts_with(**name))?;
        Some(after.split_at(name.len()))
    }

    /// One character that the author wrote; answers what follows.
    fn own<'r>(&mut self, character: char, rest: &'r str) -> &'r str {
        let mut taken = character.len_utf8();
        self.place = match self.place {
            Place::Bare if self.language.comment == Some(character) => Place::Comment,
            Place::Bare if self.is_quote(character) => Place::Quoted(character),
            Place::Quoted(quote) if quote == character => Place::Bare,
            Place::Quoted(quote)
                if character == '\\' && self.language.escaping.contains(&quote) =>
            {
                let escaped = rest.get(1..).and_then(|rest| rest.chars().next());
                // A backslash before a variable cannot escape what comes of it.
                taken += escaped.filter(|c| *c != '$').map_or(0, char::len_utf8);
                self.place
            }
            Place::Comment if character == '\n' => Place::Bare,
            place @ (Place::Bare | Place::Quoted(_) | Place::Comment) => place,
        };
        let (own, rest) = rest.split_at(taken.min(rest.len()));
        self.out.push_str(own);
        rest
    }

    fn is_quote(&self, character: char) -> bool {
        self.language.escaping.contains(&character) || self.language.raw.contains(&character)
    }

    fn variable(&mut self, name: &str, default: Option<&str>, depth: usize) -> Result<(), Fault> {
        self.replace(self.field, &format!("${{{name}}}"))?;
        let bindings = self.bindings;
        match (bindings.get(name), default) {
            (Some(Binding::Ours(text)), _) => {
                // What has quotes of its own would end those around it.
                let has_quotes = text.chars().any(|character| self.is_quote(character));
                if has_quotes && matches!(self.place, Place::Quoted(_)) {
                    let remedy = "leave out the quotes around it: it brings its own";
                    return Err(Fault::new(self.field, &format!("${{{name}}}"), remedy));
                }
                self.out.push_str(text);
                Ok(())
            }
            (Some(Binding::Given { value, field }), _) => {
                let value = self.resolved(value, field, depth + 1)?;
                let fitting = self.fitting(name, &value, field)?;
                self.out.push_str(&fitting);
                Ok(())
            }
            (None, Some(default)) => self.walk(default, depth + 1),
            (None, None) => {
                let known: Vec<_> = self.bindings.keys().map(String::as_str).collect();
                let remedy = format!(
                    "there is no variable {name:?}, known are [{}]; give it in \
                     extendedScopeParams of the scope, or write ${{{name}:-default}}",
                    known.join(", ")
                );
                Err(Fault::new(self.field, &format!("${{{name}}}"), remedy))
            }
        }
    }

    /// Counts a variable that stands in the text at `field`: values of others that have others in turn are short, but
    /// there is no end to the work that they make.
    fn replace(&mut self, field: &str, text: &str) -> Result<(), Fault> {
        self.replaced += 1;
        if self.replaced <= MOST {
            return Ok(());
        }
        let remedy = format!(
            "more than {MOST} variables would be replaced, those in values of variables among them; use fewer"
        );
        Err(Fault::new(field, text, remedy))
    }

    /// A value, with the variables in it replaced.
    fn resolved(&mut self, value: &str, field: &str, depth: usize) -> Result<String, Fault> {
        if depth > DEEPEST {
            let remedy = format!("variables stand in one another more than {DEEPEST} deep");
            return Err(Fault::new(field, value, remedy));
        }
        self.read = self.read.saturating_add(value.len());
        if self.read > MOST_READ {
            let remedy = format!(
                "more than {MOST_READ} bytes of values would be read for one query; shorten them, or use fewer"
            );
            return Err(Fault::new(field, value, remedy));
        }
        let bindings = self.bindings;
        let (mut out, mut rest) = (String::new(), value);
        while let Some((before, after)) = rest.split_once("${") {
            let end = close(after).ok_or_else(|| Fault::new(field, value, "close it with }"))?;
            let (name, after) = after.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str(&format!("${{{name}}}"));
                continue;
            }
            out.push_str(before);
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (name, None),
            };
            self.replace(field, value)?;
            match (bindings.get(name), default) {
                (Some(Binding::Given { value, field }), _) => {
                    out.push_str(&self.resolved(value, field, depth + 1)?);
                }
                (Some(Binding::Ours(_)), _) => {
                    let remedy = format!("${{{name}}} can stand in a template only");
                    return Err(Fault::new(field, value, remedy));
                }
                (None, Some(default)) => out.push_str(&self.resolved(default, field, depth + 1)?),
                (None, None) => {
                    let remedy = format!(
                        "there is no variable {name:?}; write $${{{name}}} if none is meant"
                    );
                    return Err(Fault::new(field, value, remedy));
                }
            }
            if out.len() > LONGEST {
                return Err(Fault::new(field, value, "it becomes too long; shorten it"));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// The value as it may stand where it stands.
    fn fitting(&self, name: &str, value: &str, field: &str) -> Result<String, Fault> {
        let backslashes = self
            .out
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count();
        if matches!(self.place, Place::Quoted(_)) && backslashes % 2 == 1 {
            let remedy =
                "a backslash before a variable would escape the escape of its value; write two";
            return Err(Fault::new(self.field, &format!("\\${{{name}}}"), remedy));
        }
        fitting(value, self.place_of_value(), self.language).map_err(|reason| {
            let remedy = format!("{reason} where {} has ${{{name}}}", self.field);
            Fault::new(field, value, remedy)
        })
    }

    fn place_of_value(&self) -> Option<char> {
        match self.place {
            Place::Quoted(quote) => Some(quote),
            Place::Bare | Place::Comment => None,
        }
    }
}

/// `value` as it may stand within `quote`, or outside of quotes.
fn fitting(value: &str, quote: Option<char>, language: &Language) -> Result<String, String> {
    if language.is_text {
        return Ok(value.to_owned());
    }
    let Some(quote) = quote else {
        let may = |c: char| c.is_ascii_alphanumeric() || c == '_' || language.bare.contains(c);
        let foreign = value.chars().find(|c| !may(*c));
        let foreign = foreign.map(|c| format!("{c:?}"));
        let foreign = foreign.or_else(|| value.contains("--").then(|| "\"--\"".to_owned()));
        return match foreign {
            None => Ok(value.to_owned()),
            Some(foreign) => Err(format!(
                "{foreign} could end a name of {}: give letters, digits and {:?} only{}",
                language.name,
                format!("_{}", language.bare),
                if language.escaping.is_empty() {
                    ""
                } else {
                    ", or put the variable within quotes"
                }
            )),
        };
    };
    let escapes = language.escaping.contains(&quote);
    let mut out = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\n' if escapes => out.push_str("\\n"),
            '\\' if escapes => out.push_str("\\\\"),
            c if c.is_control() || (!escapes && (c == quote || c == '\\')) => {
                let name = language.name;
                return Err(format!(
                    "{c:?} cannot stand within {quote} in {name}: leave it out"
                ));
            }
            c if c == quote => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    Ok(out)
}

/// `value` as the inside of a text that stands within `quote`.
///
/// # Errors
/// A character that the language cannot have there.
pub(crate) fn quoted(
    value: &str,
    field: &str,
    quote: char,
    language: &Language,
) -> Result<String, Fault> {
    fitting(value, Some(quote), language).map_err(|reason| Fault::new(field, value, reason))
}

/// `value` as it may stand outside of quotes.
///
/// # Errors
/// A character that could end a name.
pub(crate) fn bare(value: &str, field: &str, language: &Language) -> Result<String, Fault> {
    fitting(value, None, language).map_err(|reason| Fault::new(field, value, reason))
}

/// Where the brace stands that closes what was opened before `text`.
fn close(text: &str) -> Option<usize> {
    let mut deep = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '{' if previous == '$' => deep += 1,
            '}' if deep == 0 => return Some(at),
            '}' => deep -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

#[cfg(test)]
mod tests;
