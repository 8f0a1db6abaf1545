//! `netstat-bpf`.

fn main() -> std::process::ExitCode {
    netstat_user::run(std::env::args_os())
}
