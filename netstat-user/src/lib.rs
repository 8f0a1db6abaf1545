//! netstat fed by eBPF: an exact live table of connections.
//!
//! | module | room | what may happen in it |
//! |---|---|---|
//! | [`conn`] | pure | the connection table: a fold over events |
//! | [`view`] | pure | rows and changes to bytes |
//! | [`cmdline`] | pure | the netstat command line |
//! | [`proto`] | pure | what the agent and its clients say, as bytes |
//! | [`agent`] | world | the agent: one table, served on a Unix socket |
//! | [`client`] | world | asking the agent |
//! | [`kernel`] | world | BPF: load, attach, ring, refresh, owners |
//! | [`proc`] | world | /proc: sockets, owners, routes, counters |
//! | [`names`] | world | names for numbers, from NSS |
//! | [`modes`] | world | what each way to run does, in terms of the others |
//!
//! Pure modules see no clock, file, socket or log.

pub mod agent;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cmdline;
pub mod conn;
pub mod kernel;
pub mod modes;
pub mod names;
pub mod proc;
pub mod proto;
mod run;
pub mod source;
pub mod view;

pub use run::run;
