//! The refresh pass: live fields of many sockets, read by a BPF program on demand, on all CPUs.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};
use aya::programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _};
use netstat_common::{
    names,
    row::{BATCH, FEW, SockRow, WITH_TIMERS, WITH_USER},
};

use crate::clock;

use super::{map::Mapped, object::Object};

/// Names of the BPF programs.
const PROGRAMS: [&str; 2] = ["refresh_cast", "refresh"];
/// Name of the BPF program that does without `bpf_loop`.
const WITHOUT_LOOP: &str = "refresh_few";
/// From so many batches on it pays to start threads.
const WORTH_THREADS: usize = 4;
/// Batches that a helper may be ahead of the sink.
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
    /// All there is.
    pub const ALL: Self = Self {
        timers: true,
        user: true,
    };

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
    /// Sockets that one run of the program reads.
    batch: usize,
    /// CPU time of helping threads, nanoseconds.
    helpers_ns: AtomicU64,
}

/// One thread's memory for batches: so many slots, each of pointers and of rows.
struct Lane<'a> {
    program: &'a RawTracePoint,
    pointers: &'a mut [u64],
    /// The lane's first slot.
    first: usize,
    with: u64,
}

impl Lane<'_> {
    /// Reads a batch into the `slot`th of the lane.
    fn read(&mut self, slot: usize, sockets: &[u64]) -> Result<()> {
        self.pointers[slot * BATCH..][..sockets.len()].copy_from_slice(sockets);
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = sockets.len() as u64;
        options.args[1] = ((self.first + slot) * BATCH) as u64;
        options.args[2] = self.with;
        self.program
            .test_run(options)
            .context("run the refresh program")?;
        Ok(())
    }
}

/// A batch that a helper has read.
struct Done {
    batch: usize,
    /// Of all slots.
    slot: usize,
    result: Result<()>,
    /// Where to give the slot back.
    owner: Sender<usize>,
}

/// How many slots there must be in the maps: the caller's thread has one, each helper some.
pub fn slots(threads: usize) -> usize {
    1 + (threads - 1) * AHEAD
}

impl Refresh {
    /// Loads the program.
    ///
    /// # Errors
    /// Linux before 5.17 (no `bpf_loop`), or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        let program = object.load_either(PROGRAMS, |object, program| object.load_raw(program))?;
        let threads = object.threads;
        Self::with(object, program, threads, BATCH)
    }

    /// Loads the program that does without `bpf_loop`: for a few sockets at times, not for a table.
    ///
    /// # Errors
    /// Linux before 5.10 (no such program is run on demand), or mmap(2).
    pub fn of_few(object: &mut Object) -> Result<Self> {
        object.load_raw(WITHOUT_LOOP)?;
        let options = RawTracePointRunOptions::new();
        object.raw(WITHOUT_LOOP)?.test_run(options)?;
        Self::with(object, WITHOUT_LOOP, 1, FEW)
    }

    fn with(
        object: &mut Object,
        program: &'static str,
        threads: usize,
        batch: usize,
    ) -> Result<Self> {
        let places = slots(threads) * BATCH;
        // SAFETY: both maps are arrays of so many such values, every byte pattern of which is valid;
        // only the program writes ROWS, each run a slot of its own that nobody reads meanwhile.
        unsafe {
            Ok(Self {
                program,
                pointers: object.map_memory(names::POINTERS, places)?,
                rows: object.map_memory(names::ROWS, places)?,
                threads,
                batch,
                helpers_ns: AtomicU64::new(0),
            })
        }
    }

    /// CPU time that threads beside the callers' have taken, nanoseconds.
    #[must_use]
    pub fn helpers_ns(&self) -> u64 {
        self.helpers_ns.load(Ordering::Relaxed)
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
        let with = with.bits();
        let (own, others) = self.pointers.get_mut().split_at_mut(BATCH);
        let mut own = Lane {
            program,
            pointers: own,
            first: 0,
            with,
        };
        let size = self.batch;
        let batches: Vec<_> = sockets.chunks(size).collect();
        let (rows, helpers_ns) = (&self.rows, &self.helpers_ns);
        let mut hand_over = |batch: usize, slot: usize| {
            let rows = &rows.get()[slot * BATCH..][..batches[batch].len()];
            for (index, row) in rows.iter().enumerate() {
                sink(batch * size + index, row);
            }
        };
        if batches.len() < WORTH_THREADS || self.threads == 1 {
            for (batch, sockets) in batches.iter().enumerate() {
                own.read(0, sockets)?;
                hand_over(batch, 0);
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
            let (done, results) = channel();
            for (helper, pointers) in others.chunks_mut(AHEAD * BATCH).enumerate() {
                let (done, claim) = (done.clone(), &claim);
                let mut lane = Lane {
                    program,
                    pointers,
                    first: 1 + helper * AHEAD,
                    with,
                };
                let work = move || {
                    help(&mut lane, claim, &done);
                    helpers_ns.fetch_add(clock::thread_cpu_ns(), Ordering::Relaxed);
                };
                // Without it the others do its part.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            drop(done);
            let mut early = BTreeMap::new();
            let mut due = 0;
            while let Some((batch, sockets)) = claim() {
                own.read(0, sockets)?;
                settle(&results, &mut early, &mut due, batch, &mut hand_over)?;
                hand_over(batch, 0);
                due += 1;
            }
            settle(
                &results,
                &mut early,
                &mut due,
                batches.len(),
                &mut hand_over,
            )?;
            Ok(())
        })
    }
}

/// Hands over what comes before `batch`, which waits in the caller's slot.
fn settle(
    results: &Receiver<Done>,
    early: &mut BTreeMap<usize, (usize, Sender<usize>)>,
    due: &mut usize,
    batch: usize,
    hand_over: &mut impl FnMut(usize, usize),
) -> Result<()> {
    while *due < batch {
        if let Some((slot, owner)) = early.remove(due) {
            hand_over(*due, slot);
            *due += 1;
            // The helper may be done with all.
            let _: Result<_, _> = owner.send(slot);
            continue;
        }
        let Ok(done) = results.recv() else {
            bail!("a thread of the refresh died");
        };
        done.result?;
        early.insert(done.batch, (done.slot, done.owner));
    }
    Ok(())
}

/// Reads batches for as long as there are any, each into a slot that is free.
fn help<'a>(
    lane: &mut Lane<'_>,
    claim: &impl Fn() -> Option<(usize, &'a [u64])>,
    done: &Sender<Done>,
) {
    let (owner, free) = channel();
    for slot in 0..AHEAD {
        // Received below: the channel lives.
        let _: Result<_, _> = owner.send(lane.first + slot);
    }
    // A slot first: a batch that was claimed is read at once.
    while let Ok(slot) = free.recv() {
        let Some((batch, sockets)) = claim() else {
            return;
        };
        let result = lane.read(slot - lane.first, sockets);
        let answer = Done {
            batch,
            slot,
            result,
            owner: owner.clone(),
        };
        if done.send(answer).is_err() {
            // Another batch has failed.
            return;
        }
    }
}
