//! What the BPF programs and user space share: records, counters, names. Layout only.
#![no_std]
