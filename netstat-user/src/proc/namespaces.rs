//! Network namespaces: which there are, what they are called, and how to enter one.
//!
//! A namespace lives while a process is in it, a mount or an open file is of it, or a socket was made
//! in it. Each is opened once, and what was opened tells its number: a process id or a name that is
//! another's a moment later leads nowhere else.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{MetadataExt as _, OpenOptionsExt as _},
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";
/// `NS_GET_NSTYPE` of `include/uapi/linux/nsfs.h`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
/// `SIOCGSKNS` of `include/uapi/linux/sockios.h`.
const SIOCGSKNS: libc::Ioctl = 0x894c;

/// A network namespace, held while this lives.
#[derive(Debug)]
pub struct Namespace {
    file: File,
    /// Inode number.
    pub inode: u32,
    /// Its name in /run/netns, or another path where it is mounted.
    pub name: Option<PathBuf>,
    /// A process that is in it.
    pub pid: Option<u32>,
}

impl Namespace {
    /// Opens a file that stands for a namespace.
    ///
    /// # Errors
    /// open(2), or it is no network namespace.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        // A path may be anything: a pipe must not be waited for.
        options.read(true).custom_flags(libc::O_NONBLOCK);
        Self::of(options.open(path)?)
    }

    fn of(file: File) -> io::Result<Self> {
        // SAFETY: an ioctl without an argument.
        let kind = unsafe { libc::ioctl(file.as_raw_fd(), NS_GET_NSTYPE) };
        if kind != libc::CLONE_NEWNET {
            return Err(io::Error::other("no network namespace"));
        }
        let inode = file.metadata()?.ino();
        let inode = u32::try_from(inode).map_err(io::Error::other)?;
        Ok(Self {
            file,
            inode,
            name: None,
            pid: None,
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// /proc is not there.
    pub fn own() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The one that a user means: a name of `ip netns`, the id of a process in it, or a path.
    ///
    /// # Errors
    /// Says what was looked for and is not there.
    pub fn named(name: &str) -> Result<Self> {
        let path = match name {
            "" => bail!("--netns: an empty name"),
            path if path.contains('/') => PathBuf::from(path),
            pid if pid.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("/proc/{pid}/ns/net").into()
            }
            "." | ".." => bail!("--netns {name}: no name of a namespace"),
            name => Path::new(NAMES).join(name),
        };
        Self::open(&path).map_err(|error| {
            let what = format!("--netns {name}: {}", path.display());
            match error.kind() {
                io::ErrorKind::PermissionDenied => anyhow::anyhow!(
                    "{what}: {error} (a process of another user: needs CAP_SYS_PTRACE, or root)"
                ),
                _ => anyhow::anyhow!("{what}: {error}"),
            }
        })
    }

    /// Moves the calling thread into it. Where the thread is already, it needs no right to be.
    ///
    /// # Errors
    /// Names the right that is missing.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: concerns this thread only.
        if unsafe { libc::setns(self.file.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        // An inode number is one namespace's as long as a file of it is open.
        if Self::own().is_ok_and(|own| own.inode == self.inode) {
            return Ok(());
        }
        let needs = match error.raw_os_error() {
            Some(libc::EPERM) => " (needs CAP_SYS_ADMIN, here and in its user namespace: root)",
            _ => "",
        };
        bail!("enter network namespace {}: {error}{needs}", self.inode)
    }

    /// For people: its name, or its number and a process in it.
    #[must_use]
    pub fn title(&self) -> String {
        let name = self.name.as_deref().map(|path| {
            let short = path.strip_prefix(NAMES).unwrap_or(path);
            String::from_utf8_lossy(short.as_os_str().as_bytes()).into_owned()
        });
        match (name, self.pid) {
            (Some(name), _) => format!("{} ({})", name.escape_debug(), self.inode),
            (None, Some(pid)) => format!("{} (process {pid})", self.inode),
            (None, None) => self.inode.to_string(),
        }
    }
}

/// The namespaces that were found.
#[derive(Debug, Default)]
pub struct Found {
    /// By inode number.
    pub namespaces: BTreeMap<u32, Namespace>,
    /// What could not be looked at, and why: there may be more namespaces.
    pub hidden: Vec<String>,
}

impl Found {
    /// Those of processes, threads and mounts.
    #[must_use]
    pub fn easily() -> Self {
        let mut found = Self::default();
        if let Ok(own) = Namespace::own() {
            found.add(own);
        }
        found.mounted();
        found.inhabited();
        found
    }

    /// Those that only an open file or a socket holds, too: looks at every descriptor.
    #[must_use]
    pub fn all() -> Self {
        let mut found = Self::easily();
        found.held(|_| false);
        found
    }

    /// Looks at descriptors until each wanted namespace is found.
    pub fn look_for(&mut self, wanted: impl Fn(&BTreeMap<u32, Namespace>) -> bool) {
        if wanted(&self.namespaces) {
            return;
        }
        let hidden = self.hidden.len();
        self.held(&wanted);
        if wanted(&self.namespaces) {
            // What could not be looked at was not needed.
            self.hidden.truncate(hidden);
        }
    }

    fn add(&mut self, new: Namespace) {
        let known = self.namespaces.entry(new.inode).or_insert_with(|| {
            let Namespace { file, inode, .. } = new;
            Namespace {
                file,
                inode,
                name: None,
                pid: None,
            }
        });
        known.pid = known.pid.or(new.pid);
        let nicer = |path: &PathBuf| path.starts_with(NAMES);
        if known.name.is_none() || (new.name.as_ref().is_some_and(nicer)) {
            known.name = new.name.or_else(|| known.name.take());
        }
    }

    fn mounted(&mut self) {
        let names = fs::read_dir(NAMES).into_iter().flatten().flatten();
        let mut paths: Vec<_> = names.map(|entry| entry.path()).collect();
        paths.sort();
        // Another's mount namespace may have more; its processes do not.
        let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
        paths.extend(nsfs_mounts(&mounts));
        for path in paths {
            // What is mounted elsewhere, or a file that is left over, is no namespace here.
            if let Ok(namespace) = Namespace::open(&path) {
                self.add(Namespace {
                    name: Some(path),
                    ..namespace
                });
            }
        }
    }

    fn inhabited(&mut self) {
        let mut refused = Vec::new();
        for pid in numbers(Path::new("/proc")) {
            let process = PathBuf::from(format!("/proc/{pid}"));
            for thread in numbers(&process.join("task")) {
                let path = process.join(format!("task/{thread}/ns/net"));
                let number = fs::metadata(&path).map(|file| file.ino());
                match number {
                    Ok(number) if self.knows(number, thread) => {}
                    Ok(_) => match Namespace::open(&path) {
                        Ok(namespace) => self.add(Namespace {
                            pid: Some(thread),
                            ..namespace
                        }),
                        Err(error) => refused.extend(is_refusal(&error).then_some(thread)),
                    },
                    Err(error) => refused.extend(is_refusal(&error).then_some(thread)),
                }
            }
        }
        // The directory /proc/TID/net is everybody's, and each namespace has files of its own.
        let pids = self.namespaces.values().filter_map(|known| known.pid);
        let known: Vec<_> = pids.filter_map(proc_file).collect();
        refused.retain(|thread| !proc_file(*thread).is_some_and(|file| known.contains(&file)));
        let refused = refused.len();
        if refused > 0 {
            self.hidden.push(format!(
                "{refused} threads of other users (needs CAP_SYS_PTRACE, or root)"
            ));
        }
    }

    fn knows(&mut self, number: u64, pid: u32) -> bool {
        let known = u32::try_from(number)
            .ok()
            .and_then(|number| self.namespaces.get_mut(&number));
        if let Some(known) = known {
            known.pid.get_or_insert(pid);
            return true;
        }
        false
    }

    fn held(&mut self, enough: impl Fn(&BTreeMap<u32, Namespace>) -> bool) {
        let mut refused = 0;
        for pid in numbers(Path::new("/proc")) {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let descriptors = match fs::read_dir(process.join("fd")) {
                Ok(descriptors) => descriptors,
                Err(error) => {
                    refused += u32::from(is_refusal(&error));
                    continue;
                }
            };
            let mut handle = None;
            for descriptor in descriptors.flatten() {
                let path = descriptor.path();
                let Ok(link) = fs::read_link(&path) else {
                    continue;
                };
                let link = link.as_os_str().as_bytes();
                let namespace = if link.starts_with(b"net:[") {
                    Namespace::open(&path)
                } else if link.starts_with(b"socket:[") {
                    let number = descriptor.file_name();
                    let number = number.to_str().and_then(|text| text.parse().ok());
                    let handle = handle.get_or_insert_with(|| pidfd(pid));
                    match (handle, number) {
                        (Ok(handle), Some(number)) => of_socket(handle, number),
                        _ => continue,
                    }
                } else {
                    continue;
                };
                // A descriptor that is closed by now holds nothing.
                if let Ok(namespace) = namespace
                    && !self.namespaces.contains_key(&namespace.inode)
                {
                    self.add(namespace);
                }
            }
            if enough(&self.namespaces) {
                break;
            }
        }
        if refused > 0 {
            self.hidden.push(format!(
                "the descriptors of {refused} processes of other users (needs CAP_SYS_PTRACE, or root)"
            ));
        }
    }
}

/// Which file of /proc/net a thread sees.
fn proc_file(thread: u32) -> Option<u64> {
    let file = fs::metadata(format!("/proc/{thread}/net/tcp")).ok()?;
    Some(file.ino())
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// The entries of a directory whose names are numbers, ascending.
fn numbers(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Where namespaces are mounted, by the text of mountinfo.
fn nsfs_mounts(text: &[u8]) -> Vec<PathBuf> {
    let lines = text.split(|byte| *byte == b'\n');
    let paths = lines.filter_map(|line| {
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let (root, place) = (words.get(3)?, words.get(4)?);
        root.starts_with(b"net:[").then(|| unescape(place))
    });
    paths.collect()
}

/// Undoes the octal escapes of mountinfo.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(code) = code {
            bytes.push(code);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    std::ffi::OsStr::from_bytes(&bytes).into()
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the new descriptor is ours.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// The namespace of a socket that another process has open.
fn of_socket(process: &OwnedFd, descriptor: i32) -> io::Result<Namespace> {
    // SAFETY: as above.
    let socket = owned(unsafe {
        libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0u32)
    })?;
    // SAFETY: an ioctl without an argument; it gives a new descriptor.
    let namespace = owned(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCGSKNS) }.into())?;
    Namespace::of(namespace.into())
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel has just opened it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Runs `body` on a thread of its own, which may enter namespaces, and calls `meanwhile` until it is
/// done.
///
/// # Errors
/// The thread cannot be started.
pub fn apart<R: Send>(body: impl FnOnce() -> R + Send, mut meanwhile: impl FnMut()) -> Result<R> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespaces".to_owned())
            .spawn_scoped(scope, body)
            .context("start a thread that enters namespaces")?;
        while !thread.is_finished() {
            meanwhile();
        }
        match thread.join() {
            Ok(value) => Ok(value),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_is_found_by_every_name() {
        let own = Namespace::own().expect("our own");
        let pid = std::process::id();
        for name in [pid.to_string(), "/proc/self/ns/net".to_owned()] {
            assert_eq!(Namespace::named(&name).expect("found").inode, own.inode);
        }
        let found = Found::easily();
        assert!(found.namespaces[&own.inode].pid.is_some());
    }

    #[test]
    fn what_is_no_namespace_is_told() {
        for (name, told) in [
            ("", "empty"),
            ("..", "no name"),
            ("no-such-name", "/run/netns/no-such-name"),
            ("/proc/self/ns/mnt", "no network namespace"),
            ("/etc/passwd", "/etc/passwd"),
            ("4294967295", "/proc/4294967295/ns/net"),
        ] {
            let error = Namespace::named(name).expect_err("none").to_string();
            assert!(error.contains(told), "{name}: {error}");
        }
    }

    #[test]
    fn mounts_are_read() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            40 22 0:4 net:[4026532281] /run/netns/a\\040b rw shared:2 - nsfs nsfs rw\n\
            41 22 0:4 mnt:[4026532282] /run/x rw - nsfs nsfs rw\n41 22\n\n";
        assert_eq!(nsfs_mounts(text), [PathBuf::from("/run/netns/a b")]);
        assert_eq!(unescape(b"a\\04"), PathBuf::from("a\\04"));
        assert_eq!(unescape(b"\\999x"), PathBuf::from("\\999x"));
    }

    #[test]
    fn titles_have_the_name_or_a_process() {
        let own = || Namespace::own().expect("our own");
        let inode = own().inode;
        let with = |name: Option<&str>, pid| {
            let name = name.map(PathBuf::from);
            Namespace { name, pid, ..own() }.title()
        };
        assert_eq!(with(None, None), inode.to_string());
        assert_eq!(with(None, Some(7)), format!("{inode} (process 7)"));
        assert_eq!(with(Some("/run/netns/a"), Some(7)), format!("a ({inode})"));
        assert_eq!(
            with(Some("/run/netns/\x1b"), None),
            format!("\\u{{1b}} ({inode})")
        );
        assert_eq!(with(Some("/x/a"), None), format!("/x/a ({inode})"));
    }

    #[test]
    fn a_socket_tells_its_namespace() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let own = pidfd(std::process::id()).expect("ourselves");
        let found = of_socket(&own, socket.as_raw_fd()).expect("its namespace");
        assert_eq!(found.inode, Namespace::own().expect("our own").inode);
        assert!(of_socket(&own, i32::MAX).is_err());
    }
}
