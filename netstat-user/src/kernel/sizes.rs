//! How large the ring is, and the budget of half-open connections.

use anyhow::{Context as _, Result};
use netstat_common::offsets;

use super::object::Purpose;

/// Size of the ring in bytes, if this is set in the environment: a power of two.
const RING_BYTES: &str = "NETSTAT_BPF_RING_BYTES";
/// Events of half-open connections for each CPU and 134 ms, if this is set in the environment.
const HALF_OPEN_BUDGET: &str = "NETSTAT_BPF_HALF_OPEN_BUDGET";
/// 7,600 events a second and CPU: rows over it are read when they are printed, and nothing is lost.
const TABLE_BUDGET: u64 = 1 << 10;
/// 122,000 events a second and CPU: over it, lines of the log are missing.
const LOG_BUDGET: u64 = TABLE_BUDGET << offsets::WANTED_BUDGET_SHIFT;
/// Ring size for a snapshot: it holds one pass of an iterator over 30,000 sockets, and an
/// iterator that finds it full is resumed.
const SNAPSHOT_RING: u32 = 1 << 20;
/// Ring size with hooks: 80,000 events, or 130 ms at 600,000 a second.
const TABLE_RING: u32 = 8 << 20;
/// Ring size for the log, which has twice the events: 130 ms at 1.2 million a second.
const LOG_RING: u32 = 16 << 20;

/// How large the ring is and how much of it half-open connections may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Bytes; a power of two.
    pub(super) ring: u32,
    /// Events of request sockets for each CPU and 134 ms.
    pub(super) half_open: u64,
}

impl Sizes {
    /// The sizes for a purpose, or those that the environment sets.
    pub(super) fn of(purpose: Purpose) -> Result<Self> {
        let (ring, half_open) = match purpose {
            Purpose::Snapshot => (SNAPSHOT_RING, TABLE_BUDGET),
            Purpose::Table => (TABLE_RING, TABLE_BUDGET),
            Purpose::Agent => (LOG_RING, TABLE_BUDGET),
            Purpose::Log => (LOG_RING, LOG_BUDGET),
        };
        let ring = from_environment(RING_BYTES)?.unwrap_or(u64::from(ring));
        let fits =
            |ring: &u32| ring.is_power_of_two() && *ring as usize >= super::ring::page_size();
        let ring = u32::try_from(ring).ok().filter(fits).with_context(|| {
            format!("{RING_BYTES}={ring} is not a power of two of at least one page")
        })?;
        let half_open = from_environment(HALF_OPEN_BUDGET)?.unwrap_or(half_open);
        Ok(Self { ring, half_open })
    }
}

fn from_environment(name: &str) -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(name) else {
        return Ok(None);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .with_context(|| format!("{name}={} is not a number", text.display()))
}
