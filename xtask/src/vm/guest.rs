//! What the guest holds: init, busybox, the program, the reference, the kernel tests, scripts.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{initramfs::File, kernels::Kernel, qemu::MARK, script::Script};
use crate::{
    exec::{cargo, find, output, say, workspace},
    toolchain::BpfToolchain,
};

/// Programs that are taken along from this machine where it has them. bash runs the scripts: it
/// opens TCP and UDP sockets by itself, and it does not prefer busybox's own netstat as its shell
/// would.
const PROGRAMS: [&str; 7] = [
    "bash", "netstat", "ip", "ss", "strace", "unshare", "setpriv",
];

/// Modules that tests use and Debian does not build in, in the order of their dependencies.
const MODULES: [&str; 8] = [
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "unix_diag",
    "dummy",
    "veth",
    "tun",
];

/// The first process: mounts, loads modules, runs the scripts and says how each ended.
///
/// A script that does not end is killed after its time: emulation is slow, a hang is longer.
fn init(scripts: &[&Script]) -> String {
    let runs: String = scripts
        .iter()
        .map(|script| format!("run {} {}\n", script.name, script.seconds))
        .collect();
    format!(
        r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/local/bin:/bin HOME=/root LD_LIBRARY_PATH=/lib/guest NETSTAT_BPF=/usr/local/bin/netstat-bpf
mkdir -p /proc /sys /dev /tmp /run /root /etc
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs security /sys/kernel/security
mount -t tracefs tracing /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
read up idle </proc/uptime
echo "{MARK} up $up"
echo root:x:0:0::/root:/bin/sh >/etc/passwd
for program in netstat setpriv; do ln -sf /usr/local/bin/$program /usr/bin/$program; done
ip link set lo up
for module in {modules}; do
    [ ! -e /modules/$module.ko ] || insmod /modules/$module.ko || echo "cannot load $module"
done
run() {{
    echo "{MARK} begin $1 on $(uname -r)"
    timeout -k 5 $2 /usr/local/bin/bash /scripts/$1 </dev/null 2>&1
    status=$?
    echo
    echo "{MARK} end $1 $status"
}}
{runs}
echo "{MARK} done"
poweroff -f
"#,
        modules = MODULES.join(" "),
    )
}

/// Init and the scripts of one boot, with what they share.
///
/// # Errors
/// `tests/vm/lib.bash` cannot be read.
pub(super) fn scripts(scripts: &[&Script]) -> Result<Vec<File>> {
    let mut guest = Guest::default();
    let lib = workspace().join("tests/vm/lib.bash");
    let lib = fs::read_to_string(&lib).with_context(|| format!("cannot read {}", lib.display()))?;
    guest.text("scripts/lib.bash", lib);
    guest.text("init", init(scripts));
    for script in scripts {
        guest.text(&format!("scripts/{}", script.name), script.text.clone());
    }
    Ok(guest.files.into_values().collect())
}

/// What every boot has: programs and tests.
///
/// # Errors
/// A file that cannot be read, or tests that do not compile.
pub(super) fn files(toolchain: &BpfToolchain, program: &Path, busybox: &Path) -> Result<Vec<File>> {
    let mut guest = Guest::default();
    guest.program("bin/busybox", busybox)?;
    guest.program("usr/local/bin/netstat-bpf", program)?;
    for name in PROGRAMS {
        match find(name) {
            Some(path) => guest.program(&format!("usr/local/bin/{name}"), &path)?,
            None => say(&format!(
                "the guest will have no {name}: this machine has none"
            )),
        }
    }
    // Where every user may run it; the reference is looked for by its path.
    guest.text("usr/bin/.keep", String::new());
    for (name, path) in kernel_tests(toolchain)? {
        guest.program(&format!("tests/{name}"), &path)?;
    }
    Ok(guest.files.into_values().collect())
}

/// The modules of a kernel that tests use.
///
/// # Errors
/// A module that cannot be read or decompressed.
pub(super) fn modules(kernel: &Kernel) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = kernel
        .modules
        .iter()
        .map(|modules| modules.join("kernel"))
        .collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                dirs.push(path);
            } else if let Some(name) = MODULES.iter().find(|name| {
                file.strip_prefix(**name)
                    .is_some_and(|rest| [".ko", ".ko.xz"].contains(&rest))
            }) {
                let bytes = if file.ends_with(".xz") {
                    decompress(&path)?
                } else {
                    fs::read(&path)?
                };
                found.push(File {
                    path: format!("modules/{name}.ko"),
                    executable: false,
                    bytes,
                });
            }
        }
    }
    Ok(found)
}

fn decompress(path: &Path) -> Result<Vec<u8>> {
    let xz = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output();
    let xz = xz.context("cannot start xz: install xz-utils")?;
    if !xz.status.success() {
        bail!("xz cannot decompress {}", path.display());
    }
    Ok(xz.stdout)
}

/// The programs of netstat-tests, by the names of their `[[test]]`s.
fn kernel_tests(toolchain: &BpfToolchain) -> Result<Vec<(String, PathBuf)>> {
    let mut tests = cargo();
    toolchain.apply(&mut tests);
    tests.args([
        "test",
        "--package",
        "netstat-tests",
        "--no-run",
        "--message-format=json",
    ]);
    let built = tests
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !built.status.success() {
        bail!("the kernel tests do not compile: see `cargo test --package netstat-tests --no-run`");
    }
    Ok(executables(&String::from_utf8_lossy(&built.stdout)))
}

/// The executables in cargo's messages, without the hash in their names.
fn executables(messages: &str) -> Vec<(String, PathBuf)> {
    messages
        .lines()
        .filter_map(|message| {
            let path = message
                .split_once("\"executable\":\"")?
                .1
                .split_once('"')?
                .0;
            let file = path.rsplit('/').next()?;
            let name = file.rsplit_once('-').map_or(file, |(name, _hash)| name);
            Some((name.to_owned(), path.into()))
        })
        .collect()
}

#[derive(Default)]
struct Guest {
    files: BTreeMap<String, File>,
}

impl Guest {
    fn text(&mut self, path: &str, text: String) {
        self.add(path, true, text.into_bytes());
    }

    /// Takes a program along, with its shared libraries.
    fn program(&mut self, path: &str, from: &Path) -> Result<()> {
        self.add(path, true, stripped(from)?);
        // It prints nothing for a static program, and fails.
        let linked = output(Command::new("ldd").arg(from)).unwrap_or_default();
        for (name, library) in libraries(&linked) {
            let bytes = fs::read(library).with_context(|| format!("cannot read {library}"))?;
            // The program's own name for its loader is absolute; the rest are found by init's
            // LD_LIBRARY_PATH.
            let path = name
                .strip_prefix('/')
                .map_or_else(|| format!("lib/guest/{name}"), str::to_owned);
            self.add(&path, true, bytes);
        }
        Ok(())
    }

    fn add(&mut self, path: &str, executable: bool, bytes: Vec<u8>) {
        self.files.insert(
            path.to_owned(),
            File {
                path: path.to_owned(),
                executable,
                bytes,
            },
        );
    }
}

/// The program without debug information, which would be most of the initramfs.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let copy = workspace().join(format!("target/vm/stripped-{}", std::process::id()));
    let mut strip = Command::new("strip");
    strip.args(["--strip-debug", "-o"]).arg(&copy).arg(program);
    let from = if output(&mut strip).is_some() {
        copy.as_path()
    } else {
        program
    };
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", program.display()));
    // It is there only if strip could make it.
    let _ = fs::remove_file(&copy);
    bytes
}

/// Name and file of each library in the output of ldd.
fn libraries(ldd: &str) -> Vec<(&str, &str)> {
    ldd.lines()
        .filter_map(|line| {
            let line = line.trim().split(" (").next()?;
            match line.split_once(" => ") {
                Some((name, file)) => Some((name, file)),
                None if line.starts_with('/') => Some((line, line)),
                None => None,
            }
        })
        .filter(|(_, file)| file.starts_with('/'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x0)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x0)\n\tlost.so => not found\n";
        assert_eq!(
            libraries(ldd),
            [
                ("libc.so.6", "/lib/x/libc.so.6"),
                ("/lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2")
            ]
        );
        assert_eq!(libraries("\tstatically linked\n"), []);
    }

    #[test]
    fn executables_are_read_from_cargo() {
        let messages = "{\"a\":1,\"executable\":null}\n\
                        {\"executable\":\"/t/debug/deps/kernel-0123\",\"fresh\":true}\n";
        assert_eq!(
            executables(messages),
            [(
                "kernel".to_owned(),
                PathBuf::from("/t/debug/deps/kernel-0123")
            )]
        );
    }
}
