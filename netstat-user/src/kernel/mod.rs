//! The kernel: BPF object, hooks, ring buffer, refresh. It reads and hands over; what an event
//! means is decided in [`crate::conn`].

pub mod audit;
pub mod btf;
mod checkup;
pub mod descriptors;
pub mod follow;
pub mod heal;
pub mod health;
pub mod hooks;
mod intake;
pub mod learn;
pub mod listed;
mod look;
pub mod map;
pub mod object;
pub mod offsets;
pub mod owners;
pub mod record;
pub mod refresh;
pub mod ring;
pub mod session;
mod sizes;
pub mod walk;
