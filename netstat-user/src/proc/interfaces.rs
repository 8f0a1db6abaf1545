//! What the kernel says about an interface: ioctls on a socket that lives as long as one report.

use std::{
    io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::view::{
    iface::{Inet, Interface, Map},
    iface_hardware::Hardware,
};

/// A socket to ask by.
#[derive(Debug)]
pub struct Interfaces(OwnedFd);

impl Interfaces {
    /// Opens the socket.
    ///
    /// # Errors
    /// The kernel has no IPv4, or there are no descriptors left.
    pub fn open() -> io::Result<Self> {
        // SAFETY: socket() takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Names and labels that have an IPv4 address (SIOCGIFCONF).
    ///
    /// # Errors
    /// Those of the ioctl.
    pub fn labels(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut room = 16_usize;
        loop {
            // SAFETY: an ifreq is integers, for which zero is a value.
            let mut requests: Vec<libc::ifreq> = vec![unsafe { mem::zeroed() }; room];
            let bytes = room * size_of::<libc::ifreq>();
            let mut conf = libc::ifconf {
                ifc_len: i32::try_from(bytes).map_err(io::Error::other)?,
                ifc_ifcu: libc::__c_anonymous_ifc_ifcu {
                    ifcu_req: requests.as_mut_ptr(),
                },
            };
            // SAFETY: the kernel writes at most ifc_len bytes to the vector, which outlives the call.
            let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::SIOCGIFCONF, &mut conf) };
            if result < 0 {
                return Err(io::Error::last_os_error());
            }
            let filled = usize::try_from(conf.ifc_len).unwrap_or(0) / size_of::<libc::ifreq>();
            // A full vector may be too small.
            if filled < room {
                requests.truncate(filled);
                return Ok(requests.iter().map(name).collect());
            }
            room *= 2;
        }
    }

    /// All that can be asked about one name or label.
    ///
    /// # Errors
    /// There is no interface of this name.
    pub fn interface(&self, name: &[u8]) -> io::Result<Interface> {
        let ask = |request| self.ask(name, request);
        let answer = ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: an ioctl that succeeds fills the member of the union that is read.
        let flags = unsafe { answer.ifr_ifru.ifru_flags };
        let hardware = ask(libc::SIOCGIFHWADDR)
            .map(|answer| hardware(&answer))
            .unwrap_or_default();
        // SAFETY: as above.
        let mtu = ask(libc::SIOCGIFMTU)
            .map(|a| unsafe { a.ifr_ifru.ifru_mtu })
            .unwrap_or(0);
        let map = ask(libc::SIOCGIFMAP)
            .map(|answer| map(&answer))
            .unwrap_or_default();
        let queue = ask(libc::SIOCGIFTXQLEN)
            // SAFETY: the answer is an int, as all int members of the union are.
            .map(|a| unsafe { a.ifr_ifru.ifru_metric })
            .ok();
        let addr = |request| ask(request).map(|answer| ipv4(&answer));
        let zero = Ipv4Addr::UNSPECIFIED;
        let inet = addr(libc::SIOCGIFADDR).ok().map(|own| Inet {
            addr: own,
            destination: addr(libc::SIOCGIFDSTADDR).unwrap_or(zero),
            broadcast: addr(libc::SIOCGIFBRDADDR).unwrap_or(zero),
            mask: addr(libc::SIOCGIFNETMASK).unwrap_or(zero),
        });
        Ok(Interface {
            name: name.to_vec(),
            flags,
            mtu,
            counters: None,
            inet,
            inet6: Vec::new(),
            hardware,
            queue,
            map,
        })
    }

    fn ask(&self, name: &[u8], request: libc::Ioctl) -> io::Result<libc::ifreq> {
        // SAFETY: an ifreq is integers, for which zero is a value.
        let mut ifreq: libc::ifreq = unsafe { mem::zeroed() };
        // The last byte stays 0.
        for (to, from) in ifreq.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name) {
            *to = *from as libc::c_char;
        }
        // SAFETY: the kernel reads and writes one ifreq, which outlives the call.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), request, &mut ifreq) } {
            0.. => Ok(ifreq),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn name(request: &libc::ifreq) -> Vec<u8> {
    request
        .ifr_name
        .iter()
        .map(|&char| char as u8)
        .take_while(|&byte| byte != 0)
        .collect()
}

/// The address that an ioctl gave.
fn ipv4(answer: &libc::ifreq) -> Ipv4Addr {
    // SAFETY: the union is plain bytes, filled by the kernel with a sockaddr_in.
    let [_, _, a, b, c, d, ..] = unsafe { answer.ifr_ifru.ifru_addr }
        .sa_data
        .map(|b| b as u8);
    Ipv4Addr::new(a, b, c, d)
}

fn hardware(answer: &libc::ifreq) -> Hardware {
    /// What the reference keeps of an address.
    const KEPT: usize = 8;
    // SAFETY: the union is plain bytes, filled by the kernel with a sockaddr.
    let from = unsafe { answer.ifr_ifru.ifru_hwaddr };
    let mut addr = from.sa_data.map(|byte| byte as u8);
    addr[KEPT..].fill(0);
    Hardware {
        kind: from.sa_family,
        addr,
    }
}

fn map(answer: &libc::ifreq) -> Map {
    // SAFETY: the union is plain bytes, filled by the kernel with an ifmap.
    let map = unsafe { answer.ifr_ifru.ifru_map };
    Map {
        mem_start: map.mem_start,
        mem_end: map.mem_end,
        base_addr: map.base_addr,
        irq: map.irq,
        dma: map.dma,
    }
}
