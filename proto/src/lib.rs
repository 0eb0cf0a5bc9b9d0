//! What the services say to one another: generated gRPC code, the durable
//! messages they hand over through the store, and the few pure rules two of
//! them must agree on (server group names, errors as gRPC status, how far back the
//! balancer's history goes).
//!
//! Holds no behaviour of a service. The truth is in the `.proto` files and in
//! [`message`]; `src/gen` is generated from the former and never edited.

pub mod history;
pub mod json;
pub mod message;
pub mod moniker;
pub mod status;

#[allow(missing_docs, unreachable_pub, clippy::all)]
mod generated {
    pub mod common {
        pub mod v1 {
            include!("gen/gennaker.common.v1.rs");
        }
    }
    pub mod orchestrator {
        pub mod v1 {
            include!("gen/gennaker.orchestrator.v1.rs");
        }
    }
    pub mod cloud_driver {
        pub mod v1 {
            include!("gen/gennaker.cloud_driver.v1.rs");
        }
    }
    pub mod trigger {
        pub mod v1 {
            include!("gen/gennaker.trigger.v1.rs");
        }
    }
    pub mod canary_judge {
        pub mod v1 {
            include!("gen/gennaker.canary_judge.v1.rs");
        }
    }
}

pub use generated::{canary_judge, cloud_driver, common, orchestrator, trigger};

/// The largest gRPC message either side accepts, in bytes: an execution of the
/// largest allowed size and its envelope.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
