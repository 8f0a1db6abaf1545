//! Rows to bytes.
//!
//! Pure: a row, the options and a [`Names`] in, bytes out. Widths and cuts count bytes.

pub mod addr;
pub mod audit;
pub mod by_inode;
pub mod cell;
pub mod groups;
pub mod header;
pub mod iface;
pub mod iface_hardware;
pub mod iface_order;
pub mod iface_rows;
pub mod inet;
pub mod journal;
pub mod json;
pub mod log;
pub mod masq;
pub mod metrics;
pub mod names;
pub mod radio;
pub mod route;
pub mod route6;
pub mod route_other;
mod route_rows;
pub mod row;
pub mod scan;
pub mod sctp;
pub mod snapshot;
pub mod state;
pub mod stats;
mod stats_tables;
pub mod status;
pub mod timer;
pub mod unix;

pub use inet::{Contexts, Screen};
pub use names::Names;
