//! Tests against the running kernel and the real netstat. They need root.

mod agent;
mod agent_faults;
mod agent_load;
mod agent_log;
mod audit;
mod builders;
mod clocks;
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
mod random;
mod rescans;
mod rights;
mod seeds;
mod states;
mod storm;
