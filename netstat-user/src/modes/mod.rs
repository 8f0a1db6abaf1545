//! The ways to run.

pub mod agent;
pub mod audit;
pub mod check;
mod choose;
#[cfg(test)]
mod hostile_chain_tests;
#[cfg(test)]
mod hostile_tests;
pub mod iface;
mod json;
pub mod live;
mod live_rows;
pub mod log;
pub mod masq;
mod netns;
mod netstat;
pub mod privilege;
mod report;
pub mod route;
mod route_other;
mod sections;
pub mod sockets;
pub mod stats;
pub mod status;
mod stdout;
mod via_agent;

pub use netstat::netstat;
pub use stdout::Stdout;
