//! Lines of the event log: text for people, NDJSON for machines.
//!
//! The JSON schema is documented in `docs/log-schema.md`; [`SCHEMA`] is its version.

use std::io::Write as _;

use serde::Serialize;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use crate::conn::types::{Change, End, Endpoint, Owner, Side, Why};

use super::{addr, names::sanitized};

/// Version of the JSON schema, field `v`. It grows when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 3;

/// `AF_INET6`.
const AF_INET6: u16 = 10;

/// One line: a change with what only the world knows of it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The change.
    pub change: &'a Change,
    /// When, nanoseconds since 1970.
    pub wall_ns: u64,
    /// Offset of local time, for text.
    pub offset: UtcOffset,
    /// Inode number of the reader's network namespace: others are named.
    pub own_netns: u32,
    /// Name of the owner's program, untrusted; empty if unknown.
    pub program: &'a [u8],
}

/// `2026-11-23T19:25:00.123456 tcp LOCAL REMOTE OLD -> NEW SECONDS PID/PROGRAM PROVENANCE`, and at
/// the end of a connection ` life=SECONDS sent=BYTES received=BYTES retrans=SEGMENTS closed-by=SIDE
/// why=REASON`; what is not known is left out there. ` inferred` ends a line that no event told.
pub fn text(out: &mut Vec<u8>, line: &Line<'_>) {
    date(out, line.wall_ns, line.offset);
    out.push(b' ');
    message(out, line);
    out.push(b'\n');
}

/// The same without the date and the end of the line.
pub(super) fn message(out: &mut Vec<u8>, line: &Line<'_>) {
    let Line { change, .. } = line;
    let conn = &change.conn;
    if conn.netns != line.own_netns {
        // Writing to a Vec does not fail, here and below.
        let _ = write!(out, "netns={} ", conn.netns);
    }
    out.extend_from_slice(proto(conn.family).as_bytes());
    for end in [&conn.local, &conn.remote] {
        out.push(b' ');
        endpoint(out, end);
    }
    let from = change.from.map_or("?", |state| state.name());
    let _ = write!(out, " {from} -> {} ", conn.state.name());
    match change.in_from_ns {
        Some(ns) => {
            seconds(out, ns);
            out.push(b' ');
        }
        None => out.extend_from_slice(b"- "),
    }
    match conn.owner {
        Some(Owner {
            pid, provenance, ..
        }) => {
            let _ = write!(out, "{pid}/");
            sanitized(out, line.program);
            let _ = write!(out, " {}", provenance.name());
        }
        None => out.extend_from_slice(b"- unknown"),
    }
    if let Some(end) = &change.end {
        sum(out, end);
    }
    if change.inferred {
        out.extend_from_slice(b" inferred");
    }
}

fn sum(out: &mut Vec<u8>, end: &End) {
    if let Some(life_ns) = end.life_ns {
        out.extend_from_slice(b" life=");
        seconds(out, life_ns);
    }
    let tally = end.tally.unwrap_or_default();
    for (word, number) in [
        ("sent", tally.sent),
        ("received", tally.received),
        ("retrans", tally.retransmits),
    ] {
        if let Some(number) = number {
            let _ = write!(out, " {word}={number}");
        }
    }
    if let Some(side) = end.closed_by {
        let _ = write!(out, " closed-by={}", side.name());
    }
    if let Some(why) = end.why {
        let _ = write!(out, " why={}", why.name());
        if why == Why::Error {
            let _ = write!(out, ":{}", tally.errno);
        }
    }
}

fn seconds(out: &mut Vec<u8>, ns: u64) {
    let _ = write!(out, "{}.{:06}s", ns / 1_000_000_000, ns / 1000 % 1_000_000);
}

/// Local time to the microsecond.
fn date(out: &mut Vec<u8>, wall_ns: u64, offset: UtcOffset) {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]");
    let _ = instant(wall_ns).to_offset(offset).format_into(out, format);
}

fn instant(wall_ns: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(wall_ns))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn endpoint(out: &mut Vec<u8>, end: &Endpoint) {
    addr::numeric(out, end.ip());
    let _ = match end.port {
        0 => write!(out, ":*"),
        port => write!(out, ":{port}"),
    };
}

pub(super) fn proto(family: u16) -> &'static str {
    if family == AF_INET6 { "tcp6" } else { "tcp" }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    v: u32,
    event: &'static str,
    ts: String,
    ts_ns: u64,
    netns: u32,
    proto: &'static str,
    family: &'static str,
    local: JsonEnd,
    remote: JsonEnd,
    old: Option<&'static str>,
    new: &'static str,
    in_old_ns: Option<u64>,
    inferred: bool,
    direction: Option<&'static str>,
    owner: Option<JsonOwner<'a>>,
    end: Option<JsonSum>,
}

#[derive(Serialize)]
struct JsonSum {
    life_ns: Option<u64>,
    bytes_sent: Option<u64>,
    bytes_acked: Option<u64>,
    bytes_received: Option<u64>,
    retransmits: Option<u64>,
    closed_by: Option<&'static str>,
    why: Option<&'static str>,
    errno: Option<u32>,
}

#[derive(Serialize)]
struct JsonEnd {
    addr: String,
    port: u16,
}

#[derive(Serialize)]
struct JsonOwner<'a> {
    pid: u32,
    program: std::borrow::Cow<'a, str>,
    provenance: &'static str,
}

#[derive(Serialize)]
struct JsonLost {
    v: u32,
    event: &'static str,
    ts: String,
    ts_ns: u64,
    lost: u64,
    gaps: u64,
    healed: bool,
}

/// A change as one line of JSON.
pub fn json(out: &mut Vec<u8>, line: &Line<'_>) {
    let Change {
        conn,
        from,
        in_from_ns,
        end,
        inferred,
        ..
    } = *line.change;
    write_json(
        out,
        &JsonLine {
            v: SCHEMA,
            event: "state",
            ts: utc(line.wall_ns),
            ts_ns: line.wall_ns,
            netns: conn.netns,
            proto: proto(conn.family),
            family: if conn.family == AF_INET6 {
                "ipv6"
            } else {
                "ipv4"
            },
            local: json_end(&conn.local),
            remote: json_end(&conn.remote),
            old: from.map(|state| state.name()),
            new: conn.state.name(),
            in_old_ns: in_from_ns,
            inferred,
            owner: conn.owner.map(|owner| JsonOwner {
                pid: owner.pid,
                program: super::json::text(line.program),
                provenance: owner.provenance.name(),
            }),
            direction: conn.direction.map(|direction| direction.name()),
            end: end.map(json_sum),
        },
    );
}

fn json_sum(end: End) -> JsonSum {
    let tally = end.tally.unwrap_or_default();
    JsonSum {
        life_ns: end.life_ns,
        bytes_sent: tally.sent,
        bytes_acked: tally.acked,
        bytes_received: tally.received,
        retransmits: tally.retransmits,
        closed_by: end.closed_by.map(Side::name),
        why: end.why.map(Why::name),
        errno: end
            .tally
            .map(|tally| tally.errno)
            .filter(|errno| *errno != 0),
    }
}

/// That events were lost, as one line of JSON: `lost` and `gaps` count from the start.
pub fn json_lost(out: &mut Vec<u8>, wall_ns: u64, lost: u64, gaps: u64, healed: bool) {
    let line = JsonLost {
        v: SCHEMA,
        event: "lost",
        ts: utc(wall_ns),
        ts_ns: wall_ns,
        lost,
        gaps,
        healed,
    };
    write_json(out, &line);
}

#[derive(Serialize)]
struct JsonFlood {
    v: u32,
    event: &'static str,
    ts: String,
    ts_ns: u64,
    kept_out: u64,
}

/// That a SYN flood keeps half-open connections out of the log, as one line of JSON: `kept_out` counts
/// their events from the start.
pub fn json_flood(out: &mut Vec<u8>, wall_ns: u64, kept_out: u64) {
    let line = JsonFlood {
        v: SCHEMA,
        event: "flood",
        ts: utc(wall_ns),
        ts_ns: wall_ns,
        kept_out,
    };
    write_json(out, &line);
}

#[derive(Serialize)]
struct JsonDropped {
    v: u32,
    event: &'static str,
    ts: String,
    ts_ns: u64,
    lines: u64,
}

/// That lines were thrown away here since the output did not take them, as one line of JSON.
pub fn json_dropped(out: &mut Vec<u8>, wall_ns: u64, lines: u64) {
    let line = JsonDropped {
        v: SCHEMA,
        event: "dropped",
        ts: utc(wall_ns),
        ts_ns: wall_ns,
        lines,
    };
    write_json(out, &line);
}

#[derive(Serialize)]
struct JsonGap<'a> {
    v: u32,
    event: &'static str,
    ts: String,
    ts_ns: u64,
    since_ns: u64,
    reason: &'a str,
}

/// That nothing is known of what happened since a moment (nanoseconds since 1970), as one line of
/// JSON.
pub fn json_gap(out: &mut Vec<u8>, wall_ns: u64, since_ns: u64, reason: &str) {
    let line = JsonGap {
        v: SCHEMA,
        event: "gap",
        ts: utc(wall_ns),
        ts_ns: wall_ns,
        since_ns,
        reason,
    };
    write_json(out, &line);
}

fn write_json(out: &mut Vec<u8>, line: &impl Serialize) {
    super::json::write(out, line);
    out.push(b'\n');
}

fn json_end(end: &Endpoint) -> JsonEnd {
    let mut text = Vec::new();
    addr::numeric(&mut text, end.ip());
    JsonEnd {
        addr: String::from_utf8_lossy(&text).into_owned(),
        port: end.port,
    }
}

pub(crate) fn utc(wall_ns: u64) -> String {
    let mut text = Vec::new();
    date(&mut text, wall_ns, UtcOffset::UTC);
    text.push(b'Z');
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::conn::types::{
        Conn, Direction, Kind, Ktime, Provenance, SockId, Tally, TcpState, Tenure,
    };

    fn change() -> Change {
        let end = |last, port| {
            let mut addr = [0; 16];
            addr[10..].copy_from_slice(&[0xff, 0xff, 10, 0, 0, last]);
            Endpoint { addr, port }
        };
        Change {
            at: Ktime(5),
            conn: Conn {
                id: SockId::Kernel(0xffff_8881_0000_0000),
                kind: Kind::Full,
                netns: 7,
                family: 2,
                local: end(1, 50000),
                remote: end(2, 443),
                state: TcpState::Established,
                since: Some(Ktime(5)),
                owner: Some(Owner {
                    pid: 42,
                    comm: [0; 16],
                    provenance: Provenance::Seen,
                    tenure: Tenure::Current,
                }),
                direction: Some(Direction::Out),
            },
            from: Some(TcpState::SynSent),
            in_from_ns: Some(1_000_123_456),
            end: None,
            inferred: false,
        }
    }

    fn show(change: &Change, own_netns: u32, program: &[u8]) -> (String, String) {
        let line = Line {
            change,
            wall_ns: 1_763_926_500_123_456_789,
            offset: UtcOffset::UTC,
            own_netns,
            program,
        };
        let (mut plain, mut machine) = (Vec::new(), Vec::new());
        text(&mut plain, &line);
        json(&mut machine, &line);
        let string = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (string(plain), string(machine))
    }

    #[test]
    fn a_line_tells_who_moved_from_where_to_where() {
        let (plain, machine) = show(&change(), 7, b"curl");
        expect![[r#"
            2025-11-23T19:35:00.123456 tcp 10.0.0.1:50000 10.0.0.2:443 SYN_SENT -> ESTABLISHED 1.000123s 42/curl seen
        "#]]
        .assert_eq(&plain);
        expect![[r#"
            {"v":3,"event":"state","ts":"2025-11-23T19:35:00.123456Z","ts_ns":1763926500123456789,"netns":7,"proto":"tcp","family":"ipv4","local":{"addr":"10.0.0.1","port":50000},"remote":{"addr":"10.0.0.2","port":443},"old":"SYN_SENT","new":"ESTABLISHED","in_old_ns":1000123456,"inferred":false,"direction":"out","owner":{"pid":42,"program":"curl","provenance":"seen"},"end":null}
        "#]]
        .assert_eq(&machine);
    }

    #[test]
    fn the_end_of_a_connection_is_summed_up() {
        let mut change = change();
        change.from = Some(TcpState::LastAck);
        change.conn.state = TcpState::Close;
        change.end = Some(End {
            life_ns: Some(2_500_000_000),
            closed_by: Some(Side::Remote),
            why: Some(Why::Fin),
            tally: Some(Tally {
                sent: Some(10),
                acked: Some(12),
                received: Some(20),
                retransmits: Some(1),
                errno: 0,
            }),
        });
        let (plain, machine) = show(&change, 7, b"curl");
        assert!(plain.ends_with(
            " seen life=2.500000s sent=10 received=20 retrans=1 closed-by=remote why=fin\n"
        ));
        assert!(machine.contains(
            r#""end":{"life_ns":2500000000,"bytes_sent":10,"bytes_acked":12,"bytes_received":20,"retransmits":1,"closed_by":"remote","why":"fin","errno":null}"#
        ));
        change.end = Some(End {
            life_ns: None,
            closed_by: None,
            why: Some(Why::Error),
            tally: Some(Tally {
                errno: 71,
                ..Tally::default()
            }),
        });
        let (plain, machine) = show(&change, 7, b"curl");
        assert!(plain.ends_with(" seen why=error:71\n"));
        assert!(machine.contains(r#""why":"error","errno":71}"#));
    }

    proptest::proptest! {
        /// A name is one word of one line, whatever bytes its owner chose.
        #[test]
        fn no_program_makes_a_second_line(program: Vec<u8>, pid: u32, addr: [u8; 16], family: u16) {
            let mut change = change();
            change.conn.family = family;
            change.conn.remote.addr = addr;
            if let Some(owner) = &mut change.conn.owner {
                owner.pid = pid;
            }
            let (plain, machine) = show(&change, 7, &program);
            for line in [&plain, &machine] {
                let body = line.strip_suffix('\n').unwrap_or_default();
                proptest::prop_assert!(!body.is_empty() && !body.chars().any(char::is_control), "{body:?}");
            }
            proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&machine).is_ok());
        }
    }

    #[test]
    fn a_change_that_nobody_saw_is_marked() {
        let mut change = change();
        change.inferred = true;
        change.in_from_ns = None;
        let (plain, machine) = show(&change, 7, b"curl");
        assert!(plain.ends_with(" SYN_SENT -> ESTABLISHED - 42/curl seen inferred\n"));
        assert!(machine.contains(r#""in_old_ns":null,"inferred":true,"#));
        let mut lost = Vec::new();
        json_lost(&mut lost, 0, 3, 4, false);
        assert!(lost.ends_with(b"\"lost\":3,\"gaps\":4,\"healed\":false}\n"));
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut change = change();
        change.from = None;
        change.in_from_ns = None;
        change.conn.owner = None;
        change.conn.remote = Endpoint::NONE;
        change.conn.family = 10;
        let (plain, machine) = show(&change, 8, b"");
        expect![[r#"
            2025-11-23T19:35:00.123456 netns=7 tcp6 10.0.0.1:50000 :::* ? -> ESTABLISHED - - unknown
        "#]]
        .assert_eq(&plain);
        assert!(machine.contains(r#""old":null"#) && machine.contains(r#""owner":null"#));
    }

    #[test]
    fn a_program_cannot_forge_a_line() {
        let (plain, machine) = show(&change(), 7, b"a\n\x1b]0;x\x07\xff");
        assert_eq!(plain.lines().count(), 1);
        assert_eq!(machine.lines().count(), 1);
        assert!(!plain.trim_end().bytes().any(|byte| byte < b' '));
        assert!(!machine.trim_end().bytes().any(|byte| byte < b' '));
    }
}
