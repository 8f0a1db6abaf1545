//! Unix sockets.

use netstat_tests::fixture::{Bench, Random, cases};

use crate::processes;

const HEADER: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
const PATHS: [&str; 9] = [
    "",
    " /run/a.sock",
    " @abstract",
    " /run/sp ace.sock",
    "   /run/blanks",
    " @",
    " %s%n",
    " /run/n\u{e4}me",
    " /run/a/rather/long/path/that/goes/on/and/on/until/it/has/more/than/one/hundred/bytes/to/its/name.sock",
];

fn row(random: &mut Random, at: usize, inode: bool) -> String {
    let [references, protocol] = [(); 2].map(|()| random.extreme() as u32);
    let references = if random.once_in(2) { 2 } else { references };
    let protocol = if random.once_in(6) { protocol } else { 0 };
    let flags = match random.below(4) {
        0 => 0x1_0000,
        1 => random.number() as u32 & 0x7_ffff,
        _ => 0,
    };
    let (kind, state) = (random.below(7), random.below(6));
    let path = random.pick(&PATHS);
    let number = if random.once_in(2) {
        random.below(40) as u64
    } else {
        random.extreme()
    };
    let number = if inode {
        format!("{number:5}")
    } else {
        String::new()
    };
    let mut text = format!(
        "{:016X}: {references:08X} {protocol:08X} {flags:08X} {kind:04X} {state:02X} {number}{path}",
        random.number()
    );
    match random.below(30) {
        // The kernel's first row is always whole.
        _ if at == 0 => {}
        // A line that begins unlike the others is the rest of a name with a newline in it. If it
        // has the form of a row, the reference takes it for one; we do not, on purpose.
        0 => text.truncate(18 + random.below(20)),
        1 => text = random.pick(&["", "bogus", "x: 1 2", " "]).to_owned(),
        _ => {}
    }
    text + "\n"
}

#[test]
fn unix_rows_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            processes::some(bench);
            let random = &mut bench.random;
            let inode = !random.once_in(10);
            let mut text = if inode {
                HEADER.to_owned()
            } else {
                HEADER.replace("Inode ", "")
            };
            for at in 0..random.below(10) {
                text += &row(random, at, inode);
            }
            if !random.once_in(20) {
                bench.write("net/unix", text);
            }
            for first in ["x", "xa", "xl", "xp", "n"] {
                let options = bench.random.options(first, "aleopvW");
                bench.compare(&[&options]);
            }
        }
    });
}
