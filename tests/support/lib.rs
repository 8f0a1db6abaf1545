//! What the tests share: namespaces, workloads, the reference netstat.

pub mod fixture;
