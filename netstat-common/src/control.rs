//! Words of the map `CONTROL`, which user space sets while the programs run.

/// Whether user space sleeps and wants a wake-up; a program that wakes it sets it to 0.
pub const SLEEPS: u32 = 0;
/// Whether every change is wanted: see [`crate::offsets::WHILE_WANTED`].
pub const WANTS_ALL: u32 = 1;
/// Address in the running kernel of `tw_timer_handler`; 0 if unknown, which matches no timer. Set
/// before a timer program is attached: whoever looks for it need not be waited for at the load.
pub const TW_TIMER_HANDLER: u32 = 2;
/// As [`TW_TIMER_HANDLER`], of `reqsk_timer_handler`.
pub const REQSK_TIMER_HANDLER: u32 = 3;
/// How many there are.
pub const WORDS: u32 = 4;
