//! All processes that have a socket open, not only the lowest.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use rustc_hash::FxHashMap;

use crate::source::{Holders, OwnerAccess};

use super::owners::socket_inode;

/// Reads the descriptor table of every process that the caller may read.
#[must_use]
pub fn holders(proc: &Path) -> Holders {
    let mut by_inode: FxHashMap<u64, Vec<u32>> = FxHashMap::default();
    let Ok(processes) = fs::read_dir(proc) else {
        return Holders {
            by_inode,
            access: OwnerAccess::Nothing,
        };
    };
    let names = processes.flatten().map(|process| process.file_name());
    let mut pids: Vec<u32> = names.filter_map(|name| number(&name)).collect();
    pids.sort_unstable();
    let mut denied = false;
    for pid in pids {
        let table = match fs::read_dir(proc.join(format!("{pid}/fd"))) {
            Ok(table) => table,
            Err(error) => {
                denied |= error.raw_os_error() == Some(libc::EACCES);
                continue;
            }
        };
        for descriptor in table.flatten() {
            let link = fs::read_link(descriptor.path());
            let inode = link
                .ok()
                .and_then(|link| socket_inode(link.as_os_str().as_bytes()));
            if let Some(inode) = inode {
                let pids = by_inode.entry(inode).or_default();
                if pids.last() != Some(&pid) {
                    pids.push(pid);
                }
            }
        }
    }
    let access = match (denied, by_inode.is_empty()) {
        (false, _) => OwnerAccess::Full,
        (true, false) => OwnerAccess::Partial,
        (true, true) => OwnerAccess::Nothing,
    };
    Holders { by_inode, access }
}

fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_process_is_named_once_and_in_order() {
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, fds) in [("20", &[3, 4][..]), ("3", &[5])] {
            let table = proc.path().join(pid).join("fd");
            fs::create_dir_all(&table).expect("made");
            for fd in fds {
                symlink("socket:[777]", table.join(fd.to_string())).expect("linked");
            }
            symlink("/dev/null", table.join("0")).expect("linked");
        }
        fs::create_dir(proc.path().join("self")).expect("made");
        let found = holders(proc.path());
        assert_eq!(found.access, OwnerAccess::Full);
        assert_eq!(found.by_inode.len(), 1);
        assert_eq!(found.by_inode[&777], [3, 20]);
    }
}
