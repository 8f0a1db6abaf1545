//! What the metrics show of the table, gathered by its thread.

use std::{collections::BTreeMap, net::Ipv6Addr};

use anyhow::Result;

use crate::{
    conn::types::TcpState,
    view::metrics::{self, Listener, Sample},
};

use super::table::{Table, process};

impl Table {
    /// All numbers, at this moment.
    ///
    /// # Errors
    /// bpf(2).
    pub(super) fn sample(&mut self) -> Result<Sample> {
        let mut queues = Vec::new();
        self.session.listeners(|row| {
            let listener = Listener {
                netns: row.netns,
                addr: Ipv6Addr::from(row.saddr).to_canonical(),
                port: row.sport,
            };
            queues.push((listener, u64::from(row.rx_queue)));
        })?;
        let mut states: BTreeMap<&'static str, u64> =
            TcpState::ALL.map(|state| (state.name(), 0)).into();
        for conn in self.session.table.listed() {
            *states.entry(conn.state.name()).or_default() += 1;
        }
        let listed = self.session.table.listed();
        let connections = listed.filter(|conn| conn.state != TcpState::Listen);
        let connections = connections.map(|conn| Listener {
            netns: conn.netns,
            addr: conn.local.ip(),
            port: conn.local.port,
        });
        let loads = metrics::loads(queues, connections);
        self.shown = metrics::choose(&self.shown, &loads);
        let health = self.session.health();
        let process = process();
        Ok(Sample {
            version: env!("CARGO_PKG_VERSION"),
            states,
            listeners: loads,
            shown: self.shown.clone(),
            tally: self.tally.clone(),
            events: self.session.events,
            lost: [
                ("ring_full", health.lost.ring_full),
                ("unreadable", health.lost.unreadable),
                ("undecoded", health.lost.undecoded),
                ("skipped", health.lost.skipped),
            ],
            over_budget: health.over_budget,
            healings: health.healings,
            audits: health.audits,
            mismatches: health.mismatches,
            gaps: health.gaps.all,
            exact_since_ns: health.exact_since.wall_ns,
            in_doubt: health.in_doubt.is_some(),
            cpu_ns: process.cpu_ns,
            rss_bytes: process.rss_bytes,
        })
    }
}
