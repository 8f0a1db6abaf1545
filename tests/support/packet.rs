//! TCP segments in IPv4 and IPv6 packets, to bytes and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// No more data.
pub const FIN: u8 = 0x01;
/// Opens.
pub const SYN: u8 = 0x02;
/// Aborts.
pub const RST: u8 = 0x04;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

const TCP: u8 = 6;
const HOP_LIMIT: u8 = 64;
const TCP_HEADER: usize = 20;

/// One TCP segment without options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sender.
    pub src: SocketAddr,
    /// Receiver.
    pub dst: SocketAddr,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// Next byte expected from the other side.
    pub ack: u32,
    /// [`FIN`], [`SYN`], [`RST`], [`ACK`].
    pub flags: u8,
    /// Receive window, unscaled.
    pub window: u16,
    /// Data.
    pub payload: Vec<u8>,
}

impl Segment {
    /// How far the segment moves the sequence number: SYN and FIN count as one byte each.
    pub fn length(&self) -> u32 {
        let flags = u32::from(self.flags & SYN != 0) + u32::from(self.flags & FIN != 0);
        flags + u32::try_from(self.payload.len()).expect("a packet is small")
    }

    /// The IP packet.
    pub fn to_packet(&self) -> Vec<u8> {
        let mut tcp = Vec::with_capacity(TCP_HEADER + self.payload.len());
        tcp.extend(self.src.port().to_be_bytes());
        tcp.extend(self.dst.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([(TCP_HEADER as u8 / 4) << 4, self.flags]);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.payload);
        let length = u16::try_from(tcp.len()).expect("a segment fits a packet");
        let (header, pseudo) = match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => v4_header(src, dst, length),
            (IpAddr::V6(src), IpAddr::V6(dst)) => v6_header(src, dst, length),
            (src, dst) => panic!("no packet goes from {src} to {dst}"),
        };
        let sum = checksum(&[pseudo, tcp.clone()].concat());
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        [header, tcp].concat()
    }

    /// The segment in an IP packet; `None` for anything that is not TCP.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (src, dst, tcp): (IpAddr, IpAddr, &[u8]) = match packet.first()? >> 4 {
            4 => {
                if *packet.get(9)? != TCP {
                    return None;
                }
                let header = usize::from(packet[0] & 0xf) * 4;
                (
                    Ipv4Addr::from(bytes::<4>(packet, 12)?).into(),
                    Ipv4Addr::from(bytes::<4>(packet, 16)?).into(),
                    packet.get(header..)?,
                )
            }
            6 => {
                if *packet.get(6)? != TCP {
                    return None;
                }
                (
                    Ipv6Addr::from(bytes::<16>(packet, 8)?).into(),
                    Ipv6Addr::from(bytes::<16>(packet, 24)?).into(),
                    packet.get(40..)?,
                )
            }
            _ => return None,
        };
        let header = usize::from(*tcp.get(12)? >> 4) * 4;
        Some(Self {
            src: SocketAddr::new(src, u16::from_be_bytes(bytes(tcp, 0)?)),
            dst: SocketAddr::new(dst, u16::from_be_bytes(bytes(tcp, 2)?)),
            seq: u32::from_be_bytes(bytes(tcp, 4)?),
            ack: u32::from_be_bytes(bytes(tcp, 8)?),
            flags: *tcp.get(13)?,
            window: u16::from_be_bytes(bytes(tcp, 14)?),
            payload: tcp.get(header..)?.to_vec(),
        })
    }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

/// The header, and the pseudo header of RFC 9293 3.1 that the TCP checksum covers.
fn v4_header(src: Ipv4Addr, dst: Ipv4Addr, length: u16) -> (Vec<u8>, Vec<u8>) {
    let mut header = vec![0x45, 0];
    header.extend((20 + length).to_be_bytes());
    header.extend([0, 0, 0x40, 0, HOP_LIMIT, TCP, 0, 0]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut pseudo = [src.octets(), dst.octets()].concat();
    pseudo.extend([0, TCP]);
    pseudo.extend(length.to_be_bytes());
    (header, pseudo)
}

/// The header, and the pseudo header of RFC 8200 8.1.
fn v6_header(src: Ipv6Addr, dst: Ipv6Addr, length: u16) -> (Vec<u8>, Vec<u8>) {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(length.to_be_bytes());
    header.extend([TCP, HOP_LIMIT]);
    header.extend(src.octets());
    header.extend(dst.octets());
    let mut pseudo = [src.octets(), dst.octets()].concat();
    pseudo.extend(u32::from(length).to_be_bytes());
    pseudo.extend([0, 0, 0, TCP]);
    (header, pseudo)
}

/// The Internet checksum, RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        let low = pair.get(1).copied().unwrap_or(0);
        sum + u32::from(u16::from_be_bytes([pair[0], low]))
    });
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
