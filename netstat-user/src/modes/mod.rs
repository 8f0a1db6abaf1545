//! The ways to run.

pub mod check;
mod choose;
pub mod iface;
pub mod live;
mod live_rows;
pub mod log;
pub mod masq;
mod netstat;
pub mod privilege;
mod radio;
mod report;
pub mod route;
mod route_other;
mod sections;
pub mod sockets;
pub mod stats;
mod stdout;

pub use netstat::netstat;
pub use stdout::Stdout;
