//! Who holds which socket: /proc/PID/fd and /proc/PID/cmdline.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, File},
    io::{ErrorKind, Read as _},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::Path,
};

use crate::{
    source::{OwnerAccess, Owners},
    view::by_inode::ByInode,
};

/// Reads the descriptor table of every process that the caller may read.
#[must_use]
pub fn owners(proc: &Path) -> Owners {
    let mut owners = Owners::default();
    let Ok(processes) = fs::read_dir(proc) else {
        owners.access = OwnerAccess::Nothing;
        return owners;
    };
    let mut denied = false;
    for process in processes.flatten() {
        let pid = process.file_name();
        if !pid.as_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        if let Err(error) = add_process(&mut owners.by_inode, proc, &pid) {
            denied |= error.raw_os_error() == Some(libc::EACCES);
        }
    }
    owners.access = match (denied, owners.by_inode.is_empty()) {
        (false, _) => OwnerAccess::Full,
        (true, false) => OwnerAccess::Partial,
        (true, true) => OwnerAccess::Nothing,
    };
    owners
}

/// `PID/Program name` as netstat prints it: from the first word of the command line.
///
/// # Errors
/// The process is gone, or its command line cannot be read.
pub fn program(proc: &Path, pid: u32) -> std::io::Result<Box<[u8]>> {
    let pid = pid.to_string();
    let text = command_line(&proc.join(&pid))?;
    Ok(entry(pid.as_bytes(), &text))
}

/// The process id of a `PID/Program name`.
#[must_use]
pub fn pid_of(program: &[u8]) -> Option<u32> {
    let pid = program.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(pid).ok()?.parse().ok()
}

/// The name alone, at its full length.
///
/// # Errors
/// As [`program`].
pub fn program_name(proc: &Path, pid: u32) -> std::io::Result<Vec<u8>> {
    let text = command_line(&proc.join(pid.to_string()))?;
    Ok(name(&text).to_vec())
}

/// The SELinux context of a process: its end, if it is too long for a cell.
#[must_use]
pub fn context(proc: &Path, pid: u32) -> Option<Box<[u8]>> {
    const LONGEST: usize = 49;
    const KEPT: usize = 48;
    let mut text = fs::read(proc.join(format!("{pid}/attr/current"))).ok()?;
    while let Some(b'\0' | b'\n') = text.last() {
        text.pop();
    }
    if text.len() > LONGEST {
        text.drain(..text.len() - KEPT);
    }
    Some(text.into())
}

/// # Errors
/// The error of opening the descriptor table. A process that ends meanwhile gives what was read.
fn add_process(by_inode: &mut ByInode, proc: &Path, pid: &OsStr) -> std::io::Result<()> {
    let process = proc.join(pid);
    let table = process.join("fd");
    let descriptors = fs::read_dir(&table)?;
    let mut path = table.into_os_string().into_vec();
    path.push(b'/');
    let directory = path.len();
    let mut name = None;
    for descriptor in descriptors.flatten() {
        path.truncate(directory);
        path.extend_from_slice(descriptor.file_name().as_bytes());
        if !path[directory..].first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        path.push(0);
        let mut link = [0; LINK];
        let Some(inode) = read_link(&path, &mut link).and_then(socket_inode) else {
            continue;
        };
        let name = match name {
            Some(name) => name,
            None => match command_line(&process) {
                Ok(text) => *name.insert(by_inode.name(entry(pid.as_bytes(), &text).into())),
                Err(_) => continue,
            },
        };
        by_inode.insert(inode, name);
    }
    Ok(())
}

/// The most bytes that netstat takes of a link.
const LINK: usize = 29;

/// `path` ends in NUL.
fn read_link<'a>(path: &[u8], buffer: &'a mut [u8; LINK]) -> Option<&'a [u8]> {
    let path = CStr::from_bytes_with_nul(path).ok()?;
    // SAFETY: `path` ends in NUL, and `readlink` writes at most `buffer.len()` bytes to `buffer`.
    let length = unsafe { libc::readlink(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    buffer.get(..usize::try_from(length).ok()?)
}

/// `socket:[N]` or `[0000]:N`. A one-digit number in the first form is too short for netstat.
pub(super) fn socket_inode(link: &[u8]) -> Option<u64> {
    const SHORTEST: usize = "socket:[12]".len();
    let digits = match link.strip_prefix(b"socket:[") {
        Some(rest) if link.len() >= SHORTEST => rest.strip_suffix(b"]")?,
        _ => link.strip_prefix(b"[0000]:")?,
    };
    whole_number(digits)
}

/// As `strtoul` with base 0, if it takes the whole text and the number fits.
fn whole_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text.trim_ascii_start()).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with('+') {
        return None;
    }
    let number = u64::from_str_radix(digits, radix)
        .ok()
        .filter(|&number| number != u64::MAX)?;
    Some(if negative {
        number.wrapping_neg()
    } else {
        number
    })
}

/// The first 511 bytes of the command line.
fn command_line(process: &Path) -> std::io::Result<Vec<u8>> {
    let mut buffer = [0; 511];
    let mut file = File::open(process.join("cmdline"))?;
    let length = loop {
        match file.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    Ok(buffer[..length].to_vec())
}

/// `PID/NAME`, where NAME is the first word of the command line, without its directory if that is
/// absolute.
fn entry(pid: &[u8], command_line: &[u8]) -> Box<[u8]> {
    const LONGEST: usize = 19;
    let mut entry = [pid, b"/", name(command_line)].concat();
    entry.truncate(LONGEST);
    entry.into()
}

fn name(command_line: &[u8]) -> &[u8] {
    let name = command_line.split(|&byte| byte == 0).next();
    let name = name.unwrap_or_default();
    if name.first() == Some(&b'/') {
        name.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[track_caller]
    fn check(pid: &str, command_line: &[u8], expected: &str) {
        let entry = entry(pid.as_bytes(), command_line);
        assert_eq!(String::from_utf8_lossy(&entry), expected);
    }

    #[test]
    fn names_are_cut_and_lose_an_absolute_directory() {
        check("504", b"/usr/bin/python3\0-m\0x\0", "504/python3");
        check("5", b"/usr/bin/python3 /opt/x y/app.py", "5/app.py");
        check("103", b"", "103/");
        check("107", b"/\0", "107/");
        check(
            "116",
            b"sshd: /usr/sbin/sshd -D [listener] 0 of 10",
            "116/sshd: /usr/sbin",
        );
        check(
            "110",
            b"/usr/bin/averyveryverylongname",
            "110/averyveryverylo",
        );
        check("4194304", b"maxpidprogram", "4194304/maxpidprogr");
        check("7", b"relative/path/p\0", "7/relative/path/p");
        check("7", b"-bash\0", "7/-bash");
        check("112", &b"/a".repeat(600)[..511], "112/");
    }

    #[test]
    fn links_of_sockets_have_inodes() {
        assert_eq!(socket_inode(b"socket:[12]"), Some(12));
        assert_eq!(socket_inode(b"socket:[1]"), None);
        assert_eq!(socket_inode(b"[0000]:77"), Some(77));
        assert_eq!(socket_inode(b"[0000]:5"), Some(5));
        assert_eq!(socket_inode(b"socket:[010]"), Some(8));
        assert_eq!(socket_inode(b"socket:[0x1f]"), Some(31));
        assert_eq!(socket_inode(b"socket:[ +15]"), Some(15));
        assert_eq!(socket_inode(b"socket:[12]zz"), None);
        assert_eq!(socket_inode(b"socket:[+-12]"), None);
        assert_eq!(socket_inode(b"socket:[x1]"), None);
        assert_eq!(socket_inode(b"pipe:[123456]"), None);
        assert_eq!(socket_inode(b"socket:[99999999999999999999999"), None);
    }

    #[test]
    fn the_lowest_pid_keeps_a_socket() {
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, command_line) in [("20", "/bin/b"), ("x1", "c")] {
            let fd = proc.path().join(pid).join("fd");
            fs::create_dir_all(&fd).expect("fd");
            fs::write(proc.path().join(pid).join("cmdline"), command_line).expect("cmdline");
            symlink("socket:[4242]", fd.join("3")).expect("link");
            symlink("socket:[4243]", fd.join("x")).expect("link");
        }
        let owners = owners(proc.path());
        assert_eq!(owners.access, OwnerAccess::Full);
        let expected: Box<[u8]> = b"20/b".as_slice().into();
        assert_eq!(
            owners.by_inode,
            ByInode::from_iter([(4242, expected.into())])
        );
    }

    #[test]
    fn without_proc_there_are_no_owners() {
        assert_eq!(
            owners(Path::new("/does/not/exist")).access,
            OwnerAccess::Nothing
        );
    }
}
