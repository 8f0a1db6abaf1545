//! What a full socket has done, read on its way to CLOSE: its numbers go with the object.

use netstat_common::{
    event::{ABSENT, EndEvent, KIND_END},
    lost::Counter,
    offsets,
};

use crate::{
    globals::*,
    maps::emit_quietly,
    read::{Load as _, Probe, at},
};

/// Tells the numbers of a `struct tcp_sock`.
#[inline(always)]
pub fn emit_end(sk: *const u8) {
    // SAFETY: probe reads check the address, and the offsets are those of fields of these sizes.
    let end = unsafe {
        EndEvent {
            kind: KIND_END,
            error: field::<u32>(sk, SK_ERR.load()).unwrap_or_default(),
            skaddr: sk as u64,
            bytes_sent: wide(sk, TCP_BYTES_SENT.load()),
            bytes_retrans: wide(sk, TCP_BYTES_RETRANS.load()),
            bytes_acked: wide(sk, TCP_BYTES_ACKED.load()),
            bytes_received: wide(sk, TCP_BYTES_RECEIVED.load()),
            total_retrans: match field::<u32>(sk, TCP_TOTAL_RETRANS.load()) {
                Some(segments) => segments as u64,
                None => ABSENT,
            },
            sock_flags: wide(sk, SKC_FLAGS.load()),
        }
    };
    emit_quietly(&end, Counter::RingFull);
}

/// # Safety
/// `T` is the field's type.
#[inline(always)]
unsafe fn field<T: Copy + Default>(sk: *const u8, offset: u64) -> Option<T> {
    // The verifier knows the offset and walks one branch only.
    if offset == offsets::ABSENT {
        return None;
    }
    // SAFETY: the caller's.
    Some(unsafe { Probe::load(at(sk, offset)) })
}

/// # Safety
/// The field has eight bytes.
#[inline(always)]
unsafe fn wide(sk: *const u8, offset: u64) -> u64 {
    // SAFETY: the caller's.
    match unsafe { field(sk, offset) } {
        Some(value) => value,
        None => ABSENT,
    }
}
