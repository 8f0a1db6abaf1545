//! /proc: socket tables, owners.
