//! The checker and the reference model must not believe the engine: they use its types
//! and read their fields, and call none of its functions.

use std::collections::BTreeSet;
use std::path::Path;

/// Whose word counts.
const CHECKERS: [&str; 6] = [
    "shape.rs",
    "model.rs",
    "law.rs",
    "verdict.rs",
    "watch.rs",
    "peers.rs",
];
/// What may be imported of the engine.
const TYPES: [&str; 15] = [
    "Execution",
    "Loaded",
    "Owner",
    "PipelineGate",
    "RunKind",
    "Stage",
    "StageId",
    "Status",
    "Subject",
    "Target",
    "Task",
    "TaskId",
    "TaskRun",
    "Turn",
    "TaskResult",
];
/// Names that ids and the simulated world have, too.
const PLAIN: [&str; 2] = ["as_str", "number"];
/// Where the engine's types are.
const SOURCES: [&str; 6] = [
    "core/src/execution.rs",
    "core/src/stage.rs",
    "core/src/status.rs",
    "core/src/task.rs",
    "core/src/gate.rs",
    "src/turn.rs",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn checkers() -> impl Iterator<Item = (&'static str, String)> {
    CHECKERS
        .into_iter()
        .map(|name| (name, read(&format!("tests/it/simulation/{name}"))))
}

/// Identifiers of a text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

#[test]
fn the_checker_imports_nothing_of_the_engine_but_types() {
    for (name, source) in checkers() {
        // A path in the middle of the code would be an import, too.
        for (at, _) in source.match_indices("orchestrator") {
            let line = source[at..].split(';').next().unwrap();
            assert!(
                source[..at].ends_with("use "),
                "{name}: {line} is not a `use` line"
            );
            let mut imported = words(line).filter(|w| w.starts_with(char::is_uppercase));
            let other = imported.find(|word| !TYPES.contains(word));
            assert_eq!(other, None, "{name} imports more than types");
        }
        assert!(!source.contains("super::catalog"), "{name}");
        assert!(!source.contains("::*"), "{name}");
    }
}

#[test]
fn the_checker_calls_no_function_of_the_engines_types() {
    let mut functions = BTreeSet::new();
    for source in SOURCES.map(read) {
        for (at, _) in source.match_indices("fn ") {
            functions.extend(words(&source[at + 3..]).next().map(ToOwned::to_owned));
        }
    }
    assert!(functions.contains("upstream") && functions.contains("is_complete"));
    for (name, source) in checkers() {
        for (at, _) in source.match_indices('.') {
            let rest = &source[at + 1..];
            let called = words(rest).next().unwrap_or_default();
            let is_call = rest.starts_with(&format!("{called}("));
            let own = !functions.contains(called) || PLAIN.contains(&called);
            assert!(!is_call || own, "{name} calls {called} of the engine");
        }
    }
}
