//! Our output against the reference's, byte for byte, on fixtures.

mod callers;
mod command_lines;
mod counters;
mod coverage;
mod divergences;
mod groups;
mod interfaces;
mod live;
mod manual;
mod masquerade;
mod names;
mod options;
mod processes;
mod radio;
mod resolver;
mod rounds;
mod routes;
mod scenarios;
mod sockets;
mod unix;
