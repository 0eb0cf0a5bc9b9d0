use super::*;

fn bindings(values: &[(&str, &str)]) -> Bindings {
    let binding = |(name, value): &(&str, &str)| {
        let field = format!("scope.{name}");
        let value = (*value).to_owned();
        ((*name).to_owned(), Binding::Given { value, field })
    };
    values.iter().map(binding).collect()
}

fn expanded(template: &str, values: &[(&str, &str)]) -> Result<String, String> {
    expanded_in(&PROMQL, template, values)
}

fn expanded_in(
    language: &Language,
    template: &str,
    values: &[(&str, &str)],
) -> Result<String, String> {
    expand("t", template, &bindings(values), language).map_err(|fault| fault.to_string())
}

#[test]
fn variables_defaults_and_literals_are_expanded() {
    for (template, expected) in [
        ("pod=~\"${scope}.*\"", "pod=~\"app.*\""),
        ("x{${a:-b=\"c\"}}", "x{b=\"c\"}"),
        ("${a:-${scope}}", "app"),
        ("${scope:-other}", "app"),
        ("$${scope}", "${scope}"),
        ("rate(x[5m])", "rate(x[5m])"),
        ("$", "$"),
        ("", ""),
    ] {
        let found = expanded(template, &[("scope", "app")]);
        assert_eq!(found.as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn escaped_templates_are_unescaped() {
    assert_eq!(unescaped("a=\"$\\{scope}\""), "a=\"${scope}\"");
}

#[test]
fn values_are_expanded_in_turn() {
    let values = [("a", "x${b}y"), ("b", "${c:-7}"), ("d", "$${b}")];
    assert_eq!(expanded("\"${a}\"", &values).as_deref(), Ok("\"x7y\""));
    assert_eq!(expanded("\"${d}\"", &values).as_deref(), Ok("\"${b}\""));
}

#[test]
fn an_unknown_variable_is_refused_with_those_that_are_known() {
    let text = expanded("${pod}", &[("scope", "a"), ("zone", "b")]).unwrap_err();
    let expected = "t is \"${pod}\": there is no variable \"pod\", known are [scope, zone]";
    assert!(text.starts_with(expected), "{text}");
    let text = expanded("${a}", &[("a", "${b}")]).unwrap_err();
    assert!(
        text.starts_with("scope.a is \"${b}\": there is no variable"),
        "{text}"
    );
}

#[test]
fn variables_in_a_circle_are_refused() {
    for values in [&[("a", "${a}")][..], &[("a", "${b}"), ("b", "${a}")]] {
        let text = expanded("${a}", values).unwrap_err();
        assert!(text.contains("more than 8 deep"), "{text}");
    }
    let deep = "${x:-".repeat(12) + &"}".repeat(12);
    assert!(
        expanded(&deep, &[])
            .unwrap_err()
            .contains("more than 8 deep")
    );
}

#[test]
fn a_query_that_grows_without_end_is_refused() {
    let long = "x".repeat(40_000);
    let text = expanded("\"${a}${a}${a}\"", &[("a", &long)]).unwrap_err();
    assert!(text.contains("65536 bytes"), "{text}");
    let doubled = "${b}".repeat(200);
    let values = [("a", doubled.as_str()), ("b", doubled.as_str()), ("c", "x")];
    assert!(expanded("\"${a}\"", &values).is_err());
}

#[test]
fn variables_that_stand_in_one_another_many_times_are_refused_at_once() {
    // Each has the next a hundred times, and the last is empty: what they make is no text, and 10^14 steps long.
    let names: Vec<_> = (0..8).map(|at| format!("a{at}")).collect();
    let mut values: Vec<_> = (1..8).map(|at| format!("${{a{at}}}").repeat(100)).collect();
    values.push(String::new());
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    let all: Vec<_> = all
        .into_iter()
        .zip(values.iter().map(String::as_str))
        .collect();
    let text = expanded("\"${a0}\"", &all).unwrap_err();
    assert!(
        text.starts_with("scope.a6 is \"${a7}") && text.contains("10000 variables"),
        "{text}"
    );
    // Ten thousand of them may be there.
    let template = "${a7}".repeat(10_000);
    assert_eq!(expanded(&template, &all).as_deref(), Ok(""));
    let text = expanded(&(template + "${a7}"), &all).unwrap_err();
    assert!(
        text.starts_with("t is \"${a7}\": more than 10000"),
        "{text}"
    );
}

#[test]
fn long_values_that_become_nothing_are_refused_at_once() {
    let long = format!("${{b:-{}}}", "x".repeat(1_000_000));
    let values = [("a", long.as_str()), ("b", "")];
    assert_eq!(expanded("\"${a}\"", &values).as_deref(), Ok("\"\""));
    let text = expanded("\"${a}${a}\"", &values).unwrap_err();
    assert!(
        text.starts_with("scope.a is ") && text.contains("1048576 bytes of values"),
        "{text}"
    );
}

#[test]
fn what_is_opened_must_be_closed() {
    assert!(
        expanded("${scope", &[])
            .unwrap_err()
            .contains("close the variable")
    );
    assert!(
        expanded("\"x", &[])
            .unwrap_err()
            .contains("close the quote")
    );
    assert!(
        expanded("\"${a}\"", &[("a", "${b")])
            .unwrap_err()
            .contains("close it")
    );
}

#[test]
fn a_value_within_quotes_cannot_end_them() {
    for (language, template, value, expected) in [
        (
            &PROMQL,
            "a=\"${v}\"",
            "x\"} or vector(1) #",
            "a=\"x\\\"} or vector(1) #\"",
        ),
        (&PROMQL, "a='${v}'", "x'", "a='x\\''"),
        (&PROMQL, "a=\"${v}\"", "x\\", "a=\"x\\\\\""),
        (&PROMQL, "a=\"${v}\"", "x\ny", "a=\"x\\ny\""),
        (&PROMQL, "a=\"\\\"${v}\"", "x\"", "a=\"\\\"x\\\"\""),
        (
            &INFLUXQL,
            "k = '${v}'",
            "a' OR 'b' = 'b",
            "k = 'a\\' OR \\'b\\' = \\'b'",
        ),
        (
            &NRQL,
            "k LIKE '${v}'",
            "' OR 1 = 1 -- ",
            "k LIKE '\\' OR 1 = 1 -- '",
        ),
    ] {
        let found = expanded_in(language, template, &[("v", value)]);
        assert_eq!(found.as_deref(), Ok(expected), "{template} {value}");
    }
}

#[test]
fn a_backslash_before_a_variable_cannot_undo_its_escape() {
    let text = expanded("a=\"x\\${v}\"", &[("v", "\"} or up{a=\"")]).unwrap_err();
    assert!(text.contains("would escape the escape"), "{text}");
    let found = expanded("a=\"x\\\\${v}\"", &[("v", "\"")]);
    assert_eq!(found.as_deref(), Ok("a=\"x\\\\\\\"\""));
}

#[test]
fn a_value_that_cannot_be_escaped_is_refused() {
    for (language, template, value) in [
        (&PROMQL, "a=`${v}`", "x`"),
        (&GRAPHITE, "alias(a,'${v}')", "x'),b"),
        (&GRAPHITE, "alias(a,\"${v}\")", "x\\"),
        (&METRIC_MATH, "SEARCH('${v}')", "x', 'Sum"),
        (&PROMQL, "a=\"${v}\"", "x\u{0}"),
    ] {
        let text = expanded_in(language, template, &[("v", value)]).unwrap_err();
        assert!(text.starts_with("scope.v is "), "{text}");
        assert!(text.contains("cannot stand within"), "{text}");
        assert!(text.ends_with("where t has ${v}"), "{text}");
    }
}

#[test]
fn a_value_outside_of_quotes_cannot_end_a_name() {
    for (language, template, value) in [
        (&PROMQL, "sum(${v})", "up) or vector(1"),
        (&PROMQL, "x{${v}}", "a=\"b\""),
        (&PROMQL, "${v}", "a # b"),
        (&PROMQL, "${v}", "a\nb"),
        (&INFLUXQL, "SELECT x FROM ${v}", "m; DROP DATABASE d"),
        (&INFLUXQL, "x =~ /^${v}$/", "a$/ OR x =~ /"),
        (&INFLUXQL, "FROM ${v}", "m -- x"),
        (&GRAPHITE, "a.$scope.b", "x,secrets.*"),
        (&GRAPHITE, "a.${v}.b", "{a,b}"),
        (&GRAPHITE, "a.$scope.b", "x;tag=y"),
        (&DATADOG, "avg:m{${v}}", "*} by {host"),
        (&DATADOG, "avg:m{${v}}", "a,b"),
        (&NRQL, "WHERE a = ${v}", "1 OR 2"),
        (&NRQL, "WHERE a = ${v}", "1--"),
        (&METRIC_MATH, "m1 / ${v}", "1, 2"),
    ] {
        let found = expanded_in(language, template, &[("v", value), ("scope", value)]);
        let text = found.unwrap_err();
        assert!(text.contains("could end a name of"), "{template}: {text}");
    }
}

#[test]
fn names_that_are_harmless_pass_outside_of_quotes() {
    for (language, template, value) in [
        (&PROMQL, "rate(x[${v}])", "5m"),
        (&GRAPHITE, "a.${v}.b", "app-v001.*"),
        (&DATADOG, "avg:m{${v}}", "autoscaling_group:app-v001"),
        (&METRIC_MATH, "${v}", "arn:aws/x"),
    ] {
        let found = expanded_in(language, template, &[("v", value)]).unwrap();
        assert_eq!(found, template.replace("${v}", value));
    }
}

#[test]
fn graphite_has_names_without_braces() {
    let found = expanded_in(
        &GRAPHITE,
        "a.$location.$scope.b",
        &[("scope", "s"), ("location", "l")],
    );
    assert_eq!(found.as_deref(), Ok("a.l.s.b"));
}

#[test]
fn a_quote_in_a_comment_quotes_nothing() {
    let found = expanded("x # it's\n == ${v}", &[("v", "a b")]);
    assert!(found.unwrap_err().contains("could end a name"));
}

#[test]
fn whatever_a_value_is_the_text_it_stands_in_is_read_back_as_it_was() {
    // Read as PromQL reads a text: to the first quote that is not escaped.
    let read = |query: &str| {
        let mut out = String::new();
        let mut characters = query.strip_prefix("a=\"").unwrap().chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => return (out, characters.as_str().to_owned()),
                '\\' => match characters.next() {
                    Some('n') => out.push('\n'),
                    escaped => out.extend(escaped),
                },
                c => out.push(c),
            }
        }
        panic!("{query} is not closed")
    };
    let pieces = ["\"", "\\", "'", "{", "}", "\n", "#", "$", "a", "\\\"", ";"];
    for first in pieces {
        for second in pieces {
            for third in pieces {
                let value = format!("{first}{second}{third}");
                if value.contains("${") {
                    continue;
                }
                let query = expanded("a=\"${v}\" end", &[("v", &value)]).unwrap();
                assert_eq!(read(&query), (value, " end".to_owned()));
            }
        }
    }
}
