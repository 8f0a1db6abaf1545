//! `netstat-bpf log` tells what it was not told: each line goes on where the last one of its socket
//! ended, or says that it was inferred, and these are counted.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Stdio,
    thread,
};

use netstat_tests::{
    log::{Event, UNKNOWN},
    netns::{Net, within},
    oracle::ours_path,
    storm::{reset, storm},
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How many connections of each kind.
const EACH: usize = 700;
/// More than the ring holds: each makes about 1200 bytes of records, the ring has 16 MiB.
const FLOOD: usize = 20_000;

/// Asks the other end to shut down first.
const SHUT_DOWN: [u8; 1] = *b"s";

/// What the log said of a namespace, and its last words.
struct Told {
    events: Vec<Event>,
    summary: String,
}

impl Told {
    fn inferred(&self) -> usize {
        self.events.iter().filter(|event| event.inferred).count()
    }

    fn print(&self) {
        println!("{} lines; {}", self.events.len(), self.summary.trim_end());
    }
}

/// The number that stands right before `words`.
#[track_caller]
fn number_before(text: &str, words: &str) -> usize {
    let (before, _) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words:?} in {text:?}"));
    let number = before.rsplit([' ', ';']).next().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|error| panic!("{number:?} in {text:?}: {error}"))
}

/// Logs while `work` goes on, which is given the log's process.
fn log_of(net: &Net, work: impl FnOnce(Pid)) -> Told {
    let lines = net.dir().join("lines");
    let out = File::create(&lines).expect("create a file");
    let inode = net.inode().to_string();
    let mut command = net.command(ours_path());
    command.args(["log", "--json", "--netns", &inode]);
    command.stdout(out).stderr(Stdio::piped());
    let log = command.spawn().expect("start netstat-bpf log");
    let marker = net.actor_named("marker");
    let read = || fs::read_to_string(&lines).expect("read the lines");
    let mark = || {
        let (fd, address) = marker.listen("127.0.0.1:0");
        marker.close(fd);
        address
    };
    // These may be older than the log, which then tells their end alone.
    let mut early = HashSet::new();
    wait::until("the first line", || {
        early.insert(mark());
        (!read().is_empty()).then_some(())
    });
    let pid = Pid::from_raw(i32::try_from(log.id()).expect("a process id"));
    work(pid);
    // The end of a marker's listener comes after all that was before. While the ring is full its own
    // events are lost like others: then a later one is told.
    let mut late = Vec::new();
    wait::until("the last line", || {
        late.push(format!("\"port\":{}}},\"remote\"", mark().port()));
        let lines = read();
        let mut ends = lines.lines().rev().take(1000);
        ends.any(|line| {
            line.contains("\"old\":\"LISTEN\",\"new\":\"CLOSE\"")
                && late.iter().any(|mark| line.contains(mark))
        })
        .then_some(())
    });
    kill(pid, Signal::SIGINT).expect("interrupt netstat-bpf");
    let output = log.wait_with_output().expect("netstat-bpf ends");
    assert!(output.status.success(), "{output:?}");
    let events = read();
    let events = events.lines().filter_map(Event::parse);
    let here = events.filter(|(netns, _)| *netns == net.inode());
    let here = here.map(|(_, event)| event);
    let is_early =
        |event: &Event| !event.inferred && event.remote.port() == 0 && early.contains(&event.local);
    Told {
        events: here.filter(|event| !is_early(event)).collect(),
        summary: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Connections that end in different ways: reset, closed by either side or by both, refused, never
/// accepted.
fn many_kinds() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    thread::scope(|scope| {
        let acceptor = scope.spawn(|| {
            // Each says what is to become of it: with steered packets they are not accepted in the
            // order of their calls.
            let mut word = [0];
            loop {
                let (mut stream, _) = listener.accept().expect("accept");
                // A reset is an end too.
                match (stream.read(&mut word), word) {
                    (Ok(1), SHUT_DOWN) => {
                        stream.shutdown(Shutdown::Write).expect("shut down");
                        let _ = stream.read(&mut [0]);
                    }
                    (Ok(1), _) => break,
                    _ => {}
                }
            }
        });
        for _ in 0..EACH {
            reset(address);
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.write_all(&SHUT_DOWN).expect("ask for a shutdown");
            stream.read_exact(&mut [0]).expect_err("no byte comes");
            let half = TcpStream::connect(address).expect("connect");
            half.shutdown(Shutdown::Write).expect("shut down");
        }
        let mut last = TcpStream::connect(address).expect("connect");
        last.write_all(b"e").expect("say that it is the last one");
        acceptor.join().expect("the acceptor lives");
    });
    drop(listener);
    for _ in 0..EACH {
        TcpStream::connect(address).expect_err("nobody listens");
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    for _ in 0..100 {
        TcpStream::connect(address).expect("connect");
    }
}

/// Follows each socket by its endpoints: a line begins at CLOSE, or without a state before if it is
/// marked, or where an earlier line ended.
#[track_caller]
fn assert_chains(events: &[Event]) {
    let mut open: HashMap<(SocketAddr, SocketAddr), Vec<&str>> = HashMap::new();
    // A socket that calls has no port yet.
    let mut calling: BTreeMap<(IpAddr, SocketAddr), usize> = BTreeMap::new();
    for event in events {
        let states = open.entry((event.local, event.remote)).or_default();
        let goes_on = states.iter().position(|state| *state == event.old);
        if event.old == UNKNOWN {
            assert!(event.inferred, "no state before: {}", event.line);
        } else if let Some(at) = goes_on {
            states.remove(at);
        } else if event.old == "SYN_SENT" {
            let callers = calling.entry((event.local.ip(), event.remote)).or_default();
            assert!(*callers > 0, "nobody called: {}", event.line);
            *callers -= 1;
        } else {
            assert_eq!(event.old, "CLOSE", "out of nowhere: {}", event.line);
        }
        if event.new == "SYN_SENT" && event.local.port() == 0 {
            *calling.entry((event.local.ip(), event.remote)).or_default() += 1;
        } else if event.new != "CLOSE" {
            states.push(&event.new);
        }
    }
}

#[test]
fn nothing_is_inferred_while_nothing_is_lost() {
    within(|net| {
        let told = log_of(net, |_| many_kinds());
        assert_chains(&told.events);
        assert!(told.events.len() > 4 * EACH * 6, "{}", told.events.len());
        assert_eq!(told.inferred(), 0, "{}", told.summary);
        assert_eq!(number_before(&told.summary, " ring full"), 0);
        assert_eq!(number_before(&told.summary, " of them inferred"), 0);
    });
}

/// Softirqs that interrupt others' work lose events on some kernels, without a count.
#[test]
fn with_steered_packets_what_is_not_told_is_inferred_and_counted() {
    within(|net| {
        net.steer_packets();
        let told = log_of(net, |_| many_kinds());
        assert_chains(&told.events);
        told.print();
        let counted = number_before(&told.summary, " of them inferred");
        assert_eq!(counted, told.inferred(), "{}", told.summary);
        assert!(number_before(&told.summary, " gaps in all") >= counted);
    });
}

#[test]
fn after_a_loss_lines_are_inferred_and_counted() {
    within(|net| {
        let told = log_of(net, |log| {
            kill(log, Signal::SIGSTOP).expect("stop netstat-bpf");
            storm(FLOOD);
            kill(log, Signal::SIGCONT).expect("continue netstat-bpf");
        });
        assert_chains(&told.events);
        told.print();
        assert!(
            number_before(&told.summary, " ring full") > 0,
            "{}",
            told.summary
        );
        let counted = number_before(&told.summary, " of them inferred");
        assert_eq!(counted, told.inferred(), "{}", told.summary);
        assert!(counted > 0, "{}", told.summary);
    });
}
