//! A private network namespace for one test.

use std::{
    cell::OnceCell,
    fs, io, mem,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    panic,
    process::{self, Command},
    rc::Rc,
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::{
    procs::{Actor, Door},
    tun::Tun,
    wait,
};

/// The namespace of the running test.
pub struct Net {
    tun: OnceCell<Tun>,
    door: Rc<Door>,
    /// A process whose other namespaces commands are to run in, and which of them, for nsenter.
    beside: Option<(u32, &'static [&'static str])>,
    /// What else commands find in their environment.
    environment: Option<(&'static str, &'static str)>,
}

/// Runs `body` on a thread that has a network namespace of its own with `lo` up; processes started
/// there are in it too. The namespace dies with the thread.
///
/// # Panics
/// When `body` does, when this is not root, and when `body` leaves a process behind.
pub fn within<R: Send>(body: impl FnOnce(&Net) -> R + Send) -> R {
    // Orphans of actors come to us, so that they can be reaped.
    nix::sys::prctl::set_child_subreaper(true).expect("become a child subreaper");
    let outcome = thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET)
                .expect("unshare a network namespace: run the kernel tests as root");
            up("lo");
            let net = Net {
                tun: OnceCell::new(),
                door: Rc::new(Door::open()),
                beside: None,
                environment: None,
            };
            let value = body(&net);
            drop(net);
            assert_deserted();
            value
        };
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, run)
            .expect("start the namespace's thread")
            .join()
    });
    outcome.unwrap_or_else(|payload| panic::resume_unwind(payload))
}

impl Net {
    /// The TUN device behind which every packet is the test's to read and to write.
    pub fn tun(&self) -> &Tun {
        self.tun.get_or_init(Tun::open)
    }

    /// A process that owns sockets.
    pub fn actor(&self) -> Actor {
        Actor::spawn(&self.door, "actor")
    }

    /// A process that owns sockets, with this for its `argv[0]`.
    pub fn actor_named(&self, argv0: &str) -> Actor {
        Actor::spawn(&self.door, argv0)
    }

    /// A command that runs in the namespace, in the C locale.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = match self.beside {
            None => Command::new(program),
            Some((pid, namespaces)) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &pid.to_string()]);
                command.args(namespaces).arg("--").arg(program);
                command
            }
        };
        command.env("LC_ALL", "C").envs(self.environment);
        command
    }

    /// The same, where commands find one more variable in their environment.
    pub fn with(&self, name: &'static str, value: &'static str) -> Self {
        Self {
            tun: OnceCell::new(),
            door: Rc::clone(&self.door),
            beside: self.beside,
            environment: Some((name, value)),
        }
    }

    /// The same network namespace, where commands run in the PID namespace of an actor and with its
    /// /proc.
    pub fn among_pids_of(&self, actor: &Actor) -> Self {
        self.beside(actor, &["--pid", "--mount"])
    }

    /// The network namespace of an actor.
    pub fn of(&self, actor: &Actor) -> Self {
        self.beside(actor, &["--net"])
    }

    fn beside(&self, actor: &Actor, namespaces: &'static [&'static str]) -> Self {
        Self {
            tun: OnceCell::new(),
            door: Rc::clone(&self.door),
            beside: Some((actor.pid(), namespaces)),
            environment: None,
        }
    }

    /// A directory of this test that every user can enter; gone after the test.
    pub fn dir(&self) -> &std::path::Path {
        self.door.dir()
    }

    /// Sets a setting of this namespace, as `ipv4/tcp_fin_timeout`.
    pub fn sysctl(&self, key: &str, value: &str) {
        fs::write(format!("/proc/sys/net/{key}"), value)
            .unwrap_or_else(|error| panic!("set net/{key} to {value}: {error}"));
    }

    /// Lets the softirqs of `lo` run on any CPU, so that they interrupt whatever runs there
    /// (receive packet steering). The namespace's own sysfs says so.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn steer_packets(&self) {
        let script =
            "mount -t sysfs sysfs \"$0\" && echo 3 >\"$0/class/net/lo/queues/rx-0/rps_cpus\"";
        let mut command = self.command("unshare");
        command.args(["--mount", "sh", "-c", script]);
        let status = command.arg(self.dir()).status();
        assert!(status.is_ok_and(|status| status.success()), "steer packets");
    }

    /// The number that the kernel and `netstat-bpf log` know this namespace by.
    pub fn inode(&self) -> u64 {
        match self.beside {
            Some((pid, ["--net"])) => fs::metadata(format!("/proc/{pid}/ns/net"))
                .expect("stat the network namespace of a process")
                .ino(),
            _ => own_inode(),
        }
    }
}

/// `ioctl` on an interface of the current namespace.
pub(crate) fn interface_ioctl<T>(family: AddressFamily, request: libc::Ioctl, argument: &mut T) {
    let socket: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
        .expect("open a socket for an interface ioctl");
    // SAFETY: every caller pairs the request with the structure that it takes, alive for the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, argument as *mut T) };
    assert!(
        result == 0,
        "interface ioctl {request:#x}: {}",
        io::Error::last_os_error()
    );
}

/// An `ifreq` that names an interface and says nothing else.
pub(crate) fn ifreq(name: &str) -> libc::ifreq {
    // SAFETY: `ifreq` is integers and byte arrays; all zeroes is one of its values.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    assert!(name.len() < request.ifr_name.len(), "interface name {name}");
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// Brings an interface of the current namespace up.
///
/// # Panics
/// When there is none, or this is not root.
pub fn up(name: &str) {
    let mut request = ifreq(name);
    interface_ioctl(AddressFamily::Inet, libc::SIOCGIFFLAGS, &mut request);
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as i16;
    interface_ioctl(AddressFamily::Inet, libc::SIOCSIFFLAGS, &mut request);
}

fn own_inode() -> u64 {
    fs::metadata("/proc/thread-self/ns/net")
        .expect("stat the own network namespace")
        .ino()
}

/// No process but this one may still be in the namespace; one that is being reaped may need a moment.
fn assert_deserted() {
    let namespace = own_inode();
    let mut left = Vec::new();
    let deserted = wait::try_until(|| {
        left = inhabitants(namespace);
        left.is_empty().then_some(())
    });
    assert!(deserted.is_some(), "the test left behind: {left:?}");
}

/// PIDs and command lines of the other processes in a namespace.
fn inhabitants(namespace: u64) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("list /proc").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        let inside = fs::metadata(entry.path().join("ns/net"))
            .is_ok_and(|metadata| metadata.ino() == namespace);
        if inside && pid != process::id() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            found.push(format!("{pid} {}", String::from_utf8_lossy(&command)));
        }
    }
    found
}
