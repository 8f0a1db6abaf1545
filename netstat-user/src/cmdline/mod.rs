//! The netstat command line: getopt rules, options, messages.
