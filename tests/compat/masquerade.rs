//! `-M`

use netstat_tests::fixture::{Bench, cases};

#[test]
fn masquerading_is_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        bench.write("net/x", "");
        bench.compare(&["-M"]);
        bench.compare(&["-Mc"]);
        for _ in 0..cases() {
            let random = &mut bench.random;
            let has_previous = random.once_in(2);
            let mut text = if has_previous {
                "Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta PDelta Expires\n".to_owned()
            } else {
                "Prc FromIP   FPrt ToIP     TPrt Masq Init-seq  Delta Expires\n".to_owned()
            };
            for _ in 0..random.below(5) {
                let proto = random.pick(&["TCP", "UDP", "TCP", "UDP", "ICMP", "SCTP", "tcp"]);
                let [source, target] = [(); 2].map(|()| random.extreme() as u32);
                let [from, to, masked] = [(); 3].map(|()| random.extreme() as u16);
                let sequence = random.extreme() as u32;
                let delta = random.extreme() as i32;
                let previous = if has_previous {
                    format!(" {:6}", random.extreme() as i32)
                } else {
                    String::new()
                };
                let expires = random.extreme() >> 1;
                text += &format!(
                    "{proto} {source:08X}:{from:04X} {target:08X}:{to:04X} {masked:04X} \
                     {sequence:08X} {delta:6}{previous} {expires:7}"
                );
                text += random.pick(&["\n", "\n", "\n", "\n", "\n", " \n", "\n\n", " 1\n"]);
            }
            if random.once_in(30) {
                text.clear();
            }
            bench.write("net/ip_masquerade", text);
            for _ in 0..3 {
                let options = bench.random.options("Mn", "eevW46");
                bench.compare(&[&options]);
            }
            bench.compare(&["-M", "--numeric-hosts"]);
        }
    });
}
