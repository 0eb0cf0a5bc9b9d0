//! The stages of an execution in served order.
//!
//! Copies of an execution share them: each message works on a copy of its own, and most
//! touch one stage of many. A stage is copied when it is changed, and only that one.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::StageId;
use crate::stage::Stage;

/// Stages, shared until they are changed.
#[derive(Clone, Default)]
pub struct Stages(Vec<Arc<Stage>>);

/// Stages one after another.
type Iter<'a> = std::iter::Map<std::slice::Iter<'a, Arc<Stage>>, fn(&Arc<Stage>) -> &Stage>;

impl Stages {
    /// One after another.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(|stage| &**stage)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first.
    pub fn first(&self) -> Option<&Stage> {
        self.iter().next()
    }

    /// The last.
    pub fn last(&self) -> Option<&Stage> {
        self.iter().next_back()
    }

    /// The one at a position.
    pub fn get(&self, position: usize) -> Option<&Stage> {
        self.0.get(position).map(|stage| &**stage)
    }

    /// One by id, to change it.
    pub fn get_mut(&mut self, id: &StageId) -> Option<&mut Stage> {
        let stage = self.0.iter_mut().find(|s| s.id == *id)?;
        Some(Arc::make_mut(stage))
    }

    /// One by id, to share it.
    pub fn share(&self, id: &StageId) -> Option<Arc<Stage>> {
        self.0.iter().find(|stage| stage.id == *id).cloned()
    }

    /// Changes those that are meant.
    pub fn change(&mut self, meant: impl Fn(&Stage) -> bool, mut change: impl FnMut(&mut Stage)) {
        for stage in self.0.iter_mut().filter(|stage| meant(stage)) {
            change(Arc::make_mut(stage));
        }
    }

    /// Puts one in the place of that with its id, or behind all.
    pub fn put(&mut self, stage: Arc<Stage>) {
        match self.0.iter_mut().find(|s| s.id == stage.id) {
            Some(there) => *there = stage,
            None => self.0.push(stage),
        }
    }

    /// Puts one at a position, or behind all.
    pub fn insert(&mut self, position: usize, stage: Stage) {
        let position = position.min(self.0.len());
        self.0.insert(position, Arc::new(stage));
    }

    /// Takes one out.
    pub fn remove(&mut self, id: &StageId) -> Option<Arc<Stage>> {
        let position = self.0.iter().position(|s| s.id == *id)?;
        Some(self.0.remove(position))
    }

    /// Puts them in the order of these ids; those that it does not name come last.
    pub fn put_in_order(&mut self, order: &[StageId]) {
        if self.0.iter().map(|s| &s.id).eq(order) {
            return;
        }
        let places: std::collections::BTreeMap<&StageId, usize> = order.iter().zip(0..).collect();
        let place = |s: &Arc<Stage>| places.get(&s.id).copied().unwrap_or(usize::MAX);
        self.0.sort_by_key(place);
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<StageId> {
        self.iter().map(|stage| stage.id.clone()).collect()
    }

    /// One after another, to share them.
    pub(crate) fn shared(&self) -> impl Iterator<Item = &Arc<Stage>> {
        self.0.iter()
    }
}

impl PartialEq for Stages {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Stage>, &Arc<Stage>)| Arc::ptr_eq(a, b) || a == b;
        self.len() == other.len() && self.0.iter().zip(&other.0).all(same)
    }
}

impl std::fmt::Debug for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl Index<usize> for Stages {
    type Output = Stage;

    #[expect(clippy::indexing_slicing, reason = "that is what was asked for")]
    fn index(&self, position: usize) -> &Stage {
        &self.0[position]
    }
}

impl IndexMut<usize> for Stages {
    #[expect(clippy::indexing_slicing, reason = "that is what was asked for")]
    fn index_mut(&mut self, position: usize) -> &mut Stage {
        Arc::make_mut(&mut self.0[position])
    }
}

impl<'a> IntoIterator for &'a Stages {
    type Item = &'a Stage;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<Arc<Stage>> for Stages {
    fn from_iter<I: IntoIterator<Item = Arc<Stage>>>(stages: I) -> Self {
        Self(stages.into_iter().collect())
    }
}

impl FromIterator<Stage> for Stages {
    fn from_iter<I: IntoIterator<Item = Stage>>(stages: I) -> Self {
        Self(stages.into_iter().map(Arc::new).collect())
    }
}

impl From<Vec<Stage>> for Stages {
    fn from(stages: Vec<Stage>) -> Self {
        stages.into_iter().collect()
    }
}

impl Serialize for Stages {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self)
    }
}

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Stage>::deserialize(deserializer)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    fn three() -> Stages {
        let stage = |id: &str| Stage {
            id: StageId::new(id),
            ..Stage::default()
        };
        ["a", "b", "c"].into_iter().map(stage).collect()
    }

    #[test]
    fn a_copy_shares_all_but_what_is_changed() {
        let before = three();
        let mut after = before.clone();
        after.get_mut(&StageId::new("b")).unwrap().status = Status::Running;
        let shared: Vec<bool> = before
            .0
            .iter()
            .zip(&after.0)
            .map(|(x, y)| Arc::ptr_eq(x, y))
            .collect();
        assert_eq!(shared, [true, false, true]);
        assert_eq!(before[1].status, Status::NotStarted);
        assert_ne!(before, after);
    }

    #[test]
    fn the_order_is_the_one_that_is_given() {
        let mut stages = three();
        stages.put_in_order(&["c", "a"].map(StageId::new));
        assert_eq!(stages.ids(), ["c", "a", "b"].map(StageId::new));
        stages.insert(9, Stage::default());
        assert_eq!(stages.last().unwrap().id, StageId::default());
    }

    #[test]
    fn they_are_read_and_written_as_a_list() {
        let text = serde_json::to_string(&three()).unwrap();
        assert!(text.starts_with("[{\"id\":\"a\""), "{text}");
        assert_eq!(serde_json::from_str::<Stages>(&text).unwrap(), three());
    }
}
