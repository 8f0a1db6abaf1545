//! Tests against the running kernel and the real netstat. They need root.

mod agent;
mod agent_load;
mod audit;
mod builders;
mod json;
mod kinds;
mod log;
mod log_ends;
mod log_output;
mod losses;
mod losses_agent;
mod metrics;
mod netns;
mod owners;
mod owners_log;
mod owners_names;
mod owners_namespaces;
mod owners_tables;
mod owners_uring;
mod random;
mod rescans;
mod rights;
mod seeds;
mod states;
mod storm;
mod synflood;
