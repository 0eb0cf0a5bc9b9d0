//! Applying writes to the subject in memory, exactly as the store does to the
//! document: what a worker goes on with, and what a replay folds.

use crate::execution::Execution;
use crate::outcome::{Effects, Subject, Write};
use crate::stage::Stage;

impl Subject {
    /// Applies the writes of one message's effects.
    pub fn apply(&mut self, effects: &Effects) {
        for write in &effects.writes {
            match (&mut *self, write) {
                (Self::Execution(execution), Write::Header(header, order)) => {
                    let stages = std::mem::take(&mut execution.stages);
                    **execution = Execution {
                        stages,
                        ..(**header).clone()
                    };
                    execution.order = order.clone();
                }
                (Self::Execution(execution), Write::Stage(stage)) => {
                    match execution.stages.iter_mut().find(|s| s.id == stage.id) {
                        Some(there) => *there = (**stage).clone(),
                        None => execution.stages.push((**stage).clone()),
                    }
                }
                (Self::Execution(execution), Write::RemoveStage(id)) => {
                    execution.stages.retain(|s| s.id != *id);
                }
                (Self::PipelineGate(gate), Write::Gate(new)) => *gate = new.clone(),
                (Self::Execution(_), Write::Gate(_))
                | (
                    Self::PipelineGate(_),
                    Write::Header(..) | Write::Stage(_) | Write::RemoveStage(_),
                ) => {
                    debug_assert!(false, "a write of another subject");
                }
            }
        }
        if let Self::Execution(execution) = self {
            put_in_order(execution);
        }
    }
}

fn put_in_order(execution: &mut Execution) {
    let order = std::mem::take(&mut execution.order);
    if order.is_empty() {
        return;
    }
    let place = |stage: &Stage| {
        order
            .iter()
            .position(|id| *id == stage.id)
            .unwrap_or(usize::MAX)
    };
    execution.stages.sort_by_key(place);
}
