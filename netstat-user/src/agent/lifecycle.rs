//! One agent a socket: the lock, the socket's file, the signals that end it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::{
            fs::{
                DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
                PermissionsExt as _,
            },
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// The right to be the agent of a socket, held until the process ends.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock beside a socket.
    ///
    /// # Errors
    /// Another agent has it, or the file cannot be made.
    pub fn take(socket: &Path) -> Result<Self> {
        if let Some(directory) = socket.parent().filter(|path| !path.exists()) {
            DirBuilder::new()
                .mode(0o755)
                .recursive(true)
                .create(directory)
                .with_context(|| format!("make the directory {}", directory.display()))?;
        }
        let path = beside(socket, ".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Whoever can open it can hold it: nobody else.
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&path)
            .with_context(|| format!("open {} (run the agent as root?)", path.display()))?;
        // SAFETY: our own descriptor.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != ErrorKind::WouldBlock {
                return Err(error).with_context(|| format!("lock {}", path.display()));
            }
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            bail!(
                "another agent serves {} (process {}): stop it, or choose another --socket",
                socket.display(),
                holder.trim().escape_debug()
            );
        }
        // For people: the lock is what counts.
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.with_context(|| format!("write {}", path.display()))?;
        Ok(Self { _file: file })
    }
}

fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The socket's file; gone when this is dropped, if it is still ours.
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens. A socket that an agent has left behind, which the lock proves, is replaced.
///
/// # Errors
/// Something else is in its place, or bind(2).
pub fn listen(path: &Path, _: &Lock) -> Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path)
                .with_context(|| format!("remove the stale socket {}", path.display()))?;
        }
        Ok(_) => bail!(
            "{} is there and is no socket: choose another --socket",
            path.display()
        ),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
    // What a client may see is decided for each, by its credentials.
    fs::set_permissions(path, Permissions::from_mode(0o666))
        .with_context(|| format!("open {} to all users", path.display()))?;
    let file = fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: (file.dev(), file.ino()),
    };
    Ok((listener, file))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.inode);
        if ours {
            // A file that stays is stale, which the next agent sees.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP as a descriptor, for the calling thread and those that it starts.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals and opens the descriptor.
    ///
    /// # Errors
    /// signalfd(2).
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` fills the set before the others read it; the new descriptor is
        // ours.
        let fd = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/agent.sock");
        let lock = Lock::take(&path).expect("the lock");
        drop(UnixListener::bind(&path).expect("a socket"));
        assert!(UnixStream::connect(&path).is_err(), "it is stale");
        let (_listener, file) = listen(&path, &lock).expect("listen");
        UnixStream::connect(&path).expect("it is served");
        drop(file);
        assert!(!path.exists(), "it is tidied away");
        fs::write(&path, "precious").expect("a file");
        assert!(listen(&path, &lock).is_err());
        assert_eq!(fs::read(&path).expect("it stays"), b"precious");
    }

    #[test]
    fn another_ones_socket_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.sock");
        let lock = Lock::take(&path).expect("the lock");
        let (_listener, file) = listen(&path, &lock).expect("listen");
        fs::rename(&path, directory.path().join("old")).expect("move it away");
        let _other = UnixListener::bind(&path).expect("another");
        drop(file);
        assert!(path.exists(), "it was not ours");
    }

    #[test]
    fn two_cannot_have_one_socket() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.sock");
        let lock = Lock::take(&path).expect("the lock");
        let error = Lock::take(&path).err().expect("it is taken").to_string();
        assert!(
            error.contains(&std::process::id().to_string()),
            "names the process: {error}"
        );
        drop(lock);
        Lock::take(&path).expect("it is free again");
    }
}
