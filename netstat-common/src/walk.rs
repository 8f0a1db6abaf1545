//! How user space and the walk over the kernel's hash tables talk.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`WalkState::status`]: run again, there is more.
pub const MORE: u32 = 0;
/// [`WalkState::status`]: the end was reached.
pub const DONE: u32 = 1;
/// [`WalkState::status`]: the ring is full; empty it and run again.
pub const FULL: u32 = 2;
/// [`WalkState::status`]: this is no hash table of sockets.
pub const BROKEN: u32 = 3;

/// [`WalkState::only`]: request sockets.
pub const ONLY_HALF_OPEN: u32 = 1;
/// [`WalkState::only`]: sockets of the caller's network namespace.
pub const ONLY_OWN_NET: u32 = 2;

/// Steps of one run: some milliseconds in one RCU section.
pub const STEPS: u32 = 1 << 16;

/// What the markers at the ends of the chains of listeners count from
/// (`LISTENING_NULLS_BASE` of `include/net/inet_hashtables.h`).
pub const LISTENER_MARKERS: u32 = 1 << 29;

/// One element of the map `WALK`: set by user space, kept up to date by the walk.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WalkState {
    /// Address of the head of the first chain.
    pub buckets: u64,
    /// Bytes from one head to the next.
    pub stride: u32,
    /// How many chains there are.
    pub count: u32,
    /// The chain to go on with.
    pub next: u32,
    /// What the marker at the end of the first chain is; those of the others follow.
    pub marker_base: u32,
    /// `ONLY_*` bits.
    pub only: u32,
    /// How the last run ended.
    pub status: u32,
    /// Sockets (or namespaces) met, twice where a chain was walked twice.
    pub found: u32,
    /// Chains that changed under the walk.
    pub again: u32,
    /// The node that the walk stands on, 0 between two chains, where every run begins.
    pub node: u64,
}

const _: () = assert!(size_of::<WalkState>() == 48);
