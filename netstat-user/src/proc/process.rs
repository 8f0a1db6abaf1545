//! What /proc tells of one process.

use std::{fs, path::Path};

use super::{
    container::{Cgroup, cgroup},
    program_name,
};

/// A process, as far as the caller may read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// netstat's name: the first word of its command line; untrusted bytes.
    pub program: Option<Vec<u8>>,
    /// The kernel's name of its main thread; untrusted bytes.
    pub comm: Option<Vec<u8>>,
    /// Its control group.
    pub cgroup: Cgroup,
}

/// Reads a process. What cannot be read is `None`.
#[must_use]
pub fn process(proc: &Path, pid: u32) -> Process {
    let directory = proc.join(pid.to_string());
    let comm = fs::read(directory.join("comm")).ok();
    let groups = fs::read(directory.join("cgroup")).unwrap_or_default();
    Process {
        program: program_name(proc, pid).ok().filter(|name| !name.is_empty()),
        comm: comm.map(|mut comm| {
            if comm.last() == Some(&b'\n') {
                comm.pop();
            }
            comm
        }),
        cgroup: cgroup(&groups),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_as_far_as_it_is_there() {
        let proc = tempfile::tempdir().expect("a directory");
        let directory = proc.path().join("7");
        fs::create_dir(&directory).expect("made");
        fs::write(directory.join("comm"), "a\nb\n").expect("written");
        fs::write(directory.join("cgroup"), "0::/a.slice\n").expect("written");
        let found = process(proc.path(), 7);
        assert_eq!(found.comm.as_deref(), Some(&b"a\nb"[..]));
        assert_eq!(found.program, None);
        assert_eq!(found.cgroup.path.as_deref(), Some(&b"/a.slice"[..]));
        assert_eq!(process(proc.path(), 8), Process::default());
    }
}
