//! A listing that goes on, held against what the reference prints once.

use std::{
    ffi::OsStr,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use crate::{fixture::REFERENCE, fixture::run_once, oracle::ours_path, wait};

const ROUNDS: usize = 2;

/// `netstat-bpf -c` with rows from the kernel, and the reference's list before it was started.
#[derive(Debug)]
pub(crate) struct Live {
    line: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    expected: Output,
}

/// The reference's list. Meanwhile the reference may hold a Unix socket that a list shows (`-i` does).
pub(crate) fn once(line: &str) -> Output {
    let words: Vec<_> = line.split_whitespace().collect();
    run_once(OsStr::new(REFERENCE), &words, |_| {})
}

impl Live {
    /// Starts it; what it says goes to files of the directory.
    pub(crate) fn start(directory: &Path, number: usize, line: &str, expected: Output) -> Self {
        let [stdout, stderr] =
            ["out", "err"].map(|stream| directory.join(format!("live-{number}.{stream}")));
        let create = |path| File::create(path).expect("a file for what is said");
        let child = Command::new(ours_path())
            .arg0("netstat")
            .arg("-c")
            .args(line.split_whitespace())
            .env("LC_ALL", "C")
            .env("NETSTAT_BPF_SOURCE", "kernel")
            .stdin(Stdio::null())
            .stdout(create(&stdout))
            .stderr(create(&stderr))
            .spawn()
            .expect("run netstat-bpf");
        Self {
            line: line.to_owned(),
            child,
            stdout,
            stderr,
            expected,
        }
    }

    /// Two rounds and what was said beside them: as the reference would have it, and as it is.
    pub(crate) fn rounds(&mut self) -> [String; 2] {
        let lines = |output: &Output| -> Vec<String> {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().map(str::to_owned).collect()
        };
        let first = lines(&self.expected);
        // The title of this table is not repeated.
        let title = first
            .first()
            .is_some_and(|line| line == "Kernel Interface table");
        let later = &first[usize::from(title)..];
        let wanted = first.len() + (ROUNDS - 1) * later.len();
        let ended = wait::try_until(|| {
            let text = fs::read(&self.stdout).unwrap_or_default();
            let count = text.iter().filter(|&&byte| byte == b'\n').count();
            let ended = self.child.try_wait().expect("ask for the child");
            (count >= wanted || ended.is_some()).then_some(ended)
        });
        // It fails only for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let ours = fs::read(&self.stdout).expect("read what was said");
        let ours = String::from_utf8_lossy(&ours).into_owned();
        let ours: Vec<_> = ours.lines().take(wanted).map(str::to_owned).collect();
        let said = fs::read(&self.stderr).expect("read what was said");
        let beside = self.expected.stderr.repeat(ROUNDS);
        let said = match beside.len() {
            0 => &said[..],
            size => &said[..said.len().min(size)],
        };
        let text = |rounds: [&[String]; ROUNDS], beside: &[u8], ended: &str| {
            let rounds = rounds.map(in_order).concat();
            format!("{rounds}-- beside: {}{ended}", beside.escape_ascii())
        };
        let (one, other) = ours.split_at(first.len().min(ours.len()));
        let ended = match ended.flatten() {
            Some(status) => format!(" ended: {status}"),
            None => String::new(),
        };
        [
            text([&first, later], &beside, ""),
            text([one, other], said, &ended),
        ]
    }

    /// Whether the reference's list is another by now.
    pub(crate) fn moves(&self) -> bool {
        once(&self.line).stdout != self.expected.stdout
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines with the TCP rows of each table sorted: their order is a matter of the source.
fn in_order(lines: &[String]) -> String {
    let table = |line: &String| {
        let name = line.split(' ').next();
        name.filter(|name| name.starts_with("tcp"))
            .map(str::to_owned)
    };
    let mut text = String::new();
    for same in lines.chunk_by(|one, other| table(one).is_some() && table(one) == table(other)) {
        let mut same = same.to_vec();
        same.sort();
        text += &(same.join("\n") + "\n");
    }
    text
}
