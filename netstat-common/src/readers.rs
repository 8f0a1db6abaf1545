//! How user space shares a pass over all descriptor tables among its threads.

/// The most threads that share a pass.
pub const MOST_READERS: usize = 8;

/// Elements of the map `READERS`: how many threads there are, then of each its number, from 1, in the
/// upper half of the word, and its id in the PID namespace of the thread in the lower. Of the parts (64 descriptors each) of a process's table, each
/// thread reads every so many; one that is not in the list reads all.
pub const READERS_SIZE: u32 = 1 + MOST_READERS as u32;
