//! Names from the system's databases, through libc's NSS so that they are those of the reference.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::{CStr, c_char, c_int},
    mem::{self, MaybeUninit},
    net::{IpAddr, Ipv4Addr},
    ptr,
    sync::{Mutex, PoisonError},
};

use crate::view::names::{Names, Service};

/// A name without control characters, if there is one.
type Name = Option<Box<[u8]>>;
type Services = HashMap<(Service, i32), Box<[u8]>>;

/// Looks names up and remembers them: IPv4 addresses and ports for good, the rest for a round.
#[derive(Debug, Default)]
pub struct SystemNames {
    hosts: HashMap<Ipv4Addr, Name>,
    networks: HashMap<Ipv4Addr, Name>,
    round: HashMap<IpAddr, Name>,
    users: HashMap<i32, Name>,
    services: Option<Services>,
}

impl Names for SystemNames {
    fn begin(&mut self) {
        self.round.clear();
        self.users.clear();
    }

    fn host(&mut self, addr: IpAddr, out: &mut Vec<u8>) -> bool {
        let name = match addr {
            IpAddr::V4(v4) => self.hosts.entry(v4).or_insert_with(|| host(addr)),
            IpAddr::V6(_) => self.round.entry(addr).or_insert_with(|| host(addr)),
        };
        append(out, name.as_deref())
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

/// The name of an address, if the system has one.
fn host(addr: IpAddr) -> Name {
    // SAFETY: all zeros is a valid value of both.
    let (mut v4, mut v6): (libc::sockaddr_in, libc::sockaddr_in6) = unsafe { mem::zeroed() };
    let (socket, length): (*const libc::sockaddr, usize) = match addr {
        IpAddr::V4(addr) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_addr.s_addr = u32::from_ne_bytes(addr.octets());
            ((&raw const v4).cast(), size_of_val(&v4))
        }
        IpAddr::V6(addr) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_addr.s6_addr = addr.octets();
            ((&raw const v6).cast(), size_of_val(&v6))
        }
    };
    let mut name: [c_char; 1025] = [0; 1025];
    // SAFETY: the address is valid for `length` bytes and `name` for its own length; no service is
    // asked for.
    let result = unsafe {
        libc::getnameinfo(
            socket,
            length as libc::socklen_t,
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
            copy((*entry).name)
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
