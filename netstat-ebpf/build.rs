//! Tells the linker how the programs clear memory.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // bpf-linker keeps LLVM from clearing memory with plain stores unless it is told not to: each
    // sixteen bytes of zeros are a call of a loop over bytes then, in the programs of every event.
    println!("cargo:rustc-link-arg-bins=--disable-expand-memcpy-in-order");
}
