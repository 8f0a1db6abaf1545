//! A SYN flood: each SYN comes from another address and port, and nobody answers what the kernel
//! answers.

use std::{
    fs::File,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use crate::{
    netns::Net,
    packet::{SYN, Segment},
    tun::KERNEL_V4,
};

/// Addresses behind the device that SYNs come from, each with all ports from [`FIRST_PORT`] on.
const HOSTS: u32 = 240;
const FIRST_PORT: u32 = 1024;
const PORTS: u32 = 60_000;

/// Who floods one listener.
pub struct Flood {
    device: File,
    to: SocketAddr,
    sent: u32,
}

impl Flood {
    /// Against a listener on the kernel's address on the TUN device.
    pub fn new(net: &Net, port: u16) -> Self {
        Self {
            device: net.tun().device(),
            to: SocketAddr::new(KERNEL_V4.into(), port),
            sent: 0,
        }
    }

    /// Sends so many SYNs as fast as it can; how long that took, the kernel's work included.
    pub fn send(&mut self, count: u32) -> Duration {
        let begin = Instant::now();
        for _ in 0..count {
            let [.., host] = (10 + self.sent % HOSTS).to_be_bytes();
            let port = FIRST_PORT + self.sent / HOSTS % PORTS;
            let syn = Segment {
                src: SocketAddr::new(Ipv4Addr::new(10, 9, 0, host).into(), port as u16),
                dst: self.to,
                seq: self.sent,
                ack: 0,
                flags: SYN,
                window: 60_000,
                payload: Vec::new(),
            };
            self.device
                .write_all(&syn.to_packet())
                .expect("write a SYN to the device");
            self.sent += 1;
        }
        begin.elapsed()
    }
}
