//! Reading `struct sock_common`, by typed loads or by probe reads.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns, generated,
};
use netstat_common::{event::SockEvent, offsets::RDONLY_CAST_MARK};

use crate::globals::*;

/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`.
pub const IPPROTO_TCP: u16 = 6;
/// `PF_KTHREAD` of `include/linux/sched.h`.
const PF_KTHREAD: u32 = 0x0020_0000;

/// A way to read kernel memory.
pub trait Load {
    /// Whether a load is a call.
    const CALLS: bool = false;

    /// Reads a `T` at an address. Unreadable memory reads as zeros.
    ///
    /// # Safety
    /// What the implementation asks for.
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T;

    /// The address as one of a struct, by the struct's number in the kernel's BTF. What is loaded at
    /// offsets from it must be the struct's fields.
    ///
    /// # Safety
    /// None: whether there is such a struct is the loads' business.
    #[inline(always)]
    unsafe fn cast(addr: *const u8, _type_id: u64) -> *const u8 {
        addr
    }
}

/// A way to read sockets at addresses of which nothing is known.
pub trait Reader: Load {
    /// The fields that all sockets have.
    type Common: Fields;

    /// Reads them, or makes ready to; zeros if they cannot be read.
    ///
    /// # Safety
    /// `sk` was given the type of a socket by [`Load::cast`].
    unsafe fn common(sk: *const u8) -> Self::Common;
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
///
/// The helper zeroes what it cannot read, so its result is not looked at: a branch for each read
/// doubles what the verifier has to walk, and 6.1 gives up after a million steps.
pub struct Probe;

impl Load for Probe {
    const CALLS: bool = true;

    #[inline(always)]
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper checks the address, and writes the whole value in any case.
        unsafe {
            generated::bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                addr.cast(),
            );
            value.assume_init()
        }
    }
}

impl Reader for Probe {
    type Common = CopiedSock;

    #[inline(always)]
    unsafe fn common(sk: *const u8) -> CopiedSock {
        // SAFETY: probe reads check the address.
        unsafe { CopiedSock::read(sk) }
    }
}

/// Loads at any address, once the verifier was told a type for it (`bpf_rdonly_cast`, Linux 6.2).
/// What cannot be read is zeros.
///
/// Where [`Probe`] calls a function, this is one instruction behind a comparison of the address. So
/// the processor has the misses of several sockets under way at once, and takes half the time.
pub struct Cast;

impl Load for Cast {
    #[inline(always)]
    unsafe fn load<T: Copy + Default>(addr: *const u8) -> T {
        // SAFETY: the verifier checks that this is a field of the type; a faulting load reads 0.
        unsafe { addr.cast::<T>().read_volatile() }
    }

    #[inline(always)]
    unsafe fn cast(addr: *const u8, type_id: u64) -> *const u8 {
        // SAFETY: user space puts the kernel's own number of the function in here before the load.
        unsafe {
            let rdonly_cast: unsafe extern "C" fn(*const u8, u64) -> *const u8 =
                core::mem::transmute(RDONLY_CAST_MARK as usize);
            rdonly_cast(addr, type_id)
        }
    }
}

impl Reader for Cast {
    type Common = TypedSock;

    #[inline(always)]
    unsafe fn common(sk: *const u8) -> TypedSock {
        TypedSock(sk)
    }
}

/// Where the fields of one `struct sock_common` come from.
pub trait Fields {
    /// Reads the field at an offset.
    ///
    /// # Safety
    /// `T` is the field's type, and the offset lies within `struct sock_common`.
    unsafe fn get<T: Copy + Default>(&self, offset: u64) -> T;

    /// Inode number of the network namespace.
    ///
    /// # Safety
    /// As [`Fields::get`].
    unsafe fn netns(&self) -> u32;
}

/// A socket whose type the verifier knows.
pub struct TypedSock(pub *const u8);

impl Fields for TypedSock {
    #[inline(always)]
    unsafe fn get<T: Copy + Default>(&self, offset: u64) -> T {
        // SAFETY: the caller's.
        unsafe { Typed::load(at(self.0, offset)) }
    }

    #[inline(always)]
    unsafe fn netns(&self) -> u32 {
        // SAFETY: the verifier follows the types: `skc_net.net` points to a `struct net`.
        unsafe {
            let net = self.get::<u64>(SKC_NET.load()) as *const u8;
            Typed::load(at(net, NET_INUM.load()))
        }
    }
}

/// Bytes of `struct sock_common` that are read in one go; it has 136 on 64-bit kernels, and
/// reading past a shorter one is harmless.
const COMMON: usize = 136;

/// A copy of `struct sock_common`, read at once: all fields for the price of one probe read.
pub struct CopiedSock([u64; COMMON / 8]);

impl CopiedSock {
    /// Copies it; zeros if it cannot be read.
    ///
    /// # Safety
    /// None beyond [`Probe`]'s: the helper checks the address.
    #[inline(always)]
    pub unsafe fn read(sk: *const u8) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { Probe::load(sk) })
    }
}

impl Fields for CopiedSock {
    #[inline(always)]
    unsafe fn get<T: Copy + Default>(&self, offset: u64) -> T {
        // SAFETY: offsets come from BTF and lie within `struct sock_common`; the verifier, which
        // knows them as constants, rejects the program otherwise.
        unsafe {
            (&raw const self.0)
                .cast::<u8>()
                .add(offset as usize)
                .cast::<T>()
                .read()
        }
    }

    #[inline(always)]
    unsafe fn netns(&self) -> u32 {
        // SAFETY: probe reads check the address.
        unsafe {
            let net = self.get::<u64>(SKC_NET.load()) as *const u8;
            Probe::load(at(net, NET_INUM.load()))
        }
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
/// `fields` are those of `sk`.
#[inline(always)]
pub unsafe fn common(kind: u32, sk: *const u8, fields: &impl Fields) -> SockEvent {
    // SAFETY: the caller's.
    unsafe {
        let family: u16 = fields.get(SKC_FAMILY.load());
        let (saddr, daddr) = address(family, fields);
        SockEvent {
            kind,
            flags: 0,
            ktime_ns: bpf_ktime_get_ns(),
            skaddr: sk as u64,
            listener: 0,
            netns: fields.netns(),
            tgid: 0,
            saddr,
            daddr,
            sport: fields.get(SKC_NUM.load()),
            dport: u16::from_be(fields.get(SKC_DPORT.load())),
            family,
            oldstate: 0,
            newstate: 0,
            comm: [0; 16],
        }
    }
}

/// Local and remote address.
///
/// # Safety
/// `fields` are those of a socket of this family.
#[inline(always)]
pub unsafe fn address(family: u16, fields: &impl Fields) -> ([u8; 16], [u8; 16]) {
    // SAFETY: the caller's.
    unsafe {
        if family == AF_INET6 {
            (
                addr6(fields, SKC_V6_RCV_SADDR.load()),
                addr6(fields, SKC_V6_DADDR.load()),
            )
        } else {
            (
                mapped(fields.get(SKC_RCV_SADDR.load())),
                mapped(fields.get(SKC_DADDR.load())),
            )
        }
    }
}

/// An IPv4 address (network order, as loaded) in the one 16-byte form.
#[inline(always)]
pub fn mapped(addr: u32) -> [u8; 16] {
    words([0, 0, u32::to_be(0xffff), addr])
}

#[inline(always)]
unsafe fn addr6(fields: &impl Fields, offset: u64) -> [u8; 16] {
    // SAFETY: the caller's. Four words, as BTF knows `in6_u.u6_addr32`.
    unsafe {
        words([
            fields.get(offset),
            fields.get(offset + 4),
            fields.get(offset + 8),
            fields.get(offset + 12),
        ])
    }
}

#[inline(always)]
fn words(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, and every byte pattern is an address.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

/// PID namespaces are nested at most so deep (`MAX_PID_NS_LEVEL` of the kernel).
const DEEPEST: u64 = 32;

/// The process id of a task in our PID namespace; 0 if it is not there. `tgid` is the one of the
/// initial namespace.
#[inline(always)]
pub fn tgid_here(task: *const u8, tgid: u32) -> u32 {
    let own = OWN_PID_NS.load();
    if own == 0 {
        return tgid;
    }
    // SAFETY: probe reads check the address.
    unsafe {
        let leader = Probe::load::<u64>(at(task, TASK_GROUP_LEADER.load())) as *const u8;
        let pid = Probe::load::<u64>(at(leader, TASK_THREAD_PID.load())) as *const u8;
        let deepest = u64::from(Probe::load::<u32>(at(pid, PID_LEVEL.load())));
        for level in 0..=DEEPEST {
            if level > deepest {
                break;
            }
            let upid = at(pid, PID_NUMBERS.load() + level * UPID_SIZE.load());
            let namespace = Probe::load::<u64>(at(upid, UPID_NS.load())) as *const u8;
            let inode = Probe::load::<u32>(at(namespace, PID_NS_INUM.load()));
            if u64::from(inode) == own {
                return Probe::load(at(upid, UPID_NR.load()));
            }
        }
    }
    0
}

/// As [`tgid_here`], of whoever runs.
#[inline(always)]
pub fn current_tgid() -> u32 {
    // SAFETY: the helper has no precondition.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    tgid_here(task, (bpf_get_current_pid_tgid() >> 32) as u32)
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
