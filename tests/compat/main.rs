//! Our output against the reference's, byte for byte, on fixtures.

mod command_lines;
mod counters;
mod divergences;
mod groups;
mod interfaces;
mod manual;
mod masquerade;
mod options;
mod processes;
mod radio;
mod rounds;
mod routes;
mod scenarios;
mod sockets;
mod unix;
