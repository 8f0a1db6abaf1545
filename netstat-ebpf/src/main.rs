//! The BPF programs. One file per hook family; each hook reads, reserves, writes, submits.
//!
//! No decision about connections is taken here: what an event means is settled in user space.
#![no_std]
#![no_main]

mod end;
mod fentry;
mod globals;
mod iter;
mod kprobe;
mod listed;
mod maps;
mod minisock;
mod process;
mod read;
mod refresh;
mod state;
mod timer;
mod walk;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier rejects a program that can reach this.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
