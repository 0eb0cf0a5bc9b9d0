//! Applying writes to the subject in memory, exactly as the store does to the
//! document: what a worker goes on with, and what a replay folds.

use std::sync::Arc;

use crate::execution::Execution;
use crate::outcome::{Effects, Subject, Write};

impl Subject {
    /// Applies the writes of one message's effects.
    pub fn apply(&mut self, effects: &Effects) {
        let mut order = None;
        for write in &effects.writes {
            match (&mut *self, write) {
                (Self::Execution(execution), Write::Header(header, stages)) => {
                    let kept = std::mem::take(&mut execution.stages);
                    **execution = Execution {
                        stages: kept,
                        ..(**header).clone()
                    };
                    order = Some(stages);
                }
                (Self::Execution(execution), Write::Stage(stage)) => {
                    execution.stages.put(Arc::clone(stage));
                }
                (Self::Execution(execution), Write::RemoveStage(id)) => {
                    execution.stages.remove(id);
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
        if let (Self::Execution(execution), Some(order)) = (self, order) {
            execution.stages.put_in_order(order);
        }
    }
}
