//! Steps averaged into blocks, so that noise that wanders for a few steps is counted once.

/// A block of canary and baseline: means over the same steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Block {
    pub(crate) canary: f64,
    pub(crate) baseline: f64,
}

impl Block {
    /// Canary less baseline; 0 of equal infinities.
    pub(crate) fn difference(self) -> f64 {
        let Self { canary, baseline } = self;
        if canary.is_infinite() && canary.total_cmp(&baseline).is_eq() {
            0.0
        } else {
            canary - baseline
        }
    }
}

/// The block that is being filled. Steps that lack a side are not pushed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    length: usize,
    filled: usize,
    canary: f64,
    baseline: f64,
}

impl Blocks {
    /// Of `length` steps, at least one.
    pub(crate) fn new(length: usize) -> Self {
        Self {
            length: length.max(1),
            filled: 0,
            canary: 0.0,
            baseline: 0.0,
        }
    }

    /// One more step; the block, if it is full. One whose infinities leave no mean is left out.
    pub(crate) fn push(&mut self, canary: f64, baseline: f64) -> Option<Block> {
        let length = self.length as f64;
        if self.length == 1 {
            return Some(Block { canary, baseline });
        }
        // Divided before they are added: a sum of large values would be infinite.
        self.canary += canary / length;
        self.baseline += baseline / length;
        self.filled += 1;
        if self.filled < self.length {
            return None;
        }
        let block = Block {
            canary: self.canary,
            baseline: self.baseline,
        };
        *self = Self::new(self.length);
        (!block.canary.is_nan() && !block.baseline.is_nan()).then_some(block)
    }
}
