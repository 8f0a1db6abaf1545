//! The initramfs: a cpio archive in the `newc` form that the kernel unpacks
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{collections::BTreeSet, path::Path};

/// A file of the guest.
#[derive(Debug)]
pub(super) struct File {
    /// Its path, without the leading slash.
    pub(super) path: String,
    /// Executable or not.
    pub(super) executable: bool,
    /// What it holds.
    pub(super) bytes: Vec<u8>,
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const PLAIN: u32 = 0o100_644;

/// The archive of some files and the directories above them.
pub(super) fn archive<'a>(files: impl Iterator<Item = &'a File>) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut made = BTreeSet::new();
    for file in files {
        // Parents first: the kernel makes no directory by itself.
        let mut above: Vec<&Path> = Path::new(&file.path).ancestors().skip(1).collect();
        above.pop();
        for dir in above.into_iter().rev() {
            if made.insert(dir.to_owned()) {
                entry(&mut archive, &dir.to_string_lossy(), DIRECTORY, &[]);
            }
        }
        let mode = if file.executable { PROGRAM } else { PLAIN };
        entry(&mut archive, &file.path, mode, &file.bytes);
    }
    entry(&mut archive, "TRAILER!!!", 0, &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, bytes: &[u8]) {
    let name_size = name.len() + 1;
    // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, check
    let header = [
        0,
        mode as usize,
        0,
        0,
        1,
        0,
        bytes.len(),
        0,
        0,
        0,
        0,
        name_size,
        0,
    ]
    .map(|n| format!("{n:08X}"));
    archive.extend_from_slice(b"070701");
    archive.extend_from_slice(header.concat().as_bytes());
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    align(archive);
    archive.extend_from_slice(bytes);
    align(archive);
}

fn align(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_directories_come_first() {
        let file = File {
            path: "a/b/c".into(),
            executable: true,
            bytes: b"hello".to_vec(),
        };
        let archive = archive([&file].into_iter());
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap())
            .collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "TRAILER!!!"]);
        assert!(text.contains("00000005"), "size of the file");
    }
}
