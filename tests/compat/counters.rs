//! `-s`

use netstat_tests::fixture::{Bench, Random, cases};

const PAIRS: [(&str, &str); 7] = [
    (
        "Ip",
        "Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos \
         InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs \
         ReasmFails FragOKs FragFails FragCreates OutTransmits",
    ),
    (
        "Icmp",
        "InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs \
         InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps \
         OutMsgs OutErrors OutRateLimitGlobal OutDestUnreachs OutTimeExcds OutParmProbs \
         OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps \
         OutAddrMasks OutAddrMaskReps",
    ),
    ("IcmpMsg", "InType3 OutType3 InMsgs OutEchos"),
    (
        "Tcp",
        "RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets \
         CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors",
    ),
    (
        "Udp",
        "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors \
         IgnoredMulti MemErrors",
    ),
    ("UdpLite", "InDatagrams NoPorts InErrors OutDatagrams"),
    ("TcpX", "InSegs TW"),
];

const TCP_EXT: &str = "SyncookiesSent SyncookiesRecv SyncookiesFailed EmbryonicRsts PruneCalled \
    RcvPruned OfoPruned OutOfWindowIcmps LockDroppedIcmps ArpFilter TW TWRecycled TWKilled \
    PAWSActive PAWSEstab PAWSPassive DelayedACKs DelayedACKLocked DelayedACKLost ListenOverflows \
    ListenDrops TCPHPHits TCPPureAcks TCPHPAcks TCPRenoRecovery TCPSackRecovery TCPSACKReneging \
    TCPSACKReorder TCPRenoReorder TCPTSReorder TCPFACKReorder TCPFullUndo TCPPartialUndo \
    TCPDSACKUndo TCPLossUndo TCPLostRetransmit TCPLostRetransmits TCPRenoFailures TCPSackFailures \
    TCPLossFailures TCPFastRetrans TCPSlowStartRetrans TCPForwardRetrans TCPTimeouts \
    TCPLossProbes TCPRcvCollapsed TCPDSACKOldSent TCPDSACKRecv TCPAbortOnData TCPAbortOnClose \
    TCPAbortOnMemory TCPAbortOnTimeout TCPAbortOnLinger TCPAbortOnSyn TCPAbortFailed \
    TCPMemoryPressures TCPPrequeued TCPPrequeueDropped TCPDirectCopyFromBacklog \
    TCPDirectCopyFromPrequeue TCPHPHitsToUser TCPSchedulerFailed TCPDSackUndo TCPLoss \
    TCPRenoRecoveryFail TCPSackRecoveryFail TCPRenoRecoveryFailed SockMallocOOM TCPAOGood";

const SNMP6: &str = "Ip6InReceives Ip6InHdrErrors Ip6InTooBigErrors Ip6InNoRoutes \
    Ip6InAddrErrors Ip6InUnknownProtos Ip6InTruncatedPkts Ip6InDiscards Ip6InDelivers \
    Ip6OutForwDatagrams Ip6OutRequests Ip6OutDiscards Ip6OutNoRoutes Ip6ReasmTimeout \
    Ip6ReasmReqds Ip6ReasmOKs Ip6ReasmFails Ip6FragOKs Ip6FragFails Ip6FragCreates \
    Ip6InMcastPkts Ip6OutMcastPkts Ip6InOctets Ip6OutTransmits Icmp6InMsgs Icmp6InErrors \
    Icmp6OutMsgs Icmp6OutErrors Icmp6InCsumErrors Icmp6InDestUnreachs Icmp6InPktTooBigs \
    Icmp6InTimeExcds Icmp6InParmProblems Icmp6InEchos Icmp6InEchoReplies \
    Icmp6InGroupMembQueries Icmp6InGroupMembResponses Icmp6InGroupMembReductions \
    Icmp6InRouterSolicits Icmp6InRouterAdvertisements Icmp6InNeighborSolicits \
    Icmp6InNeighborAdvertisements Icmp6InRedirects Icmp6InMLDv2Reports Icmp6OutDestUnreachs \
    Icmp6OutPktTooBigs Icmp6OutTimeExcds Icmp6OutParmProblems Icmp6OutEchos \
    Icmp6OutEchoReplies Icmp6OutGroupMembQueries Icmp6OutGroupMembResponses \
    Icmp6OutGroupMembReductions Icmp6OutRouterSolicits Icmp6OutRouterAdvertisements \
    Icmp6OutNeighborSolicits Icmp6OutNeighborAdvertisements Icmp6OutRedirects Icmp6InType1 \
    Icmp6OutType143 Udp6InDatagrams Udp6NoPorts Udp6InErrors Udp6OutDatagrams \
    Udp6RcvbufErrors UdpLite6InDatagrams UdpLite6NoPorts";

const SCTP: &str = "SctpCurrEstab SctpActiveEstabs SctpPassiveEstabs SctpAborteds SctpShutdowns \
    SctpOutOfBlues SctpChecksumErrors SctpOutCtrlChunks SctpOutOrderChunks SctpOutUnorderChunks \
    SctpInCtrlChunks SctpInOrderChunks SctpInUnorderChunks SctpFragUsrMsgs SctpReasmUsrMsgs \
    SctpOutSCTPPacks SctpInSCTPPacks SctpT1InitExpireds";

fn shuffled<'a>(random: &mut Random, words: &'a str) -> Vec<&'a str> {
    let mut words: Vec<_> = words
        .split_whitespace()
        .filter(|_| !random.once_in(4))
        .collect();
    if random.once_in(2) {
        for at in (1..words.len()).rev() {
            words.swap(at, random.below(at + 1));
        }
    }
    if random.once_in(3) {
        words.insert(random.below(words.len() + 1), "Unknown");
    }
    words
}

fn value(random: &mut Random) -> String {
    match random.below(12) {
        0 => "-1".to_owned(),
        1 => random.extreme().to_string(),
        2..=5 => "0".to_owned(),
        _ => random.below(100).to_string(),
    }
}

fn pair(random: &mut Random, name: &str, keys: &str) -> String {
    let keys = shuffled(random, keys);
    let count = if random.once_in(20) {
        random.below(keys.len() + 1)
    } else {
        keys.len()
    };
    let values: Vec<_> = (0..count).map(|_| value(random)).collect();
    let blank = if random.once_in(15) { "\n" } else { "" };
    let colon = if random.once_in(40) { "" } else { ":" };
    format!(
        "{name}: {}\n{name}{colon} {}\n{blank}",
        keys.join(" "),
        values.join(" ")
    )
}

fn lines(random: &mut Random, words: &str) -> String {
    let words = shuffled(random, words);
    let mut line = |word: &&str| format!("{word}\t {}\n", value(random));
    words.iter().map(&mut line).collect()
}

#[test]
fn counters_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let random = &mut bench.random;
            let mut snmp = String::new();
            for (name, keys) in PAIRS {
                if !random.once_in(5) {
                    snmp += &pair(random, name, keys);
                }
            }
            let netstat = pair(random, "TcpExt", TCP_EXT) + &pair(random, "IpExt", "InNoRoutes A");
            let snmp6 = lines(random, SNMP6);
            let sctp = lines(random, SCTP);
            let options = random.options("s", "tuUSw");
            let options6 = random.options("s6", "tuUSw");
            for (file, text) in [
                ("snmp", snmp),
                ("netstat", netstat),
                ("snmp6", snmp6),
                ("sctp/snmp", sctp),
            ] {
                if !bench.random.once_in(15) {
                    bench.write(&format!("net/{file}"), text);
                }
            }
            for arguments in ["-s", "-s6", &options, &options6] {
                bench.compare(&[arguments]);
            }
        }
    });
}
