//! Reading what a running tracer knows: live rows, inodes, holders.

use anyhow::{Result, bail};
use netstat_common::{
    listed::{UdpSock, UnixSock},
    row::{ROW_GONE, SockRow},
    walk::ONLY_HALF_OPEN,
};
use rustc_hash::FxHashSet;

use crate::{
    clock,
    conn::{
        table::ConnTable,
        types::{Change, TcpState},
    },
};

use super::{
    listed::Lists,
    object::{Object, Purpose},
    refresh::With,
    session::{News, Session},
};

impl Session {
    /// Whether live rows can be read: the kernel loops in programs (5.17), and /proc was not asked
    /// for.
    #[must_use]
    pub fn can_look(&self) -> bool {
        self.refresh.is_some()
    }

    /// Reads sockets by their addresses, and lends the table to `sink` meanwhile. Without a refresh
    /// program it reads none.
    pub(super) fn read_rows(
        &mut self,
        sockets: &[u64],
        with: With,
        mut sink: impl FnMut(&mut ConnTable, usize, &SockRow),
    ) -> Result<()> {
        let Self {
            object,
            refresh: Some(refresh),
            table,
            ..
        } = self
        else {
            return Ok(());
        };
        refresh.read(object, sockets, with, |index, row| sink(table, index, row))
    }

    /// The UDP sockets of our namespace, now, in the order of /proc.
    ///
    /// # Errors
    /// The kernel cannot list them, or bpf(2).
    pub fn udp(&mut self) -> Result<Vec<UdpSock>> {
        let (lists, object) = self.lists()?;
        lists.udp(object)
    }

    /// The Unix sockets of our namespace, now, in the order of /proc.
    ///
    /// # Errors
    /// As [`Session::udp`].
    pub fn unix(&mut self) -> Result<Vec<UnixSock>> {
        let (lists, object) = self.lists()?;
        lists.unix(object)
    }

    fn lists(&mut self) -> Result<(&mut Lists, &mut Object)> {
        let Self { object, lists, .. } = self;
        match lists.get_or_insert_with(|| Lists::load(object)) {
            Ok(lists) => Ok((lists, object)),
            Err(reason) => bail!("{reason}"),
        }
    }

    /// Reads the live rows of our namespace.
    ///
    /// # Errors
    /// bpf(2), or no refresh program.
    pub fn rows(&mut self, with: With, sink: impl FnMut(&SockRow)) -> Result<()> {
        self.rows_of(Some(self.netns), with, sink)
    }

    /// Whether sockets of a network namespace that are older than the tracer are in the table.
    #[must_use]
    pub fn knows(&self, netns: u32) -> bool {
        self.walk.is_some() || netns == self.netns
    }

    /// Reads the live rows of a network namespace, or of all; listeners first.
    ///
    /// # Errors
    /// bpf(2), or no refresh program.
    pub fn rows_of(
        &mut self,
        netns: Option<u32>,
        with: With,
        mut sink: impl FnMut(&SockRow),
    ) -> Result<()> {
        if !self.can_look() {
            bail!("the refresh program is not loaded");
        }
        self.settle()?;
        // Found in the hash tables: sockets of which the last healing may have been too early to find
        // them, and half-open connections whose events were dropped.
        let unseen = match self.rest {
            Some(_) => Some(0),
            None => self.in_flood().then_some(ONLY_HALF_OPEN),
        };
        if let Some(only) = unseen {
            let mut later = std::mem::take(&mut self.later);
            let found = self.complete(only, &mut later, |_, _| ());
            self.later = later;
            found?;
        }
        let theirs = |inode: u32| netns.is_none_or(|netns| netns == inode);
        let mut listeners = Vec::new();
        let mut sockets = std::mem::take(&mut self.addresses);
        if self.purpose != Purpose::Snapshot {
            sockets.clear();
        }
        for conn in self.table.listed().filter(|conn| theirs(conn.netns)) {
            let part = match conn.state {
                TcpState::Listen => &mut listeners,
                _ => &mut sockets,
            };
            part.extend(conn.id.kernel());
        }
        let mut show = |_: &mut ConnTable, _: usize, row: &SockRow| {
            if row.kind != ROW_GONE && theirs(row.netns) {
                sink(row);
            }
        };
        let read = self
            .read_rows(&listeners, with, &mut show)
            .and_then(|()| self.read_rows(&sockets, with, &mut show));
        self.addresses = sockets;
        read
    }

    /// Reads the live rows of the listeners of all network namespaces.
    ///
    /// # Errors
    /// bpf(2), or no refresh program.
    pub fn listeners(&mut self, mut sink: impl FnMut(&SockRow)) -> Result<()> {
        if !self.can_look() {
            bail!("the refresh program is not loaded");
        }
        let listed = self.table.listed();
        let listening = listed.filter(|conn| conn.state == TcpState::Listen);
        let sockets: Vec<_> = listening.filter_map(|conn| conn.id.kernel()).collect();
        self.read_rows(&sockets, With::LEAST, |_, _, row| {
            if row.kind != ROW_GONE {
                sink(row);
            }
        })
    }

    /// Which processes have which sockets open: inode and process id, ascending.
    ///
    /// # Errors
    /// bpf(2).
    pub fn holders(&mut self, news: &mut News) -> Result<Vec<(u64, u32)>> {
        self.pid_of_inode.clear();
        if self.can_look() {
            self.read_descriptors(news)?;
        }
        let mut holders = std::mem::take(&mut self.pid_of_inode);
        // By numbers, not by comparing: half the time at 100,000. It keeps the order of equal ones.
        radsort::sort_by_key(&mut holders, |(_, pid)| *pid);
        radsort::sort_by_key(&mut holders, |(inode, _)| *inode);
        holders.dedup();
        Ok(holders)
    }

    /// The inode of each of these sockets that is listed; 0 where it has none.
    ///
    /// # Errors
    /// bpf(2).
    pub fn inodes(&mut self, sockets: &[u64]) -> Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        self.read_rows(sockets, With::LEAST, |_, index, row| {
            if row.kind != ROW_GONE {
                found.push((sockets[index], row.inode));
            }
        })?;
        Ok(found)
    }

    /// Looks at the minisocks that may have changed without an event. Gives those that are gone, and
    /// takes out those that were `gone` at the last look already, some time ago.
    ///
    /// # Errors
    /// bpf(2).
    pub fn look_at_half_closed(
        &mut self,
        gone: &FxHashSet<u64>,
        changes: &mut Vec<Change>,
    ) -> Result<FxHashSet<u64>> {
        let waiting = self.table.half_closed();
        let mut missing = FxHashSet::default();
        if waiting.is_empty() {
            return Ok(missing);
        }
        let now = clock::ktime();
        let Self {
            object,
            refresh,
            few,
            table,
            ..
        } = self;
        let Some(reader) = refresh.as_mut().or(few.as_mut()) else {
            return Ok(missing);
        };
        reader.read(object, &waiting, With::LEAST, |index, row| {
            let skaddr = waiting[index];
            if table.observe(skaddr, row, now, changes) {
                return;
            }
            if gone.contains(&skaddr) {
                table.miss_end(skaddr, now, changes);
            } else {
                missing.insert(skaddr);
            }
        })?;
        Ok(missing)
    }
}
