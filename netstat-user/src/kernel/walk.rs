//! The walk over the kernel's hash tables: the TCP sockets of all network namespaces.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use aya::programs::{RawTracePointRunOptions, TestRun as _};
use netstat_common::{
    event::TablesRecord,
    names,
    walk::{BROKEN, DONE, LISTENER_MARKERS, WalkState},
};

use super::{
    map::Mapped,
    object::Object,
    session::{News, Session},
};

/// Runs without getting on after which the walk is given up: a chain that is longer than the ring,
/// or one that never stands still.
const PATIENCE: u32 = 1000;

/// Names of the programs that walk a table.
const PROGRAMS: [&str; 2] = ["walk_cast", "walk"];

/// The programs' parameters and results.
pub struct Walk {
    program: &'static str,
    state: Mapped<WalkState, true>,
}

impl Walk {
    /// Loads the programs.
    ///
    /// # Errors
    /// Linux before 6.1, whose namespaces do not name their tables; or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        if !object.knows_tables {
            bail!(
                "this kernel's BTF does not tell where a namespace's TCP hash tables are (6.1 does)"
            );
        }
        object.load_raw("walk_nets")?;
        let program = object.load_either(PROGRAMS, |object, program| object.load_raw(program))?;
        // SAFETY: one element, every byte pattern of which is valid; the programs write it only
        // while they run, which they do inside `run`.
        let state = unsafe { object.map_memory(names::WALK, 1)? };
        Ok(Self { program, state })
    }

    fn run(&mut self, object: &mut Object, program: &str, state: WalkState) -> Result<WalkState> {
        self.state.get_mut()[0] = state;
        object
            .raw(program)?
            .test_run(RawTracePointRunOptions::new())
            .with_context(|| format!("run {program}"))?;
        // SAFETY: as in `new`; volatile, since the kernel has written it.
        Ok(unsafe { (&raw const self.state.get()[0]).read_volatile() })
    }
}

impl Session {
    /// Notes every TCP socket that is `only` of this kind (`ONLY_*` bits; 0: all of them).
    ///
    /// # Errors
    /// bpf(2), or a table that cannot be walked.
    pub(super) fn walk(&mut self, only: u32, news: &mut News) -> Result<()> {
        let tables = self.tables(news)?;
        let mut listeners = None;
        for table in tables.values() {
            self.walk_table(
                WalkState {
                    buckets: table.connections,
                    stride: 8,
                    count: table.connections_mask.wrapping_add(1),
                    only,
                    ..WalkState::default()
                },
                news,
            )?;
            // Namespaces with connections of their own share the listeners.
            if listeners.replace(table.listeners) != Some(table.listeners) {
                let (stride, head) = self.object.listener_bucket;
                self.walk_table(
                    WalkState {
                        buckets: table.listeners.wrapping_add(head),
                        stride,
                        count: table.listeners_mask.wrapping_add(1),
                        marker_base: LISTENER_MARKERS,
                        only,
                        ..WalkState::default()
                    },
                    news,
                )?;
            }
        }
        Ok(())
    }

    /// The hash tables of all namespaces, by address.
    fn tables(&mut self, news: &mut News) -> Result<BTreeMap<u64, TablesRecord>> {
        for _ in 0..PATIENCE {
            self.tables_found.clear();
            let state = self.run_walk("walk_nets", WalkState::default())?;
            self.take(news);
            match state.status {
                DONE => {
                    let found = self.tables_found.drain(..);
                    return Ok(found.map(|table| (table.connections, table)).collect());
                }
                BROKEN => bail!("the kernel's list of network namespaces cannot be followed"),
                _ => {}
            }
        }
        bail!("the ring was full whenever the network namespaces were listed")
    }

    fn walk_table(&mut self, mut state: WalkState, news: &mut News) -> Result<()> {
        let mut stuck = 0;
        loop {
            let before = state.next;
            // Where the last run stood, another object may be by now: the chain is walked again.
            state.node = 0;
            let program = self.walk.as_ref().map_or("", |walk| walk.program);
            state = self.run_walk(program, state)?;
            self.take(news);
            match state.status {
                DONE => return Ok(()),
                BROKEN => bail!("a TCP hash table of the kernel cannot be read"),
                _ => {}
            }
            stuck = if state.next == before { stuck + 1 } else { 0 };
            if stuck > PATIENCE {
                bail!(
                    "bucket {before} of a TCP hash table never stood still (status {}, {} sockets, \
                     {} chains walked again)",
                    state.status,
                    state.found,
                    state.again
                );
            }
        }
    }

    fn run_walk(&mut self, program: &str, state: WalkState) -> Result<WalkState> {
        let walk = self.walk.as_mut().context("the walk is not loaded")?;
        walk.run(&mut self.object, program, state)
    }
}
