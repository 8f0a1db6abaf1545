//! The ways to run.

mod netstat;
pub mod sockets;
mod stdout;

pub use netstat::netstat;
pub use stdout::Stdout;
