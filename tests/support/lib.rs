//! What the tests share: namespaces, processes that own sockets, ways into every TCP state, and
//! the reference netstat. Nothing here knows how netstat-bpf works.
//!
//! Everything panics instead of returning errors, so that a failure keeps the line of its test.

pub mod agent;
pub mod continuous;
pub mod fixture;
pub mod flood;
mod hands;
mod kinds;
mod live;
pub mod log;
pub mod mounted;
pub mod netns;
pub mod oracle;
pub mod packet;
pub mod peer;
pub mod procs;
pub mod report;
pub mod row;
pub mod soak;
pub mod states;
pub mod storm;
pub mod tun;
pub mod wait;
pub mod workload;
