//! Waiting for a condition instead of for a time.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for a machine that several jobs share, or that is emulated; only a failing test
/// waits this long.
pub const DEADLINE: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(2);

/// The first value that `probe` gives.
///
/// # Panics
/// After [`DEADLINE`], naming `what` was awaited.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    try_until(probe).unwrap_or_else(|| panic!("waited {} s in vain for {what}", DEADLINE.as_secs()))
}

/// The first value that `probe` gives before [`DEADLINE`].
pub fn try_until<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + DEADLINE;
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= end {
            return value;
        }
        thread::sleep(POLL);
    }
}
