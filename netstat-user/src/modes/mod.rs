//! The ways to run.

pub mod iface;
pub mod masq;
mod report;
pub mod route;
mod route_other;
pub mod stats;
