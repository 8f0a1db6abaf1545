//! Read-only globals that user space sets before the load: field offsets, handlers, switches.

use aya_ebpf::Global;

macro_rules! offsets {
    ($($name:ident: $of:literal, $path:literal;)*) => {
        $(
            #[doc = concat!("Offset of `", $path, "` in `struct ", $of, "`, bytes.")]
            #[unsafe(no_mangle)]
            pub static $name: Global<u64> = Global::new(0);
        )*
    };
}

netstat_common::for_each_offset!(offsets);
netstat_common::for_each_list_offset!(offsets);
netstat_common::for_each_walk_offset!(offsets);
netstat_common::for_each_optional_offset!(offsets);

macro_rules! types {
    ($($name:ident: $of:literal;)*) => {
        $(
            #[doc = concat!("Number of `struct ", $of, "` in the kernel's BTF.")]
            #[unsafe(no_mangle)]
            pub static $name: Global<u64> = Global::new(0);
        )*
    };
}

netstat_common::for_each_type!(types);

macro_rules! settings {
    ($($name:ident)*) => {
        $(
            #[doc = concat!("See `netstat_common::offsets::", stringify!($name), "`.")]
            #[unsafe(no_mangle)]
            pub static $name: Global<u64> = Global::new(0);
        )*
    };
}

settings! {
    KEEPALIVE_TIMER RTO_EXPIRES REQ_TIMEOUT REQ_TIMEOUT_SHIFT UID_WITHOUT_FILE UPID_SIZE
    OWN_PID_NS WAKE_BYTES EVERY_CHANGE HALF_OPEN_BUDGET
}
