//! What several rows start and read.

use anyhow::{Context, Result};
use bytes::Bytes;
use hyper::Method;
use serde_json::Value;
use tests::census::{self, Role};
use tests::gate::{START, id_of};
use tests::{Gate, Stack};
use tokio::task::JoinSet;

/// Starts sent at the same time.
const AT_ONCE: usize = 16;

/// Starts a pipeline so many times, over connections that are kept as clients keep them; their ids.
pub(crate) async fn start_all(gate: &Gate, pipeline: &Value, many: usize) -> Result<Vec<String>> {
    let mut lanes = JoinSet::new();
    let body = Bytes::from(serde_json::to_vec(pipeline)?);
    for lane in 0..AT_ONCE {
        let (gate, body) = (gate.clone(), body.clone());
        lanes.spawn(async move {
            let mut ids = Vec::new();
            let mut connection = gate.http().connect().await?;
            for _ in (lane..many).step_by(AT_ONCE) {
                let answer = connection.send(Method::POST, START, body.clone());
                ids.push(id_of(&answer.await?.expect(200)?.json()?)?);
            }
            anyhow::Ok(ids)
        });
    }
    let mut ids = Vec::new();
    while let Some(lane) = lanes.join_next().await {
        ids.extend(lane??);
    }
    Ok(ids)
}

/// A time of an execution or a stage, ms since the epoch.
pub(crate) fn time(of: &Value, key: &str) -> Result<i64> {
    let time = of[key].as_i64();
    time.with_context(|| format!("there is no {key}"))
}

/// The control plane's process.
pub(crate) fn control_plane(stack: &Stack) -> Result<i32> {
    let all = census::of(&stack.data);
    let found = all
        .iter()
        .find(|process| process.role == Role::ControlPlane);
    Ok(found.context("there is no control plane")?.pid)
}

/// For figures.
#[allow(clippy::cast_precision_loss)] // counts of one run
pub(crate) fn count(number: usize) -> f64 {
    number as f64
}
