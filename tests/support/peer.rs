//! The other end of a connection, played by the test, which says exactly what it is told to and
//! then holds still.

use std::net::SocketAddr;

use crate::{
    packet::{ACK, FIN, RST, SYN, Segment},
    tun::Tun,
    wait,
};

const FIRST_SEQ: u32 = 1000;
const WINDOW: u16 = 60000;

/// One scripted end of one TCP connection.
pub struct Peer<'a> {
    tun: &'a Tun,
    own: SocketAddr,
    kernel: SocketAddr,
    /// Our next sequence number.
    seq: u32,
    /// The kernel's next sequence number, as far as we have seen.
    ack: u32,
    window: u16,
}

impl<'a> Peer<'a> {
    /// Waits for the kernel to call `own`, and does not answer.
    pub fn called(tun: &'a Tun, own: SocketAddr) -> Self {
        let syn = wait::until("the kernel's SYN", || {
            tun.take(own, None, |segment| segment.flags & (SYN | ACK) == SYN)
        });
        Self {
            tun,
            own,
            kernel: syn.src,
            seq: FIRST_SEQ,
            ack: syn.seq.wrapping_add(1),
            window: WINDOW,
        }
    }

    /// Sends a SYN from `own` to `kernel` and waits for the answer, which it leaves unanswered.
    pub fn calls(tun: &'a Tun, own: SocketAddr, kernel: SocketAddr) -> Self {
        let mut peer = Self {
            tun,
            own,
            kernel,
            seq: FIRST_SEQ,
            ack: 0,
            window: WINDOW,
        };
        peer.send(SYN, &[]);
        let answer = peer.wait_for("the kernel's SYN+ACK", |segment| {
            segment.flags & (SYN | ACK) == SYN | ACK
        });
        peer.ack = answer.seq.wrapping_add(1);
        peer
    }

    /// The kernel's end of the connection.
    pub fn kernel(&self) -> SocketAddr {
        self.kernel
    }

    /// This end of the connection.
    pub fn own(&self) -> SocketAddr {
        self.own
    }

    /// Answers a call: the connection is established.
    pub fn answer(&mut self) {
        self.send(SYN | ACK, &[]);
        self.wait_for("the kernel's ACK of our SYN", |segment| {
            segment.flags & ACK != 0
        });
    }

    /// Answers a call with a call: simultaneous open.
    pub fn cross_call(&mut self) {
        let ack = std::mem::take(&mut self.ack);
        self.send(SYN, &[]);
        self.ack = ack;
        self.wait_for("the kernel's SYN+ACK", |segment| {
            segment.flags & (SYN | ACK) == SYN | ACK
        });
    }

    /// Acknowledges all that was seen: ends a handshake that we began, acknowledges a FIN.
    pub fn acknowledge(&mut self) {
        self.send(ACK, &[]);
    }

    /// Sends data and waits until it is acknowledged.
    pub fn write(&mut self, data: &[u8]) {
        self.send(ACK, data);
        self.wait_acknowledged();
    }

    /// Says that no more data can be taken.
    pub fn close_window(&mut self) {
        self.window = 0;
        self.send(ACK, &[]);
    }

    /// Sends a FIN that acknowledges all that was seen, and waits until it is acknowledged.
    pub fn finish(&mut self) {
        self.send(FIN | ACK, &[]);
        self.wait_acknowledged();
    }

    /// Aborts the connection.
    pub fn reset(&mut self) {
        self.send(RST | ACK, &[]);
    }

    /// Waits for the kernel's FIN, and notes it as seen without acknowledging it.
    pub fn see_fin(&mut self) {
        let fin = self.see_fin_only();
        self.ack = fin.seq.wrapping_add(fin.length());
    }

    /// Waits for the kernel's FIN, which later segments do not acknowledge.
    pub fn see_fin_only(&mut self) -> Segment {
        self.wait_for("the kernel's FIN", |segment| segment.flags & FIN != 0)
    }

    fn send(&mut self, flags: u8, payload: &[u8]) {
        let segment = Segment {
            src: self.own,
            dst: self.kernel,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            payload: payload.to_vec(),
        };
        self.seq = self.seq.wrapping_add(segment.length());
        self.tun.send(&segment);
    }

    fn wait_acknowledged(&mut self) {
        let seq = self.seq;
        self.wait_for("the kernel's ACK of what we sent", |segment| {
            segment.flags & ACK != 0 && segment.ack == seq
        });
    }

    fn wait_for(&self, what: &str, wanted: impl Fn(&Segment) -> bool) -> Segment {
        wait::until(what, || self.tun.take(self.own, Some(self.kernel), &wanted))
    }
}
