//! Actors: processes that own sockets and do with them what the test says.

use std::{
    cell::RefCell,
    env,
    fmt::{self, Display},
    fs::{self, Permissions},
    io::{BufRead, BufReader, ErrorKind, Write},
    net::SocketAddr,
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command},
    rc::Rc,
    str::FromStr,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tempfile::TempDir;

use crate::wait;

/// Where actors report for duty.
pub(crate) struct Door {
    dir: TempDir,
    listener: UnixListener,
}

impl Door {
    pub(crate) fn open() -> Self {
        let dir = TempDir::new().expect("make a directory for the test");
        let path = dir.path().join("door");
        let listener = UnixListener::bind(&path).expect("listen for actors");
        listener
            .set_nonblocking(true)
            .expect("make the door non-blocking");
        // Actors may have given root up.
        for (path, mode) in [(dir.path(), 0o755), (path.as_path(), 0o777)] {
            fs::set_permissions(path, Permissions::from_mode(mode)).expect("open the door to all");
        }
        Self { dir, listener }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("door")
    }

    /// The next process that knocks.
    fn admit(self: &Rc<Self>) -> Actor {
        let stream = wait::until("an actor to connect", || match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept an actor: {error}"),
        });
        stream
            .set_read_timeout(Some(wait::DEADLINE))
            .expect("limit the patience with an actor");
        let mut control = BufReader::new(stream);
        let mut hello = String::new();
        control.read_line(&mut hello).expect("an actor's greeting");
        let own_pid = hello.trim().strip_prefix("hello ").map(str::parse);
        let Some(Ok(own_pid)) = own_pid else {
            panic!("an actor said {hello:?}");
        };
        let peer = getsockopt(control.get_ref(), PeerCredentials).expect("who the actor is");
        Actor {
            pid: Pid::from_raw(peer.pid()),
            own_pid,
            control: RefCell::new(control),
            door: Rc::clone(self),
        }
    }
}

/// A descriptor in an actor; the same number in its forked children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fd(i32);

impl Fd {
    /// The number behind it, which need not be open.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Display for Fd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fd {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A process of the test; killed and reaped when dropped.
pub struct Actor {
    pid: Pid,
    /// In its own PID namespace.
    own_pid: i32,
    control: RefCell<BufReader<UnixStream>>,
    door: Rc<Door>,
}

impl Actor {
    pub(crate) fn spawn(door: &Rc<Door>, argv0: &str) -> Self {
        let program = program();
        #[expect(
            clippy::zombie_processes,
            reason = "dropping the actor reaps it by PID"
        )]
        let child = Command::new(&program)
            .arg0(argv0)
            .arg(door.path())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let actor = door.admit();
        assert_eq!(actor.pid(), child.id(), "a stranger knocked");
        actor
    }

    /// Process number, as the tests see it.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Process number in its own PID namespace.
    pub fn own_pid(&self) -> u32 {
        self.own_pid.cast_unsigned()
    }

    /// Sends one command and returns the values of the reply.
    #[track_caller]
    pub fn tell(&self, command: impl Display) -> Vec<String> {
        match self.try_tell(&command) {
            Ok(values) => values,
            Err(reason) => panic!("actor {} on \"{command}\": {reason}", self.pid),
        }
    }

    /// As [`tell`](Self::tell), for a command that may fail.
    pub fn try_tell(&self, command: &impl Display) -> Result<Vec<String>, String> {
        let mut control = self.control.borrow_mut();
        let mut reply = String::new();
        writeln!(control.get_mut(), "{command}")
            .and_then(|()| control.read_line(&mut reply))
            .map_err(|error| error.to_string())?;
        match reply.trim_end().split_once(' ') {
            Some(("ok", values)) => Ok(values.split(' ').map(str::to_owned).collect()),
            None if reply.trim_end() == "ok" => Ok(Vec::new()),
            Some(("err", reason)) => Err(reason.to_owned()),
            _ => Err(format!("said {reply:?}")),
        }
    }

    #[track_caller]
    fn ask<T: FromStr>(&self, command: impl Display) -> T {
        let values = self.tell(&command);
        parse(&values, 0)
    }

    #[track_caller]
    fn ask_named(&self, command: impl Display) -> (Fd, SocketAddr) {
        let values = self.tell(&command);
        (parse(&values, 0), parse(&values, 1))
    }

    /// A listening socket and its address.
    #[track_caller]
    pub fn listen(&self, address: impl Display) -> (Fd, SocketAddr) {
        self.ask_named(format_args!("listen {address} 64"))
    }

    /// A listening socket with SO_REUSEPORT.
    #[track_caller]
    pub fn listen_shared(&self, address: impl Display) -> (Fd, SocketAddr) {
        self.ask_named(format_args!("listen {address} 64 reuseport"))
    }

    /// A connected socket and its local address.
    #[track_caller]
    pub fn connect(&self, address: SocketAddr) -> (Fd, SocketAddr) {
        self.ask_named(format_args!("connect {address}"))
    }

    /// An IPv6 socket connected to an IPv4 address.
    #[track_caller]
    pub fn connect_mapped(&self, address: SocketAddr) -> (Fd, SocketAddr) {
        self.ask_named(format_args!("mapped {address}"))
    }

    /// A socket that has begun to connect.
    #[track_caller]
    pub fn call(&self, address: impl Display) -> (Fd, SocketAddr) {
        self.ask_named(format_args!("call {address}"))
    }

    /// The next connection of a listener.
    #[track_caller]
    pub fn accept(&self, listener: Fd) -> Fd {
        self.ask(format_args!("accept {listener}"))
    }

    /// Writes what fits, and says how much that was.
    #[track_caller]
    pub fn write(&self, fd: Fd, count: usize) -> usize {
        self.ask(format_args!("write {fd} {count}"))
    }

    /// Reads what is there, and says how much that was.
    #[track_caller]
    pub fn read(&self, fd: Fd, count: usize) -> usize {
        self.ask(format_args!("read {fd} {count}"))
    }

    /// Sends a FIN and keeps the socket.
    #[track_caller]
    pub fn shut_down(&self, fd: Fd) {
        self.tell(format_args!("shutdown {fd}"));
    }

    /// Closes a descriptor.
    #[track_caller]
    pub fn close(&self, fd: Fd) {
        self.tell(format_args!("close {fd}"));
    }

    /// Closes with a RST.
    #[track_caller]
    pub fn abort(&self, fd: Fd) {
        self.tell(format_args!("abort {fd}"));
    }

    /// A second descriptor of the same socket.
    #[track_caller]
    pub fn dup(&self, fd: Fd) -> Fd {
        self.ask(format_args!("dup {fd}"))
    }

    /// A child with the same descriptors.
    #[track_caller]
    pub fn fork(&self) -> Actor {
        self.bear("fork")
    }

    /// A child with the same descriptor table: what one closes, the other has not any more.
    #[track_caller]
    pub fn share(&self) -> Actor {
        self.bear("share")
    }

    #[track_caller]
    fn bear(&self, command: &str) -> Actor {
        let pid: i32 = self.ask(command);
        let child = self.door.admit();
        // The parent may be in another PID namespace than the child and we are.
        let status = fs::read_to_string(format!("/proc/{}/status", child.pid)).unwrap_or_default();
        let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let mut ids = ids.unwrap_or_default().split_whitespace();
        assert!(ids.any(|id| id == pid.to_string()), "a stranger knocked");
        child
    }

    /// The init of a new PID namespace, with a /proc of its own: a grandchild with the same
    /// descriptors.
    #[track_caller]
    pub fn init(&self) -> Actor {
        let init = self.ancestor();
        init.tell("own-proc");
        init
    }

    /// The init of a new PID namespace, under the /proc of ours.
    pub(crate) fn ancestor(&self) -> Actor {
        let between = self.fork();
        between.tell("new-pids");
        between.fork()
    }

    /// A copy of another process's descriptor, by pidfd_getfd.
    #[track_caller]
    pub fn take_from(&self, other: &Actor, fd: Fd) -> Fd {
        self.ask(format_args!("take-from {} {fd}", other.pid))
    }

    /// The same program again in this process, as `argv0`; descriptors that close on exec close.
    #[track_caller]
    pub fn exec(&self, argv0: &str) {
        self.tell(format_args!("exec {argv0}"));
        // The reply came from the old image: one from the new image shows that exec is over.
        self.tell(format_args!("title {argv0}"));
    }

    /// Whether a descriptor closes on exec.
    #[track_caller]
    pub fn close_on_exec(&self, fd: Fd, on: bool) {
        self.tell(format_args!("cloexec {fd} {}", u8::from(on)));
    }

    /// Both ends of a unix socket.
    #[track_caller]
    pub fn pair(&self) -> (Fd, Fd) {
        let values = self.tell("pair");
        (parse(&values, 0), parse(&values, 1))
    }

    /// Sends a descriptor through a unix socket.
    #[track_caller]
    pub fn pass(&self, through: Fd, fd: Fd) {
        self.tell(format_args!("send {through} {fd}"));
    }

    /// The descriptor that was sent through a unix socket.
    #[track_caller]
    pub fn receive(&self, through: Fd) -> Fd {
        self.ask(format_args!("receive {through}"))
    }

    /// Ends the process and waits until it is gone.
    pub fn exit(self) {}
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = kill(self.pid, Signal::SIGKILL);
        wait::until("a killed actor to be gone", || {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => None,
                // A child of another actor, which does not wait for its children.
                Err(Errno::ECHILD) => (kill(self.pid, None) == Err(Errno::ESRCH)).then_some(()),
                Ok(_) | Err(_) => Some(()),
            }
        });
    }
}

/// Ends and reaps a program, and first what it runs for us: an orphan in a PID namespace would have
/// to be reaped by somebody, else that namespace never ends.
pub(crate) fn end(child: &mut Child) {
    let pid = child.id();
    let runs = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for pid in runs.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // Fails only for a process that is gone.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    if runs.trim().is_empty() {
        let _ = child.kill();
    }
    let _ = child.wait();
}

#[track_caller]
fn parse<T: FromStr>(values: &[String], index: usize) -> T {
    let value = values.get(index).and_then(|text| text.parse().ok());
    value.unwrap_or_else(|| panic!("an actor's reply {values:?} has no good value {index}"))
}

/// The actor binary, which cargo puts beside the directory of the test binaries.
fn program() -> PathBuf {
    let own = env::current_exe().expect("the path of the test binary");
    let program = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("actor"))
        .find(|path| path.is_file());
    program.unwrap_or_else(|| {
        panic!(
            "no `actor` near {} (remedy: cargo build -p netstat-tests --bin actor)",
            own.display()
        )
    })
}
