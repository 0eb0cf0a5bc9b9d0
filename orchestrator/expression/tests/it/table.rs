//! Expression → result, group by group. The pairs were produced with Spring's
//! evaluator under the project's own lists of allowed types and methods.

use serde_json::{Map, Value, json};

use crate::world::{alike, object, text};

pub(crate) fn root() -> Map<String, Value> {
    let parameters = json!({
        "region": "us-east-1", "regions": "us-east-1,us-west-1,eu-west-1", "count": "5",
        "run": "true", "empty": ""
    });
    let trigger = json!({
        "type": "manual", "user": "joe", "buildNumber": 100, "parameters": parameters,
        "artifacts": [
            {"type": "docker/image", "name": "nginx", "version": "1.21", "reference": "nginx:1.21"},
            {"type": "git/repo", "name": "repo"}
        ]
    });
    object(json!({
        "trigger": trigger, "parameters": parameters,
        "region": "region", "n": 7, "f": 2.5, "b": true, "nul": null, "list": [3, 1, 2],
        "strs": ["a", "bb", "ccc"],
        "maps": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "z", "v": 3}],
        "map": {"a": 1, "b": 2, "my-key": "dash", "c.d": "dot"},
        "str": "Hello World", "branch": "release/1.2", "deep": {"x": {"y": {"z": "zz"}}},
        "status": "TERMINAL",
        "execution": {
            "id": "e1", "type": "PIPELINE", "application": "app", "startTime": 10_000_000_000i64,
            "status": "RUNNING", "authentication": {"user": "joe@host.net"}, "trigger": trigger,
            "stages": [
                {"id": "s1", "refId": "1", "type": "bake", "name": "Bake", "status": "SUCCEEDED",
                 "startTime": 5, "context": {"ami": "ami-1"}, "outputs": {"x": 7},
                 "requisiteStageRefIds": []},
                {"id": "s2", "refId": "2", "type": "deploy", "name": "Deploy", "status": "TERMINAL",
                 "context": {"replicas": 3}, "outputs": {}, "requisiteStageRefIds": ["1"]},
                {"id": "s3", "refId": "3", "type": "bake", "name": "Bake 2", "status": "SKIPPED",
                 "context": {}, "outputs": {}, "requisiteStageRefIds": []}
            ]
        }
    }))
}

/// The text stays and an error is recorded.
pub(crate) const ERROR: &str = "✗";
/// The text stays and it is recorded that nothing was found.
pub(crate) const NULL: &str = "∅";

pub(crate) fn check(cases: &[(&str, Value)]) {
    let root = root();
    let mut wrong = Vec::new();
    for (expression, expected) in cases {
        let template = if expression.contains("${") {
            (*expression).to_owned()
        } else {
            format!("${{{expression}}}")
        };
        let evaluated = text(&template, &root);
        let level = evaluated.failures.first().map(|f| f.level.as_str());
        let right = match expected.as_str() {
            Some(ERROR) => level == Some("ERROR") && evaluated.value == json!(template),
            Some(NULL) => level == Some("INFO") && evaluated.value == json!(template),
            _ => level.is_none() && alike(&evaluated.value, expected),
        };
        if !right {
            wrong.push(format!(
                "{expression}: {evaluated:?}\n  expected {expected}"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} wrong:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn access() {
    check(&[
        ("deep.x.y.z", json!("zz")),
        ("deep['x']['y'].z", json!("zz")),
        ("map['my-key']", json!("dash")),
        ("map['c.d']", json!("dot")),
        ("map[a]", json!(1)),
        ("maps[0].k", json!("x")),
        ("maps[-1]", json!(ERROR)),
        ("list[5]", json!(ERROR)),
        ("list[list.size() - 1]", json!(2)),
        ("list['1']", json!(1)),
        ("str[0]", json!("H")),
        ("str[99]", json!(ERROR)),
        ("['n']", json!(7)),
        ("noexists", json!(NULL)),
        ("noexists.foo", json!(ERROR)),
        ("noexists?.foo", json!(NULL)),
        ("noexists?.foo ?: 'd'", json!("d")),
        ("trigger.parameters.nosuch.foo", json!(ERROR)),
        ("trigger?.parameters?.nosuch?.foo", json!(NULL)),
        ("trigger.parameters['region']", json!("us-east-1")),
        ("trigger.parameters[region]", json!("us-east-1")),
        ("execution.nosuch", json!(ERROR)),
        ("#root.n", json!(7)),
        ("#this.n", json!(7)),
        ("#root['n']", json!(7)),
        ("nul?.length()", json!(NULL)),
        ("nul.length()", json!(ERROR)),
        ("str.empty", json!(false)),
        ("list.empty", json!(false)),
        ("str.length", json!(11)),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("n * 2", json!(14)),
        ("n / 2", json!(3)),
        ("n / 2.0", json!(3.5)),
        ("n % 4", json!(3)),
        ("-5 % 3", json!(-2)),
        ("f * 2", json!(5.0)),
        ("2 ^ 3", json!(8)),
        ("-2 ^ 2", json!(4)),
        ("-n", json!(-7)),
        ("7 / 2 * 2", json!(6)),
        ("2 + 3 * 4", json!(14)),
        ("(2 + 3) * 4", json!(20)),
        ("10 - 3 - 2", json!(5)),
        ("100.0 / 7", json!(14.285714285714286)),
        ("0.1 + 0.2", json!(0.30000000000000004)),
        ("2147483647 + 1", json!(-2147483648i64)),
        ("10000000000L", json!(10_000_000_000i64)),
        ("10000000000", json!(ERROR)),
        ("0xFF", json!(255)),
        ("1e3", json!(1000.0)),
        ("5 / 2.0f", json!(2.5)),
        ("1/0", json!(ERROR)),
        ("1 % 0", json!(ERROR)),
        ("nul + 1", json!(ERROR)),
        ("5 div 2", json!(2)),
        ("5 mod 2", json!(1)),
        ("2 ^ 40", json!(1_099_511_627_776i64)),
    ]);
}

#[test]
fn strings() {
    check(&[
        ("'a' + 1 + 2", json!("a12")),
        ("1 + 2 + 'a'", json!("3a")),
        ("parameters.count + 1", json!("51")),
        ("5 + '10'", json!("510")),
        ("'a' + nul", json!("anull")),
        ("'a' + map", json!("a{a=1, b=2, my-key=dash, c.d=dot}")),
        ("'ab' * 3", json!("ababab")),
        ("'abc' - 'b'", json!(ERROR)),
        ("n - '1'", json!(ERROR)),
        ("'it''s'", json!("it's")),
        ("\"dq 'in' it\"", json!("dq 'in' it")),
        (r"'a\nb'", json!(r"a\nb")),
        ("str.substring(0,5)", json!("Hello")),
        ("str.substring(5,99)", json!(ERROR)),
        ("str.split(' ')[1]", json!("World")),
        ("'a,b,,'.split(',')", json!(["a", "b"])),
        ("'a,b,c'.split(',', 2)", json!(["a", "b,c"])),
        ("'abc'.split('')", json!(["a", "b", "c"])),
        ("branch.replaceAll('[^a-z]','-')", json!("release----")),
        ("'a.b.c'.replace('.', '-')", json!("a-b-c")),
        ("'a.b.c'.replaceAll('.', '-')", json!("-----")),
        ("'a.b.c'.replaceFirst('[.]', '-')", json!("a-b.c")),
        (
            "${'v1.2'.replaceAll('v(\\d+)[.](?<minor>\\d)', '$1:${minor}')}",
            json!("1:2"),
        ),
        ("'2024'.replaceAll('(?<=20)24', 'XX')", json!("20XX")),
        ("\"jeyrs!\".replaceAll(\"\\W\", \"\")", json!("jeyrs")),
        ("'%05d'.formatted(42)", json!("00042")),
        ("T(String).format('%s-%03d', 'a', 7)", json!("a-007")),
        (
            "T(String).format('%.2f|%,d|%-4s|%x|%b|%2$s', 2.5, 1234567, 'x', 255, true)",
            json!("2.50|1,234,567|x   |ff|true|1234567"),
        ),
        ("T(String).join('-', strs)", json!("a-bb-ccc")),
        ("T(String).join('-', 'a', 'b')", json!("a-b")),
        (
            "T(java.net.URLEncoder).encode('a b&c', 'UTF-8')",
            json!("a+b%26c"),
        ),
        ("'ab'.repeat(2)", json!("abab")),
        ("'ab'.repeat(-1)", json!(ERROR)),
        ("str.chars().count()", json!(ERROR)),
        ("str.indexOf('o', 5)", json!(7)),
        ("str.lastIndexOf('o')", json!(7)),
        ("'😀a'.length()", json!(3)),
        ("'😀a'.substring(2)", json!("a")),
        ("'b' - 1", json!("a")),
        ("'x'.compareTo('xyz')", json!(-2)),
    ]);
}

#[test]
fn comparison() {
    check(&[
        ("n == 7L", json!(true)),
        ("1 == 1.0", json!(true)),
        ("'1' == 1", json!(false)),
        ("n == '7'", json!(false)),
        ("'5' > '3'", json!(true)),
        ("5 > '3'", json!(ERROR)),
        ("parameters['count'] > 3", json!(ERROR)),
        ("#toInt(parameters['count']) + 1", json!(6)),
        ("nul > 3", json!(false)),
        ("null == ''", json!(false)),
        ("nul == null", json!(true)),
        ("'abc' > 'abb'", json!(true)),
        ("n between {1,10}", json!(true)),
        ("n between {8, 10}", json!(false)),
        ("'b' between {'a','c'}", json!(true)),
        ("n between 3", json!(ERROR)),
        ("1 < 2 < 3", json!(ERROR)),
        ("1 < 2 == true", json!(ERROR)),
        ("str matches '^Hello.*'", json!(true)),
        ("str matches 'Hello'", json!(false)),
        ("n matches '[0-9]+'", json!(true)),
        ("str matches '['", json!(ERROR)),
        ("str instanceof T(String)", json!(true)),
        ("n instanceof T(Long)", json!(false)),
        ("map instanceof T(java.util.Map)", json!(ERROR)),
        ("list == {3,1,2}", json!(true)),
        (
            "map == {a:1,'b':2,'my-key':'dash','c.d':'dot'}",
            json!(true),
        ),
    ]);
}

#[test]
fn boolean_logic() {
    check(&[
        ("n > 5 and b", json!(true)),
        ("n lt 5 or not b", json!(false)),
        ("n gt 6 AND n lt 8", json!(true)),
        ("b && !b || true", json!(true)),
        ("!trigger.dryRun", json!(ERROR)),
        ("trigger[\"dryRun\"] == false", json!(false)),
        ("trigger.dryRun ?: false", json!(false)),
        ("b or c", json!(true)),
        ("false and 1/0 == 1", json!(false)),
        ("parameters.run and true", json!(true)),
    ]);
}

#[test]
fn elvis_and_ternary() {
    check(&[
        ("nul ?: 'x'", json!("x")),
        ("trigger.parameters.empty ?: 'def'", json!("def")),
        ("'  ' ?: 'x'", json!("  ")),
        ("0 ?: 'x'", json!(0)),
        ("false ?: 'x'", json!(false)),
        ("{} ?: 'x'", json!([])),
        ("n > 10 ? 'big' : n > 5 ? 'mid' : 'small'", json!("mid")),
        ("n > 5 ? #toInt('1') : #toInt('x')", json!(1)),
        ("nul ? 1 : 2", json!(ERROR)),
    ]);
}

#[test]
fn selection_and_projection() {
    check(&[
        ("list.?[#this > 1]", json!([3, 2])),
        ("list.^[#this > 1]", json!(3)),
        ("list.$[#this > 1]", json!(2)),
        ("list.![#this * 10]", json!([30, 10, 20])),
        ("maps.?[k == 'y'][0].v", json!(2)),
        ("maps.![k]", json!(["x", "y", "z"])),
        ("maps.^[v > 1].k", json!("y")),
        ("maps.$[v > 1]['k']", json!("z")),
        ("maps.?[#this['v'] >= 2].![#this.k]", json!(["y", "z"])),
        ("maps.![k + '=' + v]", json!(["x=1", "y=2", "z=3"])),
        ("strs.![length()]", json!([1, 2, 3])),
        ("strs.![toUpperCase()]", json!(["A", "BB", "CCC"])),
        ("map.?[value == 2]", json!(ERROR)),
        ("map.![key]", json!(ERROR)),
        (
            "map.keySet().![#this.toUpperCase()]",
            json!(["A", "B", "MY-KEY", "C.D"]),
        ),
        (
            "parameters.regions.split(',').?[#this.startsWith('us')].length",
            json!(2),
        ),
        ("trigger.artifacts.^[type == 'nope']", json!(NULL)),
        (
            "trigger.artifacts.^[type == 'nope']?.name ?: 'none'",
            json!("none"),
        ),
        ("(trigger.artifacts.?[type == 'nope'])[0]", json!(ERROR)),
        (
            "trigger.artifacts.![name + '@' + version]",
            json!(["nginx@1.21", "repo@null"]),
        ),
        (
            "execution.stages.![{n: name}]",
            json!([{"n": "Bake"}, {"n": "Deploy"}, {"n": "Bake 2"}]),
        ),
        ("list.?[#this]", json!(ERROR)),
        ("str.?[true]", json!(ERROR)),
        ("nul?.?[true]", json!(NULL)),
        ("maps.?[strs.contains(k)]", json!(ERROR)),
        (
            "strs.?[#root.strs.indexOf(#this) > 0]",
            json!(["bb", "ccc"]),
        ),
    ]);
}

#[test]
fn collections() {
    check(&[
        ("list.size()", json!(3)),
        ("list.contains(2)", json!(true)),
        ("list.contains('2')", json!(false)),
        ("list.indexOf(2)", json!(2)),
        ("list.subList(0,2)", json!([3, 1])),
        ("list.subList(2,1)", json!(ERROR)),
        ("list.get(0)", json!(ERROR)),
        ("map.get('a')", json!(ERROR)),
        ("map.getOrDefault('zz', 1)", json!(ERROR)),
        ("map.put('q',1)", json!(ERROR)),
        ("map.containsKey('a')", json!(true)),
        ("map.containsValue('dot')", json!(true)),
        ("map.values()", json!([1, 2, "dash", "dot"])),
        ("list.iterator().next()", json!(ERROR)),
        ("list.stream().count()", json!(ERROR)),
        ("{1,2,3}.contains(2)", json!(true)),
        ("{'x','y'}[1]", json!("y")),
        ("{a: 'b'}['a'] + 'c'", json!("bc")),
        ("{{'a',1},{'b',2}}", json!([["a", 1], ["b", 2]])),
        ("{:}", json!({})),
        ("list + {9}", json!(ERROR)),
        ("new int[]{1,2}.length", json!(2)),
        ("new int[2]", json!([0, 0])),
        ("new int[-1]", json!(ERROR)),
        ("'ab'.toCharArray()", json!("ab")),
        ("{\"foo\": \"bar\"}.toString()", json!("{foo=bar}")),
        ("strs.toString()", json!("[a, bb, ccc]")),
    ]);
}

#[test]
fn stages_of_the_execution() {
    check(&[
        ("execution.stages.?[type == 'bake'].size()", json!(2)),
        (
            "execution.stages.![name]",
            json!(["Bake", "Deploy", "Bake 2"]),
        ),
        ("execution['stages'][0]['type']", json!("bake")),
        (
            "execution[\"stages\"].?[type == \"bake\"][0].name",
            json!("Bake"),
        ),
        ("#stage('Bake').status", json!("SUCCEEDED")),
        ("#stage('s1').name", json!("Bake")),
        (
            "#stage(\"Bake\")[\"status\"] matches 'SUCCEEDED|SKIPPED'",
            json!(true),
        ),
        ("#stage('Bake').status == 'SUCCEEDED'", json!(true)),
        ("#stage('Bake').status.isSuccessful()", json!(true)),
        ("#stage('Deploy').status.failure", json!(true)),
        (
            "#stage('Deploy').hasFailed && !#stage('Bake').hasFailed",
            json!(true),
        ),
        ("#stage('Bake')['context']['ami']", json!("ami-1")),
        ("#stage('Deploy').context.x", json!(7)),
        ("#stage('Bake').context.nosuch", json!(NULL)),
        ("#stage('Bake').nosuch", json!(ERROR)),
        ("#stage('Nope').status", json!(ERROR)),
        ("#stageExists('Nope')", json!(false)),
        ("#stageExists('Bake')", json!(true)),
        ("#stageByRefId('2').name", json!("Deploy")),
        ("#stageByRefId('9')", json!(ERROR)),
        ("execution.stages.?[status == 'SUCCEEDED'].size()", json!(1)),
        (
            "execution.stages.?[context['ami'] != null].![name]",
            json!(["Bake"]),
        ),
        ("execution.stages.$[type == 'bake'].name", json!("Bake 2")),
        ("execution.startTime + 5", json!(10_000_000_005i64)),
        ("execution.trigger.buildNumber", json!(ERROR)),
        ("execution.trigger.other['buildNumber']", json!(100)),
        (
            "execution[\"authentication\"][\"user\"].split(\"@\")[0]",
            json!("joe"),
        ),
        ("#currentUser()", json!("joe@host.net")),
        ("#stage('Bake').execution.application", json!("app")),
        ("execution.stageByRef('2').name", json!("Deploy")),
        ("execution.stageById('s3').getName()", json!("Bake 2")),
        ("execution.stageById('nope')", json!(ERROR)),
        (
            "#stage('Deploy').ancestors().![name]",
            json!(["Deploy", "Bake"]),
        ),
        ("execution.type", json!(ERROR)),
        ("execution.getType()", json!(ERROR)),
        ("execution.toString().contains('e1')", json!(true)),
        ("status == 'TERMINAL'", json!(true)),
    ]);
}
