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

/// How long ten looks for owners take where that is long, milliseconds: in an emulated guest.
const TEN_LOOKS: &str = "NETSTAT_TEST_TEN_LOOKS_MS";

/// Waits until the log may look for owners again, which it does in a tenth of the time: what was
/// handed on without an event is found by the next look. A look of a real machine is shorter than any
/// two commands; then there is nothing to wait for.
///
/// # Panics
/// When the environment says something else than a number.
#[track_caller]
pub fn until_owners_are_looked_for() {
    if let Some(told) = std::env::var_os(TEN_LOOKS) {
        let ms = told.to_str().and_then(|told| told.parse().ok());
        thread::sleep(Duration::from_millis(ms.expect(TEN_LOOKS)));
    }
}
