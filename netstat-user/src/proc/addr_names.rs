//! Names from the C library, so that they come from where the administrator says (nsswitch.conf).

use std::{
    collections::HashMap,
    ffi::{CStr, c_char, c_int, c_void},
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    names::SystemNames,
    view::{
        Names as _,
        names::{Service, sanitized},
        route::AddrNames,
    },
};

/// What `getnetbyaddr` gives; the C library has more fields than are read here.
#[repr(C)]
struct NetEnt {
    name: *mut c_char,
}

unsafe extern "C" {
    fn gethostbyaddr(addr: *const c_void, len: libc::socklen_t, kind: c_int) -> *mut libc::hostent;
    fn getnetbyaddr(net: u32, kind: c_int) -> *mut NetEnt;
}

/// Asks the C library; IPv4 answers are kept as long as this lives. One at a time: the library's
/// answers are in its own memory, so this is for programs that ask from one thread.
#[derive(Debug, Default)]
pub struct LibcNames {
    hosts: HashMap<Ipv4Addr, Option<Vec<u8>>>,
    networks: HashMap<Ipv4Addr, Option<Vec<u8>>>,
    system: SystemNames,
}

impl AddrNames for LibcNames {
    fn host(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        self.hosts.entry(addr).or_insert_with(|| host(addr)).clone()
    }

    fn network(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        self.networks
            .entry(addr)
            .or_insert_with(|| network(addr))
            .clone()
    }

    fn host6(&mut self, addr: Ipv6Addr) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        self.system.host(addr.into(), &mut name).then_some(name)
    }

    fn port(&mut self, proto: &str, port: u16) -> Option<Vec<u8>> {
        let service = match proto {
            "tcp" => Service::Tcp,
            "udp" => Service::Udp,
            _ => return None,
        };
        let mut name = Vec::new();
        self.system
            .service(service, port.into(), &mut name)
            .then_some(name)
    }
}

/// A copy of a name, fit for a terminal: names come from other machines too.
///
/// # Safety
/// `text` ends in NUL and stays as it is during the call.
unsafe fn copy(text: *const c_char) -> Vec<u8> {
    let mut name = Vec::new();
    // SAFETY: the caller's promise.
    sanitized(&mut name, unsafe { CStr::from_ptr(text) }.to_bytes());
    name
}

fn host(addr: Ipv4Addr) -> Option<Vec<u8>> {
    let octets = addr.octets();
    // SAFETY: the address is as long as said and outlives the call.
    let entry = unsafe {
        gethostbyaddr(
            octets.as_ptr().cast(),
            octets.len() as libc::socklen_t,
            libc::AF_INET,
        )
    };
    // SAFETY: an entry that is not null has a name, valid until the next call.
    unsafe { entry.as_ref().map(|entry| copy(entry.h_name)) }
}

fn network(addr: Ipv4Addr) -> Option<Vec<u8>> {
    // SAFETY: no pointers go in.
    let entry = unsafe { getnetbyaddr(addr.into(), libc::AF_INET) };
    // SAFETY: an entry that is not null has a name, valid until the next call.
    unsafe { entry.as_ref().map(|entry| copy(entry.name)) }
}
