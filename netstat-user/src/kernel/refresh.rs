//! The refresh pass: live fields of many sockets, read by a BPF program on demand.

use anyhow::{Context as _, Result};
use aya::programs::{RawTracePointRunOptions, TestRun as _};
use netstat_common::{
    names,
    row::{BATCH, SockRow},
};

use super::{map::Mapped, object::Object};

/// Name of the BPF program.
const PROGRAM: &str = "refresh";

/// The program and the memory that it shares with us.
pub struct Refresh {
    pointers: Mapped<u64, true>,
    rows: Mapped<SockRow>,
}

impl Refresh {
    /// Loads the program.
    ///
    /// # Errors
    /// Linux before 5.17 (no `bpf_loop`), or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        object.load_raw(PROGRAM)?;
        // SAFETY: both maps are arrays of BATCH such values, every byte pattern of which is valid;
        // only `refresh` writes ROWS, and it runs only inside `Refresh::read`.
        unsafe {
            Ok(Self {
                pointers: object.map_memory(names::POINTERS, BATCH)?,
                rows: object.map_memory(names::ROWS, BATCH)?,
            })
        }
    }

    /// Calls `sink` with the position and row of each socket in `sockets`.
    ///
    /// # Errors
    /// bpf(2).
    pub fn read(
        &mut self,
        object: &mut Object,
        sockets: &[u64],
        mut sink: impl FnMut(usize, &SockRow),
    ) -> Result<()> {
        let program = object.raw(PROGRAM)?;
        for (batch, sockets) in sockets.chunks(BATCH).enumerate() {
            self.pointers.get_mut()[..sockets.len()].copy_from_slice(sockets);
            let mut options = RawTracePointRunOptions::new();
            options.args[0] = sockets.len() as u64;
            program
                .test_run(options)
                .context("run the refresh program")?;
            for (index, row) in self.rows.get()[..sockets.len()].iter().enumerate() {
                sink(batch * BATCH + index, row);
            }
        }
        Ok(())
    }
}
