//! Rows to bytes.

pub mod row;
