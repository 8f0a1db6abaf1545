//! Where fields stand in the running kernel's structures, as read-only globals of the BPF object.
//!
//! Rust has no CO-RE relocations: user space reads the offsets from /sys/kernel/btf/vmlinux and
//! sets them before the load. A global is named by its field in capitals.

/// Calls a macro with the list `NAME: "struct", "member.path"` of all offsets, in bytes.
///
/// Alternatives that kernels differ in are separated by `|`; the first that exists is taken.
/// A member of another struct at the end of a path continues into it.
#[macro_export]
macro_rules! for_each_offset {
    ($with:ident) => {
        $with! {
            SKC_DADDR: "sock_common", "skc_daddr";
            SKC_RCV_SADDR: "sock_common", "skc_rcv_saddr";
            SKC_DPORT: "sock_common", "skc_dport";
            SKC_NUM: "sock_common", "skc_num";
            SKC_FAMILY: "sock_common", "skc_family";
            SKC_STATE: "sock_common", "skc_state";
            SKC_NET: "sock_common", "skc_net.net";
            SKC_V6_DADDR: "sock_common", "skc_v6_daddr";
            SKC_V6_RCV_SADDR: "sock_common", "skc_v6_rcv_saddr";
            SKC_COOKIE: "sock_common", "skc_cookie";
            RSK_LISTENER: "sock_common", "skc_listener";
            SKC_NODE: "sock_common", "skc_nulls_node";
            SKC_PPREV: "sock_common", "skc_nulls_node.pprev";
            NET_INUM: "net", "ns.inum";
            INET_SPORT: "inet_sock", "inet_sport";
            SK_PROTOCOL: "sock", "sk_protocol";
            SK_SOCKET: "sock", "sk_socket";
            SK_UID: "sock", "sk_uid";
            SK_ACK_BACKLOG: "sock", "sk_ack_backlog";
            SOCKET_ALLOC_SOCKET: "socket_alloc", "socket";
            SOCKET_ALLOC_INO: "socket_alloc", "vfs_inode.i_ino";
            TCP_RCV_NXT: "tcp_sock", "rcv_nxt";
            TCP_COPIED_SEQ: "tcp_sock", "copied_seq";
            TCP_WRITE_SEQ: "tcp_sock", "write_seq";
            TCP_SND_UNA: "tcp_sock", "snd_una";
            ICSK_PENDING: "inet_connection_sock", "icsk_pending";
            ICSK_RETRANSMITS: "inet_connection_sock", "icsk_retransmits";
            ICSK_PROBES_OUT: "inet_connection_sock", "icsk_probes_out";
            TIMER_EXPIRES: "timer_list", "expires";
            TIMER_FUNCTION: "timer_list", "function";
            TIMER_PPREV: "timer_list", "entry.pprev";
            TW_TIMER: "inet_timewait_sock", "tw_timer";
            TW_TB: "inet_timewait_sock", "tw_tb";
            TW_SUBSTATE: "inet_timewait_sock", "tw_substate";
            RSK_TIMER: "request_sock", "rsk_timer";
            TASK_TGID: "task_struct", "tgid";
            TASK_PID: "task_struct", "pid";
            TASK_FLAGS: "task_struct", "flags";
            TASK_FILES: "task_struct", "files";
            TASK_NSPROXY: "task_struct", "nsproxy";
            NSPROXY_NET: "nsproxy", "net_ns";
            NET_LIST: "net", "list";
            NET_OPS: "net", "ns.ops";
            TASK_THREAD_PID: "task_struct", "thread_pid";
            TASK_GROUP_LEADER: "task_struct", "group_leader";
            PID_LEVEL: "pid", "level";
            PID_NUMBERS: "pid", "numbers";
            UPID_NR: "upid", "nr";
            UPID_NS: "upid", "ns";
            PID_NS_INUM: "pid_namespace", "ns.inum";
            FILES_FDT: "files_struct", "fdt";
            FDT_MAX_FDS: "fdtable", "max_fds";
            FDT_FD: "fdtable", "fd";
            FDT_OPEN_FDS: "fdtable", "open_fds";
            FILE_INODE: "file", "f_inode";
            FILE_OP: "file", "f_op";
            INODE_SB: "inode", "i_sb";
            INODE_INO: "inode", "i_ino";
            SB_MAGIC: "super_block", "s_magic";
        }
    };
}

/// As [`for_each_optional_offset`], for lists of UDP and Unix sockets: a kernel may lack them, as where Unix
/// sockets are a module, and these sockets are then read from /proc.
#[macro_export]
macro_rules! for_each_list_offset {
    ($with:ident) => {
        $with! {
            SKC_HASH: "sock_common", "skc_hash";
            SKC_REFCNT: "sock_common", "skc_refcnt";
            SK_TYPE: "sock", "sk_type";
            SK_RMEM_ALLOC: "sock", "sk_backlog.rmem_alloc";
            SK_WMEM_ALLOC: "sock", "sk_wmem_alloc";
            UDP_FORWARD_DEFICIT: "udp_sock", "forward_deficit";
            UNIX_ADDR: "unix_sock", "addr";
            UNIX_ADDRESS_LEN: "unix_address", "len";
            UNIX_ADDRESS_NAME: "unix_address", "name";
        }
    };
}

/// As [`for_each_offset`], for fields that a kernel may lack: their global is then [`ABSENT`].
#[macro_export]
macro_rules! for_each_optional_offset {
    ($with:ident) => {
        $with! {
            SK_INO: "sock", "sk_ino";
            SK_ERR: "sock", "sk_err";
            SKC_FLAGS: "sock_common", "skc_flags";
            TCP_BYTES_SENT: "tcp_sock", "bytes_sent";
            TCP_BYTES_RETRANS: "tcp_sock", "bytes_retrans";
            TCP_BYTES_ACKED: "tcp_sock", "bytes_acked";
            TCP_BYTES_RECEIVED: "tcp_sock", "bytes_received";
            TCP_TOTAL_RETRANS: "tcp_sock", "total_retrans";
        }
    };
}

/// The offset of a field that this kernel lacks.
pub const ABSENT: u64 = u64::MAX;
/// As [`for_each_offset`], for what the walk over the hash tables needs. 0 where the kernel lacks a
/// field: it is not walked then.
#[macro_export]
macro_rules! for_each_walk_offset {
    ($with:ident) => {
        $with! {
            NET_HASHINFO: "net", "ipv4.tcp_death_row.hashinfo";
            EHASH: "inet_hashinfo", "ehash";
            EHASH_MASK: "inet_hashinfo", "ehash_mask";
            LHASH2: "inet_hashinfo", "lhash2";
            LHASH2_MASK: "inet_hashinfo", "lhash2_mask";
        }
    };
}

/// Offset in `struct sock` of the keepalive timer.
pub const KEEPALIVE_TIMER: &str = "KEEPALIVE_TIMER";
/// Offset in `struct sock` of the `unsigned long` at which the retransmission timer fires.
pub const RTO_EXPIRES: &str = "RTO_EXPIRES";
/// Offset in `struct request_sock` of the byte that holds `num_timeout`, and its lowest bit there.
pub const REQ_TIMEOUT: &str = "REQ_TIMEOUT";
/// See [`REQ_TIMEOUT`].
pub const REQ_TIMEOUT_SHIFT: &str = "REQ_TIMEOUT_SHIFT";
/// 1 where the kernel lists `sk_uid` for sockets without a file too (it has `sock.sk_ino`).
pub const UID_WITHOUT_FILE: &str = "UID_WITHOUT_FILE";
/// Calls a macro with the list `NAME: "struct"` of types that programs give to addresses. A
/// `timespec64` begins with a number of eight bytes: what is loaded from it is no pointer to the
/// verifier, so that its bits can be looked at.
#[macro_export]
macro_rules! for_each_type {
    ($with:ident) => {
        $with! {
            TYPE_TCP_SOCK: "tcp_sock";
            TYPE_TIMEWAIT_SOCK: "inet_timewait_sock";
            TYPE_REQUEST_SOCK: "request_sock";
            TYPE_WORD: "timespec64";
            TYPE_SOCKET_ALLOC: "socket_alloc";
            TYPE_FILE: "file";
            TYPE_INODE: "inode";
            TYPE_SUPER_BLOCK: "super_block";
        }
    };
}

/// The kernel function that gives an address a type (Linux 6.2).
pub const RDONLY_CAST: &str = "bpf_rdonly_cast";
/// The number by which the programs call it until user space has put in that of the running kernel.
pub const RDONLY_CAST_MARK: u32 = 0x6e62_7066;
/// Size of `struct upid`.
pub const UPID_SIZE: &str = "UPID_SIZE";
/// Inode number of the PID namespace in which events name processes; 0 for the initial one.
pub const OWN_PID_NS: &str = "OWN_PID_NS";
/// Bytes in the ring from which a program wakes user space.
pub const WAKE_BYTES: &str = "WAKE_BYTES";
/// Events of request sockets that a CPU may send in each window of 2^27 ns (134 ms).
pub const HALF_OPEN_BUDGET: &str = "HALF_OPEN_BUDGET";
/// Whether each state change is wanted, or only those that put a socket in or out of the table: one
/// of [`ONLY_LISTED`], [`ALWAYS`], [`WHILE_WANTED`].
pub const EVERY_CHANGE: &str = "EVERY_CHANGE";
/// [`EVERY_CHANGE`]: births and ends only. The verifier drops what is for the others.
pub const ONLY_LISTED: u64 = 0;
/// [`EVERY_CHANGE`]: each change, and events of processes.
pub const ALWAYS: u64 = 1;
/// [`EVERY_CHANGE`]: as [`ALWAYS`] while the word [`crate::control::WANTS_ALL`] is not 0, else as
/// [`ONLY_LISTED`].
pub const WHILE_WANTED: u64 = 2;
/// [`HALF_OPEN_BUDGET`] grows by so many bits while each change is wanted under [`WHILE_WANTED`].
pub const WANTED_BUDGET_SHIFT: u64 = 4;
