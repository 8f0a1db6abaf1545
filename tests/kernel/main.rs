//! Tests against the running kernel and the real netstat. They need root.

mod builders;
mod owners;
mod random;
mod states;
