//! What the agent and its clients say to each other, as bytes and as values.
//!
//! Pure: encoding and decoding, no socket. Decoding is total: every input is a message or an error.
//! All numbers are little-endian, whatever the machine. `docs/protocol.md` is the description.

pub mod audit;
pub mod frame;
pub mod reply;
pub mod request;
pub mod status;

pub use frame::{HEADER, Header, VERSION};
