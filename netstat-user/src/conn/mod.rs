//! The connection table: a pure fold over events. No clock, file, socket or log.
//!
//! [`table::ConnTable::apply`] takes an event and gives what changed as values. A socket is known by
//! [`types::SockId`], never by its addresses: they change while it lives, ports are 0 at SYN_SENT.
//!
//! One *connection* may be several kernel objects in turn: a request socket, the full socket made
//! from it, a timewait minisock. The table links them by their addresses at the moment of the
//! hand-over, so that a log line reads `FIN_WAIT2 -> TIME_WAIT` and the owner lives on.

pub mod compare;
mod end;
#[cfg(test)]
mod end_tests;
mod entries;
pub mod filter;
mod full;
pub mod gaps;
#[cfg(test)]
mod gaps_tests;
#[cfg(test)]
mod hostile_tests;
mod minisock;
#[cfg(test)]
mod model;
mod owner;
#[cfg(test)]
mod owner_tests;
#[cfg(test)]
mod reuse_tests;
pub mod seed;
pub mod table;
#[cfg(test)]
mod table_tests;
pub mod tally;
#[cfg(test)]
mod trace;
#[cfg(test)]
mod trace_tests;
pub mod trail;
pub mod types;
