//! The ways to run.

pub mod iface;
pub mod masq;
mod netstat;
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
