//! A TUN device: the kernel's packets come out of it, the test's go in.

use std::{
    cell::RefCell,
    fs,
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use nix::{net::if_::if_nametoindex, sys::socket::AddressFamily};

use crate::{
    netns::{ifreq, interface_ioctl, up},
    packet::Segment,
    wait,
};

const NAME: &str = "tun0";
/// Of linux/if_addr.h.
const IFA_F_TENTATIVE: u8 = 0x40;
/// The kernel's own address on the device.
pub const KERNEL_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The kernel's own IPv6 address on the device.
pub const KERNEL_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 1);
/// An address that only the test answers for.
pub const PEER_V4: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// An IPv6 address that only the test answers for.
pub const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, 2);

/// The device, and what has been read from it but is not yet for anybody.
pub struct Tun {
    file: RefCell<File>,
    waiting: RefCell<Vec<Segment>>,
}

impl Tun {
    /// Makes the device in the current namespace, with both addresses and up.
    pub(crate) fn open() -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .expect("open /dev/net/tun (remedy: modprobe tun)");
        let mut request = ifreq(NAME);
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
        // SAFETY: TUNSETIFF takes an `ifreq`, which outlives the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert!(
            result == 0,
            "TUNSETIFF: {}",
            std::io::Error::last_os_error()
        );
        address_v4();
        up(NAME);
        address_v6();
        Self {
            file: RefCell::new(file),
            waiting: RefCell::default(),
        }
    }

    /// Another handle of the device, for another thread.
    pub(crate) fn device(&self) -> File {
        let device = self.file.borrow().try_clone();
        device.expect("duplicate the device's descriptor")
    }

    /// Hands a packet to the kernel.
    pub fn send(&self, segment: &Segment) {
        let packet = segment.to_packet();
        let sent = self.file.borrow_mut().write(&packet);
        assert_eq!(sent.ok(), Some(packet.len()), "write {segment:?} to {NAME}");
    }

    /// The oldest segment that the kernel has sent from `kernel` (if given) to `peer` and that is
    /// `wanted`; those before it on the same connection are dropped, others are kept.
    pub(crate) fn take(
        &self,
        peer: SocketAddr,
        kernel: Option<SocketAddr>,
        wanted: impl Fn(&Segment) -> bool,
    ) -> Option<Segment> {
        self.read_all();
        let mut waiting = self.waiting.borrow_mut();
        let ours = |segment: &Segment| {
            segment.dst == peer && kernel.is_none_or(|kernel| segment.src == kernel)
        };
        let at = waiting
            .iter()
            .position(|segment| ours(segment) && wanted(segment))?;
        let found = waiting.remove(at);
        let mut index = 0;
        waiting.retain(|segment| {
            index += 1;
            index > at || !ours(segment)
        });
        Some(found)
    }

    fn read_all(&self) {
        let mut packet = [0; 65536];
        loop {
            match self.file.borrow_mut().read(&mut packet) {
                Ok(length) => self
                    .waiting
                    .borrow_mut()
                    .extend(Segment::parse(&packet[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("read {NAME}: {error}"),
            }
        }
    }
}

/// The kernel's address that faces `peer`.
pub fn kernel_facing(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => KERNEL_V4.into(),
        IpAddr::V6(_) => KERNEL_V6.into(),
    }
}

fn address_v4() {
    let set = |request: libc::Ioctl, address: Ipv4Addr| {
        let mut argument = ifreq(NAME);
        let sockaddr = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(address.octets()),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: `sockaddr_in` and `sockaddr` have the same size, and any bytes are a `sockaddr`.
        argument.ifr_ifru.ifru_addr =
            unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(sockaddr) };
        interface_ioctl(AddressFamily::Inet, request, &mut argument);
    };
    set(libc::SIOCSIFADDR, KERNEL_V4);
    set(libc::SIOCSIFNETMASK, Ipv4Addr::new(255, 255, 255, 0));
}

fn address_v6() {
    let index = if_nametoindex(NAME).expect("index of the TUN device");
    let mut argument = libc::in6_ifreq {
        ifr6_addr: libc::in6_addr {
            s6_addr: KERNEL_V6.octets(),
        },
        ifr6_prefixlen: 64,
        ifr6_ifindex: index.cast_signed(),
    };
    interface_ioctl(AddressFamily::Inet6, libc::SIOCSIFADDR, &mut argument);
    // The device needs no duplicate address detection, but the kernel finds that out later, in a
    // work queue; until then it neither uses the address nor takes packets for it.
    wait::until("the IPv6 addresses of the TUN device to be usable", || {
        let addresses = fs::read_to_string("/proc/thread-self/net/if_inet6").ok()?;
        let flags = addresses
            .lines()
            .filter(|line| line.ends_with(NAME))
            .filter_map(|line| line.split_whitespace().nth(4))
            .filter_map(|flags| u8::from_str_radix(flags, 16).ok());
        let flags: Vec<_> = flags.collect();
        let usable = flags.iter().all(|flags| flags & IFA_F_TENTATIVE == 0);
        (usable && !flags.is_empty()).then_some(())
    });
}
