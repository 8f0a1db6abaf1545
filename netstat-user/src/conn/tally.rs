//! Numbers of a table over time: a fold over its changes, for metrics.

use std::collections::BTreeMap;

use super::types::{Change, Kind, TcpState, Why};

/// Upper bounds of the histograms' buckets, nanoseconds: 10 µs to 10 s.
pub const BOUNDS_NS: [u64; 10] = [
    10_000,
    100_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    3_000_000_000,
    10_000_000_000,
];

/// A distribution of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Observations up to each of [`BOUNDS_NS`] and above the one before, then those beyond all.
    pub buckets: [u64; BOUNDS_NS.len() + 1],
    /// Sum of all observations, nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    /// Adds an observation.
    pub fn observe(&mut self, ns: u64) {
        let at = BOUNDS_NS.partition_point(|bound| *bound < ns);
        self.buckets[at] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What has happened since the start, in all network namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were called for by a socket of this host.
    pub opened_out: u64,
    /// Connections that peers called for: half-open ones.
    pub opened_in: u64,
    /// Connections that came to ESTABLISHED.
    pub established: u64,
    /// Ends of what had been connections or calls, by reason; `None` is not known.
    pub ended: BTreeMap<Option<Why>, u64>,
    /// Calls of this host that ended before they were answered.
    pub failed_out: u64,
    /// Half-open connections that ended so.
    pub failed_in: u64,
    /// From SYN_SENT to ESTABLISHED.
    pub connect: Histogram,
    /// From SYN_RECV to ESTABLISHED.
    pub accept: Histogram,
}

impl Tally {
    /// Takes in a change.
    pub fn add(&mut self, change: &Change) {
        let (from, to) = (change.from, change.conn.state);
        match (from, to) {
            (Some(TcpState::Close), TcpState::SynSent) => self.opened_out += 1,
            (Some(TcpState::Close), TcpState::SynRecv) => self.opened_in += 1,
            (Some(TcpState::SynSent), TcpState::Established) => {
                self.established += 1;
                change
                    .in_from_ns
                    .into_iter()
                    .for_each(|ns| self.connect.observe(ns));
            }
            (Some(TcpState::SynRecv), TcpState::Established) => {
                self.established += 1;
                change
                    .in_from_ns
                    .into_iter()
                    .for_each(|ns| self.accept.observe(ns));
            }
            (Some(TcpState::SynSent), TcpState::Close) => self.failed_out += 1,
            (Some(TcpState::SynRecv), TcpState::Close) => self.failed_in += 1,
            _ => {}
        }
        let listened = from == Some(TcpState::Listen) && change.conn.kind == Kind::Full;
        if let Some(end) = change.end.filter(|_| !listened) {
            *self.ended.entry(end.why).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conn::types::{Conn, End, Endpoint, Ktime, SockId};

    fn change(from: TcpState, to: TcpState, in_from_ns: Option<u64>) -> Change {
        Change {
            at: Ktime(1),
            conn: Conn {
                id: SockId::Kernel(1),
                kind: Kind::Full,
                netns: 1,
                family: 2,
                local: Endpoint::NONE,
                remote: Endpoint::NONE,
                state: to,
                since: None,
                owner: None,
                direction: None,
            },
            from: Some(from),
            in_from_ns,
            end: (to == TcpState::Close).then_some(End {
                life_ns: None,
                closed_by: None,
                why: Some(Why::Fin),
                tally: None,
            }),
            inferred: false,
        }
    }

    #[test]
    fn each_change_is_counted_where_it_belongs() {
        use TcpState::{Close, Established, LastAck, Listen, SynRecv, SynSent};
        let mut tally = Tally::default();
        for (from, to) in [
            (Close, SynSent),
            (SynSent, Established),
            (Close, SynRecv),
            (SynRecv, Established),
            (LastAck, Close),
            (SynSent, Close),
            (SynRecv, Close),
            (Close, Listen),
            (Listen, Close),
        ] {
            tally.add(&change(from, to, Some(50_000)));
        }
        let expected = Tally {
            opened_out: 1,
            opened_in: 1,
            established: 2,
            ended: [(Some(Why::Fin), 3)].into(),
            failed_out: 1,
            failed_in: 1,
            ..Tally::default()
        };
        assert_eq!((tally.connect.count(), tally.accept.sum_ns), (1, 50_000));
        assert_eq!(
            Tally {
                connect: Histogram::default(),
                accept: Histogram::default(),
                ..tally
            },
            expected
        );
    }

    proptest! {
        #[test]
        fn every_time_is_in_the_first_bucket_that_holds_it(times in prop::collection::vec(0u64..30_000_000_000, 0..50)) {
            let mut histogram = Histogram::default();
            times.iter().for_each(|ns| histogram.observe(*ns));
            prop_assert_eq!(histogram.count(), times.len() as u64);
            prop_assert_eq!(histogram.sum_ns, times.iter().sum::<u64>());
            let mut below = 0;
            for (bound, count) in BOUNDS_NS.iter().zip(histogram.buckets) {
                below += count;
                prop_assert_eq!(below, times.iter().filter(|ns| *ns <= bound).count() as u64);
            }
        }
    }
}
