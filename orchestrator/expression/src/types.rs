//! The Java types an expression may name in `T(…)` and `new …(…)`: this list and no
//! other. Truth: `orca: ExpressionsSupport`, `kork: AllowListTypeLocator`.

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JavaType {
    Text,
    Integer,
    Long,
    Double,
    Byte,
    Boolean,
    Math,
    Date,
    Random,
    Uuid,
    DateFormat,
    LocalDate,
    LocalDateTime,
    DayOfWeek,
    Instant,
    ChronoUnit,
    UrlEncoder,
    TemporalAdjusters,
}

/// Every type with its full name. Those of `java.lang` have a short one as well.
const TYPES: &[(JavaType, &str)] = &[
    (JavaType::Text, "java.lang.String"),
    (JavaType::Integer, "java.lang.Integer"),
    (JavaType::Long, "java.lang.Long"),
    (JavaType::Double, "java.lang.Double"),
    (JavaType::Byte, "java.lang.Byte"),
    (JavaType::Boolean, "java.lang.Boolean"),
    (JavaType::Math, "java.lang.Math"),
    (JavaType::Date, "java.util.Date"),
    (JavaType::Random, "java.util.Random"),
    (JavaType::Uuid, "java.util.UUID"),
    (JavaType::DateFormat, "java.text.SimpleDateFormat"),
    (JavaType::LocalDate, "java.time.LocalDate"),
    (JavaType::LocalDateTime, "java.time.LocalDateTime"),
    (JavaType::DayOfWeek, "java.time.DayOfWeek"),
    (JavaType::Instant, "java.time.Instant"),
    (JavaType::ChronoUnit, "java.time.temporal.ChronoUnit"),
    (JavaType::UrlEncoder, "java.net.URLEncoder"),
    (
        JavaType::TemporalAdjusters,
        "java.time.temporal.TemporalAdjusters",
    ),
];

/// Types of `java.lang` that exist and are refused; other short names are unknown.
const REFUSED: &[&str] = &[
    "Character",
    "Class",
    "ClassLoader",
    "Float",
    "Number",
    "Object",
    "Process",
    "ProcessBuilder",
    "Runtime",
    "Short",
    "StringBuilder",
    "System",
    "Thread",
];

/// What a name in an expression stands for.
pub(crate) enum Named {
    Type(JavaType),
    /// A Java type that is not on the list, as it is written.
    Refused(String),
    Unknown,
}

impl JavaType {
    /// The full name.
    pub(crate) fn name(self) -> &'static str {
        TYPES
            .iter()
            .find(|(java, _)| *java == self)
            .map_or("java.lang.Object", |(_, name)| name)
    }
}

/// Finds a type by its name.
pub(crate) fn named(name: &str) -> Named {
    let full = if name.contains('.') {
        name.to_owned()
    } else {
        format!("java.lang.{name}")
    };
    if let Some((java, _)) = TYPES.iter().find(|(_, known)| *known == full) {
        return Named::Type(*java);
    }
    // Which classes there are nobody knows here; those of Java's own packages may be.
    let package = [
        "java.",
        "javax.",
        "com.netflix.",
        "org.springframework.",
        "groovy.",
    ];
    let known = package.iter().any(|package| name.starts_with(package))
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| last.starts_with(|c: char| c.is_ascii_uppercase()));
    if known || REFUSED.contains(&name) {
        Named::Refused(name.to_owned())
    } else {
        Named::Unknown
    }
}

/// The full name of a type on the list with this short name, for suggestions.
pub(crate) fn full_name(short: &str) -> Option<&'static str> {
    let end = format!(".{short}");
    TYPES
        .iter()
        .map(|(_, name)| *name)
        .find(|name| name.ends_with(&end))
}
