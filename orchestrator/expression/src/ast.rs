//! What an expression is once parsed, and how it is printed so that parsing gives
//! the same again.

use std::fmt;

/// An expression and where it starts, in characters. Equality ignores positions.
#[derive(Debug, Clone)]
pub struct Expr {
    /// Position of its first token, or of its operator.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Expr {
    /// An expression at a position.
    pub fn new(at: usize, kind: Kind) -> Self {
        Self { at, kind }
    }
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// `1`
    Int(i32),
    /// `1L`
    Long(i64),
    /// `1.5`
    Real(f64),
    /// `1.5f`
    Float(f32),
    /// `'text'`
    Text(String),
    /// `{1,2}`
    List(Vec<Expr>),
    /// `{a:1}`; a key that is a bare name is a text.
    Map(Vec<(Expr, Expr)>),
    /// `#name`
    Variable(String),
    /// `#name(…)`
    Function(String, Vec<Expr>),
    /// `@name`: never available.
    Bean(String),
    /// `T(name)`
    Type(String),
    /// `new name(…)`
    New(String, Vec<Expr>),
    /// `new name[]{…}`
    NewArray(String, Vec<Expr>),
    /// `new name[size]`
    NewSized(String, Box<Expr>),
    /// `name`, `name(…)`, `[i]`, `![e]`, `?[c]` on what is current.
    Start(Access),
    /// A start followed by accesses: `a.b[c]`.
    Chain(Box<Expr>, Vec<Link>),
    /// `-a`, `+a`, `!a`
    Unary(Unary, Box<Expr>),
    /// `++a`, `a--`: the value; nothing changes. True if written in front.
    Step(bool, i32, Box<Expr>),
    /// `a ^ b`
    Power(Box<Expr>, Box<Expr>),
    /// `a + b - c`: operators of one level, from left to right.
    Infix(Box<Expr>, Vec<(Infix, Expr)>),
    /// `a == b`: at most one in a row.
    Compare(Compare, Box<Expr>, Box<Expr>),
    /// `a ? b : c`
    Ternary(Box<Expr>, Box<Expr>, Box<Expr>),
    /// `a ?: b`
    Elvis(Box<Expr>, Box<Expr>),
    /// `a = b`: the value of b; nothing changes.
    Assign(Box<Expr>, Box<Expr>),
}

/// One step along a chain.
#[derive(Debug, Clone)]
pub struct Link {
    /// Position of the name or bracket.
    pub at: usize,
    /// Written with `?.`: null stays null.
    pub safe: bool,
    /// What is done.
    pub access: Access,
}

impl PartialEq for Link {
    fn eq(&self, other: &Self) -> bool {
        self.safe == other.safe && self.access == other.access
    }
}

/// A way into a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Access {
    /// `.name`
    Property(String),
    /// `.name(…)`
    Method(String, Vec<Expr>),
    /// `[index]`
    Index(Box<Expr>),
    /// `.![e]`
    Project(Box<Expr>),
    /// `.?[c]`, `.^[c]`, `.$[c]`
    Select(Pick, Box<Expr>),
}

/// Which of the elements that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// `?[`
    All,
    /// `^[`
    First,
    /// `$[`
    Last,
}

/// Operators in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unary {
    /// `-`
    Minus,
    /// `+`
    Plus,
    /// `!`
    Not,
}

/// Operators that associate to the left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infix {
    /// `or`
    Or,
    /// `and`
    And,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Modulo,
}

impl Infix {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }
}

impl Infix {
    /// Its name in messages.
    pub(crate) fn java(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Add => "ADD",
            Self::Subtract => "SUBTRACT",
            Self::Multiply => "MULTIPLY",
            Self::Divide => "DIVIDE",
            Self::Modulo => "MODULUS",
        }
    }
}

/// Operators that do not associate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `instanceof`
    InstanceOf,
    /// `matches`
    Matches,
    /// `between`
    Between,
}

impl Compare {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::InstanceOf => "instanceof",
            Self::Matches => "matches",
            Self::Between => "between",
        }
    }
}

/// An operand: in parentheses unless it binds at least as tightly as a chain.
struct Tight<'a>(&'a Expr);

impl fmt::Display for Tight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loose = matches!(
            self.0.kind,
            Kind::Unary(..)
                | Kind::Step(..)
                | Kind::Power(..)
                | Kind::Infix(..)
                | Kind::Compare(..)
                | Kind::Ternary(..)
                | Kind::Elvis(..)
                | Kind::Assign(..)
        );
        if loose {
            write!(f, "({})", self.0)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

struct Joined<'a>(&'a [Expr]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, expr) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{expr}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Null => write!(f, "null"),
            Kind::Bool(value) => write!(f, "{value}"),
            Kind::Int(value) => write!(f, "{value}"),
            Kind::Long(value) => write!(f, "{value}L"),
            Kind::Real(value) if value.is_infinite() => write!(f, "1e999"),
            Kind::Real(value) => write!(f, "{value:?}"),
            Kind::Float(value) if value.is_infinite() => write!(f, "1e999f"),
            Kind::Float(value) => write!(f, "{value:?}f"),
            Kind::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Kind::List(items) => write!(f, "{{{}}}", Joined(items)),
            Kind::Map(entries) if entries.is_empty() => write!(f, "{{:}}"),
            Kind::Map(entries) => {
                for (i, (key, value)) in entries.iter().enumerate() {
                    let before = if i == 0 { '{' } else { ',' };
                    write!(f, "{before}{}:{value}", Tight(key))?;
                }
                write!(f, "}}")
            }
            Kind::Variable(name) => write!(f, "#{name}"),
            Kind::Function(name, args) => write!(f, "#{name}({})", Joined(args)),
            Kind::Bean(name) => write!(f, "@{name}"),
            Kind::Type(name) => write!(f, "T({name})"),
            Kind::New(name, args) => write!(f, "new {name}({})", Joined(args)),
            Kind::NewArray(name, items) => write!(f, "new {name}[]{{{}}}", Joined(items)),
            Kind::NewSized(name, size) => write!(f, "new {name}[{size}]"),
            Kind::Start(access) => write!(f, "{access}"),
            Kind::Chain(start, links) => {
                let nested = matches!(
                    start.kind,
                    Kind::Chain(..) | Kind::Int(_) | Kind::Long(_) | Kind::Real(_) | Kind::Float(_)
                );
                if nested {
                    write!(f, "({start})")?;
                } else {
                    write!(f, "{}", Tight(start))?;
                }
                for link in links {
                    let dot = match (&link.access, link.safe) {
                        (Access::Index(_), _) => "",
                        (_, true) => "?.",
                        (_, false) => ".",
                    };
                    write!(f, "{dot}{}", link.access)?;
                }
                Ok(())
            }
            Kind::Unary(op, operand) => {
                let sign = match op {
                    Unary::Minus => '-',
                    Unary::Plus => '+',
                    Unary::Not => '!',
                };
                // Apart, or `!` before a list would read as a projection.
                write!(f, "{sign} {}", Tight(operand))
            }
            Kind::Step(front, by, operand) => {
                let sign = if *by > 0 { "++" } else { "--" };
                if *front {
                    write!(f, "{sign}{}", Tight(operand))
                } else {
                    write!(f, "{}{sign}", Tight(operand))
                }
            }
            Kind::Power(base, exponent) => write!(f, "{} ^ {}", Tight(base), Tight(exponent)),
            Kind::Infix(first, rest) => {
                write!(f, "{}", Tight(first))?;
                for (op, operand) in rest {
                    write!(f, " {} {}", op.sign(), Tight(operand))?;
                }
                Ok(())
            }
            Kind::Compare(op, left, right) => {
                write!(f, "{} {} {}", Tight(left), op.sign(), Tight(right))
            }
            Kind::Ternary(condition, yes, no) => {
                write!(f, "{} ? {} : ", Tight(condition), Tight(yes))?;
                // A chain of conditions may be longer than parentheses may be deep.
                if matches!(no.kind, Kind::Ternary(..)) {
                    write!(f, "{no}")
                } else {
                    write!(f, "{}", Tight(no))
                }
            }
            Kind::Elvis(value, default) => write!(f, "{} ?: {}", Tight(value), Tight(default)),
            Kind::Assign(target, value) => write!(f, "{} = {}", Tight(target), Tight(value)),
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Property(name) => write!(f, "{name}"),
            Self::Method(name, args) => write!(f, "{name}({})", Joined(args)),
            Self::Index(index) => write!(f, "[{index}]"),
            Self::Project(expr) => write!(f, "![{expr}]"),
            Self::Select(pick, condition) => {
                let sign = match pick {
                    Pick::All => '?',
                    Pick::First => '^',
                    Pick::Last => '$',
                };
                write!(f, "{sign}[{condition}]")
            }
        }
    }
}
