//! Names from the C library, so that they come from where the administrator says (nsswitch.conf).

use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    mem,
    net::{Ipv4Addr, Ipv6Addr},
    ptr,
};

use crate::view::route::AddrNames;

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
}

impl AddrNames for LibcNames {
    fn host(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        self.hosts.entry(addr).or_insert_with(|| host(addr)).clone()
    }

    fn network(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        self.networks.entry(addr).or_insert_with(|| network(addr)).clone()
    }

    fn host6(&mut self, addr: Ipv6Addr) -> Option<Vec<u8>> {
        const LONGEST: usize = 1025;
        // SAFETY: a sockaddr_in6 is integers, for which zero is a value.
        let mut socket: libc::sockaddr_in6 = unsafe { mem::zeroed() };
        socket.sin6_family = libc::AF_INET6 as libc::sa_family_t;
        socket.sin6_addr.s6_addr = addr.octets();
        let mut name = [0; LONGEST];
        // SAFETY: both buffers are as long as said and outlive the call.
        let status = unsafe {
            libc::getnameinfo(
                (&raw const socket).cast(),
                size_of::<libc::sockaddr_in6>() as libc::socklen_t,
                name.as_mut_ptr(),
                LONGEST as libc::socklen_t,
                ptr::null_mut(),
                0,
                0,
            )
        };
        let bytes: Vec<u8> =
            name.iter().map(|&char| char as u8).take_while(|&byte| byte != 0).collect();
        // Without a name the library writes the number, which netstat then writes its own way.
        let number = std::str::from_utf8(&bytes).is_ok_and(|t| t.parse::<Ipv6Addr>().is_ok());
        (status == 0 && !number).then_some(bytes)
    }

    fn port(&mut self, proto: &str, port: u16) -> Option<Vec<u8>> {
        let proto = CString::new(proto).ok()?;
        // SAFETY: the name ends in NUL and outlives the call.
        let entry = unsafe { libc::getservbyport(port.to_be().into(), proto.as_ptr()) };
        // SAFETY: an entry that is not null has a name, valid until the next call.
        unsafe { entry.as_ref().map(|entry| CStr::from_ptr(entry.s_name).to_bytes().to_vec()) }
    }
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
    unsafe { entry.as_ref().map(|entry| CStr::from_ptr(entry.h_name).to_bytes().to_vec()) }
}

fn network(addr: Ipv4Addr) -> Option<Vec<u8>> {
    // SAFETY: no pointers go in.
    let entry = unsafe { getnetbyaddr(addr.into(), libc::AF_INET) };
    // SAFETY: an entry that is not null has a name, valid until the next call.
    unsafe { entry.as_ref().map(|entry| CStr::from_ptr(entry.name).to_bytes().to_vec()) }
}
