//! Rows to bytes.
//!
//! Pure: a row, the options and a [`Names`] in, bytes out. Widths and cuts count bytes.

pub mod addr;
pub mod cell;
pub mod groups;
pub mod header;
pub mod inet;
pub mod log;
pub mod names;
pub mod row;
pub mod sctp;
pub mod state;
pub mod timer;
pub mod unix;

pub use inet::{Contexts, Screen};
pub use names::Names;
