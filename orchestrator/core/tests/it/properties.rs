//! Random graphs end, each stage starts only after its requisites, and nothing is
//! left in the queue.

use orchestrator_core::{Status, TaskResult, testing::execution};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::runner::Runner;

fn stages() -> impl Strategy<Value = Vec<Value>> {
    let one = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        0..3u8,
        prop::bool::ANY,
        prop::option::of(prop::bool::ANY),
        prop::bool::ANY,
        0..3u8,
    );
    prop::collection::vec(one, 1..7).prop_map(|list| {
        list.into_iter()
            .enumerate()
            .map(
                |(position, (requisites, synthetic, nested, fail, go_on, on_failure))| {
                    let mut refs: Vec<String> = if position == 0 {
                        Vec::new()
                    } else {
                        requisites
                            .iter()
                            .map(|r| r.index(position).to_string())
                            .collect()
                    };
                    refs.sort();
                    refs.dedup();
                    let mut stage = json!({
                        "refId": position.to_string(), "requisiteStageRefIds": refs,
                        "type": if nested { "nested" } else { "plain" },
                        "before": synthetic, "after": synthetic, "onFailure": on_failure,
                        "continuePipeline": go_on,
                    });
                    if let Some(fail) = fail {
                        stage["failPipeline"] = fail.into();
                    }
                    stage
                },
            )
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_pipeline_ends_and_leaves_nothing_behind(
        stages in stages(), failures in prop::collection::vec(0..10u8, 0..64),
    ) {
        let mut failures = failures.into_iter();
        let runner = Runner::new(execution(&Value::Array(stages)))
            .answering(move |_, _| Ok(TaskResult::status(match failures.next() {
                Some(0) => Status::Terminal,
                Some(1) => Status::Stopped,
                Some(2) => Status::FailedContinue,
                Some(3) => Status::Skipped,
                Some(4) => Status::Running,
                _ => Status::Succeeded,
            })))
            .end();
        let execution = runner.execution();
        prop_assert!(execution.status.is_complete(), "{}", runner.summary());
        prop_assert_eq!(runner.waiting(), 0);
        for stage in &execution.stages {
            prop_assert!(
                !matches!(stage.status, Status::Running | Status::Paused),
                "{} after the end: {}", stage.ref_id, runner.summary()
            );
            if stage.start_time.is_some() {
                for upstream in execution.upstream(stage) {
                    prop_assert!(upstream.status.lets_downstream_run(), "{}", runner.summary());
                }
            }
        }
    }
}
