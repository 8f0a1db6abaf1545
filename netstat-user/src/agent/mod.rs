//! The agent: one live table for all network namespaces, served on a Unix socket.
//!
//! Three kinds of threads. The *table* thread ([`table`]) owns the [`Session`] and nothing else
//! touches it; it never waits for a client. One *door* thread ([`door`]) accepts connections, and
//! each connection has a thread of its own ([`client`]) that finds out who asks ([`peer`]), hands a
//! job to the table, and writes the answer for as long as the client is worth it. If metrics are wanted,
//! one thread more ([`metrics`]) serves them.
//!
//! [`Session`]: crate::kernel::session::Session

pub mod audit;
pub mod client;
pub mod door;
pub mod io;
pub mod lifecycle;
pub mod metrics;
pub mod notify;
pub mod peer;
mod sample;
pub mod shared;
pub mod table;

/// Where the agent listens unless told otherwise.
pub const SOCKET: &str = "/run/netstat-bpf/agent.sock";
