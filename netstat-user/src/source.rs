//! Where rows come from: the seam between the renderer and the world.
//!
//! One renderer prints from a [`SocketSource`]: /proc, the live table, an agent.

use std::{fs::File, io, net::IpAddr, path::Path, time::Duration};

use rustc_hash::FxHashMap;

use crate::{
    conn::types::{Conn, Direction, Owner, TcpState},
    view::{
        by_inode::ByInode,
        row::{InetRow, UnixRow},
    },
};

/// The tables of Internet sockets, in the order in which netstat prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InetTable {
    /// /proc/net/tcp
    Tcp,
    /// /proc/net/tcp6
    Tcp6,
    /// /proc/net/udp
    Udp,
    /// /proc/net/udp6
    Udp6,
    /// /proc/net/udplite
    UdpLite,
    /// /proc/net/udplite6
    UdpLite6,
    /// /proc/net/raw
    Raw,
    /// /proc/net/raw6
    Raw6,
}

/// What a source meets while it reads a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<R> {
    /// A row.
    Row(R),
    /// A line with too few fields: the renderer warns on stderr and goes on.
    Bogus,
}

/// Who holds each socket, by netstat's rule: the lowest PID whose main thread has it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Socket inode to `PID/Program name`, at most 19 bytes, untrusted bytes.
    pub by_inode: ByInode,
    /// Whether the table is complete.
    pub access: OwnerAccess,
}

/// How much of /proc/*/fd could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerAccess {
    /// No process was refused with EACCES.
    #[default]
    Full,
    /// Some were refused, some gave entries: the two-line warning.
    Partial,
    /// Some were refused and none gave an entry, or /proc itself could not be opened.
    Nothing,
}

/// Who holds each socket: everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Socket inode to process ids, ascending.
    pub by_inode: FxHashMap<u64, Vec<u32>>,
    /// Whether the table is complete.
    pub access: OwnerAccess,
}

/// The two ends of a TCP socket, with its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    v6: bool,
    local: (IpAddr, i32),
    remote: (IpAddr, i32),
}

impl Ends {
    /// Of a row.
    #[must_use]
    pub fn of(table: InetTable, row: &InetRow) -> Self {
        Self {
            v6: table == InetTable::Tcp6,
            local: (row.local.to_canonical(), row.local_port),
            remote: (row.remote.to_canonical(), row.remote_port),
        }
    }

    /// Of a connection.
    #[must_use]
    pub fn of_conn(conn: &Conn) -> Self {
        const AF_INET6: u16 = 10;
        let v6 = conn.family == AF_INET6;
        // No address is `::` in one family and `0.0.0.0` in the other.
        let none = if v6 {
            IpAddr::from([0; 16])
        } else {
            IpAddr::from([0; 4])
        };
        let end = |end: &crate::conn::types::Endpoint| {
            let ip = if end.is_any() { none } else { end.ip() };
            (ip, i32::from(end.port))
        };
        Self {
            v6,
            local: end(&conn.local),
            remote: end(&conn.remote),
        }
    }
}

/// What events have told of a socket, beyond its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The state of which this is told, by the kernel's number.
    pub state: u8,
    /// Nanoseconds in it; `None` if its begin was not seen.
    pub in_state_ns: Option<u64>,
    /// Who called whom.
    pub direction: Option<Direction>,
    /// Owner, or last owner, as far as events have told.
    pub last_owner: Option<Owner>,
}

impl Fact {
    /// What is known of a row that was read in this state, by the kernel's number. One that went from FIN_WAIT2
    /// to TIME_WAIT may have done so without an event: who it is is known, and since when is not.
    #[must_use]
    pub fn in_state(self, state: i32) -> Option<Self> {
        let of = |state: TcpState| i32::from(state.number());
        if i32::from(self.state) == state {
            Some(self)
        } else if i32::from(self.state) == of(TcpState::FinWait2) && state == of(TcpState::TimeWait)
        {
            Some(Self {
                state: TcpState::TimeWait.number(),
                in_state_ns: None,
                ..self
            })
        } else {
            None
        }
    }
}

/// How far a table fed by events can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Since when it has missed nothing, nanoseconds since 1970.
    pub exact_since_ns: u64,
    /// Whether it may be wrong now.
    pub in_doubt: bool,
    /// Events that were lost since its start.
    pub lost: u64,
    /// Times that it was compared with the kernel because of a loss.
    pub healings: u64,
    /// Rows that a comparison found wrong though nothing was known to be lost.
    pub mismatches: u64,
}

/// What a source says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `proc`: /proc; `kernel`: the kernel's iterators, once; `events`: a table fed by events.
    pub source: &'static str,
    /// `None` where nothing is remembered, so that nothing can be missed.
    pub trust: Option<Trust>,
}

/// What one round needs, so that a source reads nothing in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `-p`: owners will be asked for.
    pub owners: bool,
    /// `-o`: timer cells will be printed.
    pub timers: bool,
    /// `-e`: users will be printed.
    pub user: bool,
    /// TCP over IPv4 will be asked for.
    pub tcp: bool,
    /// TCP over IPv6 will be asked for.
    pub tcp6: bool,
    /// UDP over IPv4 will be asked for.
    pub udp: bool,
    /// UDP over IPv6 will be asked for.
    pub udp6: bool,
    /// Unix sockets will be asked for.
    pub unix: bool,
}

/// A reader of the sockets of one network namespace.
///
/// A round is: `begin`, then `owners` once if asked for, then each table at most once, in the order
/// of [`InetTable`], then `unix`.
pub trait SocketSource {
    /// Starts a round. The live source drains its ring and takes its snapshot here.
    ///
    /// # Errors
    /// A source that can give no rows at all.
    fn begin(&mut self, want: Want) -> io::Result<()>;

    /// Whether what this round gives counts only once [`SocketSource::settle`] has said so; if so,
    /// about how many rows there will be.
    fn provisional(&self) -> Option<usize> {
        None
    }

    /// Ends a provisional round. `false`: what it gave is void, and another that is not provisional
    /// has begun in its place.
    ///
    /// # Errors
    /// As [`SocketSource::begin`].
    fn settle(&mut self, _: Want) -> io::Result<bool> {
        Ok(true)
    }

    /// Owners of all sockets that the tables of this round will name.
    fn owners(&mut self) -> Owners;

    /// Calls `sink` for each line of a table.
    ///
    /// # Errors
    /// The error of opening the table's file, with its errno kept (ENOENT and EACCES are soft).
    fn inet(&mut self, table: InetTable, sink: &mut dyn FnMut(Line<InetRow>)) -> io::Result<()>;

    /// Calls `sink` for each Unix socket.
    ///
    /// # Errors
    /// As [`SocketSource::inet`].
    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()>;

    /// Opens a file of /proc/net that only /proc has: SCTP, groups, amateur radio.
    ///
    /// # Errors
    /// As [`SocketSource::inet`].
    fn file(&mut self, name: &str) -> io::Result<File> {
        File::open(Path::new("/proc/net").join(name))
    }

    /// Lets time pass between two rounds of `-c`.
    fn pause(&mut self, time: Duration) {
        crate::clock::sleep(time);
    }

    /// What the reader of the rows must know about them, one line; said on stderr.
    fn remark(&mut self) -> Option<String> {
        None
    }

    /// Everybody who holds a socket, instead of [`SocketSource::owners`].
    fn holders(&mut self) -> Holders {
        crate::proc::holders(Path::new("/proc"))
    }

    /// What events have told of the TCP sockets of this round; `None` for ends that several share.
    fn facts(&mut self) -> FxHashMap<Ends, Option<Fact>> {
        FxHashMap::default()
    }

    /// How this round's rows are known.
    fn standing(&mut self) -> Standing {
        Standing {
            source: "proc",
            trust: None,
        }
    }

    /// The SELinux context of a process, for `-Z`.
    fn context(&mut self, pid: u32) -> Option<Box<[u8]>> {
        crate::proc::context(Path::new("/proc"), pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_told_of_its_state_and_of_the_one_that_comes_unseen() {
        let fact = |state: TcpState, in_state_ns| Fact {
            state: state.number(),
            in_state_ns,
            direction: Some(Direction::Out),
            last_owner: None,
        };
        let half_closed = fact(TcpState::FinWait2, Some(7));
        let number = |state: TcpState| i32::from(state.number());
        assert_eq!(
            half_closed.in_state(number(TcpState::FinWait2)),
            Some(half_closed)
        );
        let closed = fact(TcpState::TimeWait, None);
        assert_eq!(
            half_closed.in_state(number(TcpState::TimeWait)),
            Some(closed)
        );
        assert_eq!(half_closed.in_state(number(TcpState::Established)), None);
        assert_eq!(closed.in_state(number(TcpState::FinWait2)), None);
    }
}
