//! The ways to run.
