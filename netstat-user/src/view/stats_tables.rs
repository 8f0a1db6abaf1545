//! The words of `-s`: which counters have a text, and when it is printed.
//!
//! The reference finds its texts by a binary search in lists that are not quite sorted, so some
//! counters that look as if they belong here print as `Key: value` there; they are left out.

/// When a counter is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Also when it is 0.
    Always,
    /// Unless it is 0.
    Positive,
    /// In the list of ICMP messages received.
    HistIn,
    /// In the list of ICMP messages sent.
    HistOut,
    /// Not at all.
    Never,
}

use Class::{Always, HistIn, HistOut, Never, Positive};

/// A counter's key, its text with `%` for the value, and when it is printed.
pub(super) type Text = (&'static str, &'static str, Class);

/// Section `Ip`.
#[rustfmt::skip]
pub(super) const IP: &[Text] = &[
    ("InReceives", "% total packets received", Always),
    ("InHdrErrors", "% with invalid headers", Positive),
    ("InAddrErrors", "% with invalid addresses", Positive),
    ("ForwDatagrams", "% forwarded", Always),
    ("InUnknownProtos", "% with unknown protocol", Positive),
    ("InDiscards", "% incoming packets discarded", Always),
    ("InDelivers", "% incoming packets delivered", Always),
    ("OutRequests", "% requests sent out", Always),
    ("OutDiscards", "% outgoing packets dropped", Positive),
    ("OutNoRoutes", "% dropped because of missing route", Positive),
    ("ReasmTimeout", "% fragments dropped after timeout", Positive),
    ("ReasmReqds", "% reassemblies required", Positive),
    ("ReasmOKs", "% packets reassembled ok", Positive),
    ("ReasmFails", "% packet reassemblies failed", Positive),
    ("FragOKs", "% outgoing packets fragmented ok", Positive),
    ("FragFails", "% outgoing packets failed fragmentation", Positive),
    ("FragCreates", "% fragments created", Positive),
    ("DefaultTTL", "", Never),
];

/// Section `Icmp`.
#[rustfmt::skip]
pub(super) const ICMP: &[Text] = &[
    ("InMsgs", "% ICMP messages received", Always),
    ("InErrors", "% input ICMP message failed", Always),
    ("InDestUnreachs", "destination unreachable: %", HistIn),
    ("InTimeExcds", "timeout in transit: %", HistIn),
    ("InParmProbs", "wrong parameters: %", HistIn),
    ("InSrcQuenchs", "source quenches: %", HistIn),
    ("InRedirects", "redirects: %", HistIn),
    ("InEchos", "echo requests: %", HistIn),
    ("InEchoReps", "echo replies: %", HistIn),
    ("InTimestamps", "timestamp request: %", HistIn),
    ("InTimestampReps", "timestamp reply: %", HistIn),
    ("InAddrMasks", "address mask request: %", HistIn),
    ("InAddrMaskReps", "address mask replies: %", HistIn),
    ("OutMsgs", "% ICMP messages sent", Always),
    ("OutErrors", "% ICMP messages failed", Always),
    ("OutDestUnreachs", "destination unreachable: %", HistOut),
    ("OutTimeExcds", "time exceeded: %", HistOut),
    ("OutParmProbs", "wrong parameters: %", HistOut),
    ("OutSrcQuenchs", "source quench: %", HistOut),
    ("OutRedirects", "redirect: %", HistOut),
    ("OutEchos", "echo requests: %", HistOut),
    ("OutEchoReps", "echo replies: %", HistOut),
    ("OutTimestamps", "timestamp requests: %", HistOut),
    ("OutTimestampReps", "timestamp replies: %", HistOut),
    ("OutAddrMasks", "address mask requests: %", HistOut),
    ("OutAddrMaskReps", "address mask replies: %", HistOut),
];

/// Section `Tcp`.
#[rustfmt::skip]
pub(super) const TCP: &[Text] = &[
    ("ActiveOpens", "% active connection openings", Always),
    ("PassiveOpens", "% passive connection openings", Always),
    ("AttemptFails", "% failed connection attempts", Always),
    ("EstabResets", "% connection resets received", Always),
    ("CurrEstab", "% connections established", Always),
    ("InSegs", "% segments received", Always),
    ("OutSegs", "% segments sent out", Always),
    ("RetransSegs", "% segments retransmitted", Always),
    ("InErrs", "% bad segments received", Always),
    ("OutRsts", "% resets sent", Always),
    ("RtoAlgorithm", "", Never),
    ("RtoMin", "", Never),
    ("RtoMax", "", Never),
    ("MaxConn", "", Never),
];

/// Section `Udp`.
#[rustfmt::skip]
pub(super) const UDP: &[Text] = &[
    ("InDatagrams", "% packets received", Always),
    ("NoPorts", "% packets to unknown port received", Always),
    ("InErrors", "% packet receive errors", Always),
    ("OutDatagrams", "% packets sent", Always),
    ("RcvbufErrors", "% receive buffer errors", Always),
    ("SndbufErrors", "% send buffer errors", Always),
];

/// Section `TcpExt`.
#[rustfmt::skip]
pub(super) const TCP_EXT: &[Text] = &[
    ("SyncookiesSent", "% SYN cookies sent", Positive),
    ("SyncookiesRecv", "% SYN cookies received", Positive),
    ("SyncookiesFailed", "% invalid SYN cookies received", Positive),
    ("EmbryonicRsts", "% resets received for embryonic SYN_RECV sockets", Positive),
    ("PruneCalled", "% packets pruned from receive queue because of socket buffer overrun", Positive),
    ("RcvPruned", "% packets pruned from receive queue", Positive),
    ("OfoPruned", "% packets dropped from out-of-order queue because of socket buffer overrun", Positive),
    ("OutOfWindowIcmps", "% ICMP packets dropped because they were out-of-window", Positive),
    ("LockDroppedIcmps", "% ICMP packets dropped because socket was locked", Positive),
    ("TW", "% TCP sockets finished time wait in fast timer", Positive),
    ("TWRecycled", "% time wait sockets recycled by time stamp", Positive),
    ("PAWSActive", "% active connections rejected because of time stamp", Positive),
    ("PAWSEstab", "% packets rejected in established connections because of timestamp", Positive),
    ("DelayedACKs", "% delayed acks sent", Positive),
    ("DelayedACKLocked", "% delayed acks further delayed because of locked socket", Positive),
    ("DelayedACKLost", "Quick ack mode was activated % times", Positive),
    ("ListenOverflows", "% times the listen queue of a socket overflowed", Positive),
    ("ListenDrops", "% SYNs to LISTEN sockets dropped", Positive),
    ("TCPHPHits", "% packet headers predicted", Always),
    ("TCPPureAcks", "% acknowledgments not containing data payload received", Positive),
    ("TCPHPAcks", "% predicted acknowledgments", Positive),
    ("TCPRenoRecovery", "% times recovered from packet loss due to fast retransmit", Positive),
    ("TCPSACKReorder", "Detected reordering % times using SACK", Positive),
    ("TCPRenoReorder", "Detected reordering % times using reno fast retransmit", Positive),
    ("TCPTSReorder", "Detected reordering % times using time stamp", Positive),
    ("TCPFullUndo", "% congestion windows fully recovered without slow start", Positive),
    ("TCPPartialUndo", "% congestion windows partially recovered using Hoe heuristic", Positive),
    ("TCPLossUndo", "% congestion windows recovered without slow start after partial ack", Positive),
    ("TCPRenoFailures", "% timeouts after reno fast retransmit", Positive),
    ("TCPLossFailures", "% timeouts in loss state", Positive),
    ("TCPFastRetrans", "% fast retransmits", Positive),
    ("TCPSlowStartRetrans", "% retransmits in slow start", Positive),
    ("TCPRcvCollapsed", "% packets collapsed in receive queue due to low socket buffer", Positive),
    ("TCPAbortOnData", "% connections reset due to unexpected data", Positive),
    ("TCPAbortOnClose", "% connections reset due to early user close", Positive),
    ("TCPAbortOnMemory", "% connections aborted due to memory pressure", Positive),
    ("TCPAbortOnTimeout", "% connections aborted due to timeout", Positive),
    ("TCPAbortOnLinger", "% connections aborted after user close in linger timeout", Positive),
    ("TCPAbortFailed", "% times unable to send RST due to no memory", Positive),
    ("TCPMemoryPressures", "TCP ran low on memory % times", Positive),
    ("PAWSPassive", "% passive connections rejected because of time stamp", Positive),
    ("SockMallocOOM", "Ran % times out of system memory during packet sending", Positive),
    ("TCPAbortOnSyn", "% connections reset due to unexpected SYN", Positive),
    ("TCPDirectCopyFromBacklog", "% bytes directly in process context from backlog", Positive),
    ("TCPFACKReorder", "Detected reordering % times using FACK", Positive),
    ("TCPForwardRetrans", "% forward retransmits", Positive),
    ("TCPHPHitsToUser", "% packet headers predicted and directly queued to user", Positive),
    ("TCPLostRetransmits", "% retransmits lost", Positive),
    ("TCPPrequeued", "% packets directly queued to recvmsg prequeue", Positive),
    ("TCPSchedulerFailed", "% times receiver scheduled too late for direct processing", Positive),
];

/// Section `Ip6`.
#[rustfmt::skip]
pub(super) const IP6: &[Text] = &[
    ("Ip6InReceives", "% total packets received", Always),
    ("Ip6InHdrErrors", "% with invalid headers", Positive),
    ("Ip6InTooBigErrors", "% with packets too big", Positive),
    ("Ip6InNoRoutes", "% incoming packets with no route", Positive),
    ("Ip6InAddrErrors", "% with invalid addresses", Positive),
    ("Ip6InUnknownProtos", "% with unknown protocol", Positive),
    ("Ip6InTruncatedPkts", "% with truncated packets", Positive),
    ("Ip6InDiscards", "% incoming packets discarded", Always),
    ("Ip6InDelivers", "% incoming packets delivered", Always),
    ("Ip6OutForwDatagrams", "% forwarded", Always),
    ("Ip6OutRequests", "% requests sent out", Always),
    ("Ip6OutDiscards", "% outgoing packets dropped", Positive),
    ("Ip6OutNoRoutes", "% dropped because of missing route", Positive),
    ("Ip6ReasmTimeout", "% fragments dropped after timeout", Positive),
    ("Ip6ReasmReqds", "% reassemblies required", Positive),
    ("Ip6ReasmOKs", "% packets reassembled ok", Positive),
    ("Ip6ReasmFails", "% packet reassemblies failed", Positive),
    ("Ip6FragOKs", "% outgoing packets fragmented ok", Positive),
    ("Ip6FragFails", "% outgoing packets failed fragmentation", Positive),
    ("Ip6FragCreates", "% fragments created", Positive),
    ("Ip6InMcastPkts", "% incoming multicast packets", Positive),
    ("Ip6OutMcastPkts", "% outgoing multicast packets", Positive),
];

/// Section `Icmp6`.
#[rustfmt::skip]
pub(super) const ICMP6: &[Text] = &[
    ("Icmp6InMsgs", "% ICMP messages received", Always),
    ("Icmp6InErrors", "% input ICMP message failed", Always),
    ("Icmp6OutMsgs", "% ICMP messages sent", Always),
    ("Icmp6InDestUnreachs", "destination unreachable: %", HistIn),
    ("Icmp6InPktTooBigs", "packets too big: %", HistIn),
    ("Icmp6InTimeExcds", "received ICMPv6 time exceeded: %", HistIn),
    ("Icmp6InParmProblems", "parameter problem: %", HistIn),
    ("Icmp6InEchos", "echo requests: %", HistIn),
    ("Icmp6InEchoReplies", "echo replies: %", HistIn),
    ("Icmp6InGroupMembQueries", "group member queries: %", HistIn),
    ("Icmp6InGroupMembResponses", "group member responses: %", HistIn),
    ("Icmp6InGroupMembReductions", "group member reductions: %", HistIn),
    ("Icmp6InRouterSolicits", "router solicits: %", HistIn),
    ("Icmp6InRouterAdvertisements", "router advertisement: %", HistIn),
    ("Icmp6InNeighborSolicits", "neighbour solicits: %", HistIn),
    ("Icmp6InNeighborAdvertisements", "neighbour advertisement: %", HistIn),
    ("Icmp6InRedirects", "redirects: %", HistIn),
    ("Icmp6OutDestUnreachs", "destination unreachable: %", HistOut),
    ("Icmp6OutPktTooBigs", "packets too big: %", HistOut),
    ("Icmp6OutTimeExcds", "sent ICMPv6 time exceeded: %", HistOut),
    ("Icmp6OutParmProblems", "parameter problem: %", HistOut),
    ("Icmp6OutEchos", "echo requests: %", HistOut),
    ("Icmp6OutEchoReplies", "echo replies: %", HistOut),
    ("Icmp6OutGroupMembQueries", "group member queries: %", HistOut),
    ("Icmp6OutGroupMembResponses", "group member responses: %", HistOut),
    ("Icmp6OutGroupMembReductions", "group member reductions: %", HistOut),
    ("Icmp6OutRouterSolicits", "router solicits: %", HistOut),
    ("Icmp6OutNeighborSolicits", "neighbor solicits: %", HistOut),
    ("Icmp6OutNeighborAdvertisements", "neighbor advertisements: %", HistOut),
    ("Icmp6OutRedirects", "redirects: %", HistOut),
];

/// Section `Udp6`.
#[rustfmt::skip]
pub(super) const UDP6: &[Text] = &[
    ("Udp6InDatagrams", "% packets received", Always),
    ("Udp6NoPorts", "% packets to unknown port received", Always),
    ("Udp6InErrors", "% packet receive errors", Always),
    ("Udp6OutDatagrams", "% packets sent", Always),
];

/// Section `Sctp`.
#[rustfmt::skip]
pub(super) const SCTP: &[Text] = &[
    ("SctpAborteds", "% Number of Aborteds ", Always),
    ("SctpActiveEstabs", "% Active Associations", Always),
    ("SctpChecksumErrors", "% Number of Packets with invalid Checksum", Always),
    ("SctpCurrEstab", "% Current Associations", Always),
    ("SctpFragUsrMsgs", "% Number of messages fragmented", Always),
    ("SctpInCtrlChunks", "% Number of control chunks received", Always),
    ("SctpInOrderChunks", "% Number of ordered chunks received", Always),
    ("SctpInSCTPPacks", "% Number of SCTP packets received", Always),
    ("SctpInUnorderChunks", "% Number of Unordered chunks received", Always),
    ("SctpOutCtrlChunks", "% Number of control chunks sent", Always),
    ("SctpOutOfBlues", "% Number of Out of Blue packets", Always),
    ("SctpOutOrderChunks", "% Number of ordered chunks sent", Always),
    ("SctpOutSCTPPacks", "% Number of SCTP packets sent", Always),
    ("SctpOutUnorderChunks", "% Number of Unordered chunks sent", Always),
    ("SctpPassiveEstabs", "% Passive Associations", Always),
    ("SctpReasmUsrMsgs", "% Number of messages reassembled ", Always),
    ("SctpShutdowns", "% Number of Graceful Terminations", Always),
];
