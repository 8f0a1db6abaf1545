//! Tests against the running kernel and the real netstat. They need root.

mod agent;
mod agent_load;
mod builders;
mod json;
mod kinds;
mod log;
mod log_ends;
mod log_gaps;
mod log_output;
mod losses;
mod metrics;
mod owners;
mod random;
mod rescans;
mod rights;
mod seeds;
mod states;
mod storm;
