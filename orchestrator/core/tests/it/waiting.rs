//! The waiting list of a pipeline in every order: executions and their gate, each with
//! a mailbox of its own; whichever mailbox is served next, whenever an execution comes,
//! ends, is cancelled or restarted. A list of ten lines is the oracle.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use orchestrator_core::testing::{CountedIds, ToyCatalog};
use orchestrator_core::{
    Answers, Env, Execution, ExecutionId, ExecutionType, Message, Outcome, PipelineConfigId,
    PipelineGate, Settings, Status, Subject, Target, TaskResult, TaskRun, command, handle,
    new_execution, task_finished,
};
use serde_json::json;

const NOW: i64 = 1_000;
const GATE: &str = "config";

/// What is tried in all orders.
#[derive(Debug, Clone, Copy)]
struct Case {
    executions: usize,
    limit: usize,
    /// Those that wait stay when one ends.
    keep: bool,
    /// How often somebody cancels or restarts one, all in all.
    actions: usize,
}

/// Who runs and who waits, as it should be.
#[derive(Debug, Clone, Default)]
struct Oracle {
    running: Vec<usize>,
    waiting: Vec<usize>,
    /// A newer one took their place.
    dropped: Vec<usize>,
}

impl Oracle {
    fn comes(&mut self, who: usize, limit: usize) {
        if !self.running.contains(&who) && !self.waiting.contains(&who) {
            self.waiting.push(who);
        }
        self.let_in(limit);
    }

    fn goes(&mut self, who: usize, limit: usize, keep: bool) {
        self.running.retain(|r| *r != who);
        self.waiting.retain(|w| *w != who);
        if !keep && let Some(newest) = self.waiting.pop() {
            self.dropped.append(&mut self.waiting);
            self.waiting.push(newest);
        }
        self.let_in(limit);
    }

    fn let_in(&mut self, limit: usize) {
        while self.running.len() < limit && !self.waiting.is_empty() {
            self.running.push(self.waiting.remove(0));
        }
    }
}

#[derive(Clone)]
struct State {
    case: Case,
    executions: Vec<Subject>,
    gate: Subject,
    /// Of each execution, the gate's last.
    mailboxes: Vec<VecDeque<Message>>,
    /// What a worker has of each.
    runs: Vec<Option<TaskRun>>,
    arrived: usize,
    actions: usize,
    cancelled: Vec<bool>,
    oracle: Oracle,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Arrive,
    Serve(usize),
    Finish(usize),
    Cancel(usize),
    Restart(usize),
}

impl State {
    fn new(case: Case) -> Self {
        let mut mailboxes = vec![VecDeque::new(); case.executions + 1];
        let mut executions = Vec::new();
        for (number, mailbox) in mailboxes.iter_mut().enumerate().take(case.executions) {
            let body = json!({
                "application": "a", "name": "p", "id": GATE, "limitConcurrent": case.limit == 1,
                "maxConcurrentExecutions": case.limit, "keepWaitingPipelines": case.keep,
                "stages": [{"refId": "1", "type": "plain"}],
            });
            let id = ExecutionId::new(number.to_string());
            let kind = ExecutionType::Pipeline;
            let mut ids = CountedIds::default();
            let made = new_execution(kind, &body, id, "ann", NOW, &mut ids).unwrap();
            executions.push(Subject::Execution(Box::new(made.0)));
            // Its first message waits until it arrives.
            mailbox.extend(made.1.into_iter().map(|m| m.message));
        }
        Self {
            case,
            executions,
            gate: Subject::PipelineGate(PipelineGate::new(PipelineConfigId::new(GATE))),
            mailboxes,
            runs: vec![None; case.executions],
            arrived: 0,
            actions: case.actions,
            cancelled: vec![false; case.executions],
            oracle: Oracle::default(),
        }
    }

    fn execution(&self, number: usize) -> &Execution {
        match &self.executions[number] {
            Subject::Execution(execution) => execution,
            Subject::PipelineGate(_) => panic!("a gate among the executions"),
        }
    }

    fn gate(&self) -> &PipelineGate {
        match &self.gate {
            Subject::PipelineGate(gate) => gate,
            Subject::Execution(_) => panic!("an execution for a gate"),
        }
    }

    fn acts(&self) -> Vec<Act> {
        let all = self.case.executions;
        let mut acts = Vec::new();
        if self.arrived < all {
            acts.push(Act::Arrive);
        }
        acts.extend(
            (0..self.arrived)
                .filter(|n| !self.mailboxes[*n].is_empty())
                .map(Act::Serve),
        );
        acts.extend((!self.mailboxes[all].is_empty()).then_some(Act::Serve(all)));
        acts.extend(
            (0..self.arrived)
                .filter(|n| self.runs[*n].is_some())
                .map(Act::Finish),
        );
        if self.actions > 0 {
            let over = |n: &usize| self.execution(*n).status.is_complete();
            acts.extend((0..self.arrived).filter(|n| !over(n)).map(Act::Cancel));
            let begun = |n: &usize| self.execution(*n).stages[0].status.is_complete();
            acts.extend((0..self.arrived).filter(begun).map(Act::Restart));
        }
        acts
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Arrive => {
                let first = self.mailboxes[self.arrived].pop_front().unwrap();
                self.arrived += 1;
                self.send(self.case.executions, first);
            }
            Act::Serve(number) => {
                let message = self.mailboxes[number].pop_front().unwrap();
                self.serve(number, message);
            }
            Act::Finish(number) => {
                let run = self.runs[number].take().unwrap();
                let execution = self.execution(number).clone();
                let outcome = with_env(|env| {
                    task_finished(&run, Ok(TaskResult::succeeded()), &execution, env)
                });
                self.follow(number, outcome);
            }
            Act::Cancel(number) => {
                self.actions -= 1;
                self.cancelled[number] = true;
                let effects = command::cancel(self.execution(number), "ann", None).unwrap();
                self.follow(number, Outcome::Done(Box::new(effects)));
            }
            Act::Restart(number) => {
                self.actions -= 1;
                let execution = self.execution(number);
                let stage = execution.stages[0].id.clone();
                let effects = command::restart_stage(execution, &stage, "ann").unwrap();
                self.follow(number, Outcome::Done(Box::new(effects)));
            }
        }
    }

    fn serve(&mut self, number: usize, message: Message) {
        let Case { limit, keep, .. } = self.case;
        let who = |id: &ExecutionId| id.as_str().parse::<usize>().unwrap();
        if number < self.case.executions {
            let outcome = with_env(|env| handle(&message, &self.executions[number], env));
            self.follow(number, outcome);
            return;
        }
        match &message {
            Message::StartExecution { execution_id, .. } => {
                self.oracle.comes(who(execution_id), limit);
            }
            Message::StartWaitingExecutions { execution_id, .. } => {
                self.oracle.goes(who(execution_id), limit, keep);
            }
            other => panic!("{} for a gate", other.kind()),
        }
        if let Outcome::Done(effects) = with_env(|env| handle(&message, &self.gate, env)) {
            self.gate.apply(&effects);
            for outgoing in effects.messages {
                let Target::Execution(id) = &outgoing.to else {
                    panic!("a gate writes to a gate");
                };
                self.send(who(id), outgoing.message);
            }
        }
        let gate = self.gate();
        let running: Vec<usize> = gate.running.iter().map(who).collect();
        let waiting: Vec<usize> = gate.waiting.iter().map(|w| who(&w.execution_id)).collect();
        assert_eq!(
            (&running, &waiting),
            (&self.oracle.running, &self.oracle.waiting)
        );
    }

    /// Applies an outcome; what follows in the execution itself follows at once.
    fn follow(&mut self, number: usize, outcome: Outcome) {
        let Outcome::Done(effects) = outcome else {
            return;
        };
        self.executions[number].apply(&effects);
        if let Some(run) = effects.run {
            self.runs[number] = Some(run);
        }
        let mut own = Vec::new();
        for outgoing in effects.messages {
            match outgoing.to {
                Target::Gate(_) => self.send(self.case.executions, outgoing.message),
                // A person's wish waits for its turn.
                Target::Execution(_) if is_wish(&outgoing.message) => {
                    self.send(number, outgoing.message);
                }
                Target::Execution(_) => own.push(outgoing.message),
            }
        }
        own.into_iter()
            .for_each(|message| self.serve(number, message));
    }

    /// One that is equal to one that waits takes its place.
    fn send(&mut self, to: usize, message: Message) {
        let mailbox = &mut self.mailboxes[to];
        mailbox.retain(|m| m.fingerprint() != message.fingerprint());
        mailbox.push_back(message);
    }

    fn check(&self) {
        let under_way = (0..self.case.executions)
            .filter(|n| self.execution(*n).status == Status::Running)
            .count();
        assert!(
            under_way <= self.case.limit,
            "{under_way} run at once: {}",
            self.key()
        );
        if !self
            .acts()
            .iter()
            .all(|act| matches!(act, Act::Cancel(_) | Act::Restart(_)))
        {
            return;
        }
        // Nothing will happen any more.
        let gate = self.gate();
        assert!(
            gate.running.is_empty() && gate.waiting.is_empty(),
            "{gate:?}"
        );
        for number in 0..self.case.executions {
            let status = self.execution(number).status;
            let given_up = self.cancelled[number] || self.oracle.dropped.contains(&number);
            match status {
                Status::Succeeded => {}
                Status::Canceled => assert!(given_up, "{number}: {}", self.key()),
                other => panic!("execution {number} is {other}: {}", self.key()),
            }
        }
    }

    /// All that what follows depends on.
    fn key(&self) -> String {
        let mut key = format!("{} {} {:?} ", self.arrived, self.actions, self.cancelled);
        for number in 0..self.case.executions {
            let execution = self.execution(number);
            let stage = &execution.stages[0];
            let tasks = stage
                .tasks
                .iter()
                .map(|t| (t.status, t.in_flight, t.wake, t.runs));
            let _ = write!(
                key,
                "{}{}{}{}{}{:?}{} ",
                execution.status,
                execution.canceled,
                execution.admitted,
                stage.status,
                stage.attempt,
                tasks.collect::<Vec<_>>(),
                self.runs[number].is_some(),
            );
        }
        for mailbox in &self.mailboxes {
            let prints: Vec<String> = mailbox.iter().map(Message::fingerprint).collect();
            let _ = write!(key, "{prints:?}");
        }
        let _ = write!(key, "{:?}", self.oracle);
        key
    }

    /// In how many orders everything can happen from here on.
    fn orders(&self, known: &mut BTreeMap<String, f64>) -> f64 {
        let key = self.key();
        if let Some(orders) = known.get(&key) {
            return *orders;
        }
        self.check();
        let mut orders = 0.0;
        for act in self.acts() {
            let mut next = self.clone();
            next.act(act);
            orders += next.orders(known);
        }
        let orders = f64::max(orders, 1.0);
        known.insert(key, orders);
        orders
    }
}

fn is_wish(message: &Message) -> bool {
    matches!(
        message,
        Message::CancelExecution { .. } | Message::RestartStage { .. }
    )
}

fn with_env<T>(work: impl FnOnce(&mut Env<'_>) -> T) -> T {
    let (answers, settings) = (Answers::new(), Settings::default());
    let mut ids = CountedIds::after(100);
    work(&mut Env {
        now: NOW,
        ids: &mut ids,
        answers: &answers,
        stages: &ToyCatalog,
        settings: &settings,
    })
}

#[test]
fn in_every_order_the_limit_holds_and_whoever_waits_is_let_in_or_told() {
    for (executions, actions) in [(4, 1), (3, 2), (2, 3)] {
        for (limit, keep) in [(1, true), (1, false), (2, true), (2, false)] {
            let case = Case {
                executions,
                limit,
                keep,
                actions,
            };
            let mut known = BTreeMap::new();
            let orders = State::new(case).orders(&mut known);
            println!("{case:?}: {orders:.0} orders of {} states", known.len());
        }
    }
}
