//! The cases of types, functions and composites: an expression and what it yields.

use serde_json::json;

use crate::table::{ERROR, NULL, check, root};

#[test]
fn types() {
    check(&[
        (
            "T(java.time.LocalDate).parse('2020-01-30').plusDays(5).toString()",
            json!("2020-02-04"),
        ),
        (
            "T(java.time.LocalDate).of(2020,1,31).plusMonths(1).toString()",
            json!("2020-02-29"),
        ),
        ("T(java.time.LocalDate).of(2020,2,30)", json!(ERROR)),
        (
            "T(java.time.Instant).ofEpochMilli(0).toString()",
            json!("1970-01-01T00:00:00Z"),
        ),
        (
            "T(java.time.Instant).ofEpochMilli(1).toString()",
            json!("1970-01-01T00:00:00.001Z"),
        ),
        (
            "T(java.time.Instant).ofEpochMilli(0).plus(1, T(java.time.temporal.ChronoUnit).valueOf('DAYS')).toString()",
            json!("1970-01-02T00:00:00Z"),
        ),
        ("T(java.time.temporal.ChronoUnit).DAYS", json!(ERROR)),
        ("T(Math).max(3, 9)", json!(9)),
        ("T(Math).max(3, 9.5)", json!(ERROR)),
        ("T(Math).max(3.0, 9.5)", json!(9.5)),
        ("T(Math).round(2.5)", json!(3)),
        ("T(Math).PI", json!(ERROR)),
        ("T(Integer).MAX_VALUE", json!(ERROR)),
        ("T(LocalDate).now()", json!(ERROR)),
        ("T(java.time.ZonedDateTime).now()", json!(ERROR)),
        (
            "T(java.time.LocalDateTime).of(2020,1,2,3,4).getDayOfWeek().toString()",
            json!("THURSDAY"),
        ),
        (
            "T(java.time.LocalDateTime).of(2020,1,2,3,4).toString()",
            json!("2020-01-02T03:04"),
        ),
        ("new java.util.Date(0L).getTime()", json!(0)),
        ("new java.util.Date(0L).time", json!(0)),
        (
            "new java.util.Date(0L).toString()",
            json!("Thu Jan 01 00:00:00 UTC 1970"),
        ),
        (
            "new java.text.SimpleDateFormat(\"yyyy\").format(new java.util.Date(0L))",
            json!("1970"),
        ),
        (
            "new java.text.SimpleDateFormat(\"MM-dd-yyyy\").format(new java.util.Date())",
            json!("11-24-2026"),
        ),
        (
            "new java.text.SimpleDateFormat(\"EEE, d MMM yy 'at' h:mm a\").format(new java.util.Date())",
            json!("Tue, 24 Nov 26 at 12:00 PM"),
        ),
        (
            "T(java.time.LocalDate).now().plusDays(5).toString()",
            json!("2026-11-29"),
        ),
        ("T(java.time.LocalDate).now()", json!([2026, 11, 24])),
        ("T(java.time.LocalDate).now().plusHours(1)", json!(ERROR)),
        ("str.getClass()", json!(ERROR)),
        ("str.class", json!(ERROR)),
        ("@bean", json!(ERROR)),
        (
            "new java.util.UUID(0,0).toString()",
            json!("00000000-0000-0000-0000-000000000000"),
        ),
        ("new java.util.Random(42).nextInt(100)", json!(30)),
        ("new java.util.Random(42).nextInt()", json!(-1170105035)),
        ("T(Long).parseLong(\"123\")", json!(123)),
        ("T(Integer).parseInt(\"456\")", json!(456)),
        ("T(Boolean).parseBoolean(\"true\")", json!(true)),
        ("T(Long).getLong(\"long\")", json!(ERROR)),
        ("T(Integer).getInteger('x')", json!(ERROR)),
        ("T(Boolean).getBoolean('x')", json!(ERROR)),
        ("T(java.lang.System).exit(1)", json!(ERROR)),
        ("T(java.lang.Runtime).runtime.exit(1)", json!(ERROR)),
        (
            "new java.net.URL('http://x').openConnection()",
            json!(ERROR),
        ),
        (
            "T(java.lang.Boolean).forName('java.net.URI').getSimpleName()",
            json!(ERROR),
        ),
        ("new java.lang.Integer(1).wait(100000)", json!(ERROR)),
        (
            "new java.lang.Integer(1).getClass().getSimpleName()",
            json!(ERROR),
        ),
        ("status.getMetaClass()", json!(ERROR)),
        ("status.metaClass", json!(ERROR)),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("#toInt(5)", json!(5)),
        ("#toInt(2.0)", json!(ERROR)),
        ("#toInt(' 5')", json!(ERROR)),
        ("#toFloat('7')", json!(7.0)),
        ("#toFloat('inf')", json!(ERROR)),
        ("#toBoolean('yes')", json!(false)),
        ("#toBoolean(true)", json!(true)),
        ("#toBoolean(nul)", json!(false)),
        ("#toJson(list)", json!("[3,1,2]")),
        ("#toJson(str)", json!("\"Hello World\"")),
        ("#toJson({a:1})", json!("{\"a\":1}")),
        ("#toJson(noexists)", json!("null")),
        ("#toJson({})", json!("[]")),
        (
            "#toJson(parameters.regions.split(\",\")).contains(\"us-west-1\")",
            json!(true),
        ),
        ("#toJson('$' + '{x}')", json!(ERROR)),
        ("#toJson(#doNotEval('$' + '{x}'))", json!("\"${x}\"")),
        ("#readJson('[1,2]')[1]", json!(2)),
        ("#readJson('{\"a-b\":1}')['a-b']", json!(1)),
        ("#readJson('[{\"a\":1},{\"a\":2}]').![a]", json!([1, 2])),
        ("#readJson('nope')", json!(ERROR)),
        ("#readYaml('a: [1, 2]').a[1]", json!(2)),
        (
            "#alphanumerical('stack-with-hyphens')",
            json!("stackwithhyphens"),
        ),
        ("#toBase64(\"Yo Dawg\")", json!("WW8gRGF3Zw==")),
        ("#fromBase64(\"WW8gRGF3Zw==\")", json!("Yo Dawg")),
        ("#fromBase64('?')", json!(ERROR)),
        ("#unknownFn('x')", json!(ERROR)),
        ("#resolvedArtifacts()", json!([])),
        ("#triggerResolvedArtifact('x')", json!(ERROR)),
        ("#judgment('Bake')", json!(ERROR)),
        ("#deployedServerGroups()", json!([])),
        ("deployedServerGroups", json!([])),
        ("#cfServiceKey('x')", json!({})),
        ("#nothing", json!(NULL)),
    ]);
}

#[test]
fn composites() {
    check(&[
        ("pre ${n} and ${list} post", json!("pre 7 and 3,1,2 post")),
        ("pre ${map} post", json!(ERROR)),
        ("${n}${n}", json!("77")),
        ("a.${status}.b", json!("a.TERMINAL.b")),
        ("a.${#stage('Bake').status}.b", json!("a.SUCCEEDED.b")),
        ("$${n}", json!("$7")),
        ("${n}}", json!("7}")),
        ("text ${1/0} text", json!(ERROR)),
        (
            "{\"foo\": \"${ #toInt('80') }\"}",
            json!("{\"foo\": \"80\"}"),
        ),
        ("${}", json!(ERROR)),
        ("${\"${n}\"}", json!("${n}")),
        (
            "a.${'${ESCAPED_LITERAL}'}.b.${n}",
            json!("a.${ESCAPED_LITERAL}.b.7"),
        ),
        ("${n ${n}}", json!(ERROR)),
        (
            "succeeded: ${#stage(\"Bake\")[\"status\"] == \"SUCCEEDED\"}",
            json!("succeeded: true"),
        ),
        ("${f} ${1e10}", json!("2.5 1.0E10")),
    ]);
}

#[test]
fn assignment_yields_its_value_and_changes_nothing() {
    check(&[
        ("n++", json!(7)),
        ("++n", json!(8)),
        ("n = 3", json!(3)),
        ("map.zzz = 3", json!(3)),
        ("list.add(4)", json!(true)),
    ]);
    let root = root();
    let template = json!([
        "${n++}",
        "${n = 3}",
        "${list.add(4)}",
        "${n} ${list.size()}"
    ]);
    let evaluated = crate::world::evaluate(&template, &root);
    assert_eq!(evaluated.value[3], json!("7 3"));
}

/// What the JDK gives for the same calls.
#[test]
fn the_library_behaves_as_the_jdk_does() {
    check(&[
        ("new java.util.Random(42).nextInt(64)", json!(46)),
        (
            "new java.util.Random(42).nextLong()",
            json!(-5_025_562_857_975_149_833i64),
        ),
        (
            "new java.util.Random(42).nextDouble()",
            json!(0.7275636800328681),
        ),
        ("new java.util.Random(42).nextBoolean()", json!(true)),
        (
            "T(String).format('%e|%05.1f|%+d|%S|%c|%(d|%%', 12345.678, 3.14159, 5, 'ab', 'c'.charAt(0), -5)",
            json!("1.234568e+04|003.1|+5|AB|c|(5)|%"),
        ),
        ("',a,,b,'.split(',')", json!(["", "a", "", "b"])),
        ("''.split(',')", json!([""])),
        ("'a1b2'.split('[0-9]', -1)", json!(["a", "b", ""])),
        ("'aé'.replaceAll('\\w','x')", json!("xé")),
        ("'x-y'.replaceAll('[\\W]','_')", json!("x_y")),
        (
            "T(java.time.Instant).ofEpochMilli(1500).toString()",
            json!("1970-01-01T00:00:01.500Z"),
        ),
        ("T(Math).round(-2.5)", json!(-2)),
        (
            "'' + 1e21 + ' ' + 1.0E-5 + ' ' + 123456789.0 + ' ' + (0.1f + 0.2)",
            json!("1.0E21 1.0E-5 1.23456789E8 0.30000000149011613"),
        ),
        (
            "new java.text.SimpleDateFormat(\"yyyyMMdd'T'HHmmssSSS EEEE MMMM D u\").format(new java.util.Date())",
            json!("20261124T120000000 Tuesday November 328 2"),
        ),
        (
            "T(java.util.UUID).fromString('1-2-3-4-5').toString()",
            json!("00000001-0002-0003-0004-000000000005"),
        ),
        ("'a.b'.split('\\.').length", json!(2)),
    ]);
}
