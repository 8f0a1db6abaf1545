//! The BPF object: maps made, globals set, programs loaded one by one.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::fd::{AsFd as _, AsRawFd as _},
    thread::{self, Scope, ScopedJoinHandle},
};

use anyhow::{Context as _, Result, anyhow, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, PerCpuArray},
    programs::{BtfTracePoint, FEntry, FExit, Iter, KProbe, Program, RawTracePoint},
};
use aya_obj::btf::BtfKind;
use netstat_common::{
    control,
    lost::{COUNTERS, Counter},
    names, offsets,
    row::{BATCH, GROUP},
};

use super::{
    hooks::How,
    offsets::{Layout, VMLINUX, layout},
    refresh,
    sizes::Sizes,
};

/// What the object is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One snapshot: iterators and refresh, no hooks.
    Snapshot,
    /// A live table: hooks that put sockets in and out.
    Table,
    /// The log: every change of state.
    Log,
    /// As `Table`, and as `Log` while somebody wants to hear of every change.
    Agent,
}

impl Purpose {
    /// Whether the programs may be told to send what the log wants.
    #[must_use]
    pub fn may_log(self) -> bool {
        matches!(self, Self::Log | Self::Agent)
    }

    /// The value of [`offsets::EVERY_CHANGE`].
    fn every_change(self) -> u64 {
        match self {
            Self::Snapshot | Self::Table => offsets::ONLY_LISTED,
            Self::Log => offsets::ALWAYS,
            Self::Agent => offsets::WHILE_WANTED,
        }
    }
}

/// Addresses of the functions that minisock timers call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handlers {
    /// `tw_timer_handler`; 0 if unknown.
    pub timewait: u64,
    /// `reqsk_timer_handler`; 0 if unknown.
    pub request: u64,
}

/// `AYA_LOG_LEVEL` at which no log statement is left in the programs.
const NO_LOG: u8 = 0;

/// The helper that programs loop with, as the kernel's BTF names it.
const LOOP: &str = "bpf_loop";
/// Why programs that loop are refused without it.
const NO_LOOP: &str = "this kernel's BPF programs cannot loop (bpf_loop: Linux 5.17)";
/// What loading after [`Object::release_types`] says: a defect of ours.
const RELEASED: &str = "the kernel's types were released already";

/// A loaded object. Dropping it detaches everything.
pub struct Object {
    /// The maps and programs.
    pub ebpf: Ebpf,
    /// The kernel's types, for loading programs; `None` when all are loaded.
    btf: Option<Btf>,
    /// What the timer programs were told.
    pub handlers: Handlers,
    /// How many UDP and Unix sockets one pass of an iterator writes.
    pub room: usize,
    /// Why this kernel's UDP and Unix sockets cannot be listed.
    pub no_lists: Option<String>,
    /// See [`Layout::knows_tables`].
    pub knows_tables: bool,
    /// See [`Layout::listener_bucket`].
    pub listener_bucket: (u32, u64),
    /// Whether programs that give addresses a type can be loaded.
    pub casts: bool,
    /// How many threads share a pass.
    pub threads: usize,
}

/// The BPF object, as it was compiled.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netstat-ebpf"));

/// The most threads that share a pass.
const MOST_THREADS: usize = 8;

/// As many as there are CPUs for us; a pass of more is bound by memory.
fn threads() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS)
}

/// Does a part of the reading of the kernel's types on a thread of its own.
fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .spawn_scoped(scope, work)
        .context("start a thread that reads the kernel's BTF")
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread that reads the kernel's BTF died"))
}

/// Makes calls of the helper number `mark`, which no kernel has, calls of a kernel function. aya
/// knows of no such calls, which a compiler would write as relocations.
fn call_kernel_function(object: &mut [u8], mark: u32, function: u32) {
    /// `BPF_JMP | BPF_CALL`, and the same with `BPF_PSEUDO_KFUNC_CALL` as the source register.
    const HELPER: [u8; 4] = [0x85, 0, 0, 0];
    const KERNEL_FUNCTION: [u8; 4] = [0x85, 0x20, 0, 0];
    for instruction in object.chunks_exact_mut(8) {
        let (call, number) = instruction.split_at_mut(4);
        if *call == HELPER && *number == mark.to_le_bytes() {
            call.copy_from_slice(&KERNEL_FUNCTION);
            number.copy_from_slice(&function.to_le_bytes());
        }
    }
}

/// Inode number of our PID namespace; 0 for the initial one, or where /proc does not tell.
fn own_pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    /// `PROC_PID_INIT_INO` of the kernel.
    const INITIAL: u64 = 0xeffffffc;
    let own = fs::metadata("/proc/self/ns/pid").map(|namespace| namespace.ino());
    own.ok().filter(|inode| *inode != INITIAL).unwrap_or(0)
}

impl Object {
    /// Creates the maps and sets the globals. No program is in the kernel yet.
    ///
    /// # Errors
    /// No BTF, a field that this kernel lacks, or the rights to make maps.
    pub fn new(purpose: Purpose, log: bool) -> Result<Self> {
        let blob = fs::read(VMLINUX).with_context(|| {
            format!("read {VMLINUX} (the kernel must be built with CONFIG_DEBUG_INFO_BTF=y)")
        })?;
        // The better part of the start, each on a CPU of its own where there is one.
        let (layout, btf, mut loader) = thread::scope(|scope| -> Result<_> {
            let types = beside(scope, || Btf::parse(&blob, aya::Endianness::default()))?;
            // Whatever types it is given later, it begins by parsing those of the kernel itself.
            let loader = beside(scope, EbpfLoader::new)?;
            let layout = layout(&blob)?;
            let btf = joined(types)?.context("parse the kernel's BTF")?;
            Ok((layout, btf, joined(loader)?))
        })?;
        let Layout {
            globals: mut values,
            knows_tables,
            listener_bucket,
            no_lists,
            rdonly_cast,
        } = layout;
        let sizes = Sizes::of(purpose)?;
        // A wake-up well before the ring is full.
        values.push((offsets::WAKE_BYTES, u64::from(sizes.ring / 8)));
        values.push((offsets::HALF_OPEN_BUDGET, sizes.half_open));
        values.push((offsets::OWN_PID_NS, own_pid_namespace()));
        values.push((offsets::EVERY_CHANGE, purpose.every_change()));
        let level = if log { u8::MAX } else { NO_LOG };
        let threads = threads();
        let slots = refresh::slots(threads);
        loader
            .btf(Some(&btf))
            .map_max_entries(names::EVENTS, sizes.ring)
            .map_max_entries(names::POINTERS, (slots * BATCH / GROUP) as u32)
            .map_max_entries(names::ROWS, (slots * BATCH) as u32);
        let room = room();
        for list in [names::UDP_SOCKS, names::UNIX_SOCKS] {
            loader.map_max_entries(list, room as u32);
        }
        for (name, value) in &values {
            loader.override_global(name, value, true);
        }
        loader.override_global(aya_log::LEVEL, &level, false);
        let mut programs = PROGRAMS.to_vec();
        if let Some(function) = rdonly_cast {
            call_kernel_function(&mut programs, offsets::RDONLY_CAST_MARK, function);
        }
        let ebpf = loader
            .load(&programs)
            .context("create the BPF maps (needs CAP_BPF and CAP_PERFMON, or root)")?;
        Ok(Self {
            ebpf,
            btf: Some(btf),
            handlers: Handlers::default(),
            room,
            no_lists,
            knows_tables,
            listener_bucket,
            casts: rdonly_cast.is_some(),
            threads,
        })
    }

    /// Loads and attaches a program to a tracepoint or a function.
    ///
    /// # Errors
    /// The verifier's or the attachment's refusal.
    pub fn attach(&mut self, program: &str, how: How, target: &str) -> Result<()> {
        let Self { ebpf, btf, .. } = self;
        let btf = btf.as_ref().context(RELEASED)?;
        let (loaded, attached) = match how {
            How::Tracepoint => {
                let hook: &mut BtfTracePoint = program_of(ebpf, program)?;
                (hook.load(target, btf), hook.attach().map(drop))
            }
            How::Fentry => {
                let hook: &mut FEntry = program_of(ebpf, program)?;
                (hook.load(target, btf), hook.attach().map(drop))
            }
            How::Fexit => {
                let hook: &mut FExit = program_of(ebpf, program)?;
                (hook.load(target, btf), hook.attach().map(drop))
            }
            How::Kprobe => {
                let hook: &mut KProbe = program_of(ebpf, program)?;
                (hook.load(), hook.attach(target, 0).map(drop))
            }
        };
        // A program that was not loaded cannot be attached: the first failure is the reason.
        loaded.with_context(|| format!("load {program}"))?;
        let attached = attached.with_context(|| format!("attach {program} to {target}"));
        if attached.is_err() {
            self.detach(program);
        }
        attached
    }

    /// Detaches and unloads a program, if it was loaded.
    pub fn detach(&mut self, program: &str) {
        // The only failure is that it was not loaded.
        let _ = match self.ebpf.program_mut(program) {
            Some(Program::BtfTracePoint(hook)) => hook.unload(),
            Some(Program::FEntry(hook)) => hook.unload(),
            Some(Program::FExit(hook)) => hook.unload(),
            Some(Program::KProbe(hook)) => hook.unload(),
            _ => Ok(()),
        };
    }

    /// Whether this kernel's BTF has a function.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        let btf = self.btf.as_ref();
        btf.is_some_and(|btf| btf.id_by_type_name_kind(name, BtfKind::Func).is_ok())
    }

    /// Loads an iterator program.
    ///
    /// # Errors
    /// The kernel lacks the iterator, or the verifier refuses.
    pub fn load_iter(&mut self, program: &str, kind: &str) -> Result<()> {
        let btf = self.btf.as_ref().context(RELEASED)?;
        let iter: &mut Iter = program_of(&mut self.ebpf, program)?;
        let loaded = iter.load(kind, btf);
        loaded.with_context(|| format!("load {program} (iter/{kind})"))
    }

    /// What loading a program that loops came to: where the kernel has no loops, that is the
    /// reason, and not the verifier's log.
    pub(super) fn need_loops<T>(&self, loaded: Result<T>) -> Result<T> {
        match loaded {
            Err(_) if self.btf.is_some() && !self.has_function(LOOP) => bail!("{NO_LOOP}"),
            loaded => loaded,
        }
    }

    /// Whether a program is loaded.
    #[must_use]
    pub fn is_loaded(&self, program: &str) -> bool {
        let program = self.ebpf.program(program);
        program.is_some_and(|program| program.fd().is_ok())
    }

    /// Gives the memory of the kernel's types back. Nothing can be loaded after it.
    pub fn release_types(&mut self) {
        self.btf = None;
        #[cfg(target_env = "gnu")]
        // SAFETY: no precondition.
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// Makes a new pass over an iterator: each has its own.
    ///
    /// # Errors
    /// The link or the iterator's file.
    pub fn iterate(&mut self, program: &str) -> Result<fs::File> {
        let iter: &mut Iter = program_of(&mut self.ebpf, program)?;
        let link = iter.attach().with_context(|| format!("link {program}"))?;
        let link = iter
            .take_link(link)
            .with_context(|| format!("take the link of {program}"))?;
        link.into_file().with_context(|| format!("start {program}"))
    }

    /// Loads a program that is run on demand. All of them loop.
    ///
    /// # Errors
    /// The verifier's refusal.
    pub fn load_raw(&mut self, program: &str) -> Result<()> {
        let raw: &mut RawTracePoint = program_of(&mut self.ebpf, program)?;
        let loaded = raw.load().with_context(|| format!("load {program}"));
        self.need_loops(loaded)
    }

    /// Loads the faster of two programs that do the same, `fast` if addresses can be given a type;
    /// gives its name.
    ///
    /// # Errors
    /// What `load` says of `plain`.
    pub fn load_either(
        &mut self,
        [fast, plain]: [&'static str; 2],
        mut load: impl FnMut(&mut Self, &str) -> Result<()>,
    ) -> Result<&'static str> {
        if self.casts && load(self, fast).is_ok() {
            return Ok(fast);
        }
        load(self, plain)?;
        Ok(plain)
    }

    /// A program that is run on demand, loaded before.
    ///
    /// # Errors
    /// No such program.
    pub fn raw(&mut self, program: &str) -> Result<&mut RawTracePoint> {
        program_of(&mut self.ebpf, program)
    }

    /// Reads the counters, summed over the CPUs.
    ///
    /// # Errors
    /// bpf(2).
    pub fn counters(&self) -> Result<Counters> {
        let map = self.ebpf.map(names::COUNTERS).context("no map COUNTERS")?;
        let map: PerCpuArray<_, u64> = map.try_into().context("map COUNTERS")?;
        let mut sums = [0; COUNTERS as usize];
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = map.get(&index, 0).context("read COUNTERS")?.iter().sum();
        }
        Ok(Counters(sums))
    }

    /// How often the kernel skipped a program because it was active on that CPU (Linux 5.12).
    pub fn recursion_misses(&self, program: &str) -> Option<u64> {
        field(&info(self.ebpf.program(program)?)?, "recursion_misses:")
    }

    /// What the kernel says of each program that is loaded, by name.
    pub fn costs(&self) -> Vec<(String, Cost)> {
        let loaded = self.ebpf.programs().filter_map(|(name, program)| {
            let info = info(program)?;
            let of = |name| field(&info, name).unwrap_or(0);
            let cost = Cost {
                run_time_ns: of("run_time_ns:"),
                run_count: of("run_cnt:"),
                recursion_misses: of("recursion_misses:"),
            };
            Some((name.to_owned(), cost))
        });
        let mut loaded: Vec<_> = loaded.collect();
        loaded.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        loaded
    }

    /// Memory of an array map.
    ///
    /// # Errors
    /// No such map, or mmap(2).
    ///
    /// # Safety
    /// As [`super::map::Mapped::new`].
    pub unsafe fn map_memory<T, const W: bool>(
        &mut self,
        name: &str,
        count: usize,
    ) -> Result<super::map::Mapped<T, W>> {
        let map = self
            .ebpf
            .map(name)
            .with_context(|| format!("no map {name}"))?;
        let aya::maps::Map::Array(data) = map else {
            bail!("map {name} is not an array")
        };
        // SAFETY: the caller's.
        unsafe { super::map::Mapped::new(super::ring::map_fd(data), 0, count) }
            .with_context(|| format!("map the memory of {name}"))
    }

    /// Tells the timer programs which functions to look for. Those that are attached before it see none.
    ///
    /// # Errors
    /// bpf(2).
    pub fn tell_handlers(&mut self, handlers: Handlers) -> Result<()> {
        let map = self
            .ebpf
            .map_mut(names::CONTROL)
            .context("no map CONTROL")?;
        let mut words: Array<_, u64> = map.try_into().context("map CONTROL")?;
        for (word, address) in [
            (control::TW_TIMER_HANDLER, handlers.timewait),
            (control::REQSK_TIMER_HANDLER, handlers.request),
        ] {
            words.set(word, address, 0).context("write CONTROL")?;
        }
        self.handlers = handlers;
        Ok(())
    }
}

/// Room for the UDP and Unix sockets that there are now, and as many more: what does not fit costs
/// further passes.
fn room() -> usize {
    const LEAST: usize = 1 << 12;
    const MOST: usize = 1 << 18;
    let text = fs::read_to_string("/proc/net/protocols").unwrap_or_default();
    let counts = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.next()?;
        let count: usize = words.nth(1)?.parse().ok()?;
        matches!(kind, "UDP" | "UDPv6" | "UNIX" | "UNIX-STREAM").then_some(count)
    });
    (2 * counts.sum::<usize>()).clamp(LEAST, MOST)
}

/// What a program has cost since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nanoseconds that it ran, while the kernel kept statistics (`BPF_ENABLE_STATS`).
    pub run_time_ns: u64,
    /// Times that it ran meanwhile.
    pub run_count: u64,
    /// Times that it was skipped because it was active on its CPU; always kept (Linux 5.12).
    pub recursion_misses: u64,
}

/// The kernel's text about a program that is loaded.
fn info(program: &Program) -> Option<String> {
    let fd = program.fd().ok()?.as_fd().as_raw_fd();
    fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()
}

/// A number of such a text.
fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

fn program_of<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P>
where
    &'a mut P: TryFrom<&'a mut Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no BPF program {name}"))?;
    program
        .try_into()
        .with_context(|| format!("BPF program {name} is of another type"))
}

/// What the BPF programs counted since the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters([u64; COUNTERS as usize]);

impl Counters {
    /// One counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

impl Handlers {
    /// Reads the addresses from /proc/kallsyms; zeros where it hides them (kptr_restrict=2, or
    /// no CAP_SYSLOG).
    ///
    /// # Errors
    /// Reading /proc/kallsyms.
    pub fn from_kallsyms() -> Result<Self> {
        let file = fs::File::open("/proc/kallsyms").context("open /proc/kallsyms")?;
        let mut found = Self::default();
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .context("read /proc/kallsyms")?
            > 0
        {
            match symbol(&line) {
                Some((address, b"tw_timer_handler")) => found.timewait = address,
                Some((address, b"reqsk_timer_handler")) => found.request = address,
                _ => {}
            }
            if found.timewait != 0 && found.request != 0 {
                break;
            }
            line.clear();
        }
        Ok(found)
    }
}

/// Address and name of a line of kallsyms, without the suffix that link-time optimisation adds. Other
/// suffixes are of parts (`.cold`) and copies of a function, which no pointer points to.
fn symbol(line: &[u8]) -> Option<(u64, &[u8])> {
    let line = line.trim_ascii_end();
    let name = line.get(19..)?;
    // Every other symbol is passed over before its address is parsed: there are 120,000.
    if !name.ends_with(b"handler") && !name.contains(&b'.') {
        return None;
    }
    let name = name.split(|byte| *byte == b'\t').next()?;
    let name = match name.iter().position(|byte| *byte == b'.') {
        Some(dot) if name[dot..].starts_with(b".llvm.") => &name[..dot],
        Some(_) => return None,
        None => name,
    };
    let address = u64::from_str_radix(std::str::from_utf8(line.get(..16)?).ok()?, 16).ok()?;
    Some((address, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kallsyms_lines_are_parsed_or_passed_over() {
        let parse = |line: &'static str| symbol(line.as_bytes());
        assert_eq!(
            parse("ffffffff820089f0 t tw_timer_handler\n"),
            Some((0xffff_ffff_8200_89f0, &b"tw_timer_handler"[..]))
        );
        assert_eq!(
            parse("ffffffff820089f0 t tw_timer_handler.llvm.123\n").map(|s| s.1),
            Some(&b"tw_timer_handler"[..])
        );
        for line in [
            "",
            "short",
            "ffffffff820089f0 t tcp_v4_rcv",
            "ffffffff81293f6f t reqsk_timer_handler.cold",
            "ffffffff81293f6f t tw_timer_handler.part.0",
            "zzzzzzzzzzzzzzzz t x_handler",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
