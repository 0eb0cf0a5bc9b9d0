use super::*;
use proptest::prelude::*;

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn long(letter: &str) -> Value {
    letter.repeat(THRESHOLD).into()
}

fn contents(putting: Putting<'_>) -> BTreeMap<String, Value> {
    let aside = putting.aside().into_iter();
    aside
        .map(|(hash, content)| (hash, serde_json::from_slice(&content).unwrap()))
        .collect()
}

/// Stored and back.
fn there_and_back(content: &Value) -> (Form, BTreeMap<String, Value>) {
    let plain = map(content.clone());
    let mut putting = Putting::default();
    let form = putting.form(&plain);
    let contents = contents(putting);
    assert_eq!(form.part.bytes, content.to_string().len());
    let mut stored = Value::Object(form.map.clone().unwrap_or_else(|| plain.clone()));
    let wanted: Vec<String> = wanted(&stored).into_iter().map(str::to_owned).collect();
    assert!(wanted.iter().all(|hash| contents.contains_key(hash)));
    let mut aside = BTreeMap::new();
    let (text, refers) = json_of(&text(&form, &plain, &mut aside));
    assert_eq!(
        (text, wanted.is_empty()),
        (Bytes::from(stored.to_string()), !refers)
    );
    let kept = of_text(content.to_string().into(), &mut aside);
    // A small text that only looks like it has some is kept as it is.
    let is_small = content.to_string().len() <= THRESHOLD;
    assert_eq!(json_of(&kept).1, refers && !is_small);
    assert!(aside.keys().all(|hash| contents.contains_key(hash)));
    let mut found = restore(&mut stored, &contents).unwrap();
    assert_eq!(stored.to_string(), content.to_string());
    let mut large = form.part.large.clone();
    large.sort_by(|a, b| a.0.cmp(&b.0));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found, large);
    (form, contents)
}

#[test]
fn a_large_value_is_one_blob_whatever_it_lies_in() {
    let stage = json!({"name": "s", "outputs": {"a/b": {"deep~": [1, long("x")]}, "small": "y"}});
    let (form, first) = there_and_back(&stage);
    assert_eq!(form.part.large[0].0, "/outputs/a~1b/deep~0/1");
    assert!(Value::from(form.map.unwrap()).to_string().len() < 300);
    let log = json!({"writes": {"s:1": {"within": {"outputs": {"set": {"other": long("x")}}}}}});
    let (_, second) = there_and_back(&log);
    assert_eq!(first, second);
    assert!(there_and_back(&json!({"a": {"b": "small"}})).1.is_empty());
}

#[test]
fn many_small_values_are_put_aside_together() {
    let many: Vec<Value> = (0..20_000).map(Value::from).collect();
    let (form, contents) = there_and_back(&json!({"context": {"all": many, "one": long("x")}}));
    assert_eq!((form.part.large.len(), contents.len()), (2, 2));
    // A list of what is large itself is large only by what is left.
    let (_, contents) = there_and_back(&json!({"all": [long("x"), long("y"), long("x")]}));
    assert_eq!(contents.len(), 2);
    let nested = json!({"a": {"rest": many, "one": long("x")}});
    assert_eq!(there_and_back(&nested).0.part.large.len(), 2);
}

#[test]
fn what_looks_like_a_reference_is_kept_as_it_is() {
    let looks = json!({"_blob": format!("sha256:{}", "0".repeat(64)), "_bytes": 7});
    let other = json!({"_bytes": 7, "_blob": "sha256:0"});
    for value in [
        json!({"context": {"a": looks}}),
        json!({"context": looks}),
        json!({"context": {"a": [looks, long("x")], "b": other}}),
    ] {
        there_and_back(&value);
    }
    // The top is never one.
    let top = map(looks);
    assert_eq!(Putting::default().form(&top).map, None);
}

#[test]
fn what_is_known_is_not_put_again_and_looks_the_same() {
    let before = map(json!({"outputs": {"a": {"x": 1, "y": long("x")}, "b": long("y")}}));
    let form = Putting::default().form(&before);
    let mut after = before.clone();
    after["outputs"]["b"] = long("z");
    after.insert("copy".to_owned(), long("x"));
    let mut putting = Putting::default();
    putting.knows(&before, &form.part.large);
    let changed = putting.form(&after);
    let aside = putting.aside();
    assert_eq!(aside.len(), 1, "only z is new");
    assert_eq!(changed, Putting::default().form(&after));
    // An order of keys is content.
    let many: Vec<Value> = (0..20_000).map(Value::from).collect();
    let one = map(json!({"o": {"a": many, "b": many.len(), "c": "x".repeat(THRESHOLD - 9)}}));
    let other = map(json!({"o": {"b": many.len(), "a": many, "c": "x".repeat(THRESHOLD - 9)}}));
    let mut putting = Putting::default();
    putting.knows(&one, &Putting::default().form(&one).part.large);
    assert_eq!(putting.form(&other), Putting::default().form(&other));
}

#[test]
fn a_blob_that_is_gone_is_named() {
    let content = map(json!({"a": long("x")}));
    let form = Putting::default().form(&content);
    let mut stored = Value::from(form.map.unwrap());
    let gone = restore(&mut stored, &BTreeMap::new()).unwrap_err();
    assert_eq!(gone, form.part.large[0].1.hash);
}

proptest! {
    #[test]
    fn lengths_are_those_of_the_text(texts in prop::collection::vec("\\PC*|[\\x00-\\x7f]*", 0..6), number in any::<f64>()) {
        let value = json!({"a": texts, "b": {"c": [null, true, false, number, -12]}, "\"": {}});
        let text = value.to_string();
        prop_assert_eq!(length(&value), text.len());
        let form = Putting::default().form(value.as_object().unwrap()).part;
        prop_assert_eq!(form.bytes, text.len());
    }
}
