//! A way into every TCP state, and the rows that netstat shows there.
//!
//! The other end is a [`Peer`] behind the TUN device, so that the kernel stays where it was brought
//! until the test goes on.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

use crate::{
    netns::Net,
    oracle::real,
    peer::Peer,
    procs::{Actor, Fd},
    row::Row,
    tun::{PEER_V4, PEER_V6, kernel_facing},
    wait,
};

/// The options whose output [`Row`] reads.
pub const COLUMNS: [&str; 1] = ["-tanpeo"];

/// No user of the machine, and not root: minisocks show 0 instead.
const UID: u32 = 12345;

/// Which sockets speak to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// IPv4 sockets.
    V4,
    /// IPv6 sockets.
    V6,
    /// IPv6 sockets that speak IPv4.
    Dual,
}

/// All of them.
pub const STACKS: [Stack; 3] = [Stack::V4, Stack::V6, Stack::Dual];

/// A state, and where there is more than one way into it, which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A listener.
    Listen,
    /// A call that is never answered.
    SynSent,
    /// A call to a listener that never completes.
    SynRecv,
    /// Two calls that meet.
    SimultaneousOpen,
    /// Called, and answered.
    Established,
    /// Accepted by a listener.
    Accepted,
    /// Established, and still in the listener's queue.
    Unaccepted,
    /// With data that nobody reads.
    ReceivedData,
    /// With data that nobody acknowledges.
    SentData,
    /// With the keepalive timer.
    KeepAlive,
    /// With data for which the peer has no window.
    ZeroWindow,
    /// FIN sent by shutdown, not acknowledged.
    FinWait1,
    /// FIN sent by close, not acknowledged.
    FinWait1Orphan,
    /// FIN sent by shutdown, acknowledged: still a full socket.
    FinWait2,
    /// FIN sent by close, acknowledged: a minisocket.
    FinWait2Mini,
    /// FINs exchanged and acknowledged.
    TimeWait,
    /// FIN received.
    CloseWait,
    /// FIN received, then sent by shutdown.
    LastAck,
    /// FIN received, then sent by close.
    LastAckOrphan,
    /// FINs that cross; the socket is still owned.
    Closing,
    /// FINs that cross; the socket is closed.
    ClosingOrphan,
    /// Reset by the peer and still open: netstat does not list it.
    Reset,
    /// Only bound: netstat does not list it.
    Bound,
}

/// Every way.
pub const WAYS: [Way; 23] = [
    Way::Listen,
    Way::SynSent,
    Way::SynRecv,
    Way::SimultaneousOpen,
    Way::Established,
    Way::Accepted,
    Way::Unaccepted,
    Way::ReceivedData,
    Way::SentData,
    Way::KeepAlive,
    Way::ZeroWindow,
    Way::FinWait1,
    Way::FinWait1Orphan,
    Way::FinWait2,
    Way::FinWait2Mini,
    Way::TimeWait,
    Way::CloseWait,
    Way::LastAck,
    Way::LastAckOrphan,
    Way::Closing,
    Way::ClosingOrphan,
    Way::Reset,
    Way::Bound,
];

/// Sockets that hold still in the state they were brought to, while this lives.
pub struct Scene<'a> {
    /// Their owner.
    pub actor: Actor,
    /// The other end, if there is one.
    pub peer: Option<Peer<'a>>,
    /// Exactly the rows that they have in netstat.
    pub rows: Vec<Row>,
}

/// Brings sockets to a state, and returns when netstat shows the rows that the state promises.
///
/// # Panics
/// When netstat does not show them in time.
#[track_caller]
pub fn reach(net: &Net, way: Way, stack: Stack) -> Scene<'_> {
    let actor = net.actor();
    actor.tell(format_args!("setuid {UID}"));
    let scene = Stage { net, actor, stack }.play(way);
    let mut seen = Vec::new();
    let shown = wait::try_until(|| {
        seen = Row::parse_all(&real(net, &COLUMNS).stdout);
        scene
            .rows
            .iter()
            .all(|row| seen.contains(row))
            .then_some(())
    });
    assert!(
        shown.is_some(),
        "{way:?} {stack:?}: netstat should show\n{}\nand shows\n{}",
        list(&scene.rows),
        list(&seen)
    );
    scene
}

fn list(rows: &[Row]) -> String {
    let lines: Vec<_> = rows.iter().map(|row| format!("  {row}")).collect();
    lines.join("\n")
}

/// Where a scene is made.
struct Stage<'a> {
    net: &'a Net,
    actor: Actor,
    stack: Stack,
}

impl<'a> Stage<'a> {
    fn play(self, way: Way) -> Scene<'a> {
        match way {
            Way::Listen => {
                let (_, address) = self.listen();
                let listener = self.listener_row(address, 0);
                self.scene(None, vec![listener])
            }
            Way::Bound => {
                self.actor.tell(format_args!("bind {}", self.any()));
                self.scene(None, Vec::new())
            }
            Way::SynSent => {
                let (_, peer) = self.call();
                let row = self.row(&peer, "SYN_SENT");
                self.scene(Some(peer), vec![row.sending(1).on("on")])
            }
            Way::SimultaneousOpen => {
                let (_, mut peer) = self.call();
                peer.cross_call();
                let row = self.row(&peer, "SYN_RECV");
                self.scene(Some(peer), vec![row.sending(1).on("on")])
            }
            Way::SynRecv | Way::Unaccepted | Way::Accepted => self.play_listener(way),
            Way::Reset => {
                let (_, mut peer) = self.connect();
                peer.reset();
                self.scene(Some(peer), Vec::new())
            }
            _ => self.play_connection(way),
        }
    }

    fn play_listener(self, way: Way) -> Scene<'a> {
        let (listener, address) = self.listen();
        let own = self.peer_address();
        let kernel = SocketAddr::new(kernel_facing(own.ip()), address.port());
        let mut peer = Peer::calls(self.net.tun(), own, kernel);
        if way == Way::SynRecv {
            let row = self.row(&peer, "SYN_RECV").request().on("on");
            let listener = self.listener_row(address, 0);
            return self.scene(Some(peer), vec![listener, row]);
        }
        peer.acknowledge();
        let mut row = self.row(&peer, "ESTABLISHED");
        let mut queue = 1;
        if way == Way::Accepted {
            self.actor.accept(listener);
            queue = 0;
        } else {
            row = row.orphan();
        }
        let listener = self.listener_row(address, queue);
        self.scene(Some(peer), vec![listener, row])
    }

    fn play_connection(self, way: Way) -> Scene<'a> {
        let (fd, mut peer) = self.connect();
        let actor = &self.actor;
        let row = |peer: &Peer<'_>, state| self.row(peer, state);
        let row = match way {
            Way::Established => row(&peer, "ESTABLISHED"),
            Way::ReceivedData => {
                peer.write(&[b'x'; 100]);
                row(&peer, "ESTABLISHED").receiving(100)
            }
            Way::SentData => {
                assert_eq!(actor.write(fd, 300), 300, "a send buffer holds 300 bytes");
                row(&peer, "ESTABLISHED").sending(300).on("on")
            }
            Way::KeepAlive => {
                actor.tell(format_args!("keepalive {fd}"));
                row(&peer, "ESTABLISHED").on("keepalive")
            }
            Way::ZeroWindow => {
                peer.close_window();
                assert_eq!(actor.write(fd, 300), 300, "a send buffer holds 300 bytes");
                row(&peer, "ESTABLISHED").sending(300).on("probe")
            }
            Way::FinWait1 => {
                actor.shut_down(fd);
                row(&peer, "FIN_WAIT1").sending(1).on("on")
            }
            Way::FinWait1Orphan => {
                actor.close(fd);
                row(&peer, "FIN_WAIT1").sending(1).on("on").orphan()
            }
            Way::FinWait2 => {
                actor.shut_down(fd);
                peer.see_fin();
                peer.acknowledge();
                row(&peer, "FIN_WAIT2")
            }
            Way::FinWait2Mini => {
                actor.close(fd);
                peer.see_fin();
                peer.acknowledge();
                row(&peer, "FIN_WAIT2").mini()
            }
            Way::TimeWait => {
                actor.close(fd);
                peer.see_fin();
                peer.finish();
                row(&peer, "TIME_WAIT").mini()
            }
            Way::CloseWait => {
                peer.finish();
                row(&peer, "CLOSE_WAIT").receiving(1)
            }
            Way::LastAck | Way::LastAckOrphan => {
                peer.finish();
                let row = row(&peer, "LAST_ACK").receiving(1).sending(1).on("on");
                self.leave(fd, row, way == Way::LastAckOrphan)
            }
            Way::Closing | Way::ClosingOrphan => {
                let row = row(&peer, "CLOSING").receiving(1).sending(1).on("on");
                let row = self.leave(fd, row, way == Way::ClosingOrphan);
                peer.see_fin_only();
                peer.finish();
                row
            }
            other => panic!("{other:?} does not begin with a connection"),
        };
        self.scene(Some(peer), vec![row])
    }

    /// Sends a FIN by shutdown, or by close.
    fn leave(&self, fd: Fd, row: Row, close: bool) -> Row {
        if close {
            self.actor.close(fd);
            row.orphan()
        } else {
            self.actor.shut_down(fd);
            row
        }
    }

    fn scene(self, peer: Option<Peer<'a>>, rows: Vec<Row>) -> Scene<'a> {
        Scene {
            actor: self.actor,
            peer,
            rows,
        }
    }

    fn any(&self) -> &'static str {
        match self.stack {
            Stack::V4 => "0.0.0.0:0",
            Stack::V6 | Stack::Dual => "[::]:0",
        }
    }

    fn listen(&self) -> (Fd, SocketAddr) {
        self.actor.listen(self.any())
    }

    /// An address of the peer that no connection has had before.
    fn peer_address(&self) -> SocketAddr {
        static PORT: AtomicU16 = AtomicU16::new(7000);
        let ip: IpAddr = match self.stack {
            Stack::V4 | Stack::Dual => PEER_V4.into(),
            Stack::V6 => PEER_V6.into(),
        };
        SocketAddr::new(ip, PORT.fetch_add(1, Ordering::Relaxed))
    }

    /// A call that the peer has heard.
    fn call(&self) -> (Fd, Peer<'a>) {
        let tun = self.net.tun();
        let own = self.peer_address();
        let called = match (self.stack, own.ip()) {
            (Stack::Dual, IpAddr::V4(ip)) => mapped(ip, own.port()),
            _ => own,
        };
        let (fd, _) = self.actor.call(called);
        (fd, Peer::called(tun, own))
    }

    fn connect(&self) -> (Fd, Peer<'a>) {
        let (fd, mut peer) = self.call();
        peer.answer();
        (fd, peer)
    }

    fn proto(&self) -> String {
        let proto = match self.stack {
            Stack::V4 => "tcp",
            Stack::V6 | Stack::Dual => "tcp6",
        };
        proto.into()
    }

    fn listener_row(&self, address: SocketAddr, queue: u32) -> Row {
        let any = if self.stack == Stack::V4 {
            "0.0.0.0"
        } else {
            "::"
        };
        Row {
            recv_q: queue,
            local: format!("{any}:{}", address.port()),
            remote: format!("{any}:*"),
            ..self.plain("LISTEN")
        }
    }

    /// The row of a connection that owes nothing and is owned.
    fn row(&self, peer: &Peer<'_>, state: &str) -> Row {
        let cell = |address: SocketAddr| format!("{}:{}", address.ip(), address.port());
        Row {
            local: cell(peer.kernel()),
            remote: cell(peer.own()),
            ..self.plain(state)
        }
    }

    fn plain(&self, state: &str) -> Row {
        Row {
            proto: self.proto(),
            recv_q: 0,
            send_q: 0,
            local: String::new(),
            remote: String::new(),
            state: state.into(),
            uid: UID,
            inode: true,
            owner: Some(self.actor.pid()),
            timer: "off".into(),
        }
    }
}

fn mapped(ip: Ipv4Addr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_ipv6_mapped().into(), port)
}
