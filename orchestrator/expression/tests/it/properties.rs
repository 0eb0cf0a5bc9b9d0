//! What holds for any text and any tree.

use expression::ast::{Access, Compare, Expr, Infix, Kind, Link, Pick, Unary};
use expression::{parse, parse_check};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{evaluate, object, text};

fn root() -> serde_json::Map<String, serde_json::Value> {
    object(json!({
        "n": 7, "f": 2.5, "t": "text", "b": true, "nul": null, "l": [3, 1, 2],
        "m": {"a": 1, "b": {"c": "d"}}, "ms": [{"k": "x", "v": 1}, {"k": "y", "v": 2}],
        "execution": {"id": "e", "application": "a", "stages": [
            {"id": "s1", "refId": "1", "name": "One", "type": "wait", "status": "SUCCEEDED",
             "requisiteStageRefIds": ["1"], "context": {"x": 1}, "outputs": {"o": [1]}}]},
        "trigger": {"type": "manual"}, "parameters": {}
    }))
}

/// Words and signs of the language, so that random texts reach past the lexer.
fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "${",
        "}",
        "{",
        "[",
        "]",
        "(",
        ")",
        ".",
        "?.",
        "?[",
        "^[",
        "$[",
        "![",
        "'",
        "\"",
        "+",
        "-",
        "*",
        "/",
        "%",
        "^",
        "==",
        "<",
        " and ",
        " or ",
        " matches ",
        " between ",
        "!",
        "?",
        ":",
        "?:",
        "#",
        "#this",
        "#root",
        "#stage",
        "#toJson",
        "#readJson",
        "#toInt",
        "T(",
        "new ",
        "n",
        "l",
        "m",
        "ms",
        "t",
        "nul",
        "execution",
        "stages",
        "k",
        "1",
        "0",
        "2.5",
        "10L",
        "'x'",
        "split",
        "replaceAll",
        "substring",
        "size()",
        ",",
        " ",
        "=",
        "++",
        "null",
        "true",
        "é☃",
        "\\",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|parts| parts.concat())
}

fn name() -> impl Strategy<Value = String> {
    // Words that are operators or literals are no names.
    prop::sample::select(vec!["a", "b1", "_x", "name", "$v", "stages", "T1", "ne"])
        .prop_map(ToOwned::to_owned)
}

fn kind(kind: Kind) -> Expr {
    Expr::new(0, kind)
}

fn leaf() -> impl Strategy<Value = Expr> {
    prop_oneof![
        Just(Kind::Null),
        any::<bool>().prop_map(Kind::Bool),
        (0..i32::MAX).prop_map(Kind::Int),
        (0..i64::MAX).prop_map(Kind::Long),
        prop::num::f64::POSITIVE.prop_map(Kind::Real),
        prop::num::f32::POSITIVE.prop_map(Kind::Float),
        ".{0,8}".prop_map(Kind::Text),
        name().prop_map(Kind::Variable),
        name().prop_map(Kind::Bean),
        Just(Kind::Type("java.util.Date".to_owned())),
        name().prop_map(|name| Kind::Start(Access::Property(name))),
    ]
    .prop_map(kind)
}

fn access(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Access> {
    let boxed = |e| Box::new(e);
    let pick = prop::sample::select(vec![Pick::All, Pick::First, Pick::Last]);
    prop_oneof![
        name().prop_map(Access::Property),
        (name(), prop::collection::vec(inner.clone(), 0..3))
            .prop_map(|(name, args)| Access::Method(name, args)),
        inner.clone().prop_map(move |e| Access::Index(boxed(e))),
        inner.clone().prop_map(move |e| Access::Project(boxed(e))),
        (pick, inner).prop_map(move |(pick, e)| Access::Select(pick, boxed(e))),
    ]
}

fn link(inner: BoxedStrategy<Expr>) -> impl Strategy<Value = Link> {
    (any::<bool>(), access(inner)).prop_map(|(safe, access)| {
        // There is no safe index.
        let safe = safe && !matches!(access, Access::Index(_));
        Link {
            at: 0,
            safe,
            access,
        }
    })
}

fn operators() -> impl Strategy<Value = Vec<Infix>> {
    let level = prop::sample::select(vec![
        vec![Infix::Or],
        vec![Infix::And],
        vec![Infix::Add, Infix::Subtract],
        vec![Infix::Multiply, Infix::Divide, Infix::Modulo],
    ]);
    level.prop_flat_map(|level| prop::collection::vec(prop::sample::select(level), 1..4))
}

fn tree() -> impl Strategy<Value = Expr> {
    let compare = prop::sample::select(vec![
        Compare::Equal,
        Compare::NotEqual,
        Compare::Less,
        Compare::LessOrEqual,
        Compare::Greater,
        Compare::GreaterOrEqual,
        Compare::InstanceOf,
        Compare::Matches,
        Compare::Between,
    ]);
    let unary = prop::sample::select(vec![Unary::Minus, Unary::Plus, Unary::Not]);
    leaf().prop_recursive(5, 48, 4, move |inner| {
        let inner = inner.boxed();
        let many = prop::collection::vec(inner.clone(), 0..3);
        let b = || inner.clone().prop_map(Box::new);
        prop_oneof![
            many.clone().prop_map(Kind::List),
            prop::collection::vec((inner.clone(), inner.clone()), 0..3).prop_map(Kind::Map),
            (name(), many.clone()).prop_map(|(name, args)| Kind::Function(name, args)),
            (name(), many.clone()).prop_map(|(name, args)| Kind::New(name, args)),
            (name(), many).prop_map(|(name, items)| Kind::NewArray(name, items)),
            (name(), b()).prop_map(|(name, size)| Kind::NewSized(name, size)),
            access(inner.clone()).prop_map(Kind::Start),
            (b(), prop::collection::vec(link(inner.clone()), 1..4))
                .prop_map(|(start, links)| Kind::Chain(start, links)),
            (unary.clone(), b()).prop_map(|(op, e)| Kind::Unary(op, e)),
            (any::<bool>(), prop::sample::select(vec![1, -1]), b())
                .prop_map(|(front, by, e)| Kind::Step(front, by, e)),
            (b(), b()).prop_map(|(l, r)| Kind::Power(l, r)),
            (b(), operators(), prop::collection::vec(inner.clone(), 3)).prop_map(
                |(first, ops, operands)| Kind::Infix(
                    first,
                    ops.into_iter().zip(operands).collect()
                )
            ),
            (compare.clone(), b(), b()).prop_map(|(op, l, r)| Kind::Compare(op, l, r)),
            (b(), b(), b()).prop_map(|(c, y, n)| Kind::Ternary(c, y, n)),
            (b(), b()).prop_map(|(v, d)| Kind::Elvis(v, d)),
            (b(), b()).prop_map(|(t, v)| Kind::Assign(t, v)),
        ]
        .prop_map(kind)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_gives_a_value_and_never_a_panic(input in ".{0,200}") {
        let _ = parse_check(&input);
        let evaluated = text(&input, &root());
        if !input.contains("${") {
            prop_assert_eq!(evaluated.value, json!(input));
        }
    }

    #[test]
    fn any_mixture_of_the_languages_words_gives_a_value_and_never_a_panic(input in fragments()) {
        for template in [input.clone(), format!("${{{input}}}"), format!("a ${{{input}}} b")] {
            let checked = parse_check(&template);
            let evaluated = text(&template, &root());
            // What cannot be parsed is recorded and stays as it was.
            if checked.is_err() {
                prop_assert_eq!(evaluated.value, json!(template));
                prop_assert!(!evaluated.failures.is_empty());
            }
        }
    }

    #[test]
    fn any_tree_is_printed_so_that_it_parses_to_itself(expr in tree()) {
        let printed = expr.to_string();
        prop_assert_eq!(parse(&printed), Ok(expr), "{}", printed);
    }

    #[test]
    fn any_text_that_parses_is_printed_so_that_it_parses_to_the_same(
        expr in tree(), damage in prop::collection::vec((any::<prop::sample::Index>(), fragments()), 0..3),
    ) {
        // Printed trees, somewhat damaged: many parse, and not only to what was printed.
        let mut input: Vec<char> = expr.to_string().chars().collect();
        for (place, fragment) in damage {
            let place = place.index(input.len() + 1);
            input.splice(place..place, fragment.chars().take(3));
        }
        let input: String = input.into_iter().collect();
        if let Ok(parsed) = parse(&input) {
            let printed = parsed.to_string();
            prop_assert_eq!(parse(&printed), Ok(parsed), "{} of {}", printed, input);
        }
    }

    #[test]
    fn any_tree_is_evaluated_without_a_panic(expr in tree()) {
        let template = format!("${{{expr}}}");
        evaluate(&json!(template), &root());
    }

    #[test]
    fn an_error_lies_within_the_text(input in fragments()) {
        let template = format!("é${{{input}}}");
        let length = template.chars().count();
        if let Err(error) = parse_check(&template) {
            prop_assert!(error.position <= length, "{error} in {template}");
        }
        for failure in text(&template, &root()).failures {
            prop_assert!(failure.position <= length, "{failure:?} in {template}");
        }
    }

    #[test]
    fn the_same_scope_gives_the_same_value(expr in tree()) {
        let template = json!([format!("${{{expr}}}"), "${T(java.util.UUID).randomUUID()}", "${T(Math).random()}"]);
        prop_assert_eq!(evaluate(&template, &root()), evaluate(&template, &root()));
    }
}
