//! From tokens to a tree: recursive descent, one function per level of precedence.
//!
//! Nesting has a limit, so that neither the parser nor anything that walks its
//! result can run out of stack; operators of one level make a list, not a tree, for
//! the same reason. Truth: `spring: InternalSpelExpressionParser`.

use crate::ast::{Access, Compare, Expr, Infix, Kind, Link, Pick, Unary};
use crate::error::Syntax;
use crate::lexer::{Tok, Token, tokens};
use crate::limits::EXPRESSION_DEPTH;

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
            Some(token) => more_input(token, text),
            None => parser.out_of_data(),
        });
    };
    match parser.peek() {
        Some(token) => Err(more_input(token, text)),
        None => Ok(expr),
    }
}

fn more_input(token: &Token, text: &str) -> Syntax {
    let rest: String = text
        .chars()
        .skip(token.at)
        .take(token.end - token.at)
        .collect();
    let problem = format!(
        "After parsing a valid expression, there is still more data in the expression: '{rest}'"
    );
    Syntax::at(token.at, "EL1041E", problem)
        .suggest("put an operator between the two, or remove one")
}

type Parsed<T> = Result<T, Syntax>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn at(&self) -> usize {
        self.peek().map_or(self.end, |token| token.at)
    }

    fn is(&self, sign: &str) -> bool {
        self.sign_at(0) == Some(sign)
    }

    fn sign_at(&self, ahead: usize) -> Option<&'static str> {
        match self.tokens.get(self.next + ahead).map(|t| &t.tok) {
            Some(Tok::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn name_at(&self, ahead: usize) -> Option<&str> {
        match self.tokens.get(self.next + ahead).map(|t| &t.tok) {
            Some(Tok::Name(name)) => Some(name),
            _ => None,
        }
    }

    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.eat(sign) {
            return Ok(());
        }
        let Some(token) = self.peek() else {
            return Err(self.out_of_data().suggest(format!("add '{sign}'")));
        };
        let found = spelled(&token.tok);
        let problem = format!("Unexpected token. Expected '{sign}' but was '{found}'");
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

    fn out_of_data(&self) -> Syntax {
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

    fn expression(&mut self) -> Parsed<Expr> {
        match self.maybe_expression()? {
            Some(expr) => Ok(expr),
            None => Err(self.missing()),
        }
    }

    /// Why there is no expression here.
    fn missing(&self) -> Syntax {
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
            let at = p.at();
            let kind = if p.eat("=") {
                let Some(value) = p.infix(0)? else {
                    return Err(p.missing());
                };
                Kind::Assign(Box::new(left), Box::new(value))
            } else if p.eat("?:") {
                // Spring takes a missing default for null.
                let default = p
                    .maybe_expression()?
                    .unwrap_or_else(|| Expr::new(at, Kind::Null));
                Kind::Elvis(Box::new(left), Box::new(default))
            } else if p.eat("?") {
                let yes = p.expression()?;
                p.expect(":")?;
                let no = p.expression()?;
                Kind::Ternary(Box::new(left), Box::new(yes), Box::new(no))
            } else {
                return Ok(Some(left));
            };
            Ok(Some(Expr::new(at, kind)))
        })
    }

    /// `or`, `and`, comparisons, sums, products: levels 0, 1, 2, 3, 4.
    fn infix(&mut self, level: usize) -> Parsed<Option<Expr>> {
        if level == 2 {
            return self.comparison();
        }
        let Some(first) = self.operand(level)? else {
            return Ok(None);
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
            return Ok(None);
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
        let Some(token) = self.peek() else {
            return Err(self.out_of_data().suggest("write a name after the dot"));
        };
        let problem = format!("Unexpected data after '.': '{}'", spelled(&token.tok));
        Err(Syntax::at(at, "EL1049E", problem)
            .suggest("write a name after the dot, or ['…'] for a key that is no name"))
    }

    /// A property, method, projection or selection.
    fn access(&mut self) -> Parsed<Option<Access>> {
        if let Some(name) = self.name_at(0).map(ToOwned::to_owned) {
            self.next += 1;
            if self.is("(") {
                return Ok(Some(Access::Method(name, self.arguments()?)));
            }
            return Ok(Some(Access::Property(name)));
        }
        let pick = match self.sign_at(0) {
            Some("![") => None,
            Some("?[") => Some(Pick::All),
            Some("^[") => Some(Pick::First),
            Some("$[") => Some(Pick::Last),
            _ => return Ok(None),
        };
        self.next += 1;
        let inner = Box::new(self.expression()?);
        self.expect("]")?;
        Ok(Some(match pick {
            None => Access::Project(inner),
            Some(pick) => Access::Select(pick, inner),
        }))
    }

    fn index(&mut self) -> Parsed<Access> {
        self.expect("[")?;
        let index = self.expression()?;
        self.expect("]")?;
        Ok(Access::Index(Box::new(index)))
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let at = self.at();
        self.expect("(")?;
        let mut arguments = Vec::new();
        loop {
            if self.peek().is_none() {
                let problem = "Unexpectedly ran out of arguments".to_owned();
                return Err(Syntax::at(at, "EL1051E", problem).suggest("add ')'"));
            }
            // As in Spring, a comma may be followed by nothing.
            if !self.is(")") {
                arguments.push(self.expression()?);
            }
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        Ok(arguments)
    }

    fn start(&mut self) -> Parsed<Option<Expr>> {
        let Some(token) = self.peek().cloned() else {
            return Ok(None);
        };
        let at = token.at;
        let kind = match token.tok {
            Tok::Int(value) => self.literal(Kind::Int(value)),
            Tok::Long(value) => self.literal(Kind::Long(value)),
            Tok::Real(value) => self.literal(Kind::Real(value)),
            Tok::Float(value) => self.literal(Kind::Float(value)),
            Tok::Text(text) => self.literal(Kind::Text(text)),
            Tok::Name(name) => self.named(&name)?,
            Tok::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(Some(inner));
            }
            Tok::Sign("#") => self.variable()?,
            Tok::Sign("@") => {
                self.next += 1;
                let (Tok::Text(name) | Tok::Name(name)) = self.bean_name()? else {
                    return Err(self.missing());
                };
                Kind::Bean(name)
            }
            Tok::Sign("[") => Kind::Start(self.index()?),
            Tok::Sign("{") => self.list_or_map()?,
            Tok::Sign(_) => match self.access()? {
                Some(access) => Kind::Start(access),
                None => return Ok(None),
            },
        };
        Ok(Some(Expr::new(at, kind)))
    }

    fn literal(&mut self, kind: Kind) -> Kind {
        self.next += 1;
        kind
    }

    fn bean_name(&mut self) -> Parsed<Tok> {
        let Some(token) = self.peek().cloned() else {
            return Err(self.out_of_data());
        };
        self.next += 1;
        Ok(token.tok)
    }

    fn named(&mut self, name: &str) -> Parsed<Kind> {
        if name.eq_ignore_ascii_case("true") || name.eq_ignore_ascii_case("false") {
            return Ok(self.literal(Kind::Bool(name.eq_ignore_ascii_case("true"))));
        }
        if name.eq_ignore_ascii_case("null") {
            return Ok(self.literal(Kind::Null));
        }
        if name == "T" && self.sign_at(1) == Some("(") {
            self.next += 2;
            let mut name = self.qualified()?;
            while self.eat("[") {
                self.expect("]")?;
                name.push_str("[]");
            }
            self.expect(")")?;
            return Ok(Kind::Type(name));
        }
        if name.eq_ignore_ascii_case("new") && self.name_at(1).is_some() {
            self.next += 1;
            return self.constructor();
        }
        match self.access()? {
            Some(access) => Ok(Kind::Start(access)),
            None => Err(self.missing()),
        }
    }

    fn qualified(&mut self) -> Parsed<String> {
        let mut qualified = String::new();
        loop {
            let Some(name) = self.name_at(0) else {
                return Err(self.missing());
            };
            qualified.push_str(name);
            self.next += 1;
            if !self.eat(".") {
                return Ok(qualified);
            }
            qualified.push('.');
        }
    }

    fn constructor(&mut self) -> Parsed<Kind> {
        let name = self.qualified()?;
        if self.is("[") {
            self.next += 1;
            self.expect("]")
                .map_err(|e| e.suggest("give the elements: new int[]{1,2}"))?;
            self.expect("{")?;
            let items = self.items("}")?;
            return Ok(Kind::NewArray(name, items));
        }
        if self.is("(") {
            return Ok(Kind::New(name, self.arguments()?));
        }
        let problem = "The arguments '(...)' for the constructor call are missing".to_owned();
        Err(Syntax::at(self.at(), "EL1050E", problem))
    }

    /// Expressions up to and with the closing sign.
    fn items(&mut self, closing: &str) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        if self.eat(closing) {
            return Ok(items);
        }
        loop {
            items.push(self.expression()?);
            if !self.eat(",") {
                break;
            }
        }
        self.expect(closing)?;
        Ok(items)
    }

    fn variable(&mut self) -> Parsed<Kind> {
        self.next += 1;
        let Some(name) = self.name_at(0).map(ToOwned::to_owned) else {
            return Err(self.missing().suggest("write a function's name after '#'"));
        };
        self.next += 1;
        if self.is("(") {
            return Ok(Kind::Function(name, self.arguments()?));
        }
        Ok(Kind::Variable(name))
    }

    fn list_or_map(&mut self) -> Parsed<Kind> {
        self.expect("{")?;
        if self.eat("}") {
            return Ok(Kind::List(Vec::new()));
        }
        if self.eat(":") {
            self.expect("}")?;
            return Ok(Kind::Map(Vec::new()));
        }
        let first = self.expression()?;
        if !self.eat(":") {
            let mut items = vec![first];
            if self.eat(",") {
                items.extend(self.items("}")?);
            } else {
                self.expect("}")?;
            }
            return Ok(Kind::List(items));
        }
        let mut entries = vec![(first, self.expression()?)];
        while self.eat(",") {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
        }
        self.expect("}")?;
        Ok(Kind::Map(entries))
    }
}

fn right_operand(at: usize) -> Syntax {
    Syntax::at(at, "EL1042E", "Problem parsing right operand".to_owned())
        .suggest("write what the operator applies to")
}

fn spelled(tok: &Tok) -> String {
    match tok {
        Tok::Int(value) => value.to_string(),
        Tok::Long(value) => format!("{value}L"),
        Tok::Real(value) => format!("{value:?}"),
        Tok::Float(value) => format!("{value:?}f"),
        Tok::Text(text) => format!("'{text}'"),
        Tok::Name(name) => name.clone(),
        Tok::Sign(sign) => (*sign).to_owned(),
    }
}
