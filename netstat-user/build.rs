//! Compiles the BPF programs and leaves the object in `OUT_DIR/netstat-ebpf`.
//!
//! `cargo xtask` sets `NETSTAT_BPF_TOOLCHAIN` to the rustup toolchain that has rust-src.

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> Result<()> {
    const TOOLCHAIN: &str = "NETSTAT_BPF_TOOLCHAIN";
    println!("cargo:rerun-if-env-changed={TOOLCHAIN}");
    println!("cargo:rerun-if-changed=../netstat-common/src");
    let toolchain = std::env::var(TOOLCHAIN).unwrap_or_else(|_| "nightly".to_owned());
    // SAFETY: the build script has one thread.
    // `-Z build-std` on a stable compiler (Debian's) needs it; the user side must not see it.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    build_ebpf(
        [Package {
            name: "netstat-ebpf",
            root_dir: "../netstat-ebpf",
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .context("the BPF programs do not compile; `cargo xtask setup` installs the BPF toolchain")
}
