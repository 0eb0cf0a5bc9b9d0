use serde_json::json;

use super::*;

/// A log of one entry that made these parts, with this hash.
fn log(parts: &[(&str, Value)], hash: Digest) -> Value {
    let writes: Map<String, Value> = parts
        .iter()
        .map(|(name, content)| ((*name).to_owned(), json!({"set": content})))
        .collect();
    let mut entry = Map::from_iter([
        ("seq".to_owned(), json!(1)),
        ("engine".to_owned(), json!("an older one")),
        ("writes".to_owned(), writes.into()),
        ("hash".to_owned(), hash.to_string().into()),
    ]);
    let check = check(&entry);
    entry.insert("check".to_owned(), check.into());
    entry.into()
}

#[test]
fn a_hash_of_large_values_in_their_places_is_known_too() {
    let large = "x".repeat(store::blob::THRESHOLD);
    let parts = [
        ("h", json!({"id": "E", "_order": ["1"]})),
        ("s:1", json!({"id": "1", "outputs": {"large": large}})),
    ];
    let content = |value: &Value| value.as_object().cloned().unwrap();
    let sum = |with: fn(Digest, &str, &Map<String, Value>) -> Digest| {
        let parts = parts.iter();
        parts.fold(Digest::default(), |sum, (name, part)| {
            with(sum, name, &content(part))
        })
    };
    let (before, now) = (
        sum(|sum, name, part| sum.with(name, part)),
        sum(large::with),
    );
    assert_ne!(before, now);
    for hash in [before, now] {
        let found = verify(
            &[log(&parts, hash)],
            &crate::stage::Catalog,
            &Settings::default(),
        );
        assert_eq!(found.unwrap().hashed, 1);
    }
    let other = log(&parts, now.with("a", &Map::new()));
    let fault = verify(&[other], &crate::stage::Catalog, &Settings::default()).unwrap_err();
    assert!(matches!(fault, Fault::Hash { entry: 1, found, .. } if found == now));
}
