//! The kernel: BPF objects, hooks, ring buffer.
