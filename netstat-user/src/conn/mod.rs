//! The connection table: a pure fold over events.
