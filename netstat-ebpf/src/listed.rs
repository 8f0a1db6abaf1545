//! Iterators over UDP and Unix sockets: whole rows, into an array.
//!
//! Not with `bpf_seq_write`: an iterator that stops inside a hash bucket may lose the rest of that
//! bucket (iter/unix on every kernel so far, iter/udp before 6.16). So a pass never stops. What
//! finds no room is counted as such, and user space makes another pass from the bucket that was cut.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use netstat_common::listed::{Pass, SUN_PATH};

use crate::{
    globals::*,
    maps::{PASS, UDP_SOCKS, UNIX_SOCKS},
    read::{CopiedSock, Fields as _, Load as _, Probe, address, at},
    refresh::inode,
};

/// Neighbours of other network namespaces that are passed over at most, where a chain is followed.
const STRANGERS: u32 = 64;

/// Argument of `iter/udp`, as the kernel's `struct bpf_iter__udp`.
#[repr(C)]
pub struct UdpCtx {
    meta: *const u8,
    sk: *const u8,
    uid: u32,
    pad: u32,
    bucket: u32,
}

/// Argument of `iter/unix`, as the kernel's `struct bpf_iter__unix`.
#[repr(C)]
pub struct UnixCtx {
    meta: *const u8,
    sk: *const u8,
    uid: u32,
}

/// `iter/udp`: all UDP sockets (not UDP-Lite) of the network namespace of who starts it.
///
/// Since: Linux 5.9.
/// Context: process, the reader's; the socket is locked and hashed.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/ipv4/udp.c#L3440>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/udp")]
pub extern "C" fn iter_udp(ctx: *const UdpCtx) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__udp`; probe reads check the address.
    unsafe {
        let sk = (&raw const (*ctx).sk).read_volatile();
        let bucket = (&raw const (*ctx).bucket).read_volatile();
        let Some(pass) = PASS.get_ptr_mut(0) else {
            return 0;
        };
        if sk.is_null() || bucket < (*pass).from {
            return 0;
        }
        let Some(out) = UDP_SOCKS.get_ptr_mut((*pass).count) else {
            (*pass).full = 1;
            return 0;
        };
        let out = &mut *out;
        let common = CopiedSock::read(sk);
        out.skaddr = sk as u64;
        out.before = before(&common);
        out.bucket = bucket;
        out.uid = (&raw const (*ctx).uid).read_volatile();
        out.inode = inode::<Probe>(Probe::load::<u64>(at(sk, SK_SOCKET.load())) as *const u8);
        out.family = common.get(SKC_FAMILY.load());
        (out.saddr, out.daddr) = address(out.family, &common);
        out.sport = u16::from_be(Probe::load(at(sk, INET_SPORT.load())));
        out.dport = u16::from_be(common.get(SKC_DPORT.load()));
        out.state = common.get(SKC_STATE.load());
        out.pad = 0;
        let queued: u32 = Probe::load(at(sk, SK_RMEM_ALLOC.load()));
        let forwarded: u32 = Probe::load(at(sk, UDP_FORWARD_DEFICIT.load()));
        out.rx_queue = queued.wrapping_sub(forwarded);
        // One is the socket's own, while it lives.
        out.tx_queue = Probe::load::<u32>(at(sk, SK_WMEM_ALLOC.load())).wrapping_sub(1);
        (*pass).count += 1;
    }
    0
}

/// Address of the socket before this one in its chain, of those that are listed with it: the table is
/// one for all network namespaces. At the head of the chain, of a socket that would begin there.
///
/// Behind more than [`STRANGERS`] in a row, that of one of them: an order that is not /proc's.
#[inline(always)]
unsafe fn before(common: &CopiedSock) -> u64 {
    // SAFETY: probe reads check the address.
    unsafe {
        let mut pprev: u64 = common.get(SKC_PPREV.load());
        let net: u64 = common.get(SKC_NET.load());
        for _ in 0..STRANGERS {
            let neighbour = pprev.wrapping_sub(SKC_NODE.load()) as *const u8;
            let its_pprev: u64 = Probe::load(at(neighbour, SKC_PPREV.load()));
            // What nobody points to is the head: a number and a lock follow it, no address.
            let linked = Probe::load::<u64>(its_pprev as *const u8) == pprev;
            if !linked || Probe::load::<u64>(at(neighbour, SKC_NET.load())) == net {
                break;
            }
            pprev = its_pprev;
        }
        pprev.wrapping_sub(SKC_NODE.load())
    }
}

/// `iter/unix`: all Unix sockets of the network namespace of who starts it.
///
/// Since: Linux 5.16 (5.15 holds no reference of its own, which is taken off here).
/// Context: process, the reader's; the socket is locked and hashed.
/// Source: <https://elixir.bootlin.com/linux/v6.12/source/net/unix/af_unix.c#L3443>
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/unix")]
pub extern "C" fn iter_unix(ctx: *const UnixCtx) -> i32 {
    // SAFETY: the kernel passes a `struct bpf_iter__unix`; probe reads check the address.
    unsafe {
        let sk = (&raw const (*ctx).sk).read_volatile();
        if let (false, Some(pass)) = (sk.is_null(), PASS.get_ptr_mut(0)) {
            unix_sock(&mut *pass, sk);
        }
    }
    0
}

#[inline(always)]
unsafe fn unix_sock(pass: &mut Pass, sk: *const u8) {
    // SAFETY: probe reads check the address.
    unsafe {
        let common = CopiedSock::read(sk);
        let bucket = common.get(SKC_HASH.load());
        let name = Probe::load::<u64>(at(sk, UNIX_ADDR.load())) as *const u8;
        if bucket < pass.from || (pass.named_only != 0 && name.is_null()) {
            return;
        }
        let Some(out) = UNIX_SOCKS.get_ptr_mut(pass.count) else {
            pass.full = 1;
            return;
        };
        let out = &mut *out;
        let socket = Probe::load::<u64>(at(sk, SK_SOCKET.load())) as *const u8;
        out.skaddr = sk as u64;
        out.inode = inode::<Probe>(socket);
        out.bucket = bucket;
        // The iterator holds one.
        out.references = common.get::<u32>(SKC_REFCNT.load()).wrapping_sub(1);
        out.kind = Probe::load(at(sk, SK_TYPE.load()));
        out.state = common.get(SKC_STATE.load());
        out.has_socket = u8::from(!socket.is_null());
        out.pad = 0;
        out.name_len = 0;
        if !name.is_null() {
            // `sockaddr_un` begins with two bytes of family.
            let len = Probe::load::<u32>(at(name, UNIX_ADDRESS_LEN.load())).wrapping_sub(2);
            out.name_len = len;
            let copied = if len < SUN_PATH as u32 {
                len
            } else {
                SUN_PATH as u32
            };
            bpf_probe_read_kernel(
                out.path.as_mut_ptr().cast(),
                copied,
                at(name, UNIX_ADDRESS_NAME.load() + 2).cast(),
            );
        }
        pass.count += 1;
    }
}
