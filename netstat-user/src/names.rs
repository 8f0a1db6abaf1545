//! Names from the system's databases, through libc's NSS so that they are those of the reference.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::{CStr, c_char, c_int, c_void},
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
    sync::{Mutex, PoisonError},
};

use crate::view::names::{Names, Service};

/// A name without control characters, if there is one.
type Name = Option<Box<[u8]>>;
type Services = HashMap<(Service, i32), Box<[u8]>>;

/// Bytes of the longest name of a host or network: a longer one is cut, but for one of an IPv6
/// address, which is then shown as a number.
const LONGEST: usize = 127;

/// Looks names up and remembers what the reference does: IPv4 addresses, networks and ports for good,
/// IPv6 addresses never. A server that answers in turns shows that. Users are kept for a round.
#[derive(Debug, Default)]
pub struct SystemNames {
    hosts: HashMap<Ipv4Addr, Name>,
    networks: HashMap<Ipv4Addr, Name>,
    users: HashMap<i32, Name>,
    services: Option<Services>,
}

impl Names for SystemNames {
    fn begin(&mut self) {
        self.users.clear();
    }

    fn host(&mut self, addr: IpAddr, out: &mut Vec<u8>) -> bool {
        match addr {
            IpAddr::V4(v4) => {
                let name = self.hosts.entry(v4).or_insert_with(|| host4(v4));
                append(out, name.as_deref())
            }
            IpAddr::V6(v6) => append(out, host6(v6).as_deref()),
        }
    }

    fn network(&mut self, addr: Ipv4Addr, out: &mut Vec<u8>) -> bool {
        let name = self.networks.entry(addr).or_insert_with(|| network(addr));
        append(out, name.as_deref())
    }

    fn service(&mut self, service: Service, port: i32, out: &mut Vec<u8>) -> bool {
        let services = self.services.get_or_insert_with(services);
        append(out, services.get(&(service, port)).map(AsRef::as_ref))
    }

    fn user(&mut self, uid: i32, out: &mut Vec<u8>) -> bool {
        let name = match self.users.entry(uid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(user(uid)),
        };
        append(out, name.as_deref())
    }
}

fn append(out: &mut Vec<u8>, name: Option<&[u8]>) -> bool {
    if let Some(name) = name {
        out.extend_from_slice(name);
    }
    name.is_some()
}

/// A copy without control characters: names come from other machines too.
///
/// # Safety
/// `text` is NULL or ends in NUL and stays as it is during the call.
unsafe fn copy(text: *const c_char) -> Name {
    if text.is_null() {
        return None;
    }
    // SAFETY: not NULL, and the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    let printable = |byte: &u8| if byte.is_ascii_control() { b'?' } else { *byte };
    Some(text.to_bytes().iter().map(printable).collect())
}

/// The name of an IPv4 address, if the system has one.
fn host4(addr: Ipv4Addr) -> Name {
    let addr = addr.octets();
    let _cursor = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the address is as long as is said; the lock keeps others off libc's buffer until the
    // name is copied.
    unsafe {
        let size = addr.len() as libc::socklen_t;
        let entry = gethostbyaddr(addr.as_ptr().cast(), size, libc::AF_INET);
        entry.as_ref().and_then(|entry| copy(entry.h_name))
    }
    .map(cut)
}

/// The name of an IPv6 address, if the system has one that is not too long.
fn host6(addr: Ipv6Addr) -> Name {
    // SAFETY: all zeros is a valid value.
    let mut socket: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    socket.sin6_family = libc::AF_INET6 as libc::sa_family_t;
    socket.sin6_addr.s6_addr = addr.octets();
    let mut name: [c_char; LONGEST + 1] = [0; LONGEST + 1];
    // SAFETY: the address and `name` are valid for their own lengths; no service is asked for.
    let result = unsafe {
        libc::getnameinfo(
            (&raw const socket).cast(),
            size_of_val(&socket) as libc::socklen_t,
            name.as_mut_ptr(),
            name.len() as libc::socklen_t,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if result != 0 {
        return None;
    }
    // SAFETY: `getnameinfo` has put a string that ends in NUL there.
    unsafe { copy(name.as_ptr()) }
}

/// A name without what the reference has no room for.
fn cut(name: Box<[u8]>) -> Box<[u8]> {
    let mut name = name.into_vec();
    name.truncate(LONGEST);
    name.into()
}

fn user(uid: i32) -> Name {
    /// More than any entry of a password file takes.
    const ENTRY: usize = 64 * 1024;
    let mut buffer: Vec<c_char> = vec![0; ENTRY];
    let mut entry = MaybeUninit::<libc::passwd>::uninit();
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are valid, `buffer` for the length given.
    let result = unsafe {
        libc::getpwuid_r(
            uid.cast_unsigned(),
            entry.as_mut_ptr(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &mut found,
        )
    };
    if result != 0 || found.is_null() {
        return None;
    }
    // SAFETY: `found` points to `entry`, which is filled in and points into `buffer`.
    unsafe { copy((*found).pw_name) }
}

/// `struct netent`
#[repr(C)]
struct Netent {
    name: *mut c_char,
    aliases: *mut *mut c_char,
    kind: c_int,
    net: u32,
}

unsafe extern "C" {
    fn getservent() -> *mut libc::servent;
    fn endservent();
    fn getprotoent() -> *mut libc::protoent;
    fn endprotoent();
    fn getnetbyaddr(net: u32, kind: c_int) -> *mut Netent;
    fn gethostbyaddr(addr: *const c_void, size: libc::socklen_t, kind: c_int)
    -> *mut libc::hostent;
}

/// Guards the databases that libc walks with a cursor of its own.
static CURSOR: Mutex<()> = Mutex::new(());

/// The name of a network.
fn network(addr: Ipv4Addr) -> Name {
    let _cursor = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the lock keeps others off libc's buffer until the name is copied.
    unsafe {
        let entry = getnetbyaddr(addr.to_bits(), libc::AF_INET);
        if entry.is_null() {
            None
        } else {
            copy((*entry).name).map(cut)
        }
    }
}

/// All ports with names. The last entry of a port wins; protocols are the ports of raw sockets.
fn services() -> Services {
    const LONGEST: usize = 63;
    let mut services = Services::new();
    let mut add = |service, port, name: Name| {
        if let Some(name) = name {
            services.insert((service, port), name[..name.len().min(LONGEST)].into());
        }
    };
    let _cursor = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: the lock keeps others off libc's cursors and buffers; each entry is copied before
    // the next is asked for, and its strings end in NUL.
    unsafe {
        while let Some(entry) = getservent().as_ref() {
            let service = match CStr::from_ptr(entry.s_proto).to_bytes() {
                b"tcp" => Service::Tcp,
                b"udp" => Service::Udp,
                b"raw" => Service::Raw,
                _ => continue,
            };
            add(
                service,
                u16::from_be(entry.s_port as u16).into(),
                copy(entry.s_name),
            );
        }
        endservent();
        while let Some(entry) = getprotoent().as_ref() {
            add(Service::Raw, entry.p_proto, copy(entry.p_name));
        }
        endprotoent();
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_nobody_else_has_it() {
        let mut names = SystemNames::default();
        let mut out = Vec::new();
        assert!(names.user(0, &mut out));
        assert_eq!(out, b"root");
        assert!(!names.user(-3, &mut out));
        assert_eq!(out, b"root");
    }

    #[test]
    fn an_address_for_documentation_has_no_service_name() {
        let mut names = SystemNames::default();
        let mut out = Vec::new();
        assert!(!names.service(Service::Tcp, 1_000_000, &mut out));
        assert_eq!(out, b"");
    }
}
