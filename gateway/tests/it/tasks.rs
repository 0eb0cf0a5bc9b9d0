//! How many tasks a list holds.

use serde_json::{Value, json};

use crate::fake::Gate;

/// Orca's default, which is the most here.
const LISTED: usize = 3_500;

#[tokio::test]
async fn a_list_holds_as_many_tasks_as_orca_lists_and_no_more() {
    let gate = Gate::up();
    let task = |number: usize| json!({"id": format!("T{number}"), "stages": []});
    gate.peers.executions((0..LISTED + 10).map(task).collect());
    for (query, count, first) in [
        ("", LISTED, "T0"),
        ("?limit=1000000", LISTED, "T0"),
        ("?page=2", 10, "T3500"),
        ("?limit=700", 700, "T0"),
        ("?limit=700&page=3", 700, "T1400"),
    ] {
        let path = format!("/applications/a/tasks{query}");
        let found = gate.get(&path).await.json();
        let found = found.as_array().unwrap();
        let shown = (found.len(), &found[0]["id"]);
        assert_eq!(shown, (count, &Value::from(first)), "{path}");
    }
}
