//! `netstat-bpf agent`: starts, says so, serves, ends.

use std::{io::Write as _, sync::Arc, thread};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent::{
        client::Hall,
        door::{self, Room},
        lifecycle::{self, Lock, Signals},
        metrics,
        notify::Notify,
        peer::Own,
        shared::{self, Budget, Tally},
        table::Table,
    },
    cli,
    kernel::{
        object::Purpose,
        session::{SeedFrom, Session},
    },
};

use super::{live::proc_is_ours, privilege};

/// Descriptors beside those of the clients: programs, maps, links, iterators, and some to spare.
const OWN_DESCRIPTORS: u64 = 128;
/// Of each client: its socket, and for a moment its process and files of /proc.
const DESCRIPTORS: u64 = 3;

/// Serves until SIGTERM, SIGINT or SIGHUP.
///
/// # Errors
/// Names the right or the feature that is missing, and the remedy.
pub fn run(options: &cli::Agent) -> Result<()> {
    if let Some(missing) = privilege::missing() {
        bail!("agent: {missing}");
    }
    if !proc_is_ours() {
        bail!("agent: /proc shows another PID namespace: start the agent outside the container");
    }
    let room = Room::of(options.max_clients.max(1).into());
    let scrapers = options.metrics.map_or(0, |_| metrics::CONNECTIONS) as u64;
    want_descriptors(OWN_DESCRIPTORS + DESCRIPTORS * room.clients as u64 + scrapers)?;
    keep_memory_small();
    let notify = Notify::from_environment().context("NOTIFY_SOCKET")?;
    let signals = Signals::block().context("take signals")?;
    let lock = Lock::take(&options.socket).context("agent")?;
    let metrics = options.metrics.map(metrics::bind).transpose();
    let metrics = metrics.context("agent")?;
    // A table needs births and ends only, but for those who follow the log; what is counted and timed
    // needs every change.
    let purpose = match metrics {
        Some(_) => Purpose::Log,
        None => Purpose::Agent,
    };
    let session = Session::start(purpose, SeedFrom::Kernel, false).context("agent")?;
    if metrics.is_some() && !session.can_look() {
        bail!("agent: this kernel cannot read rows for --metrics: it needs Linux 5.17");
    }
    let (listener, file) = lifecycle::listen(&options.socket, &lock).context("agent")?;
    // Before there are other threads: rights belong to each.
    privilege::drop_all_but_tracing()?;
    // SAFETY: numbers only. Nothing is ever executed by the agent; if it were, it would gain nothing.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };

    let (jobs, inbox) = shared::jobs().context("make the table's queue")?;
    let hall = Arc::new(Hall {
        jobs: jobs.clone(),
        tally: Arc::new(Tally::default()),
        own: Own::read().context("read the agent's own namespaces")?,
        log_queue: usize::from(options.log_queue) << 20,
    });
    thread::Builder::new()
        .name("door".to_owned())
        .spawn(move || door::keep(&listener, room, &hall))
        .context("start the thread that accepts clients")?;
    if let Some(listener) = metrics {
        metrics::start(listener, jobs).context("start the thread that serves metrics")?;
    }
    let budget = Budget::new(options.max_answers as usize * (1 << 20));
    let mut table = Table::new(session, inbox, budget);
    notify.ready();
    let _ = writeln!(
        std::io::stderr(),
        "netstat-bpf: agent: serving {}",
        options.socket.display()
    );
    let end = table.run(&signals, &notify);
    notify.stopping();
    // In this order: a client finds no file, or an agent behind it.
    drop(file);
    drop(lock);
    end
}

/// Raises the limit of descriptors as far as it goes, and says if that is not enough.
fn want_descriptors(wanted: u64) -> Result<()> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid place for the answer, then a valid value.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        if limit.rlim_cur < wanted {
            limit.rlim_cur = wanted.min(limit.rlim_max);
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
    if limit.rlim_cur < wanted {
        bail!(
            "agent: the limit of {} open files is too low for {wanted}: raise it (ulimit -n, \
             LimitNOFILE=), or lower --max-clients",
            limit.rlim_cur
        );
    }
    Ok(())
}

/// Answers of many megabytes come and go: their memory goes back to the system, and not into a heap
/// for each thread.
fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: libc::c_int = 2;
        const MAPPED_FROM: libc::c_int = 128 << 10;
        // SAFETY: glibc's own settings, made before there are other threads.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        }
    }
}
