//! The frame around every message. Its layout is the same in all versions of the protocol.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// The version of everything but the frame and the refusal.
pub const VERSION: u16 = 1;

/// Bytes of a [`Header`].
pub const HEADER: usize = 8;

/// What stands before the payload.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Header {
    /// Bytes of the payload, this header not counted.
    pub length: U32,
    /// What the payload is.
    pub kind: U16,
    /// The sender's [`VERSION`].
    pub version: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER);

impl Header {
    /// A header of this version.
    ///
    /// # Panics
    /// A payload of 4 GiB or more: a defect of the sender.
    #[must_use]
    pub fn new(kind: u16, length: usize) -> Self {
        Self {
            length: U32::new(u32::try_from(length).expect("a payload is far below 4 GiB")),
            kind: U16::new(kind),
            version: U16::new(VERSION),
        }
    }

    /// Reads a header.
    #[must_use]
    pub fn parse(bytes: [u8; HEADER]) -> Self {
        zerocopy::transmute!(bytes)
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload(&self) -> usize {
        usize::try_from(self.length.get()).unwrap_or(usize::MAX)
    }
}

/// A whole message: header and payload.
#[must_use]
pub fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header::new(kind, payload.len()).as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}
