//! docs/benchmarks.md.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::{
    goals,
    measure::Bench,
    stats::{median, quartiles, ratios},
};

/// The report as it grows.
pub(crate) struct Report {
    head: String,
    body: String,
    notes: Vec<String>,
    facts: BTreeMap<String, f64>,
    part: bool,
}

impl Report {
    pub(crate) fn new(bench: &Bench, part: bool) -> Self {
        Self {
            head: head(bench),
            body: String::new(),
            notes: Vec::new(),
            facts: BTreeMap::new(),
            part,
        }
    }

    pub(crate) fn heading(&mut self, text: &str) {
        let _ = write!(self.body, "\n## {text}\n\n");
    }

    pub(crate) fn subheading(&mut self, text: &str) {
        let _ = write!(self.body, "\n### {text}\n\n");
    }

    pub(crate) fn text(&mut self, text: &str) {
        let _ = write!(self.body, "\n{text}\n\n");
    }

    /// Says something the first time only.
    pub(crate) fn once(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
            self.text(text);
        }
    }

    pub(crate) fn row(&mut self, cells: &[&str]) {
        let _ = writeln!(self.body, "| {} |", cells.join(" | "));
    }

    /// Begins a table.
    pub(crate) fn columns(&mut self, names: &[&str]) {
        self.body.push('\n');
        self.row(names);
        let _ = writeln!(self.body, "|{}", "---|".repeat(names.len()));
    }

    /// A number that was kept.
    pub(crate) fn known(&self, name: &str) -> Option<f64> {
        self.facts.get(name).copied()
    }

    /// Keeps a number for the goals.
    pub(crate) fn fact(&mut self, name: &str, value: f64) {
        self.facts.insert(name.to_owned(), value);
    }

    /// Keeps the median of the ratios of each round as a fact, and their quartiles beside it. Gives the median.
    pub(crate) fn ratio(&mut self, name: &str, over: &[f64], under: &[f64]) -> f64 {
        let ratios = ratios(over, under);
        let (low, high) = quartiles(&ratios);
        self.fact(&format!("{name}.low"), low);
        self.fact(&format!("{name}.high"), high);
        let ratio = median(&ratios);
        self.fact(name, ratio);
        ratio
    }

    /// Writes the file; a part goes to stdout, so that it does not replace the whole.
    pub(crate) fn write(&self, output: &Path) -> Result<()> {
        let text = format!(
            "{}\n## Goals\n\n{}{}",
            self.head,
            goals::table(&self.facts),
            self.body
        );
        let mut tidy = String::new();
        let mut blank = false;
        for line in text.lines().map(str::trim_end) {
            if !(line.is_empty() && blank) {
                let _ = writeln!(tidy, "{line}");
            }
            blank = line.is_empty();
        }
        if self.part {
            print!("{tidy}");
            return Ok(());
        }
        let path = output.join("benchmarks.md");
        fs::write(&path, tidy).with_context(|| format!("write {}", path.display()))
    }
}

/// Milliseconds with three digits that mean something.
pub(crate) fn ms(seconds: f64) -> String {
    let ms = seconds * 1e3;
    if ms < 10.0 {
        format!("{ms:.2}")
    } else if ms < 100.0 {
        format!("{ms:.1}")
    } else {
        format!("{ms:.0}")
    }
}

/// A ratio.
pub(crate) fn times(ratio: f64) -> String {
    if ratio < 10.0 {
        format!("{ratio:.2}×")
    } else {
        format!("{ratio:.0}×")
    }
}

fn head(bench: &Bench) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("?", |model| model.trim_matches([' ', '\t', ':']));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().unwrap_or_default().to_owned();
    let memory: f64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse().ok())
        .unwrap_or(0.0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let kind = if bench.quick {
        "quick: few and short runs"
    } else {
        "full"
    };
    let mut text = format!(
        "# Benchmarks\n\nWritten by `cargo xtask bench` ({kind}); do not edit. Times of a shared machine drift: \
         what counts is the ratios, which come from runs in turns.\n\n| | |\n|---|---|\n\
         | machine | {model}, {cpus} CPUs, {:.0} GB |\n| kernel | {} |\n| load before | {} |\n",
        memory / 1e6,
        kernel.trim(),
        load.trim()
    );
    for (name, command, arguments) in [
        ("netstat-bpf", "git", "rev-parse --short HEAD"),
        ("netstat", "netstat", "-V"),
        ("ss", "ss", "-V"),
        ("bpftrace", "bpftrace", "-V"),
        ("tcpstates", "dpkg-query", "-W libbpf-tools"),
    ] {
        let _ = writeln!(text, "| {name} | {} |", version(command, arguments));
    }
    text
}

fn version(command: &str, arguments: &str) -> String {
    let output = Command::new(command)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().next().unwrap_or("?");
            line.replace('\t', " ").replace('|', "/")
        }
        Err(_) => "not installed".to_owned(),
    }
}
