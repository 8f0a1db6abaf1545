//! Booting a guest, and reading its serial line.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// QEMU as unpacked from Debian's packages.
pub(super) struct Qemu {
    /// The directory that holds its `usr`.
    pub(super) root: PathBuf,
}

/// What init writes in front of its reports; see `guest.rs`.
pub(super) const MARK: &str = "@vm:";

/// `no_timer_check`: on a busy host the kernel finds the emulated timer too slow and panics.
/// `loglevel` and `softlockup_panic`: a processor that is stuck ends the guest, with its stack.
const COMMAND_LINE: &str = "console=ttyS0 panic=-1 loglevel=5 softlockup_panic=1 no_timer_check \
                            random.trust_cpu=on";

impl Qemu {
    /// The emulator.
    pub(super) fn program(&self) -> PathBuf {
        self.root.join("usr/bin/qemu-system-x86_64")
    }

    /// Boots a kernel and returns what it wrote to its serial line until it powered off, hung past
    /// the limit or panicked.
    ///
    /// # Errors
    /// QEMU does not start.
    pub(super) fn boot(
        &self,
        image: &Path,
        initramfs: &Path,
        words: &str,
        limit: u64,
        verbose: bool,
    ) -> Result<String> {
        let mut child = self
            .command()
            .arg("-kernel")
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &format!("{COMMAND_LINE} {words}")])
            .spawn()
            .context("cannot start QEMU")?;
        let (sender, lines) = mpsc::channel();
        let serial = child.stdout.take().context("QEMU has no stdout")?;
        // A thread, because a hung guest writes nothing and a read of its line would never end.
        let reader = thread::spawn(move || {
            for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        let console = collect(&lines, Duration::from_secs(limit), verbose);
        end(&mut child);
        drop(lines);
        // It ends with QEMU's stdout.
        let _ = reader.join();
        Ok(console)
    }

    fn command(&self) -> Command {
        let library = self.root.join("usr/lib/x86_64-linux-gnu");
        let libraries = [library.clone(), self.root.join("lib/x86_64-linux-gnu")];
        let mut qemu = Command::new(self.program());
        // TCG: works everywhere, also inside a virtual machine without nested KVM. All processors in
        // one thread: with a thread each, QEMU 7.2 at times runs code that another processor has
        // replaced. The kernel replaces its own whenever a tracepoint is switched on or off: it
        // died of breakpoints that were gone already (`Oops: int3`), even before init.
        qemu.args(["-accel", "tcg,thread=single", "-smp", "2", "-m", "1536"])
            .args([
                "-nodefaults",
                "-no-reboot",
                "-display",
                "none",
                "-serial",
                "stdio",
            ])
            // A processor with RDRAND: until it has random numbers, /proc/net/unix shows no
            // addresses, and netstat takes its lines for bogus.
            .args(["-cpu", "max"])
            .env("QEMU_MODULE_DIR", library.join("qemu"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Ok(libraries) = env::join_paths(libraries) {
            qemu.env("LD_LIBRARY_PATH", libraries);
        }
        for firmware in ["qemu", "seabios"] {
            qemu.arg("-L")
                .arg(self.root.join("usr/share").join(firmware));
        }
        qemu
    }
}

fn collect(lines: &mpsc::Receiver<String>, limit: Duration, verbose: bool) -> String {
    let started = Instant::now();
    let mut console = String::new();
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return console,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                console += &format!("{MARK} hung: no end within {} s\n", limit.as_secs());
                return console;
            }
        };
        if verbose || line.starts_with(MARK) {
            eprintln!("{line}");
        }
        console += &line;
        console.push('\n');
    }
}

fn end(child: &mut Child) {
    // Both fail only if it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// What went wrong: one line for each script that did not end well, or did not end at all.
pub(super) fn judge(console: &str, scripts: &[&str]) -> Vec<String> {
    let reports: Vec<&str> = console
        .lines()
        .filter_map(|line| line.strip_prefix(MARK).map(str::trim))
        .collect();
    let mut wrong = Vec::new();
    for script in scripts {
        let start = format!("end {script} ");
        match reports
            .iter()
            .find_map(|report| report.strip_prefix(&start))
        {
            Some("0") => {}
            Some(status) => wrong.push(format!("{script} ended with {status}")),
            None => wrong.push(format!("{script} did not end{}", reason(console))),
        }
    }
    if wrong.is_empty() && !reports.contains(&"done") {
        wrong.push(format!(
            "the guest did not reach its end{}",
            reason(console)
        ));
    }
    wrong
}

fn reason(console: &str) -> &'static str {
    if console.contains("Kernel panic") {
        ": the kernel panicked"
    } else if console
        .lines()
        .any(|line| line.starts_with(MARK) && line.contains("hung"))
    {
        ": the guest hung"
    } else {
        ""
    }
}

/// Seconds from the start of the kernel to the start of init.
pub(super) fn boot_seconds(console: &str) -> Option<&str> {
    console
        .lines()
        .find_map(|line| line.strip_prefix(MARK)?.trim().strip_prefix("up "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_must_end_with_0_and_the_guest_with_done() {
        let good = "x\n@vm: up 1.6\n@vm: end a.sh 0\n@vm: end b.sh 0\n@vm: done\n";
        assert_eq!(judge(good, &["a.sh", "b.sh"]), Vec::<String>::new());
        assert_eq!(boot_seconds(good), Some("1.6"));
        let bad = "@vm: end a.sh 3\n@vm: hung: no end within 9 s\n";
        assert_eq!(
            judge(bad, &["a.sh", "b.sh"]),
            ["a.sh ended with 3", "b.sh did not end: the guest hung"]
        );
        let panic = "@vm: end a.sh 0\nKernel panic - not syncing\n";
        assert_eq!(
            judge(panic, &["a.sh"]),
            ["the guest did not reach its end: the kernel panicked"]
        );
        assert_eq!(judge("", &["a.sh"]), ["a.sh did not end"]);
    }

    #[test]
    fn a_silent_guest_is_given_up() {
        let (_sender, lines) = mpsc::channel();
        let console = collect(&lines, Duration::from_millis(10), false);
        assert_eq!(
            judge(&console, &["a.sh"]),
            ["a.sh did not end: the guest hung"]
        );
    }
}
