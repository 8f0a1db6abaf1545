//! The ways to run.

mod choose;
pub mod live;
mod netstat;
pub mod privilege;
pub mod sockets;
mod stdout;

pub use netstat::netstat;
pub use stdout::Stdout;
