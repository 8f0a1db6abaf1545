//! /proc: socket tables, owners.

mod groups;
pub mod interfaces;
mod lines;
mod owners;
mod sctp;
mod seed;
mod sockets;
mod source;
mod unix;

pub use groups::{groups4, groups6};
pub(crate) use lines::for_each_line;
pub use owners::{context, owners, pid_of, program, program_name};
pub use sctp::{associations, endpoints};
pub use seed::{Seed, tcp_sockets};
pub use source::ProcSource;
