//! The pass over the descriptor tables of all processes.

use std::fs;

use anyhow::Result;

use super::{
    object::Object,
    session::{News, Session},
};

/// Names of the BPF programs.
const PROGRAMS: [&str; 2] = ["iter_fds_cast", "iter_fds"];

/// The iterator.
pub struct Descriptors {
    program: &'static str,
}

impl Descriptors {
    /// Loads the program.
    ///
    /// # Errors
    /// Linux before 5.17 (no `bpf_loop`).
    pub fn new(object: &mut Object) -> Result<Self> {
        let load = |object: &mut Object, program: &str| object.load_iter(program, "task");
        let program = object.load_either(PROGRAMS, load)?;
        Ok(Self { program })
    }
}

impl Session {
    /// Notes the sockets in all descriptor tables. Some may be noted twice.
    pub(super) fn read_descriptors(&mut self, news: &mut News) -> Result<()> {
        match &self.descriptors {
            Some(descriptors) => {
                let program = descriptors.program;
                self.iterate(program, news)
            }
            None => Ok(()),
        }
    }
}

/// Open files of the host.
pub fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let allocated = text.split_whitespace().next();
    allocated.and_then(|word| word.parse().ok()).unwrap_or(0)
}
