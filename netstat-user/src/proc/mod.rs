//! /proc: socket tables, owners.

mod container;
mod groups;
mod holders;
pub mod interfaces;
mod lines;
mod listing;
pub mod namespaces;
mod owners;
mod process;
mod sctp;
mod seed;
mod sockets;
mod source;
mod unix;

pub use container::{Cgroup, Container};
pub use groups::{groups4, groups6};
pub use holders::holders;
pub(crate) use lines::for_each_line;
pub use listing::tcp_listing;
pub use owners::{context, owners, pid_of, program, program_name};
pub use process::{Process, process};
pub use sctp::{associations, endpoints};
pub use seed::{Seed, tcp_sockets};
pub use source::ProcSource;
