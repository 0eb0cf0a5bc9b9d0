//! Polling: learns first, tells what is new once, survives restarts and failures.

use crate::world::{World, docker, eventually, fast, memory, pipeline, with_pipeline};

fn push(world: &World, repository: &str, tag: &str, digest: &str) {
    let mut state = world.state();
    let tags = state.images.entry(repository.into()).or_default();
    tags.insert(tag.into(), digest.into());
}

#[tokio::test]
async fn without_a_cursor_it_learns_and_then_tells_each_push_once() {
    let mut state = with_pipeline();
    state
        .images
        .entry("a".into())
        .or_default()
        .insert("old".into(), "sha256:0".into());
    let world = World::start(memory(), fast(), state);
    world.polled().await;
    push(&world, "a", "1", "sha256:x");
    push(&world, "a", "old", "sha256:moved");
    let mut tags: Vec<_> = world
        .starts(2)
        .await
        .iter()
        .map(|s| s.trigger["tag"].to_string())
        .collect();
    tags.sort();
    assert_eq!(tags, ["\"1\"", "\"old\""]);
    world.polled().await;
    // The late notification of what was found is no news.
    assert_eq!(
        world.notify("a", "1", "sha256:x").await.unwrap().accepted,
        0
    );
    // And the poll of what was notified is none either.
    assert_eq!(
        world.notify("a", "2", "sha256:y").await.unwrap().accepted,
        1
    );
    push(&world, "a", "2", "sha256:y");
    world.polled().await;
    push(&world, "a", "3", "sha256:z");
    let tags: Vec<_> = world
        .starts(2)
        .await
        .iter()
        .map(|s| s.trigger["tag"].clone())
        .collect();
    assert_eq!(tags, ["2", "3"]);
}

#[tokio::test]
async fn a_push_during_a_restart_is_found_afterwards() {
    let world = World::up();
    world.polled().await;
    push(&world, "a", "1", "sha256:x");
    world.starts(1).await;
    world.polled().await;
    let store = world.end().await;
    let mut state = with_pipeline();
    let tags = state.images.entry("a".into()).or_default();
    tags.insert("1".into(), "sha256:x".into());
    tags.insert("2".into(), "sha256:y".into());
    let world = World::start(store, fast(), state);
    assert_eq!(world.starts(1).await[0].trigger["tag"], "2");
}

#[tokio::test]
async fn a_repository_that_appears_is_new_but_one_that_a_trigger_begins_to_name_is_not() {
    let mut state = with_pipeline();
    state
        .images
        .entry("seen".into())
        .or_default()
        .insert("1".into(), "sha256:1".into());
    let world = World::start(memory(), fast(), state);
    world.polled().await;
    push(&world, "a", "1", "sha256:x");
    assert_eq!(world.starts(1).await[0].trigger["repository"], "a");
    // Known without a digest: its first digest is learnt, the next one is news.
    world
        .state()
        .pipelines
        .push(pipeline("q", "shop", &[docker("seen")]));
    world.polled().await;
    push(&world, "seen", "1", "sha256:2");
    let start = world.starts(1).await.remove(0);
    assert_eq!(
        (&start.trigger["repository"], &start.trigger["digest"]),
        (&"seen".into(), &"sha256:2".into())
    );
}

#[tokio::test]
async fn a_registry_without_a_catalogue_learns_what_triggers_name() {
    let mut state = with_pipeline();
    state.catalogue_down = true;
    let world = World::start(memory(), fast(), state);
    world.polled().await;
    world
        .state()
        .pipelines
        .push(pipeline("q", "shop", &[docker("large")]));
    push(&world, "large", "1", "sha256:1");
    world.polled().await;
    push(&world, "large", "2", "sha256:2");
    assert_eq!(world.starts(1).await[0].trigger["tag"], "2");
}

#[tokio::test]
async fn a_repository_of_the_configuration_that_does_not_exist_yet_is_learnt_as_empty() {
    let mut state = with_pipeline();
    state.configured = vec!["a".into()];
    let world = World::start(memory(), fast(), state);
    world.polled().await;
    push(&world, "a", "1", "sha256:x");
    assert_eq!(world.starts(1).await[0].trigger["tag"], "1");
}

#[tokio::test]
async fn a_failed_listing_is_not_an_empty_one() {
    let world = World::up();
    world.polled().await;
    push(&world, "a", "0", "sha256:0");
    world.starts(1).await;
    world.polled().await;
    world.state().broken_repository = Some("a".into());
    world.polled().await;
    world.state().broken_repository = None;
    world.polled().await;
    push(&world, "a", "1", "sha256:x");
    // What was known before the failure is no news after it.
    assert_eq!(world.starts(1).await[0].trigger["tag"], "1");
}

#[tokio::test]
async fn only_what_a_trigger_waits_for_is_asked_for_its_digest() {
    let mut state = with_pipeline();
    state.pipelines.clear();
    for repository in ["a", "b"] {
        let tags = state.images.entry(repository.into()).or_default();
        tags.insert("1".into(), "sha256:1".into());
    }
    let world = World::start(memory(), fast(), state);
    world.polled().await;
    assert_eq!(world.state().digests, 0);
    world.state().pipelines = with_pipeline().pipelines;
    eventually("digests are asked for", || world.state().digests > 0).await;
}
