//! The ways to run.

pub mod check;
mod choose;
pub mod live;
pub mod log;
mod netstat;
pub mod privilege;
mod radio;
mod sections;
pub mod sockets;
mod stdout;

pub use netstat::netstat;
pub use stdout::Stdout;
