//! Fake /proc directories, and the reference netstat and ours side by side on them.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    iter::zip,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

use crate::{
    live::{self, Live},
    oracle::ours_path,
};

/// The reference.
pub const REFERENCE: &str = "/usr/bin/netstat";

/// The version of the reference.
const VERSION: &str = "net-tools 2.10";

/// The most differences that a failure shows.
const SHOWN: usize = 3;
/// How often both are asked while the reference differs from itself.
const ATTEMPTS: u32 = 5;

/// A small generator of numbers: the same seed gives the same cases.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded by `NETSTAT_COMPAT_SEED` or by the clock.
    ///
    /// # Panics
    /// The variable is not a number.
    #[must_use]
    pub fn seeded() -> (u64, Self) {
        let seed = match std::env::var("NETSTAT_COMPAT_SEED") {
            Ok(seed) => seed.parse().expect("NETSTAT_COMPAT_SEED is a number"),
            Err(_) => std::time::UNIX_EPOCH
                .elapsed()
                .map_or(1, |time| time.subsec_nanos().into()),
        };
        (seed, Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    /// Any number (xorshift64*).
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 16) as usize % limit
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of some values.
    ///
    /// # Panics
    /// There are none.
    pub fn pick<'a, T: ?Sized>(&mut self, values: &[&'a T]) -> &'a T {
        values[self.below(values.len())]
    }

    /// A number that is small, at a limit, or anything.
    pub fn extreme(&mut self) -> u64 {
        const LIMITS: [u64; 8] = [
            0,
            1,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            i64::MAX as u64,
            u64::MAX,
        ];
        match self.below(4) {
            0 => LIMITS[self.below(LIMITS.len())],
            1 => self.number() & 0xffff_ffff,
            2 => self.number() & 0xffff,
            _ => self.number() & 0xf,
        }
    }

    /// A bundle of some of these option letters.
    pub fn options(&mut self, first: &str, letters: &str) -> String {
        let mut options = format!("-{first}");
        for letter in letters.chars() {
            if self.once_in(3) {
                options.push(letter);
            }
        }
        options
    }
}

/// A fake /proc and the programs that look at it.
#[derive(Debug)]
pub struct Bench {
    directory: TempDir,
    /// What stands over files of the system.
    covers: TempDir,
    /// Our program.
    ours: PathBuf,
    /// The test's numbers.
    pub random: Random,
    seed: u64,
    compared: usize,
    differences: Vec<String>,
}

impl Bench {
    /// Runs a test on a thread with its own mount and network namespace, where the fixture is
    /// /proc; then fails if there was a difference.
    ///
    /// # Panics
    /// There is no reference, the namespaces cannot be made, or the programs differ.
    pub fn run(test: impl FnOnce(&mut Self) + Send) {
        check_reference();
        let bench = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let mut bench = Self::new();
                test(&mut bench);
                bench
            });
            thread.join().expect("the test's thread ends")
        });
        let Self {
            seed,
            compared,
            differences,
            ..
        } = bench;
        assert!(compared > 0, "no case was compared");
        eprintln!("{compared} cases compared, {} differ", differences.len());
        assert!(
            differences.is_empty(),
            "{} of {compared} cases differ, NETSTAT_COMPAT_SEED={seed}\n{}",
            differences.len(),
            differences[..differences.len().min(SHOWN)].join("\n")
        );
    }

    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .expect("new namespaces (run as root)");
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .expect("private mounts");
        let (seed, random) = Random::seeded();
        let bench = Self {
            directory,
            covers: tempfile::tempdir().expect("a temporary directory"),
            ours: ours_path(),
            random,
            seed,
            compared: 0,
            differences: Vec::new(),
        };
        // Nobody answers there, at once; without the file the C library asks there too.
        const RESOLVER: &str = "/etc/resolv.conf";
        if Path::new(RESOLVER).exists() {
            bench.cover_file(RESOLVER, "nameserver 127.0.0.1\n");
        }
        bench
    }

    /// Puts the fixture over /proc. What needs the real one, such as `ip`, comes before.
    ///
    /// # Panics
    /// The mount fails.
    pub fn cover_proc(&self) {
        let none = None::<&str>;
        mount(
            Some(self.directory.path()),
            "/proc",
            none,
            MsFlags::MS_BIND,
            none,
        )
        .expect("the fixture over /proc");
    }

    /// From now on ours is a copy that every user can run: the build directory may be closed.
    ///
    /// # Panics
    /// It cannot be copied.
    pub fn let_all_run_ours(&mut self) {
        let copy = self.covers.path().join("netstat-bpf");
        fs::copy(&self.ours, &copy).expect("copy netstat-bpf to where every user can run it");
        for path in [self.covers.path(), &copy] {
            let all = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, all).expect("let every user run it");
        }
        self.ours = copy;
    }

    /// Puts a text over a file of the system, for this test alone.
    ///
    /// # Panics
    /// The file does not exist, or the mount fails.
    pub fn cover_file(&self, path: &str, text: &str) {
        let own = self.rewrite_cover(path, text);
        let none = None::<&str>;
        mount(Some(&own), path, none, MsFlags::MS_BIND, none)
            .unwrap_or_else(|error| panic!("a text over {path}: {error}"));
    }

    /// Changes the text that stands over a file of the system; gives where it is kept.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn rewrite_cover(&self, path: &str, text: &str) -> PathBuf {
        // Not in the directory that stands for /proc, which tests empty.
        let own = self
            .covers
            .path()
            .join(path.trim_start_matches('/').replace('/', "-"));
        fs::write(&own, text).unwrap_or_else(|error| panic!("write {}: {error}", own.display()));
        own
    }

    /// Writes a file of the fixture.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::write(&path, text).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }

    /// Makes a symbolic link in the fixture; a random fixture may draw one name twice.
    ///
    /// # Panics
    /// It cannot be made.
    pub fn link(&self, path: &str, target: impl AsRef<Path>) {
        let path = self.path(path);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                panic!("replace {}: {error}", path.display())
            }
            _ => {}
        }
        symlink(target, &path).unwrap_or_else(|error| panic!("link {}: {error}", path.display()));
    }

    /// Empties the fixture.
    ///
    /// # Panics
    /// A file cannot be removed.
    pub fn clear(&self) {
        for entry in fs::read_dir(self.directory.path()).expect("the fixture") {
            let path = entry.expect("an entry of the fixture").path();
            fs::remove_dir_all(&path)
                .unwrap_or_else(|error| panic!("remove {}: {error}", path.display()));
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        let path = self.directory.path().join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .unwrap_or_else(|error| panic!("create {}: {error}", parent.display()));
        }
        path
    }

    /// Runs both programs and keeps the difference, if there is one.
    pub fn compare(&mut self, arguments: &[&str]) {
        self.compare_with(arguments, |_| {});
    }

    /// As [`Self::compare`], with changes to the surroundings of both programs.
    ///
    /// Real namespaces change by themselves: IPv6 addresses come to be used a second after their
    /// device. A difference counts unless the reference then differs from itself; then both are
    /// asked anew, and the last time every difference counts. So they are where owners are told: a
    /// child of another test, which has not executed its program yet, holds our sockets too, and its
    /// number may be lower.
    pub fn compare_with(&mut self, arguments: &[&str], change: impl Fn(&mut Command)) {
        let run = |program: &OsStr| run_once(program, arguments, &change);
        let (reference, program) = (OsStr::new(REFERENCE), self.ours.clone());
        let (mut real, mut ours) = (run(reference), run(program.as_os_str()));
        for _ in 1..ATTEMPTS {
            if is_same(&real, &ours) {
                break;
            }
            let after = run(reference);
            if is_same(&real, &after) && !tells_owners(arguments) {
                break;
            }
            (real, ours) = (after, run(program.as_os_str()));
        }
        self.judge(arguments, &real, &ours);
    }

    /// Keeps the difference of what both said, if there is one.
    pub fn judge(&mut self, arguments: &[&str], real: &Output, ours: &Output) {
        self.compared += 1;
        if !is_same(real, ours) {
            self.differences
                .push(Self::difference(arguments, real, ours));
        }
    }

    /// As [`Self::compare`], with both started by a script of bash: `$0` is the program, `$@` its
    /// arguments. Gives what the reference printed.
    pub fn compare_through(&mut self, script: &str, arguments: &[&str]) -> String {
        let run = |program: &OsStr| {
            let mut command = Command::new("bash");
            command.args(["-c", script]).arg(program).args(arguments);
            command
                .env("LC_ALL", "C")
                .output()
                .unwrap_or_else(|error| panic!("run bash: {error}"))
        };
        let both = || [OsStr::new(REFERENCE), self.ours.as_os_str()].map(run);
        let [mut real, mut ours] = both();
        for _ in 1..ATTEMPTS {
            if is_same(&real, &ours) || !tells_owners(arguments) {
                break;
            }
            [real, ours] = both();
        }
        self.judge(arguments, &real, &ours);
        String::from_utf8_lossy(&real.stdout).into_owned()
    }

    /// As [`Self::compare`], for a listing that has no end: two rounds, which begin with `first`.
    pub fn compare_rounds(&mut self, arguments: &[&str], first: &str) {
        let [real, ours] = self.rounds(arguments, first);
        let begun = real.lines().filter(|line| line.starts_with(first));
        assert_eq!(begun.count(), 2, "netstat {arguments:?} ends: {real}");
        self.judge_texts(arguments, &real, &ours);
    }

    /// As [`Self::judge`], for what is not the whole of an output.
    pub fn judge_texts(&mut self, arguments: &[&str], real: &str, ours: &str) {
        self.compared += 1;
        if real != ours {
            self.differences.push(format!(
                "--- netstat {}\nreference {real:?}\nours      {ours:?}\n",
                arguments.join(" ")
            ));
        }
    }

    /// The first two rounds of the reference and of ours.
    pub fn rounds(&self, arguments: &[&str], first: &str) -> [String; 2] {
        [OsStr::new(REFERENCE), self.ours.as_os_str()]
            .map(|program| two_rounds(program, arguments, first, |_| {}))
    }

    /// As [`Self::compare_rounds`], with changes to the surroundings, and standard error between the
    /// rounds. That ours reads /proc each time, it says once before.
    pub fn compare_rounds_beside(
        &mut self,
        arguments: &[&str],
        first: &str,
        change: impl Fn(&mut Command),
    ) {
        const BOTH: &str = "exec 2>&1; exec -a netstat \"$0\" -c \"$@\"";
        let programs = [OsStr::new(REFERENCE), self.ours.as_os_str()];
        let [real, ours] = programs.map(|program| {
            let program = program.to_str().expect("a path in UTF-8");
            let words = [&["-c", BOTH, program][..], arguments].concat();
            two_rounds(OsStr::new("/bin/bash"), &words, first, &change)
        });
        let remark = |line: &&str| !line.starts_with("netstat-bpf: every round reads /proc anew");
        let lines = |text: &str| text.lines().filter(remark).collect::<Vec<_>>().join("\n");
        self.judge_texts(arguments, &lines(&real), &lines(&ours));
    }

    /// Runs each line with `-c`, all at a time, with rows from the kernel: two rounds are to be as what
    /// the reference prints once, but for the order of TCP rows of one table. Standard error too.
    ///
    /// # Panics
    /// One of them ends, or prints no two rounds.
    pub fn compare_live(&mut self, lines: &[&str]) {
        let mut left = lines.to_vec();
        for attempt in 1..=ATTEMPTS {
            // The reference does not run while ours do: they would list what it holds.
            let expected: Vec<_> = left.iter().map(|line| live::once(line)).collect();
            let mut lives: Vec<_> = zip(&left, expected)
                .enumerate()
                .map(|(at, (line, real))| Live::start(self.covers.path(), at, line, real))
                .collect();
            let rounds: Vec<_> = lives.iter_mut().map(Live::rounds).collect();
            left = zip(zip(&lives, rounds), std::mem::take(&mut left))
                .filter_map(|((live, [real, ours]), line)| {
                    if real != ours && attempt < ATTEMPTS && (tells_owners(&[line]) || live.moves())
                    {
                        return Some(line);
                    }
                    self.judge_texts(&["-c", line], &real, &ours);
                    None
                })
                .collect();
        }
    }

    /// What the reference prints.
    pub fn real(&self, arguments: &[&str]) -> String {
        let output = run_once(OsStr::new(REFERENCE), arguments, |_| {});
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What ours prints on standard output, and its status.
    pub fn ours(&self, arguments: &[&str], change: impl Fn(&mut Command)) -> (String, Option<i32>) {
        let output = run_once(self.ours.as_os_str(), arguments, change);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (text, output.status.code())
    }

    fn difference(arguments: &[&str], real: &Output, ours: &Output) -> String {
        let mut text = format!("--- netstat {}\n", arguments.join(" "));
        for (name, output) in [("reference", real), ("ours", ours)] {
            let _ = writeln!(text, "{name}: {}", output.status);
        }
        for (stream, real, ours) in [
            ("stdout", &real.stdout, &ours.stdout),
            ("stderr", &real.stderr, &ours.stderr),
        ] {
            let lines = |text: &[u8]| -> Vec<String> {
                text.split(|&byte| byte == b'\n')
                    .map(|l| l.escape_ascii().to_string())
                    .collect()
            };
            let (real, ours) = (lines(real), lines(ours));
            let count = real.len().max(ours.len());
            let different = (0..count).filter(|&at| real.get(at) != ours.get(at));
            for at in different.take(4) {
                let _ = writeln!(text, "{stream} line {}", at + 1);
                let _ = writeln!(text, "  reference {:?}", real.get(at));
                let _ = writeln!(text, "  ours      {:?}", ours.get(at));
            }
        }
        text
    }
}

/// Reads until a third round begins, and returns what is before it.
///
/// # Panics
/// It cannot be run.
pub fn two_rounds(
    program: &OsStr,
    arguments: &[&str],
    first: &str,
    change: impl Fn(&mut Command),
) -> String {
    const ROUNDS: usize = 2;
    let mut command = Command::new(program);
    command
        .arg0("netstat")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    change(&mut command);
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("run {}: {error}", program.display()));
    let stdout = child.stdout.take().expect("stdout is a pipe");
    let (mut text, mut begun) = (String::new(), 0);
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        begun += usize::from(line.starts_with(first));
        if begun > ROUNDS {
            break;
        }
        text += &(line + "\n");
    }
    // It fails only for a process that has ended, which is told by its output.
    let _ = child.kill();
    let _ = child.wait();
    text
}

/// Whether there is a bundle of options with `p`.
fn tells_owners(arguments: &[&str]) -> bool {
    let mut words = arguments.iter().flat_map(|words| words.split(' '));
    words.any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains('p'))
}

fn is_same(one: &Output, other: &Output) -> bool {
    one.status == other.status && one.stdout == other.stdout && one.stderr == other.stderr
}

/// Runs one of the programs to its end, called `netstat`, in the C locale.
///
/// # Panics
/// It cannot be run.
pub fn run_once(program: &OsStr, arguments: &[&str], change: impl Fn(&mut Command)) -> Output {
    let mut command = Command::new(program);
    command
        .arg0("netstat")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    change(&mut command);
    command
        .output()
        .unwrap_or_else(|error| panic!("run {}: {error}", program.display()))
}

fn check_reference() {
    let output = Command::new(REFERENCE).arg("-V").output();
    let found = output.map(|output| output.stdout.starts_with(VERSION.as_bytes()));
    assert!(
        found.as_ref().is_ok_and(|found| *found),
        "{REFERENCE} is not {VERSION} ({found:?}): apt-get install net-tools"
    );
}

/// How many cases each test makes: `NETSTAT_COMPAT_CASES`, or 300.
#[must_use]
pub fn cases() -> usize {
    const DEFAULT: usize = 300;
    std::env::var("NETSTAT_COMPAT_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT)
}
