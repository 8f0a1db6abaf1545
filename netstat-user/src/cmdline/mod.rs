//! The netstat command line: getopt rules, options, messages.
//!
//! Pure: arguments in, a [`Parsed`] value out. Nothing here prints, exits or looks at the system.

mod family;
mod getopt;
mod options;
mod parse;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;

pub use family::{Families, Family};
pub use options::{JsonForm, Mode, Numeric, Options, Protocols};
pub use parse::{Next, Parsed, Surroundings, parse};
