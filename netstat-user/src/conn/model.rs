//! What the table must list after a whole log, read backwards for each socket.

use std::collections::{BTreeMap, BTreeSet};

use netstat_common::event::{KIND_DESTROY, KIND_REQ_START, KIND_STATE, KIND_TW_START, SockEvent};

use super::types::{Kind, TcpState};

/// The rows: a socket is what its last event says. `tcp_destroy_sock` is about full sockets only.
pub(super) fn rows(log: &[SockEvent]) -> BTreeMap<u64, (Kind, TcpState)> {
    let sockets: BTreeSet<u64> = log.iter().map(|event| event.skaddr).collect();
    sockets
        .into_iter()
        .filter_map(|skaddr| Some((skaddr, row(log, skaddr)?)))
        .collect()
}

fn row(log: &[SockEvent], skaddr: u64) -> Option<(Kind, TcpState)> {
    let about = |event: &&SockEvent| event.skaddr == skaddr && (1..=6).contains(&event.kind);
    let says = log.iter().rev().filter(about);
    let last = says.clone().find(|event| event.kind != KIND_DESTROY)?;
    let destroyed = says.clone().next()?.kind == KIND_DESTROY;
    let state = TcpState::from_kernel(last.newstate);
    let row = match last.kind {
        KIND_STATE if !destroyed => (Kind::Full, state),
        KIND_TW_START => (Kind::TimeWait, state),
        KIND_REQ_START => (Kind::Request, TcpState::SynRecv),
        _ => return None,
    };
    (row.1 != TcpState::Close).then_some(row)
}
