//! Sockets as JSON, for machines.
//!
//! The schema is documented in `docs/json-schema.md`; [`SCHEMA`] is its version.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    source::{Fact, InetTable, OwnerAccess, Standing},
    view::log::utc,
};

use super::{
    addr, json,
    row::{InetRow, UnixRow},
    state, unix,
};

/// Version of the schema, field `v`. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// What holds for all sockets of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Head {
    pub v: u32,
    pub event: String,
    pub ts: String,
    pub ts_ns: u64,
    pub netns: u32,
    pub source: String,
    pub exact_since: Option<String>,
    pub exact_since_ns: Option<u64>,
    pub in_doubt: Option<bool>,
    pub lost: Option<u64>,
    pub healings: Option<u64>,
    pub mismatches: Option<u64>,
    pub processes: String,
}

impl Head {
    /// A snapshot that begins now.
    #[must_use]
    pub fn new(wall_ns: u64, netns: u32, standing: &Standing, access: OwnerAccess) -> Self {
        let trust = standing.trust;
        Self {
            v: SCHEMA,
            event: "snapshot".to_owned(),
            ts: utc(wall_ns),
            ts_ns: wall_ns,
            netns,
            source: standing.source.to_owned(),
            exact_since: trust.map(|trust| utc(trust.exact_since_ns)),
            exact_since_ns: trust.map(|trust| trust.exact_since_ns),
            in_doubt: trust.map(|trust| trust.in_doubt),
            lost: trust.map(|trust| trust.lost),
            healings: trust.map(|trust| trust.healings),
            mismatches: trust.map(|trust| trust.mismatches),
            processes: match access {
                OwnerAccess::Full => "all",
                OwnerAccess::Partial => "some",
                OwnerAccess::Nothing => "none",
            }
            .to_owned(),
        }
    }
}

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Holder {
    pub pid: u32,
    pub program: Option<String>,
    pub comm: Option<String>,
    pub cgroup: Option<String>,
    pub container: Option<Container>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Container {
    pub runtime: Option<String>,
    pub id: String,
    pub pod: Option<String>,
}

/// Who owned a socket last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct LastOwner {
    pub pid: u32,
    pub program: Option<String>,
    pub provenance: String,
}

/// An address and a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct End {
    pub addr: String,
    pub port: u32,
}

/// A timer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Timer {
    pub kind: String,
    pub expires_ms: u64,
    pub retransmits: u64,
    pub probes: i32,
}

/// An Internet socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Inet {
    pub event: String,
    pub netns: u32,
    pub proto: String,
    pub family: String,
    pub local: End,
    pub remote: End,
    pub state: Option<String>,
    pub recv_q: u64,
    pub send_q: u64,
    pub uid: i32,
    pub inode: Option<u64>,
    pub timer: Option<Timer>,
    pub in_state_ns: Option<u64>,
    pub direction: Option<String>,
    pub holders: Vec<Holder>,
    pub last_owner: Option<LastOwner>,
}

impl Inet {
    /// A row with what else is known of its socket. `program` is the last owner's, if it is known.
    #[must_use]
    pub fn new(
        netns: u32,
        table: InetTable,
        row: &InetRow,
        fact: Option<&Fact>,
        holders: Vec<Holder>,
        program: Option<String>,
    ) -> Self {
        let (proto, family) = proto(table);
        let state = match table {
            InetTable::Tcp | InetTable::Tcp6 => state::tcp(row.state),
            InetTable::Raw | InetTable::Raw6 => None,
            _ => Some(state::udp(row.state)),
        };
        let orphan = holders.is_empty();
        Self {
            event: "socket".to_owned(),
            netns,
            proto: proto.to_owned(),
            family: family.to_owned(),
            local: end(row.local, row.local_port),
            remote: end(row.remote, row.remote_port),
            state: state.filter(|name| !name.is_empty()).map(str::to_owned),
            recv_q: row.rx_queue,
            send_q: row.tx_queue,
            uid: row.uid,
            inode: (row.inode != 0).then_some(row.inode),
            timer: timer(row),
            in_state_ns: fact.and_then(|fact| fact.in_state_ns),
            direction: fact
                .and_then(|fact| fact.direction)
                .map(|direction| direction.name().to_owned()),
            holders,
            last_owner: fact
                .and_then(|fact| fact.last_owner)
                .filter(|_| orphan)
                .map(|owner| LastOwner {
                    pid: owner.pid,
                    program,
                    provenance: owner.provenance.name().to_owned(),
                }),
        }
    }
}

fn proto(table: InetTable) -> (&'static str, &'static str) {
    match table {
        InetTable::Tcp => ("tcp", "ipv4"),
        InetTable::Tcp6 => ("tcp6", "ipv6"),
        InetTable::Udp => ("udp", "ipv4"),
        InetTable::Udp6 => ("udp6", "ipv6"),
        InetTable::UdpLite => ("udplite", "ipv4"),
        InetTable::UdpLite6 => ("udplite6", "ipv6"),
        InetTable::Raw => ("raw", "ipv4"),
        InetTable::Raw6 => ("raw6", "ipv6"),
    }
}

fn end(ip: IpAddr, port: i32) -> End {
    let mut text = Vec::new();
    addr::numeric(&mut text, ip);
    End {
        addr: json::text(&text).into_owned(),
        port: u32::try_from(port).unwrap_or(0),
    }
}

fn timer(row: &InetRow) -> Option<Timer> {
    let kind = match row.timer {
        0 => return None,
        1 => "on",
        2 => "keepalive",
        3 => "timewait",
        4 => "probe",
        _ => "unknown",
    };
    Some(Timer {
        kind: kind.to_owned(),
        // The ticks are those of USER_HZ, which is 100.
        expires_ms: row.timer_ticks.saturating_mul(10),
        retransmits: row.retransmits,
        probes: row.probes,
    })
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Unix {
    pub event: String,
    pub netns: u32,
    pub proto: String,
    pub r#type: String,
    pub state: Option<String>,
    pub refcount: i64,
    pub flags: u64,
    pub inode: Option<u64>,
    pub path: Option<String>,
    pub holders: Vec<Holder>,
}

impl Unix {
    /// A row with its holders.
    #[must_use]
    pub fn new(netns: u32, row: &UnixRow, holders: Vec<Holder>) -> Self {
        let state = unix::state(row.state, unix::listens(row));
        Self {
            event: "socket".to_owned(),
            netns,
            proto: "unix".to_owned(),
            r#type: unix::kind(row.kind).to_owned(),
            state: (!state.is_empty()).then(|| state.to_owned()),
            refcount: row.refcount,
            flags: row.flags,
            inode: row.inode,
            path: (!row.path.is_empty()).then(|| json::text(&row.path).into_owned()),
            holders,
        }
    }
}

/// What ends the lines of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/json-schema.md tells what each field means"
)]
pub struct Tail {
    pub event: String,
    pub sockets: u64,
}

/// A whole snapshot in one object: the head's fields and the sockets.
#[derive(Default)]
pub struct Document {
    text: Vec<u8>,
    sockets: u64,
}

impl Document {
    /// Begins with the head.
    #[must_use]
    pub fn begin(head: &Head) -> Self {
        let mut text = Vec::new();
        json::write(&mut text, head);
        // The object goes on.
        text.pop();
        text.extend_from_slice(b",\"sockets\":[");
        Self { text, sockets: 0 }
    }

    /// Adds a socket.
    pub fn push(&mut self, socket: &impl Serialize) {
        if self.sockets > 0 {
            self.text.push(b',');
        }
        self.sockets += 1;
        json::write(&mut self.text, socket);
    }

    /// The whole, as one line.
    #[must_use]
    pub fn end(mut self) -> Vec<u8> {
        self.text.extend_from_slice(b"]}\n");
        self.text
    }
}
