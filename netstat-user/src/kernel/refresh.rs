//! The refresh pass: live fields of many sockets, read by a BPF program on demand, on all CPUs.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::sync_channel,
    },
    thread,
};

use anyhow::{Context as _, Result};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use netstat_common::{
    names,
    row::{BATCH, SockRow, WITH_TIMERS, WITH_USER},
};

use super::{map::Mapped, object::Object};

/// Names of the BPF programs.
const PROGRAMS: [&str; 2] = ["refresh_cast", "refresh"];
/// From so many batches on it pays to start threads.
const WORTH_THREADS: usize = 4;
/// Batches that a thread may be ahead of the sink.
const AHEAD: usize = 4;

/// What is wanted of a socket beyond what always is. It costs: see the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct With {
    /// Timers and retransmissions of full sockets.
    pub timers: bool,
    /// The user of a full socket.
    pub user: bool,
}

impl With {
    /// What always is.
    pub const LEAST: Self = Self {
        timers: false,
        user: false,
    };

    fn bits(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.timers, WITH_TIMERS) | bit(self.user, WITH_USER)
    }
}

/// The program and the memory that it shares with us.
pub struct Refresh {
    program: &'static str,
    pointers: Mapped<u64, true>,
    rows: Mapped<SockRow>,
    threads: usize,
}

/// One thread's way to read batches.
struct Lane<'a> {
    program: &'a RawTracePoint,
    pointers: &'a mut [u64],
    rows: &'a Mapped<SockRow>,
    /// Place of the lane's first pointer and row in the maps.
    first: usize,
    with: u64,
}

impl Lane<'_> {
    fn read(&mut self, sockets: &[u64]) -> Result<&[SockRow]> {
        self.pointers[..sockets.len()].copy_from_slice(sockets);
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = sockets.len() as u64;
        options.args[1] = self.first as u64;
        options.args[2] = self.with;
        self.program
            .test_run(options)
            .context("run the refresh program")?;
        Ok(&self.rows.get()[self.first..][..sockets.len()])
    }
}

impl Refresh {
    /// Loads the program.
    ///
    /// # Errors
    /// Linux before 5.17 (no `bpf_loop`), or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        let program = object.load_either(PROGRAMS, |object, program| object.load_raw(program))?;
        let threads = object.threads;
        // SAFETY: both maps are arrays of so many such values, every byte pattern of which is valid;
        // only the program writes ROWS, each run a lane of its own, and it runs only inside
        // `Lane::read`.
        unsafe {
            Ok(Self {
                program,
                pointers: object.map_memory(names::POINTERS, threads * BATCH)?,
                rows: object.map_memory(names::ROWS, threads * BATCH)?,
                threads,
            })
        }
    }

    /// Calls `sink` with the position and row of each socket in `sockets`, in their order.
    ///
    /// # Errors
    /// bpf(2).
    pub fn read(
        &mut self,
        object: &mut Object,
        sockets: &[u64],
        with: With,
        mut sink: impl FnMut(usize, &SockRow),
    ) -> Result<()> {
        let program = &*object.raw(self.program)?;
        let rows = &self.rows;
        let lanes = self.pointers.get_mut().chunks_mut(BATCH).enumerate();
        let mut lanes = lanes.map(|(lane, pointers)| Lane {
            program,
            pointers,
            rows,
            first: lane * BATCH,
            with: with.bits(),
        });
        let mut own = lanes.next().context("no memory for a refresh")?;
        let batches: Vec<_> = sockets.chunks(BATCH).collect();
        let mut hand_over = |batch: usize, rows: &[SockRow]| {
            for (index, row) in rows.iter().enumerate() {
                sink(batch * BATCH + index, row);
            }
        };
        if batches.len() < WORTH_THREADS || self.threads == 1 {
            for (batch, sockets) in batches.into_iter().enumerate() {
                hand_over(batch, own.read(sockets)?);
            }
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        // Who is done with a batch takes the next.
        let claim = || {
            let batch = next.fetch_add(1, Ordering::Relaxed);
            Some((batch, *batches.get(batch)?))
        };
        thread::scope(|scope| {
            let (done, results) = sync_channel(AHEAD);
            for mut lane in lanes {
                let (done, claim) = (done.clone(), &claim);
                scope.spawn(move || {
                    while let Some((batch, sockets)) = claim() {
                        let rows = lane.read(sockets).map(<[SockRow]>::to_vec);
                        if done.send((batch, rows)).is_err() {
                            // Another batch has failed.
                            return;
                        }
                    }
                });
            }
            drop(done);
            let mut early = BTreeMap::new();
            let mut due = 0;
            while due < batches.len() {
                match claim() {
                    Some((batch, sockets)) => {
                        let rows = own.read(sockets)?;
                        if batch == due {
                            hand_over(batch, rows);
                            due += 1;
                        } else {
                            early.insert(batch, rows.to_vec());
                        }
                    }
                    None => {
                        if let Ok((batch, rows)) = results.recv() {
                            early.insert(batch, rows?);
                        }
                    }
                }
                for (batch, rows) in results.try_iter() {
                    early.insert(batch, rows?);
                }
                while let Some(rows) = early.remove(&due) {
                    hand_over(due, &rows);
                    due += 1;
                }
            }
            Ok(())
        })
    }
}
