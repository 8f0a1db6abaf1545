//! The workloads. Each runs in a network namespace of its own and prints what it achieved.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use netstat_tests::netns;

/// What a workload does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Holds `--sockets` connected TCP sockets in `--processes` processes until stdin ends.
    Hold,
    /// connect, accept, close with RST.
    Storm,
    /// connect, accept, close both sides in turn: one TIME_WAIT each.
    Close,
    /// One byte there and back, over `--sockets` / 2 connections in turn.
    PingPong,
    /// As much as goes through one connection.
    Bulk,
    /// One datagram to oneself and back.
    Udp,
    /// One byte through a socket pair.
    Unix,
    /// getppid(2).
    Getppid,
    /// open(2) and close(2) of /dev/null.
    Open,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    kind: Kind,
    #[arg(long, default_value_t = 2)]
    sockets: usize,
    #[arg(long, default_value_t = 1)]
    processes: usize,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
}

/// Runs a workload. Prints `ready` when it begins and `COUNT NANOSECONDS` after it, and ends with
/// stdin: what it holds is not closed while others still measure.
pub(crate) fn run(options: &Options) -> Result<()> {
    // SAFETY: no other thread runs yet.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error()).context("make a network namespace");
    }
    netns::up("lo");
    let net = |key: &str, value: &str| {
        fs::write(format!("/proc/sys/net/ipv4/{key}"), value).with_context(|| format!("set {key}"))
    };
    net("ip_local_port_range", "1024 65535")?;
    net("tcp_max_tw_buckets", "1000000")?;
    if options.kind == Kind::Hold {
        return hold(options);
    }
    may_open(options.sockets)?;
    let time = Duration::from_secs_f64(options.seconds);
    let sockets = options.sockets / options.threads;
    let (mut stand, mut go, mut workers) = (Vec::new(), Vec::new(), Vec::new());
    for worker in 0..options.threads {
        let (ready, stands) = mpsc::channel();
        let (goes, begin) = mpsc::channel();
        stand.push(stands);
        go.push(goes);
        let (kind, gate) = (options.kind, Gate { ready, begin, time });
        workers.push(thread::spawn(move || work(kind, sockets, worker, gate)));
    }
    // One that fails before has hung up: then the others are not let in, and end too.
    if stand.iter().all(|worker| worker.recv().is_ok()) {
        thread::sleep(REST);
        println!("ready");
        for worker in &go {
            // Who has failed since says so below.
            let _ = worker.send(());
        }
    }
    drop(go);
    let (mut count, mut longest) = (0, Duration::ZERO);
    let mut failures = Vec::new();
    for worker in workers {
        match worker.join() {
            Ok(Ok((times, took))) => {
                count += times;
                longest = longest.max(took);
            }
            Ok(Err(error)) => failures.push(format!("{error:#}")),
            Err(_) => failures.push("a worker panicked".to_owned()),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("; "));
    }
    println!("{count} {}", longest.as_nanos());
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// In which a tracer takes in what the workers have set up: that is no part of the workload.
const REST: Duration = Duration::from_millis(100);

/// Where a worker waits for the others once its sockets stand.
struct Gate {
    ready: mpsc::Sender<()>,
    begin: mpsc::Receiver<()>,
    time: Duration,
}

impl Gate {
    /// Repeats one thing until the time is over; looks at the clock every `chunk` times. Gives how
    /// often, and how long that took. What the worker set up before it and drops after it is not in it.
    fn repeat(
        self,
        chunk: u64,
        mut once: impl FnMut(u64) -> Result<()>,
    ) -> Result<(u64, Duration)> {
        // Where nobody listens any more, nobody lets in either.
        let _ = self.ready.send(());
        self.begin
            .recv()
            .context("another worker could not begin")?;
        let begin = Instant::now();
        let mut count = 0;
        while begin.elapsed() < self.time {
            for _ in 0..chunk {
                once(count)?;
                count += 1;
            }
        }
        Ok((count, begin.elapsed()))
    }
}

fn work(kind: Kind, sockets: usize, worker: usize, gate: Gate) -> Result<(u64, Duration)> {
    match kind {
        Kind::Hold => bail!("hold is no repetition"),
        Kind::Storm => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let address = listener.local_addr()?;
            gate.repeat(16, |_| {
                let client = TcpStream::connect(address)?;
                let (server, _) = listener.accept()?;
                abort(client)?;
                drop(server);
                Ok(())
            })
        }
        Kind::Close => {
            let listener = TcpListener::bind("0.0.0.0:0")?;
            let port = listener.local_addr()?.port();
            gate.repeat(16, |count| {
                // Another destination for each: TIME_WAIT must not use up the ports of one.
                let last = (count % 250) as u8 + 1;
                let third = worker as u8 + 1;
                let client = TcpStream::connect(SocketAddrV4::new(
                    Ipv4Addr::new(127, 0, third, last),
                    port,
                ))?;
                let (server, _) = listener.accept()?;
                drop(client);
                drop(server);
                Ok(())
            })
        }
        Kind::PingPong => {
            let mut pairs = connections(sockets / 2)?;
            let mut byte = [1];
            let len = pairs.len() as u64;
            let done = gate.repeat(16, |count| {
                let (client, server) = &mut pairs[(count % len) as usize];
                client.write_all(&byte)?;
                server.read_exact(&mut byte)?;
                server.write_all(&byte)?;
                client.read_exact(&mut byte)?;
                Ok(())
            });
            // They are closed with the process: what a tracer has of it comes after all measuring.
            std::mem::forget(pairs);
            done
        }
        Kind::Bulk => bulk(gate),
        Kind::Udp => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(socket.local_addr()?)?;
            let mut byte = [1];
            gate.repeat(64, |_| {
                socket.send(&byte)?;
                socket.recv(&mut byte)?;
                Ok(())
            })
        }
        Kind::Unix => {
            let (mut one, mut other) = UnixStream::pair()?;
            let mut byte = [1];
            gate.repeat(64, |_| {
                one.write_all(&byte)?;
                other.read_exact(&mut byte)?;
                Ok(())
            })
        }
        Kind::Getppid => gate.repeat(1024, |_| {
            // SAFETY: no precondition.
            unsafe { libc::syscall(libc::SYS_getppid) };
            Ok(())
        }),
        Kind::Open => gate.repeat(64, |_| {
            drop(fs::File::open("/dev/null")?);
            Ok(())
        }),
    }
}

/// Counts blocks of 64 KiB: a full send buffer is emptied by the same thread, in turns.
fn bulk(gate: Gate) -> Result<(u64, Duration)> {
    let (mut client, mut server) = connections(1)?.pop().context("one connection")?;
    let block = vec![7; 64 << 10];
    let mut back = vec![0; 64 << 10];
    gate.repeat(4, |_| {
        client.write_all(&block)?;
        server.read_exact(&mut back)?;
        Ok(())
    })
}

fn connections(count: usize) -> Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        pairs.push((client, server));
    }
    Ok(pairs)
}

/// Closes with RST.
fn abort(stream: TcpStream) -> Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: a valid option of a valid socket.
    let done = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("set SO_LINGER");
    }
    drop(stream);
    Ok(())
}

/// Forks the processes one after another; each says when its sockets stand.
fn hold(options: &Options) -> Result<()> {
    let each = options.sockets / options.processes;
    let mut children = Vec::new();
    for process in 0..options.processes {
        let (mut ours, mut theirs) = UnixStream::pair()?;
        // SAFETY: this process has one thread.
        match unsafe { libc::fork() } {
            -1 => return Err(std::io::Error::last_os_error()).context("fork"),
            0 => {
                drop(ours);
                drop(children);
                let held = hold_here(each, process)?;
                theirs.write_all(b"!")?;
                // Ends when the parent does.
                let _ = theirs.read(&mut [0]);
                drop(held);
                // SAFETY: ends this process without running the parent's destructors again.
                unsafe { libc::_exit(0) };
            }
            _ => {
                drop(theirs);
                ours.read_exact(&mut [0])
                    .with_context(|| format!("process {process} could not make {each} sockets"))?;
                children.push(ours);
            }
        }
    }
    println!("ready");
    let _ = std::io::stdin().read(&mut [0]);
    drop(children);
    Ok(())
}

/// Raises the limit of open files so that there may be so many, and some more.
fn may_open(files: usize) -> Result<()> {
    let limit = libc::rlimit {
        rlim_cur: files as u64 + 100,
        rlim_max: files as u64 + 100,
    };
    // SAFETY: a valid rlimit.
    if files > 900 && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("raise the limit of descriptors");
    }
    Ok(())
}

/// `count` sockets, the listener among them, of this process.
fn hold_here(count: usize, process: usize) -> Result<(TcpListener, Vec<TcpStream>)> {
    may_open(count)?;
    let home = Ipv4Addr::new(127, 1, (process / 250) as u8, (process % 250) as u8 + 1);
    let listener = TcpListener::bind((home, 0))?;
    let address = listener.local_addr()?;
    let mut held = Vec::with_capacity(count);
    while held.len() + 2 < count {
        held.push(TcpStream::connect(address)?);
        held.push(listener.accept()?.0);
    }
    Ok((listener, held))
}
