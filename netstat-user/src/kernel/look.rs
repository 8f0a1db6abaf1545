//! Reading what a running tracer knows: live rows, inodes, holders.

use anyhow::{Result, bail};
use netstat_common::row::{ROW_GONE, SockRow};

use crate::{
    clock,
    conn::{table::ConnTable, types::Change},
};

use super::session::{News, Session};

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
        refresh.read(object, sockets, |index, row| sink(table, index, row))
    }

    /// Reads the live rows of our namespace.
    ///
    /// # Errors
    /// bpf(2), or no refresh program.
    pub fn rows(&mut self, mut sink: impl FnMut(&SockRow)) -> Result<()> {
        if !self.can_look() {
            bail!("the refresh program is not loaded");
        }
        let netns = self.netns;
        let ours = self.table.listed().filter(|conn| conn.netns == netns);
        let sockets: Vec<u64> = ours.filter_map(|conn| conn.id.kernel()).collect();
        self.read_rows(&sockets, |_, _, row| {
            if row.kind != ROW_GONE && row.netns == netns {
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
            self.iterate("iter_fds", news)?;
        }
        let mut holders = std::mem::take(&mut self.pid_of_inode);
        holders.sort_unstable();
        holders.dedup();
        Ok(holders)
    }

    /// The inode of each of these sockets that is listed; 0 where it has none.
    ///
    /// # Errors
    /// bpf(2).
    pub fn inodes(&mut self, sockets: &[u64]) -> Result<Vec<(u64, u64)>> {
        let mut found = Vec::new();
        self.read_rows(sockets, |_, index, row| {
            if row.kind != ROW_GONE {
                found.push((sockets[index], row.inode));
            }
        })?;
        Ok(found)
    }

    /// Looks at the minisocks that may have changed without an event.
    ///
    /// # Errors
    /// bpf(2).
    pub fn look_at_half_closed(&mut self, changes: &mut Vec<Change>) -> Result<()> {
        let waiting = self.table.half_closed();
        if waiting.is_empty() {
            return Ok(());
        }
        let now = clock::ktime();
        self.read_rows(&waiting, |table, index, row| {
            table.observe(waiting[index], row, now, changes);
        })
    }
}
