//! The ways to run.

mod netstat;
mod radio;
mod sections;
pub mod sockets;
mod stdout;

pub use netstat::netstat;
pub use stdout::Stdout;
