//! /proc: socket tables, owners.

pub mod addr_names;
pub mod interfaces;
