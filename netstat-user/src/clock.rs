//! The only place that asks for the time.

use std::{
    fs,
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::conn::types::Ktime;

/// What this time namespace adds to the kernel's monotonic clock, nanoseconds. A process does not
/// change its time namespace once it runs more threads than one or has read the clock.
static OFFSET_NS: LazyLock<i64> = LazyLock::new(|| {
    // Before Linux 5.6 there are no such namespaces.
    let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    monotonic_offset(&text).unwrap_or(0)
});

/// Now, on the clock of `bpf_ktime_get_ns`, which knows no time namespace.
pub fn ktime() -> Ktime {
    let ours = nanoseconds(libc::CLOCK_MONOTONIC);
    Ktime(ours.saturating_add_signed(OFFSET_NS.saturating_neg()))
}

/// The line of the monotonic clock in /proc/self/timens_offsets: seconds and nanoseconds.
fn monotonic_offset(text: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("monotonic"))?;
    let mut words = line.split_whitespace();
    let seconds: i64 = words.next()?.parse().ok()?;
    let rest: i64 = words.next()?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(rest)
}

/// Now, to measure how long something takes.
pub fn now() -> Instant {
    Instant::now()
}

/// Wall time, nanoseconds since 1970.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The kernel's tick (1/HZ) in nanoseconds: the resolution of its coarse clock.
pub fn tick_ns() -> u64 {
    let mut resolution = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid clock and a valid place for the answer.
    unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    match u64::try_from(resolution.tv_nsec) {
        Ok(ns) if ns > 0 => ns,
        _ => 4_000_000,
    }
}

/// Sleeps.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: a valid clock and a valid place for the answer.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// CPU time of this thread.
pub fn thread_cpu_ns() -> u64 {
    nanoseconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of this process, all threads.
pub fn cpu_ns() -> u64 {
    nanoseconds(libc::CLOCK_PROCESS_CPUTIME_ID)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_of_a_time_namespace_are_read() {
        let text = "monotonic           -5   250000000\nboottime      77         0\n";
        assert_eq!(monotonic_offset(text), Some(-4_750_000_000));
        for damaged in [
            "",
            "monotonic",
            "monotonic 1",
            "monotonic x 0",
            "boottime 1 0",
        ] {
            assert_eq!(monotonic_offset(damaged), None, "{damaged:?}");
        }
    }
}
