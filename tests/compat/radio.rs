//! Families that only old kernels have: rows of sockets and routing tables, in the words that those
//! kernels wrote.

use netstat_tests::fixture::{Bench, Random, cases};

const CALLS: [&str; 6] = ["N0CALL", "N0CALL-1", "AB1CDE-15", "N9", "X", "OE9XYZ-12"];
const DEVICES: [&str; 5] = ["ax0", "rose0", "nr1", "eth0", "lo"];

fn call(random: &mut Random) -> &'static str {
    random.pick(&CALLS)
}

fn address(random: &mut Random) -> String {
    match random.below(5) {
        0 => "*".to_owned(),
        _ => format!("{:010}", random.below(10_000_000_000)),
    }
}

fn rose(random: &mut Random) -> String {
    let mut text =
        "dest_addr  dest_call src_addr   src_call  dev   lci neigh st vs vr va   t  t1\n"
            .to_owned();
    for _ in 0..random.below(6) {
        let (to, from) = (address(random), address(random));
        let (dest, source) = (call(random), call(random));
        let device = random.pick(&["rose0", "???", "rose12"]);
        let channel = random.below(1000);
        let (neighbour, state) = (random.below(100_000), random.below(4));
        let mut line = format!(
            "{to:<10} {dest:<9} {from:<10} {source:<9} {device:<5} {channel:03} {neighbour:05} \
             {state:2}  1  2  3   0   5"
        );
        match random.below(20) {
            0 => line.truncate(random.below(50)),
            // A channel is hexadecimal.
            1 => line = line.replace(" 0", " 0F"),
            _ => {}
        }
        text += &(line + "\n");
    }
    text
}

fn ipx(random: &mut Random) -> String {
    let mut text =
        "Local_Address  Remote_Address              Tx_Queue  Rx_Queue  State  Uid\n".to_owned();
    for _ in 0..random.below(6) {
        let [net, other] = [(); 2].map(|()| match random.below(4) {
            0 => 0,
            _ => random.number() as u32,
        });
        let node = match random.below(4) {
            0 => 0,
            _ => random.number() >> 16,
        };
        let [port, remote_port] = [(); 2].map(|()| random.extreme() as u16);
        let remote = if random.once_in(3) {
            "Not_Connected".to_owned()
        } else {
            format!("{other:08X}:{node:012X}:{remote_port:04X}")
        };
        let [send, receive] = [(); 2].map(|()| random.extreme() as u32);
        let state = random.pick(&["01", "07", "02", "00"]);
        let uid = random.extreme() as u32;
        let mut line = format!(
            "{net:08X}:{port:04X}  {remote:<26}  {send:08X}  {receive:08X}     {state}     {uid:03}"
        );
        if random.once_in(25) {
            // Not later: of a missing word the reference prints that of the line before.
            line.truncate(1 + random.below(7));
        }
        text += &(line + "\n");
    }
    text
}

fn ax25(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(6) {
        let (source, dest) = (call(random), call(random));
        let device = random.pick(&["ax0", "???", "ax12"]);
        let digipeaters = random.pick(&["", ",N1DIGI", ",N1DIGI*,N2"]);
        let (state, vs, vr) = (random.below(5), random.below(128), random.below(128));
        let [send, receive] = [(); 2].map(|()| random.extreme() as i32);
        let line = format!(
            "0 {device} {source} {dest}{digipeaters} {state} {vs} {vr} 3 0 10 0 3 0 300 0 0 0 10 5 2 256 \
             {send} {receive} 1234"
        );
        text += &(line + "\n");
    }
    text
}

fn x25(random: &mut Random) -> String {
    let mut text =
        "dest_addr  src_addr   dev   lci st vs vr va   t  t2 t21 t22 t23 Snd-Q Rcv-Q inode\n"
            .to_owned();
    for _ in 0..random.below(6) {
        let (dest, source) = (address(random), address(random));
        let (channel, state) = (random.below(1000), random.below(5));
        let [send, receive] = [(); 2].map(|()| random.below(100_000));
        text += &format!(
            "{dest:<10} {source:<10} x25a  {channel:03}  {state}  1  2  3   0   3 200 180 180 \
             {send:5} {receive:5} 99\n"
        );
    }
    text
}

fn netrom(random: &mut Random) -> String {
    let mut text =
        "user_addr dest_node src_node  dev    my  your  st  vs  vr  va    t1     t2     t4 \
                    idle   n2  wnd Snd-Q Rcv-Q inode\n"
            .to_owned();
    for _ in 0..random.below(6) {
        let [user, dest, source] = [(); 3].map(|()| call(random));
        let (state, vs, vr) = (random.below(4), random.below(128), random.below(128));
        let [send, receive] = [(); 2].map(|()| random.below(100_000));
        text += &format!(
            "{user:<9} {dest:<9} {source:<9} nr0  01/02 03/04  {state}  {vs:3} {vr:3}   3   0/120  0/05 \
             0/180   0/020  0/03   4 {send:5} {receive:5} 12\n"
        );
    }
    text
}

#[test]
fn rows_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let random = &mut bench.random;
            let texts = [
                ("rose", rose(random)),
                ("ax25", ax25(random)),
                ("x25", x25(random)),
                ("nr", netrom(random)),
            ];
            let ipx = ipx(random);
            for (file, text) in texts {
                if !bench.random.once_in(12) {
                    bench.write(&format!("net/{file}"), text);
                }
            }
            match bench.random.below(12) {
                0 => bench.write("net/x", ""),
                1 | 2 => bench.write("net/ipx", ipx),
                _ => bench.write("net/ipx/socket", ipx),
            }
            let family = bench
                .random
                .pick(&["--rose", "--ipx", "--ax25", "--x25", "--netrom"]);
            for first in ["n", "a"] {
                let options = bench.random.options(first, "elovW");
                bench.compare(&[&options, family]);
            }
            bench.compare(&["-an", "--ipx", "--x25"]);
            bench.compare(&["-anv"]);
        }
    });
}

fn nodes(random: &mut Random) -> [String; 2] {
    let mut nodes =
        "callsign  mnemonic w n qual obs neigh qual obs neigh qual obs neigh\n".to_owned();
    for _ in 0..random.below(5) {
        let count = 1 + random.below(3);
        let which = 1 + random.below(count);
        let mnemonic = random.pick(&["*", "NODEAB", "ABCDEFG"]);
        nodes += &format!("{:<9} {mnemonic:<7}  {which} {count}", call(random));
        for _ in 0..count {
            let (quality, obsolescence) = (random.below(256), random.below(7));
            // A neighbour that is not in the other file ends the reference's row in the middle.
            let number = if random.once_in(9) {
                9
            } else {
                1 + random.below(3)
            };
            nodes += &format!("  {quality:3}   {obsolescence} {number:05}");
        }
        nodes += "\n";
    }
    let mut neighbours = "addr  callsign  dev  qual lock count failed digipeaters\n".to_owned();
    for number in 1..4 {
        let (callsign, device) = (call(random), random.pick(&DEVICES));
        neighbours += &format!("{number:05} {callsign:<9} {device:<4}  192    0     1      0\n");
    }
    [nodes, neighbours]
}

fn rose_nodes(random: &mut Random) -> String {
    let mut text = "address    mask n neigh neigh neigh\n".to_owned();
    for _ in 0..random.below(5) {
        let count = random.below(4);
        let (address, mask) = (random.below(10_000_000_000), random.below(11));
        text += &format!("{address:010} {mask:04} {count}");
        for _ in 0..count {
            text += &format!(" {:05}", 1 + random.below(4));
        }
        text += "\n";
    }
    text
}

fn x25_routes(random: &mut Random) -> String {
    let mut text = "Address          Digits  Device\n".to_owned();
    for _ in 0..random.below(5) {
        let digits = random.below(16);
        let address = format!("{:015}", random.below(1_000_000_000_000_000));
        let device = random.pick(&["x25a", "lo", "eth0", "x25tap12"]);
        text += &format!("{:<15} {digits:7}  {device:<5}\n", &address[..digits]);
    }
    text
}

fn ddp_routes(random: &mut Random) -> String {
    let mut text = "Target        Router  Flags Dev\n".to_owned();
    for at in 0..random.below(5) {
        let flags = match random.below(3) {
            0 => random.number() as i32,
            _ => random.below(64) as i32,
        };
        let target = if at == 0 {
            "Default".to_owned()
        } else {
            format!("{at:04X}:01")
        };
        let device = random.pick(&DEVICES);
        text += &format!("{target:<11}     {:04X}:02  {flags:<4}  {device}\n", at + 7);
    }
    text
}

fn ipx_routes(random: &mut Random) -> String {
    let mut text = "Network    Router_Net   Router_Node\n".to_owned();
    for _ in 0..random.below(5) {
        let [net, router] = [(); 2].map(|()| random.extreme() as u32);
        text += &format!("{net:08X}   ");
        text += &if random.once_in(3) {
            "Directly     Connected\n".to_owned()
        } else {
            format!("{router:08X}     {:012X}\n", random.number() >> 16)
        };
    }
    text
}

fn ax25_routes(random: &mut Random) -> String {
    let mut text = "callsign  dev  mode digipeaters\n".to_owned();
    for _ in 0..random.below(5) {
        let callsign = if random.once_in(4) {
            "default"
        } else {
            call(random)
        };
        let device = random.pick(&["ax0", "ax12", "lo"]);
        let mode = random.pick(&["*", "v N1DIGI", "i"]);
        text += &format!("{callsign:<9} {device:<4}  {mode}\n");
    }
    text
}

#[test]
fn routes_are_told_alike() {
    Bench::run(|bench| {
        bench.cover_proc();
        for _ in 0..cases() {
            bench.clear();
            let random = &mut bench.random;
            let [nodes, neighbours] = nodes(random);
            let one_of = |random: &mut Random, names: [&'static str; 2]| names[random.below(2)];
            let texts = [
                ("ax25_route", ax25_routes(random)),
                ("nr_nodes", nodes),
                ("nr_neigh", neighbours.clone()),
                ("rose_nodes", rose_nodes(random)),
                ("atalk_route", ddp_routes(random)),
                (
                    one_of(random, ["x25/route", "x25_routes"]),
                    x25_routes(random),
                ),
                (
                    one_of(random, ["ipx/route", "ipx_route"]),
                    ipx_routes(random),
                ),
            ];
            for (file, text) in texts {
                if !bench.random.once_in(12) {
                    bench.write(&format!("net/{file}"), text);
                }
            }
            // Without this file the reference crashes.
            bench.write("net/rose_neigh", neighbours);
            for family in ["ax25", "netrom", "rose", "ddp", "x25", "ipx"] {
                let options = bench.random.options("r", "nevWCF");
                bench.compare(&[&options, "-A", family]);
            }
            bench.compare(&["-r", "-A", "ax25,netrom,x25"]);
        }
    });
}
