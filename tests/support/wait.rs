//! Waiting for a condition instead of for a time.

use std::{
    env, thread,
    time::{Duration, Instant},
};

/// Long enough for a machine that several jobs share; only a failing test waits this long.
/// `NETSTAT_TEST_PATIENCE` sets other seconds, for an emulated machine.
///
/// # Panics
/// When that is no number.
pub fn deadline() -> Duration {
    let seconds = env::var("NETSTAT_TEST_PATIENCE").map_or(30, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("NETSTAT_TEST_PATIENCE={text}: {error}"))
    });
    Duration::from_secs(seconds)
}

const POLL: Duration = Duration::from_millis(2);

/// The first value that `probe` gives.
///
/// # Panics
/// After [`deadline`], naming `what` was awaited.
#[track_caller]
pub fn until<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    try_until(probe)
        .unwrap_or_else(|| panic!("waited {} s in vain for {what}", deadline().as_secs()))
}

/// The first value that `probe` gives before [`deadline`].
pub fn try_until<T>(mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline();
    loop {
        let value = probe();
        if value.is_some() || Instant::now() >= end {
            return value;
        }
        thread::sleep(POLL);
    }
}
