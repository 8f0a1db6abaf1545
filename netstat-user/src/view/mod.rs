//! Rows to bytes.

pub mod cscan;
pub mod iface;
pub mod iface_hardware;
pub mod iface_order;
pub mod iface_rows;
pub mod masq;
pub mod ntop;
pub mod pad;
pub mod route;
pub mod route6;
mod route_rows;
pub mod row;
pub mod stats;
mod stats_tables;
