//! The words for the kernel's state numbers.

/// TCP (and SCTP, within its range): `None` outside 0 to 11.
#[must_use]
pub fn tcp(state: i32) -> Option<&'static str> {
    const STATES: [&str; 12] = [
        "",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    STATES.get(usize::try_from(state).ok()?).copied()
}

/// UDP: connected or not.
#[must_use]
pub fn udp(state: i32) -> &'static str {
    match state {
        1 => "ESTABLISHED",
        7 => "",
        _ => "UNKNOWN",
    }
}
