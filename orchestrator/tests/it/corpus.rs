//! What fuzzing kept, played again: `make fuzz` looks for more.

#[path = "../../../fuzz/src/targets.rs"]
#[expect(
    unreachable_pub,
    reason = "the crate that fuzzes uses them from outside"
)]
mod targets;

/// Plays each file of a corpus; how many there were.
fn play(name: &str, target: fn(&[u8])) -> usize {
    let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder).unwrap();
    files
        .map(|file| target(&std::fs::read(file.unwrap().path()).unwrap()))
        .count()
}

#[test]
fn no_text_that_fuzzing_kept_upsets_the_readers_of_expressions_and_pipelines() {
    assert!(play("expression", targets::expression) > 100);
    assert!(play("pipeline", targets::pipeline) > 20);
}
