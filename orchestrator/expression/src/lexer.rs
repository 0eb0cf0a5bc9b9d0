//! From characters to tokens, in one pass; positions in characters.
//!
//! No escapes in literals: a quote is doubled, a backslash is a backslash. Truth:
//! `spring: Tokenizer`.

use crate::error::Syntax;

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    Int(i32),
    Long(i64),
    Real(f64),
    Float(f32),
    Text(String),
    /// A name; keywords are names until the parser asks.
    Name(String),
    /// `not`, `eq` and so on: a sign, and a name where only a name can be.
    Word(&'static str, String),
    /// An operator or bracket, spelled as itself.
    Sign(&'static str),
}

/// A token and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) at: usize,
    pub(crate) end: usize,
    pub(crate) tok: Tok,
}

/// Longest first.
const SIGNS: &[&str] = &[
    "++", "--", "!=", "==", "<=", ">=", "&&", "||", "?.", "?:", "?[", "^[", "$[", "![", "+", "-",
    ":", ".", ",", "*", "/", "%", "(", ")", "[", "]", "#", "{", "}", "@", "^", "!", "=", "?", "<",
    ">", "&",
];

/// Operators that have a name.
const NAMED: &[(&str, &str)] = &[
    ("div", "/"),
    ("eq", "=="),
    ("ge", ">="),
    ("gt", ">"),
    ("le", "<="),
    ("lt", "<"),
    ("mod", "%"),
    ("ne", "!="),
    ("not", "!"),
];

/// The sign a named operator stands for.
pub(crate) fn named_operator(name: &str) -> Option<&'static str> {
    NAMED
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(name))
        .map(|(_, sign)| *sign)
}

/// All tokens of an expression.
pub(crate) fn tokens(text: &str) -> Result<Vec<Token>, Syntax> {
    let chars: Vec<char> = text.chars().collect();
    let mut lexer = Lexer { chars, at: 0 };
    let mut tokens = Vec::new();
    while let Some(c) = lexer.peek(0) {
        let at = lexer.at;
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            lexer.at += 1;
            continue;
        }
        let tok = if c.is_ascii_digit() {
            lexer.number()?
        } else if c == '\'' || c == '"' {
            lexer.text(c)?
        } else if is_name_start(c) && !(c == '$' && lexer.peek(1) == Some('[')) {
            lexer.name()
        } else {
            lexer.sign(c)?
        };
        tokens.push(Token {
            at,
            end: lexer.at,
            tok,
        });
    }
    Ok(tokens)
}

pub(crate) fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '$'
}

fn is_name_part(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit()
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
        self.since(from)
    }

    fn since(&self, from: usize) -> String {
        self.chars
            .get(from..self.at)
            .unwrap_or_default()
            .iter()
            .collect()
    }

    fn name(&mut self) -> Tok {
        let name = self.take_while(is_name_part);
        match named_operator(&name) {
            Some(sign) => Tok::Word(sign, name),
            None => Tok::Name(name),
        }
    }

    fn sign(&mut self, c: char) -> Result<Tok, Syntax> {
        let two = self
            .peek(1)
            .map(|next| [c, next].iter().collect::<String>());
        let found = SIGNS.iter().find(|sign| {
            two.as_deref() == Some(**sign) || (sign.len() == 1 && sign.starts_with(c))
        });
        if let Some(sign) = found {
            self.at += sign.len();
            return Ok(Tok::Sign(sign));
        }
        let (code, problem) = match c {
            '\\' => ("EL1067E", "Unexpected escape character".to_owned()),
            '|' => ("EL1065E", "Missing expected character '|'".to_owned()),
            other => return Err(Syntax::unreadable(self.at, other)),
        };
        Err(Syntax::at(self.at, code, problem))
    }

    fn text(&mut self, quote: char) -> Result<Tok, Syntax> {
        let from = self.at;
        let mut text = String::new();
        self.at += 1;
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if c != quote {
                text.push(c);
            } else if self.peek(0) == Some(quote) {
                text.push(c);
                self.at += 1;
            } else {
                return Ok(Tok::Text(text));
            }
        }
        let (code, problem) = if quote == '"' {
            ("EL1045E", "Cannot find terminating \" for string")
        } else {
            ("EL1046E", "Cannot find terminating ' for string")
        };
        Err(Syntax::at(from, code, problem.to_owned())
            .suggest(format!("end the text with {quote}")))
    }

    fn number(&mut self) -> Result<Tok, Syntax> {
        let from = self.at;
        if self.peek(0) == Some('0') && matches!(self.peek(1), Some('x' | 'X')) {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_hexdigit());
            return self.integer(from, &digits, 16);
        }
        let digits = self.take_while(|c| c.is_ascii_digit());
        let mut real = false;
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            real = true;
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        if matches!(self.peek(0), Some('l' | 'L')) {
            if real {
                let problem = "Real number cannot be suffixed with a long (L or l) suffix";
                return Err(Syntax::at(from, "EL1048E", problem.to_owned()).suggest("remove the L"));
            }
            return self.integer(from, &digits, 10);
        }
        if matches!(self.peek(0), Some('e' | 'E')) {
            real = true;
            self.at += 1;
            if matches!(self.peek(0), Some('+' | '-')) {
                self.at += 1;
            }
            if self.take_while(|c| c.is_ascii_digit()).is_empty() {
                let written = self.since(from);
                let problem = format!("The value '{written}' cannot be parsed as a double");
                return Err(Syntax::at(from, "EL1040E", problem));
            }
        }
        let written = self.since(from);
        let float = matches!(self.peek(0), Some('f' | 'F'));
        let double = matches!(self.peek(0), Some('d' | 'D'));
        if !(real || float || double) {
            return self.integer(from, &digits, 10);
        }
        if float || double {
            self.at += 1;
        }
        let bad = || {
            let problem = format!("The value '{written}' cannot be parsed as a double");
            Syntax::at(from, "EL1040E", problem)
        };
        if float {
            written.parse().map(Tok::Float).map_err(|_| bad())
        } else {
            written.parse().map(Tok::Real).map_err(|_| bad())
        }
    }

    fn integer(&mut self, from: usize, digits: &str, radix: u32) -> Result<Tok, Syntax> {
        let long = matches!(self.peek(0), Some('l' | 'L'));
        if long {
            self.at += 1;
        }
        let parsed = if long {
            i64::from_str_radix(digits, radix).map(Tok::Long).ok()
        } else {
            i32::from_str_radix(digits, radix).map(Tok::Int).ok()
        };
        parsed.ok_or_else(|| {
            let (code, kind) = if long {
                ("EL1036E", "long")
            } else {
                ("EL1035E", "int")
            };
            let problem = format!(
                "The value '{digits}' cannot be parsed as {} {kind}",
                article(kind)
            );
            let error = Syntax::at(from, code, problem).caused(
                "java.lang.NumberFormatException",
                format!("For input string: \"{digits}\""),
            );
            if long {
                error
            } else {
                error.suggest(format!("write {digits}L"))
            }
        })
    }
}

fn article(kind: &str) -> &'static str {
    if kind == "int" { "an" } else { "a" }
}
