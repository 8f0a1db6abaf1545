//! What the BPF programs and user space share: records, counters, names. Layout only, no logic.
//!
//! Integers are in host byte order unless a field says otherwise; addresses are bytes in network
//! order, in one 16-byte form (`::ffff:a.b.c.d` for IPv4). No record has implicit padding:
//! [`zerocopy::IntoBytes`] refuses one, so no stale kernel memory can leak, and every byte pattern
//! of the right length decodes.
#![no_std]

pub mod control;
pub mod event;
pub mod listed;
pub mod lost;
pub mod names;
pub mod offsets;
pub mod row;
pub mod walk;
