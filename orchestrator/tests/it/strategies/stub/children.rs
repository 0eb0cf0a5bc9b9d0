//! The pipelines of application `golden`, and the executions of them that stages start:
//! run to their end at once.

use orchestrator_core::ExecutionType;
use serde_json::{Value, json};

use super::Stub;
use crate::bench::{Act, Bench, Moved};

/// A pipeline that was there when Orca was recorded.
pub(super) fn definition(id: &str) -> Option<Value> {
    let variables = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(k, v)| json!({"key": k, "value": v}));
        let variables: Vec<Value> = pairs.collect();
        json!({"type": "evaluateVariables", "name": "ev", "refId": "1",
            "requisiteStageRefIds": [], "variables": variables})
    };
    let (name, stages) = match id {
        "cfg-strategy" => {
            let pairs = [
                ("c", "${parameters.cluster}"),
                ("extra", "${parameters.extra}"),
            ];
            ("my strategy", json!([variables(&pairs)]))
        }
        "cfg-child-ok" => (
            "child ok",
            json!([variables(&[("out", "child-${parameters.q}")])]),
        ),
        _ => return None,
    };
    let kind = (id == "cfg-strategy").then_some("strategy");
    Some(
        json!({"application": "golden", "id": id, "name": name, "type": kind, "stages": stages,
        "parameterConfig": [{"name": "q", "default": "dq"}]}),
    )
}

/// Starts one, or finds that of the event.
pub(super) async fn start(stub: &Stub, body: Value, event: &str) -> String {
    let known = |stub: &Stub| {
        let world = stub.lock();
        world.children.iter().position(|(e, _)| e == event)
    };
    if known(stub).is_none() {
        let mut bench = Bench::of(stub.clone(), ExecutionType::Pipeline, &body);
        bench.now = stub.lock().now.max(bench.now);
        for _ in 0..5_000 {
            stub.at(bench.now);
            if bench.step(None, &mut |_, _| Act::Run).await == Moved::Idle {
                break;
            }
        }
        let mut ended = bench.execution().to_json();
        ended["id"] = json!(event);
        stub.lock().children.push((event.to_owned(), ended));
    }
    event.to_owned()
}

impl Stub {
    pub(super) fn child(&self, id: &str) -> Option<Value> {
        let world = self.lock();
        let found = world.children.iter().find(|(event, _)| event == id);
        found.map(|(_, execution)| execution.clone())
    }

    /// The executions that stages started, in order.
    pub(crate) fn children(&self) -> Vec<Value> {
        let world = self.lock();
        world.children.iter().map(|(_, e)| e.clone()).collect()
    }
}
