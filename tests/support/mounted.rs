//! Network namespaces that outlive whoever made them.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::netns::up;

/// Where `ip netns` keeps names.
const NAMES: &str = "/run/netns";

/// A network namespace with a name, as `ip netns add` makes it; gone when dropped.
pub struct Mounted {
    path: PathBuf,
    /// The number that the kernel knows it by.
    pub inode: u32,
}

impl Mounted {
    /// Gives the namespace of the calling thread a name.
    #[must_use]
    pub fn here() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("nsbpf-test-{}-{number}", std::process::id());
        fs::create_dir_all(NAMES).expect("make /run/netns");
        let path = Path::new(NAMES).join(name);
        File::create(&path).expect("make a file to mount on");
        let own = Path::new("/proc/thread-self/ns/net");
        mount(
            Some(own),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .expect("mount the namespace");
        let inode = fs::metadata(&path).expect("the mount").ino();
        Self {
            path,
            inode: u32::try_from(inode).expect("a number of the kernel"),
        }
    }

    /// What `ip netns exec` would call it.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.expect("a name of our own")
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs in it.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        nsenter(&self.path, program)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Both fail only if somebody was faster.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&self.path);
    }
}

/// A command that runs in the namespace behind a path, in the C locale.
#[must_use]
pub fn nsenter(path: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .env("LC_ALL", "C")
        .arg(format!("--net={}", path.display()))
        .arg(program);
    command
}

/// A command that runs where the test program's main thread is: outside of every test's namespace.
#[must_use]
pub fn outside(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let path = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    nsenter(&path, program)
}

/// Runs `body` in a new network namespace with `lo` up, on a thread that ends with it.
///
/// # Panics
/// When `body` does, or this is not root.
pub fn in_a_new_one<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare a network namespace");
            up("lo");
            body()
        });
        thread.join().expect("the namespace's thread")
    })
}
