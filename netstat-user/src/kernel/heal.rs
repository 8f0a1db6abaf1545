//! Filling the table at the start, and setting it right after a loss.

use std::{io::Read as _, path::Path};

use anyhow::{Context as _, Result};
use netstat_common::row::ROW_GONE;

use crate::{
    clock,
    conn::{
        table::ConnTable,
        types::{Conn, Owner, Provenance, SockId},
    },
    proc,
};

use super::{
    health::Moment,
    session::{News, Session},
};

impl Session {
    /// Adds the sockets of our namespace that the table lacks, and completes them.
    pub(super) fn seed(&mut self, news: &mut News) -> Result<()> {
        if !self.can_look() {
            return self.seed_from_proc();
        }
        self.iterate("iter_tcp", news)?;
        let bare = self.table.bare();
        self.read_rows(&bare, |table, index, row| table.seed_row(bare[index], row))
    }

    /// What /proc lists and no event has told.
    fn seed_from_proc(&mut self) -> Result<()> {
        let seeds = proc::tcp_sockets(self.netns)?;
        let owners = proc::owners(Path::new("/proc")).by_inode;
        for seed in seeds {
            let text = owners.get(&seed.inode).filter(|_| seed.inode != 0);
            let owner = text.and_then(|text| proc::pid_of(text)).map(|pid| Owner {
                pid,
                comm: [0; 16],
                provenance: Provenance::Seeded,
            });
            self.table.seed_proc(Conn { owner, ..seed.conn });
        }
        Ok(())
    }

    /// Makes the table right after a loss: drops what is gone, adds what is missing.
    pub(super) fn heal(&mut self, news: &mut News) -> Result<()> {
        self.health.healings += 1;
        let known = self.table.held();
        let state = |table: &ConnTable, skaddr| table.get(SockId::Kernel(skaddr)).map(|c| c.state);
        let mut read = Vec::with_capacity(known.len());
        self.read_rows(&known, |table, index, row| {
            read.push((known[index], state(table, known[index]), *row));
        })?;
        // What an event in the ring tells is told by that event, and is newer than the table was.
        self.take(news);
        let now = clock::ktime();
        for (skaddr, before, row) in read {
            if state(&self.table, skaddr) != before {
                continue;
            }
            if row.kind == ROW_GONE {
                self.table.forget(skaddr, now, &mut news.changes);
            } else {
                self.table.correct(skaddr, &row, now, &mut news.changes);
            }
        }
        self.seed(news)?;
        self.health.exact_since = this_moment();
        Ok(())
    }

    /// Runs an iterator to its end, emptying the ring each time that it fills.
    pub(super) fn iterate(&mut self, program: &str, news: &mut News) -> Result<()> {
        let mut file = self.object.iterate(program)?;
        let mut nothing = [0; 64];
        loop {
            let read = file.read(&mut nothing);
            self.take(news);
            match read {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The ring was full; the kernel hands over the same object again.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).with_context(|| format!("read {program}")),
            }
        }
    }
}

/// Now, on both clocks.
pub(super) fn this_moment() -> Moment {
    Moment {
        wall_ns: clock::wall_ns(),
        ktime: clock::ktime(),
    }
}
