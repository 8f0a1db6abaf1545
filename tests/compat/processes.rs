//! Processes of a fixture: descriptors and command lines.

use netstat_tests::fixture::{Bench, Random, cases};

const COMMANDS: [&[u8]; 14] = [
    b"/usr/sbin/sshd\0-D\0",
    b"nginx: master process /usr/sbin/nginx\0",
    b"-bash\0",
    b"./relative/prog\0x\0",
    b"/usr/bin/python3 /opt/x y/app.py\0",
    b"",
    b"\0",
    b"/",
    b"/usr/bin/averyveryveryverylongname\0",
    b"sshd: /usr/sbin/sshd -D [listener] 0 of 10-100\0",
    b"%s%n%d\0",
    b"(x) y\0",
    "/bin/n\u{e4}me\0".as_bytes(),
    b"relative",
];

fn link(random: &mut Random) -> String {
    let inode = random.below(40);
    match random.below(12) {
        0 => "/dev/null".to_owned(),
        1 => format!("pipe:[{inode}]"),
        2 => format!("[0000]:{inode}"),
        3 => format!("socket:[{}]", random.extreme()),
        4 => format!("socket:{inode}"),
        _ => format!("socket:[{inode}]"),
    }
}

/// Writes up to six processes, whose sockets have inodes below 40.
pub(crate) fn some(bench: &mut Bench) {
    for _ in 0..bench.random.below(6) {
        let random = &mut bench.random;
        let pid = match random.below(8) {
            0 => 4_194_304,
            _ => 1 + random.below(99_999),
        };
        let links: Vec<_> = (0..random.below(6)).map(|_| link(random)).collect();
        let command = match random.below(10) {
            0 => b"/a".repeat(random.below(400)),
            1 => vec![b'x'; random.below(700)],
            _ => COMMANDS[random.below(COMMANDS.len())].to_vec(),
        };
        let has_command = !random.once_in(10);
        if has_command {
            bench.write(&format!("{pid}/cmdline"), command);
        }
        for (number, target) in links.into_iter().enumerate() {
            let path = format!("{pid}/fd/{}{number}", bench.random.below(1000));
            bench.link(&path, target);
        }
    }
}

#[test]
fn programs_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            some(bench);
            let mut text = "header\n".to_owned();
            for inode in 0..40 {
                text += &format!(
                    "{inode:4}: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 \
                     00000000 0 0 {inode} 1 0 100 0 0 10 0\n"
                );
            }
            bench.write("net/tcp", text);
            for arguments in ["-anp", "-ltnpeo", "-xp"] {
                bench.compare(&[arguments]);
            }
        }
    });
}
