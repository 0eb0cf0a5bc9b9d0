//! From tokens to a tree: recursive descent, one function per level of precedence.
//!
//! Nesting has a limit, so that neither the parser nor anything that walks its
//! result can run out of stack; operators of one level make a list, not a tree, for
//! the same reason. Truth: `spring: InternalSpelExpressionParser`.

use crate::ast::{Compare, Expr, Infix, Kind, Link, Unary};
use crate::error::Syntax;
use crate::lexer::{Tok, Token, tokens};
use crate::limits::{EXPRESSION_DEPTH, TERNARIES};

/// Parses an expression, without its braces.
pub(crate) fn parse(text: &str) -> Result<Expr, Syntax> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
        end: text.chars().count(),
    };
    let Some(expr) = parser.maybe_expression()? else {
        return Err(match parser.peek() {
            Some(token) => more_input(token),
            None => parser.out_of_data(),
        });
    };
    match parser.peek() {
        Some(token) => Err(more_input(token)),
        None => Ok(expr),
    }
}

fn more_input(token: &Token) -> Syntax {
    let rest = spelled(&token.tok);
    let problem = format!(
        "After parsing a valid expression, there is still more data in the expression: '{rest}'"
    );
    Syntax::at(token.at, "EL1041E", problem)
        .suggest("put an operator between the two, or remove one")
}

pub(crate) type Parsed<T> = Result<T, Syntax>;

pub(crate) struct Parser {
    pub(crate) tokens: Vec<Token>,
    pub(crate) next: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    pub(crate) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    pub(crate) fn at(&self) -> usize {
        self.peek().map_or(self.end, |token| token.at)
    }

    pub(crate) fn is(&self, sign: &str) -> bool {
        self.sign_at(0) == Some(sign)
    }

    pub(crate) fn sign_at(&self, ahead: usize) -> Option<&'static str> {
        match self.tokens.get(self.next + ahead).map(|t| &t.tok) {
            Some(Tok::Sign(sign) | Tok::Word(sign, _)) => Some(sign),
            _ => None,
        }
    }

    pub(crate) fn name_at(&self, ahead: usize) -> Option<&str> {
        match self.tokens.get(self.next + ahead).map(|t| &t.tok) {
            Some(Tok::Name(name) | Tok::Word(_, name)) => Some(name),
            _ => None,
        }
    }

    pub(crate) fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.next += 1;
        }
        found
    }

    pub(crate) fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.eat(sign) {
            return Ok(());
        }
        let Some(token) = self.peek() else {
            return Err(self.out_of_data().suggest(format!("add '{sign}'")));
        };
        let (found, wanted) = (spelled(&token.tok), token_name(sign));
        let problem = format!("Unexpected token. Expected '{wanted}' but was '{found}'");
        Err(Syntax::at(token.at, "EL1043E", problem).suggest(format!("add '{sign}'")))
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self
            .name_at(0)
            .is_some_and(|name| name.eq_ignore_ascii_case(word));
        if found {
            self.next += 1;
        }
        found
    }

    pub(crate) fn out_of_data(&self) -> Syntax {
        Syntax::at(
            self.end,
            "EL1044E",
            "Unexpectedly ran out of input".to_owned(),
        )
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= EXPRESSION_DEPTH {
            let problem = format!("The expression is nested deeper than {EXPRESSION_DEPTH} levels");
            return Err(Syntax::at(self.at(), "EL1079E", problem)
                .suggest("split it with an evaluateVariables stage"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    pub(crate) fn expression(&mut self) -> Parsed<Expr> {
        match self.maybe_expression()? {
            Some(expr) => Ok(expr),
            None => Err(self.missing()),
        }
    }

    /// Why there is no expression here.
    pub(crate) fn missing(&self) -> Syntax {
        match self.peek() {
            None => self.out_of_data(),
            Some(token) => {
                let problem = format!(
                    "Unexpected token. Expected 'an expression' but was '{}'",
                    spelled(&token.tok)
                );
                Syntax::at(token.at, "EL1043E", problem)
            }
        }
    }

    fn maybe_expression(&mut self) -> Parsed<Option<Expr>> {
        self.nested(|p| {
            let Some(left) = p.infix(0)? else {
                return Ok(None);
            };
            if p.is("?") {
                return p.ternary(left).map(Some);
            }
            p.defaulted(left).map(Some)
        })
    }

    /// What may follow an expression but a condition: `= b`, `?: b`.
    fn defaulted(&mut self, left: Expr) -> Parsed<Expr> {
        let at = self.at();
        let kind = if self.eat("=") {
            let Some(value) = self.infix(0)? else {
                return Err(self.missing());
            };
            Kind::Assign(Box::new(left), Box::new(value))
        } else if self.eat("?:") {
            // Spring takes a missing default for null.
            let default = self
                .maybe_expression()?
                .unwrap_or_else(|| Expr::new(at, Kind::Null));
            Kind::Elvis(Box::new(left), Box::new(default))
        } else {
            return Ok(left);
        };
        Ok(Expr::new(at, kind))
    }

    /// `a ? b : c ? d : e`: what follows the colon goes no deeper, up to a number of
    /// conditions that the evaluator can follow.
    fn ternary(&mut self, first: Expr) -> Parsed<Expr> {
        let mut conditions = vec![(self.at(), first)];
        let mut chosen = Vec::new();
        let last = loop {
            if conditions.len() > TERNARIES {
                let problem = format!("The conditions are nested deeper than {TERNARIES} levels");
                return Err(Syntax::at(self.at(), "EL1079E", problem)
                    .suggest("look the value up in a map: {a:1,b:2}[name]"));
            }
            self.expect("?")?;
            chosen.push(self.expression()?);
            self.expect(":")?;
            let Some(next) = self.infix(0)? else {
                return Err(self.missing());
            };
            if !self.is("?") {
                break self.defaulted(next)?;
            }
            conditions.push((self.at(), next));
        };
        let pairs = conditions.into_iter().zip(chosen).rev();
        Ok(pairs.fold(last, |no, ((at, condition), yes)| {
            let kind = Kind::Ternary(Box::new(condition), Box::new(yes), Box::new(no));
            Expr::new(at, kind)
        }))
    }

    /// `or`, `and`, comparisons, sums, products: levels 0, 1, 2, 3, 4.
    fn infix(&mut self, level: usize) -> Parsed<Option<Expr>> {
        if level == 2 {
            return self.comparison();
        }
        let Some(first) = self.operand(level)? else {
            return match self.infix_operator(level) {
                Some(_) => Err(left_operand(self.at())),
                None => Ok(None),
            };
        };
        let mut rest = Vec::new();
        let at = self.at();
        while let Some(op) = self.infix_operator(level) {
            let at = self.at();
            self.next += 1;
            let Some(operand) = self.operand(level)? else {
                return Err(right_operand(at));
            };
            rest.push((op, operand));
        }
        if rest.is_empty() {
            return Ok(Some(first));
        }
        Ok(Some(Expr::new(at, Kind::Infix(Box::new(first), rest))))
    }

    fn operand(&mut self, level: usize) -> Parsed<Option<Expr>> {
        if level == 4 {
            self.power()
        } else {
            self.infix(level + 1)
        }
    }

    fn infix_operator(&self, level: usize) -> Option<Infix> {
        let word = |word: &str| {
            self.name_at(0)
                .is_some_and(|n| n.eq_ignore_ascii_case(word))
        };
        let sign = self.sign_at(0);
        match (level, sign) {
            (0, Some("||")) => Some(Infix::Or),
            (0, None) if word("or") => Some(Infix::Or),
            (1, Some("&&")) => Some(Infix::And),
            (1, None) if word("and") => Some(Infix::And),
            (3, Some("+")) => Some(Infix::Add),
            (3, Some("-")) => Some(Infix::Subtract),
            (4, Some("*")) => Some(Infix::Multiply),
            (4, Some("/")) => Some(Infix::Divide),
            (4, Some("%")) => Some(Infix::Modulo),
            _ => None,
        }
    }

    fn comparison(&mut self) -> Parsed<Option<Expr>> {
        let Some(left) = self.infix(3)? else {
            let at = self.at();
            return match self.eat_comparison() {
                Some(_) => Err(left_operand(at)),
                None => Ok(None),
            };
        };
        let at = self.at();
        let Some(op) = self.eat_comparison() else {
            return Ok(Some(left));
        };
        let Some(right) = self.infix(3)? else {
            return Err(right_operand(at));
        };
        let kind = Kind::Compare(op, Box::new(left), Box::new(right));
        Ok(Some(Expr::new(at, kind)))
    }

    fn eat_comparison(&mut self) -> Option<Compare> {
        const WORDS: &[(&str, Compare)] = &[
            ("instanceof", Compare::InstanceOf),
            ("matches", Compare::Matches),
            ("between", Compare::Between),
        ];
        let op = match self.sign_at(0) {
            Some("==") => Compare::Equal,
            Some("!=") => Compare::NotEqual,
            Some("<") => Compare::Less,
            Some("<=") => Compare::LessOrEqual,
            Some(">") => Compare::Greater,
            Some(">=") => Compare::GreaterOrEqual,
            Some(_) => return None,
            None => {
                return WORDS
                    .iter()
                    .find(|(word, _)| self.eat_word(word))
                    .map(|(_, op)| *op);
            }
        };
        self.next += 1;
        Some(op)
    }

    fn power(&mut self) -> Parsed<Option<Expr>> {
        let Some(base) = self.unary()? else {
            return Ok(None);
        };
        let at = self.at();
        if self.eat("^") {
            let Some(exponent) = self.unary()? else {
                return Err(right_operand(at));
            };
            let kind = Kind::Power(Box::new(base), Box::new(exponent));
            return Ok(Some(Expr::new(at, kind)));
        }
        if let Some(by) = self.eat_step() {
            return Ok(Some(Expr::new(at, Kind::Step(false, by, Box::new(base)))));
        }
        Ok(Some(base))
    }

    fn eat_step(&mut self) -> Option<i32> {
        if self.eat("++") {
            Some(1)
        } else if self.eat("--") {
            Some(-1)
        } else {
            None
        }
    }

    fn unary(&mut self) -> Parsed<Option<Expr>> {
        let at = self.at();
        let op = match self.sign_at(0) {
            Some("-") => Unary::Minus,
            Some("+") => Unary::Plus,
            Some("!") => Unary::Not,
            _ => {
                let Some(by) = self.eat_step() else {
                    return self.primary();
                };
                let Some(operand) = self.primary()? else {
                    return Err(self.missing());
                };
                return Ok(Some(Expr::new(at, Kind::Step(true, by, Box::new(operand)))));
            }
        };
        self.next += 1;
        let Some(operand) = self.nested(Self::unary)? else {
            return Err(right_operand(at));
        };
        Ok(Some(Expr::new(at, Kind::Unary(op, Box::new(operand)))))
    }

    fn primary(&mut self) -> Parsed<Option<Expr>> {
        let Some(start) = self.start()? else {
            return Ok(None);
        };
        let mut links = Vec::new();
        loop {
            let safe = self.is("?.");
            if safe || self.is(".") {
                self.next += 1;
                links.push(self.dotted(safe)?);
            } else if self.is("[") {
                let at = self.at();
                let access = self.index()?;
                links.push(Link {
                    at,
                    safe: false,
                    access,
                });
            } else {
                break;
            }
        }
        if links.is_empty() {
            return Ok(Some(start));
        }
        let at = start.at;
        Ok(Some(Expr::new(at, Kind::Chain(Box::new(start), links))))
    }

    fn dotted(&mut self, safe: bool) -> Parsed<Link> {
        let at = self.at();
        if let Some(access) = self.access()? {
            return Ok(Link { at, safe, access });
        }
        // The position told is that of the dot.
        let dot = self
            .next
            .checked_sub(1)
            .and_then(|dot| self.tokens.get(dot));
        let at = dot.map_or(at, |dot| dot.at);
        let Some(token) = self.peek() else {
            let mut error = self.out_of_data().suggest("write a name after the dot");
            error.at = at;
            return Err(error);
        };
        let problem = format!("Unexpected data after '.': '{}'", spelled(&token.tok));
        Err(Syntax::at(at, "EL1049E", problem)
            .suggest("write a name after the dot, or ['…'] for a key that is no name"))
    }
}

fn left_operand(at: usize) -> Syntax {
    Syntax::at(at, "EL1070E", "Problem parsing left operand".to_owned())
        .suggest("write what the operator applies to")
}

fn right_operand(at: usize) -> Syntax {
    Syntax::at(at, "EL1042E", "Problem parsing right operand".to_owned())
        .suggest("write what the operator applies to")
}

/// A sign as messages name it: `power(^)`.
fn token_name(sign: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("(", "lparen"),
        (")", "rparen"),
        (",", "comma"),
        (":", "colon"),
        ("#", "hash"),
        ("]", "rsquare"),
        ("[", "lsquare"),
        ("{", "lcurly"),
        ("}", "rcurly"),
        (".", "dot"),
        ("+", "plus"),
        ("*", "star"),
        ("-", "minus"),
        ("^[", "select_first"),
        ("$[", "select_last"),
        ("?", "qmark"),
        ("![", "project"),
        ("/", "div"),
        (">=", "ge"),
        (">", "gt"),
        ("<=", "le"),
        ("<", "lt"),
        ("==", "eq"),
        ("!=", "ne"),
        ("%", "mod"),
        ("!", "not"),
        ("=", "assign"),
        ("?[", "select"),
        ("^", "power"),
        ("?:", "elvis"),
        ("?.", "safe_navi"),
        ("@", "bean_ref"),
        ("&", "factory_bean_ref"),
        ("||", "symbolic_or"),
        ("&&", "symbolic_and"),
        ("++", "inc"),
        ("--", "dec"),
    ];
    let found = NAMES.iter().find(|(known, _)| *known == sign);
    found.map_or_else(|| sign.to_owned(), |(_, name)| format!("{name}({sign})"))
}

fn spelled(tok: &Tok) -> String {
    match tok {
        Tok::Int(value) => value.to_string(),
        Tok::Long(value) => format!("{value}L"),
        Tok::Real(value) => format!("{value:?}"),
        Tok::Float(value) => format!("{value:?}f"),
        Tok::Text(text) => format!("'{text}'"),
        Tok::Name(name) => name.clone(),
        Tok::Word(sign, _) => token_name(sign),
        Tok::Sign(sign) => token_name(sign),
    }
}
