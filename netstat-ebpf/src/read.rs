//! Reading `struct sock_common`, by typed loads or by probe reads.

use aya_ebpf::helpers::{bpf_get_current_task, bpf_ktime_get_ns, bpf_probe_read_kernel};
use netstat_common::event::SockEvent;

use crate::globals::*;

/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u16 = 6;
/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// A way to read kernel memory.
pub trait Load {
    /// Reads a `T` at an address. Unreadable memory reads as zeros.
    ///
    /// # Safety
    /// What the implementation asks for.
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T;
}

/// Loads through a pointer whose BTF type the verifier knows. The kernel makes a faulting load
/// read 0, so there is no error to handle.
pub struct Typed;

impl Load for Typed {
    #[inline(always)]
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T {
        // SAFETY: the verifier checks type and bounds; it rejects the program otherwise.
        unsafe { addr.cast::<T>().read_volatile() }
    }
}

/// `bpf_probe_read_kernel`: for addresses that come from arithmetic or from user space.
pub struct Probe;

impl Load for Probe {
    #[inline(always)]
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T {
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(addr.cast::<T>()) }.unwrap_or_default()
    }
}

/// `base + offset`.
#[inline(always)]
pub fn at(base: *const u8, offset: u64) -> *const u8 {
    base.wrapping_add(offset as usize)
}

/// An event with the fields that every `struct sock_common` has.
///
/// # Safety
/// `sk` must suit `L`.
#[inline(always)]
pub unsafe fn common<L: Load>(kind: u32, sk: *const u8) -> SockEvent {
    // SAFETY: the caller's.
    unsafe {
        let family: u16 = L::load(at(sk, SKC_FAMILY.load()));
        let (saddr, daddr) = if family == AF_INET6 {
            (
                addr6::<L>(at(sk, SKC_V6_RCV_SADDR.load())),
                addr6::<L>(at(sk, SKC_V6_DADDR.load())),
            )
        } else {
            (
                mapped(L::load(at(sk, SKC_RCV_SADDR.load()))),
                mapped(L::load(at(sk, SKC_DADDR.load()))),
            )
        };
        let net: *const u8 = L::load::<u64>(at(sk, SKC_NET.load())) as *const u8;
        SockEvent {
            kind,
            flags: 0,
            ktime_ns: bpf_ktime_get_ns(),
            skaddr: sk as u64,
            listener: 0,
            netns: Probe::load(at(net, NET_INUM.load())),
            tgid: 0,
            saddr,
            daddr,
            sport: L::load(at(sk, SKC_NUM.load())),
            dport: u16::from_be(L::load(at(sk, SKC_DPORT.load()))),
            family,
            oldstate: 0,
            newstate: 0,
            comm: [0; 16],
        }
    }
}

/// An IPv4 address (network order, as loaded) in the one 16-byte form.
#[inline(always)]
pub fn mapped(addr: u32) -> [u8; 16] {
    words([0, 0, u32::to_be(0xffff), addr])
}

#[inline(always)]
unsafe fn addr6<L: Load>(addr: *const u8) -> [u8; 16] {
    // SAFETY: the caller's. Four words, as BTF knows `in6_u.u6_addr32`.
    unsafe {
        words([
            L::load(addr),
            L::load(at(addr, 4)),
            L::load(at(addr, 8)),
            L::load(at(addr, 12)),
        ])
    }
}

#[inline(always)]
fn words(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, and every byte pattern is an address.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

/// Whether the current task is a kernel thread.
#[inline(always)]
pub fn current_is_kthread() -> bool {
    // SAFETY: the helper returns the address of the current task_struct.
    unsafe {
        let task = bpf_get_current_task() as *const u8;
        Probe::load::<u32>(at(task, TASK_FLAGS.load())) & PF_KTHREAD != 0
    }
}
