//! `cargo xtask dist`: the Debian package, and what proves that it works where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::{
    apt::{self, Tool},
    build, docs,
    exec::{as_root, cargo, exec, find, output, own_tools, say, workspace},
    setup,
};

/// Builds with Rust 1.95.
const CARGO_DEB: &str = "3.8.0";

/// What to make.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Install the package in a new, minimal Debian root and try it there (a few minutes, needs root)
    #[arg(long)]
    test: bool,
    /// The Debian release of that root
    #[arg(long, default_value = "bookworm", value_name = "RELEASE")]
    release: String,
}

const TEST_TOOLS: [Tool; 2] = [
    Tool {
        program: "mmdebstrap",
        packages: &["mmdebstrap"],
        why: "it makes the root in which the package is tried",
    },
    Tool {
        program: "unshare",
        packages: &["util-linux"],
        why: "the root gets a network of its own",
    },
];

/// Builds everything and packs it; gives the package.
///
/// # Errors
/// What set-up, cargo, cargo-deb or the test meet.
pub(crate) fn run(options: &Options) -> Result<()> {
    let toolchain = setup::run(&setup::Options::default())?;
    build::build(&toolchain, &build::Options::default())?;
    docs::write(&toolchain, Path::new(docs::DIRECTORY))?;
    cargo_deb()?;
    let directory = workspace().join("target/debian");
    // Only the new package is to be found.
    if directory.is_dir() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("remove {}", directory.display()))?;
    }
    let mut pack = cargo();
    toolchain.apply(&mut pack);
    pack.args(["deb", "--no-build", "--strip", "--package", "netstat-user"])
        .arg("--output")
        .arg(&directory);
    exec(&mut pack).context("the package cannot be made")?;
    let package = only_package(&directory)?;
    say(&format!("the package is {}", package.display()));
    if options.test {
        test(&package, &options.release)?;
    }
    Ok(())
}

/// Installs cargo-deb for this workspace unless the right version is there.
fn cargo_deb() -> Result<()> {
    let installed = || {
        let path = find("cargo-deb")?;
        let version = output(Command::new(path).arg("--version"))?;
        Some(version.trim().trim_start_matches("cargo-deb ").to_owned())
    };
    if installed().as_deref() == Some(CARGO_DEB) {
        return Ok(());
    }
    say(&format!(
        "cargo-deb {CARGO_DEB} is missing: it makes the package; building it (some minutes)"
    ));
    let mut install = cargo();
    install
        .args(["install", "cargo-deb", "--version", CARGO_DEB, "--locked"])
        .arg("--root")
        .arg(own_tools());
    exec(&mut install).with_context(|| {
        format!(
            "cargo-deb cannot be built: `cargo install cargo-deb --version {CARGO_DEB} --locked`"
        )
    })
}

fn only_package(directory: &Path) -> Result<PathBuf> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let mut packages = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    match (packages.next(), packages.next()) {
        (Some(package), None) => Ok(package),
        (None, _) => bail!("cargo-deb made no package in {}", directory.display()),
        (Some(_), Some(_)) => bail!("several packages in {}", directory.display()),
    }
}

/// What the root runs: the installed program beside netstat, then the unit's command line with a client,
/// in the host's PID namespace, which the agent wants. There is a listener, so that there is a row.
const SMOKE: &str = r#"
set -eu
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip link set lo up
dpkg -i /tmp/netstat-bpf.deb
netstat-bpf -V | grep -q '^net-tools 2.10'
for file in man/man1/netstat-bpf.1.gz man/man1/netstat-bpf-agent.1.gz zsh/vendor-completions/_netstat-bpf \
    bash-completion/completions/netstat-bpf fish/vendor_completions.d/netstat-bpf.fish \
    doc/netstat-bpf/copyright; do
    test -s "/usr/share/$file"
done
perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 5000, Listen => 5) or die;
    print "ready\n"; STDOUT->flush; sleep 600' >/tmp/ready &
started=$!
trap 'kill $started' EXIT
until grep -q ready /tmp/ready; do sleep 0.1; done
same() {
    netstat "$@" >/tmp/theirs
    netstat-bpf "$@" >/tmp/ours
    grep -q 127.0.0.1:5000 /tmp/theirs
    cmp /tmp/theirs /tmp/ours
}
same -anpt
netstat-bpf -lt --json | grep -q '"port":5000'
command=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/netstat-bpf.service)
$command &
agent=$!
started="$started $agent"
until netstat-bpf status >/dev/null 2>&1; do kill -0 $agent; sleep 0.1; done
NETSTAT_BPF_SOURCE=agent same -anpt
NETSTAT_BPF_SOURCE=agent netstat-bpf log --json --state=listening >/tmp/lines 2>/tmp/told &
log=$!
started="$started $log"
until grep -q '"old":"CLOSE","new":"LISTEN"' /tmp/lines; do
    kill -0 $log
    perl -MIO::Socket::INET -e 'IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 5) or die'
    sleep 0.1
done
netstat-bpf status --json | grep -q '"logs":1'
kill $log
wait $log
started=${started% *}
grep -q 'not sent by the agent' /tmp/told
kill $agent
wait $agent
started=${started% *}
test ! -e /run/netstat-bpf/agent.sock
dpkg -r netstat-bpf
test ! -e /usr/bin/netstat-bpf
echo "the installed package: passed"
"#;

fn test(package: &Path, release: &str) -> Result<()> {
    apt::ensure(&TEST_TOOLS)?;
    let root = workspace().join("target/dist-root");
    let remove = |root: &Path| -> Result<()> {
        if root.exists() {
            exec(as_root("rm")?.args(["-rf", "--one-file-system"]).arg(root))?;
        }
        Ok(())
    };
    remove(&root)?;
    say(&format!("making a minimal Debian {release} root"));
    exec(
        as_root("mmdebstrap")?
            .args(["--variant=minbase", "--include=net-tools,iproute2"])
            .arg(release)
            .arg(&root),
    )
    .context("the Debian root cannot be made")?;
    exec(
        as_root("cp")?
            .arg(package)
            .arg(root.join("tmp/netstat-bpf.deb")),
    )?;
    let script = root.join("tmp/smoke");
    let written = workspace().join("target/smoke");
    fs::write(&written, SMOKE).with_context(|| format!("write {}", written.display()))?;
    exec(as_root("cp")?.arg(&written).arg(&script))?;
    let tried = exec(
        as_root("unshare")?
            .args(["--mount", "--net", "--fork", "--kill-child", "chroot"])
            .arg(&root)
            .args(["/bin/sh", "/tmp/smoke"]),
    );
    let verified = tried.and_then(|()| verify(&root));
    remove(&root)?;
    verified
}

/// The unit as systemd reads it. Its program was removed with the package, so it is read from the
/// sources, with a program that exists.
fn verify(root: &Path) -> Result<()> {
    let Some(analyze) = find("systemd-analyze") else {
        bail!("systemd-analyze is not here: install systemd to have the unit checked");
    };
    let source = workspace().join("dist/netstat-bpf.service");
    let text = fs::read_to_string(&source).with_context(|| format!("read {}", source.display()))?;
    let program = workspace().join("target/release/netstat-bpf");
    let text = text.replace("/usr/bin/netstat-bpf", &program.display().to_string());
    let unit = root.parent().unwrap_or(root).join("netstat-bpf.service");
    fs::write(&unit, text).with_context(|| format!("write {}", unit.display()))?;
    exec(
        Command::new(analyze)
            .args(["verify", "--man=no"])
            .arg(&unit),
    )
    .context("systemd does not accept the unit")?;
    say("systemd-analyze verify: the unit is accepted");
    Ok(())
}
