//! What changed from one JSON object to the next, and its application: how the
//! log keeps every state of an execution without keeping it whole each time.

use serde_json::{Map, Value};

use crate::fields::{Node, Object};

/// How deep objects are compared; below, a changed value is kept whole.
const DEPTH: u32 = 4;

/// `{set: {…}, gone: […], within: {key: difference}}`, each part only if there is
/// something to say; none if nothing changed.
pub fn between(old: &impl Object, new: &impl Object) -> Option<Value> {
    compare(old, new, DEPTH)
}

fn compare(old: &impl Object, new: &impl Object, depth: u32) -> Option<Value> {
    let (mut set, mut within) = (Map::new(), Map::new());
    for (key, is) in new.nodes() {
        match (old.node(key), is) {
            (Some(was), is) if was == is => {}
            (Some(Node::Map(was)), Node::Map(is)) if depth > 0 => {
                if let Some(inner) = compare(was, is, depth - 1) {
                    within.insert(key.to_owned(), inner);
                }
            }
            (_, is) => {
                set.insert(key.to_owned(), is.to_value());
            }
        }
    }
    let gone: Vec<Value> = old
        .nodes()
        .filter(|(key, _)| new.node(key).is_none())
        .map(|(key, _)| key.into())
        .collect();
    // People see the order of what they wrote, and expressions do. The outermost fields are our own.
    if depth < DEPTH && is_reordered(old, new) {
        let all: Vec<Value> = old.nodes().map(|(key, _)| key.into()).collect();
        return Some(serde_json::json!({"gone": all, "set": new.to_map()}));
    }
    let mut found = Map::new();
    if !set.is_empty() {
        found.insert("set".to_owned(), set.into());
    }
    if !gone.is_empty() {
        found.insert("gone".to_owned(), gone.into());
    }
    if !within.is_empty() {
        found.insert("within".to_owned(), within.into());
    }
    (!found.is_empty()).then_some(Value::Object(found))
}

/// Whether keys would stand elsewhere if the new ones only came behind the old ones.
fn is_reordered(old: &impl Object, new: &impl Object) -> bool {
    let keys = |(key, _)| key;
    let kept = old.nodes().map(keys).filter(|key| new.node(key).is_some());
    let added = new.nodes().map(keys).filter(|key| old.node(key).is_none());
    !kept.chain(added).eq(new.nodes().map(keys))
}

/// Applies a difference to what it was taken from.
pub fn apply(map: &mut Map<String, Value>, difference: &Value) {
    for key in difference
        .get("gone")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if let Some(key) = key.as_str() {
            map.shift_remove(key);
        }
    }
    for (key, value) in difference
        .get("set")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        map.insert(key.clone(), value.clone());
    }
    for (key, inner) in difference
        .get("within")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        if let Some(Value::Object(nested)) = map.get_mut(key) {
            apply(nested, inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3i64..3).prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[a-e]", json_value(), 0..5)
            .prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_difference_applied_gives_the_new_object(old in object(), new in object()) {
            let mut map = old.clone();
            match between(&old, &new) {
                Some(difference) => apply(&mut map, &difference),
                None => prop_assert_eq!(&old, &new),
            }
            prop_assert_eq!(map, new);
        }
    }

    #[test]
    fn only_what_changed_is_kept() {
        let old = json!({"a": {"x": 1, "long": "…"}, "b": 1, "c": 2});
        let new = json!({"a": {"x": 2, "long": "…"}, "b": 1});
        let found = between(old.as_object().unwrap(), new.as_object().unwrap());
        let expected = json!({"gone": ["c"], "within": {"a": {"set": {"x": 2}}}});
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn keys_stay_in_the_order_they_were_written_in() {
        let old = json!({"context": {"a": 1, "b": 2}});
        for new in [
            json!({"context": {"b": 2, "a": 3}}),
            json!({"context": {"c": 0, "a": 1, "b": 2}}),
            json!({"context": {"a": 1, "b": 2, "c": 3}}),
        ] {
            let (old, new) = (old.as_object().unwrap(), new.as_object().unwrap());
            let mut map = old.clone();
            apply(&mut map, &between(old, new).unwrap());
            assert_eq!(
                Value::from(map).to_string(),
                Value::from(new.clone()).to_string()
            );
        }
    }
}
