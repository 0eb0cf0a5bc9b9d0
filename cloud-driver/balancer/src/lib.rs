//! balancer.
