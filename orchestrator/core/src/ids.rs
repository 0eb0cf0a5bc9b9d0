//! Ids, each a type of its own: none can be passed for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a text for an id, at the border where it comes in.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An execution, 26 characters.
    ExecutionId
);
id!(
    /// A stage of an execution.
    StageId
);
id!(
    /// A task, `1`, `2`, … within its stage.
    TaskId
);
id!(
    /// A stage's id within its pipeline; synthetic ones read `1<1` or `1>1`.
    RefId
);
id!(
    /// A pipeline definition.
    PipelineConfigId
);
