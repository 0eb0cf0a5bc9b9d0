//! What an expression may start with, and the ways into a value: literals, names,
//! lists, functions, types, calls.
//!
//! Truth: `spring: InternalSpelExpressionParser.eatStartNode`.

use crate::ast::{Access, Expr, Kind, Pick};
use crate::error::Syntax;
use crate::lexer::Tok;
use crate::parser::{Parsed, Parser};

impl Parser {
    /// A property, method, projection or selection.
    pub(crate) fn access(&mut self) -> Parsed<Option<Access>> {
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

    pub(crate) fn index(&mut self) -> Parsed<Access> {
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

    pub(crate) fn start(&mut self) -> Parsed<Option<Expr>> {
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
            Tok::Name(name) | Tok::Word(_, name) => self.named(&name)?,
            Tok::Sign("(") => {
                self.next += 1;
                let inner = self.expression()?;
                self.expect(")")?;
                return Ok(Some(inner));
            }
            Tok::Sign("#") => self.variable()?,
            Tok::Sign("@") => {
                self.next += 1;
                let (Tok::Text(name) | Tok::Name(name) | Tok::Word(_, name)) = self.bean_name()?
                else {
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
        // Either word may still be a key in brackets.
        let is_key = self.sign_at(1) == Some("]");
        if name == "T" && !is_key {
            self.next += 1;
            self.expect("(")?;
            let mut name = self.qualified()?;
            while self.eat("[") {
                self.expect("]")?;
                name.push_str("[]");
            }
            self.expect(")")?;
            return Ok(Kind::Type(name));
        }
        if name.eq_ignore_ascii_case("new") && !is_key {
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
        if self.eat("[") {
            if !self.is("]") {
                let size = Box::new(self.expression()?);
                self.expect("]")?;
                return Ok(Kind::NewSized(name, size));
            }
            self.next += 1;
            self.expect("{")
                .map_err(|e| e.suggest("give the elements or their number: new int[]{1,2}"))?;
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
            while self.eat(",") {
                items.push(self.expression()?);
            }
            self.expect("}")?;
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
