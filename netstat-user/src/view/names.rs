//! What the view asks of the name service, and names that may go to a terminal.

use std::net::{IpAddr, Ipv4Addr};

/// The port names of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// tcp, tcp6
    Tcp,
    /// udp, udp6, udplite, udplite6
    Udp,
    /// raw, raw6: protocols are ports here
    Raw,
}

/// Names for numbers. Each method appends the name and returns true, or does nothing.
pub trait Names {
    /// A round begins: names that may have changed since the last are looked up anew.
    fn begin(&mut self) {}

    /// The name of a host.
    fn host(&mut self, addr: IpAddr, out: &mut Vec<u8>) -> bool;

    /// The name of a network.
    fn network(&mut self, addr: Ipv4Addr, out: &mut Vec<u8>) -> bool;

    /// The name of a port.
    fn service(&mut self, service: Service, port: i32, out: &mut Vec<u8>) -> bool;

    /// The login name of a user.
    fn user(&mut self, uid: i32, out: &mut Vec<u8>) -> bool;
}

/// Nothing has a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn host(&mut self, _: IpAddr, _: &mut Vec<u8>) -> bool {
        false
    }

    fn network(&mut self, _: Ipv4Addr, _: &mut Vec<u8>) -> bool {
        false
    }

    fn service(&mut self, _: Service, _: i32, _: &mut Vec<u8>) -> bool {
        false
    }

    fn user(&mut self, _: i32, _: &mut Vec<u8>) -> bool {
        false
    }
}

/// Appends untrusted bytes so that they can neither forge a row nor drive a terminal: control
/// characters (C0, DEL, C1) and bytes that are not UTF-8 print as `?`, one for each byte.
pub fn sanitized(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
        out.extend_from_slice(text);
        return;
    }
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            if char.is_control() {
                out.resize(out.len() + char.len_utf8(), b'?');
            } else {
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        out.resize(out.len() + chunk.invalid().len(), b'?');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        sanitized(&mut out, text);
        out
    }

    #[test]
    fn control_characters_and_broken_text_become_question_marks() {
        assert_eq!(clean(b"sshd: a b%s"), b"sshd: a b%s");
        assert_eq!(clean(b"a\nb\x1b[2J\x7f\t"), b"a?b?[2J??");
        assert_eq!(
            clean("n\u{e9} \u{85}x".as_bytes()),
            "n\u{e9} ??x".as_bytes()
        );
        assert_eq!(clean(b"\xff\xc3"), b"??");
        assert_eq!(clean(b"\xe2\x82x"), b"??x");
    }

    proptest::proptest! {
        #[test]
        fn length_stays_and_nothing_drives_a_terminal(text: Vec<u8>) {
            let out = clean(&text);
            proptest::prop_assert_eq!(out.len(), text.len());
            let out = String::from_utf8(out).expect("always UTF-8");
            proptest::prop_assert!(!out.contains(char::is_control));
        }
    }
}
