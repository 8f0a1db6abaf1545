//! The agent's metrics: true, accepted by Prometheus' own tools, and of no use to those who should not read them.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use netstat_tests::{
    agent::Agent,
    netns::{Net, within},
    oracle::ours_path,
    wait,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";
const CALLS: u64 = 20;

/// An address that is free: the namespace is the test's own.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

fn start(net: &Net) -> (Agent, SocketAddr) {
    let address = free();
    let socket = net.dir().join("metrics.sock");
    let agent = Agent::start_at(net, &socket, &["--metrics", &address.to_string()]);
    (agent, address)
}

/// Sends some bytes and gives all that comes back.
fn talk(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("connect to the metrics");
    stream.write_all(request).expect("ask for the metrics");
    let mut answer = Vec::new();
    // What was sent too much makes a reset of the end.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, accept: &str) -> String {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    let answer = talk(address, request.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.to_owned()
}

/// The number of a series; `None` if it is not there.
fn number(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series))?;
    line.strip_prefix(' ')?.parse().ok()
}

/// Waits for a number.
#[track_caller]
fn await_number(address: SocketAddr, series: &str, wanted: f64) -> String {
    let mut last = String::new();
    let found = wait::try_until(|| {
        last = get(address, OPENMETRICS);
        (number(&last, series) == Some(wanted)).then(|| last.clone())
    });
    found.unwrap_or_else(|| panic!("{series} is not {wanted}:\n{last}"))
}

#[test]
fn numbers_are_those_of_what_happened() {
    within(|net| {
        let (_agent, address) = start(net);
        let before = get(address, OPENMETRICS);
        let count = |text: &str, series: &str| {
            number(text, series).unwrap_or_else(|| panic!("no {series}:\n{text}"))
        };
        let (server, caller) = (net.actor(), net.actor());
        let (listener, at) = server.listen("127.0.0.1:0");
        let calls: Vec<_> = (0..CALLS).map(|_| caller.connect(at).0).collect();
        let label = format!(
            "{{netns=\"{}\",addr=\"127.0.0.1\",port=\"{}\"}}",
            net.inode(),
            at.port()
        );
        let queue = format!("netstat_listener_queue{label}");
        let full = await_number(address, &queue, CALLS as f64);
        // The namespace is not the host's only one, so counts grow at least by ours.
        let grown = |text: &str, series: &str| count(text, series) - count(&before, series);
        for series in [
            "netstat_connections_opened_total{direction=\"out\"}",
            "netstat_connections_opened_total{direction=\"in\"}",
            "netstat_connect_seconds_count",
            "netstat_syn_recv_seconds_count",
        ] {
            assert!(grown(&full, series) >= CALLS as f64, "{series}:\n{full}");
        }
        assert!(grown(&full, "netstat_connections_established_total") >= 2.0 * CALLS as f64);
        assert_eq!(
            number(&full, &format!("netstat_listener_sockets{label}")),
            Some(CALLS as f64)
        );
        assert!(count(&full, "netstat_sockets{state=\"ESTABLISHED\"}") >= 2.0 * CALLS as f64);

        for _ in 0..CALLS {
            server.accept(listener);
        }
        await_number(address, &queue, 0.0);

        // Nobody listens there any more: refused.
        let gone = free();
        caller.call(gone);
        wait::until("the failed call", || {
            let text = get(address, OPENMETRICS);
            let failed = grown(&text, "netstat_connections_failed_total{direction=\"out\"}") >= 1.0;
            let why = number(&text, "netstat_connections_ended_total{why=\"refused\"}");
            (failed && why >= Some(1.0)).then_some(())
        });
        for call in calls {
            caller.abort(call);
        }
        wait::until("the aborted connections", || {
            let text = get(address, OPENMETRICS);
            let sent = number(&text, "netstat_connections_ended_total{why=\"rst-sent\"}");
            let received = number(
                &text,
                "netstat_connections_ended_total{why=\"rst-received\"}",
            );
            let all = Some(CALLS as f64);
            (sent >= all && received >= all).then_some(())
        });
    });
}

#[test]
fn promtool_finds_nothing_to_say() {
    within(|net| {
        let (_agent, address) = start(net);
        let actor = net.actor();
        let (_, at) = actor.listen("[::]:0");
        actor.connect(SocketAddr::from(([127, 0, 0, 1], at.port())));
        let path = net.dir().join("metrics.txt");
        fs::write(&path, get(address, "text/plain")).expect("write the metrics");
        let output = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(File::open(&path).expect("open the metrics"))
            .output()
            .expect("run promtool: install Debian's prometheus");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{said}");
        assert_eq!(said, "");
    });
}

/// Killed and reaped when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_scrapes_it() {
    within(|net| {
        let (_agent, address) = start(net);
        let actor = net.actor();
        let (_, at) = actor.listen("127.0.0.1:0");
        actor.connect(at);
        let dir = net.dir();
        let config = format!(
            "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- job_name: netstat\n  \
             static_configs: [{{targets: ['{address}']}}]\n"
        );
        let path = dir.join("prometheus.yml");
        fs::write(&path, config).expect("write Prometheus' configuration");
        let own = free();
        let log = dir.join("prometheus.log");
        let child = net
            .command("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={own}"))
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file for Prometheus' log"))
            .spawn()
            .expect("run prometheus: install Debian's package");
        let _prometheus = Prometheus(child);
        let ask = |query: &str| {
            let output = net
                .command("promtool")
                .args(["query", "instant", &format!("http://{own}"), query])
                .output()
                .expect("run promtool");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let listener = format!("netstat_listener_queue{{port=\"{}\"}} == 1", at.port());
        for query in [
            "up == 1",
            "netstat_sockets{state=\"ESTABLISHED\"} >= 2",
            "histogram_quantile(0.5, netstat_connect_seconds_bucket) > 0",
            "netstat_connections_opened_total{direction=\"out\"} >= 1",
            "process_resident_memory_bytes > 1000000",
            &listener,
        ] {
            let mut said = String::new();
            let found = wait::try_until(|| {
                said = ask(query);
                said.contains("=> ").then_some(())
            });
            let log = || fs::read_to_string(&log).unwrap_or_default();
            assert!(found.is_some(), "{query}: {said}\n{}", log());
        }
    });
}

#[test]
fn what_is_no_request_is_refused_and_the_rest_is_served() {
    within(|net| {
        let (agent, address) = start(net);
        let status = |request: &str| {
            let answer = talk(address, request.as_bytes());
            answer.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        let rebound = "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        assert_eq!(status(rebound), "403");
        assert_eq!(
            status("GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            "404"
        );
        let post = "POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(status(post), "405");
        assert_eq!(status("\u{1}\u{2}\u{3}\r\n\r\n"), "400");
        let endless = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(100_000));
        assert!(status(&endless) != "200");
        // More than may be connected, all silent: each is dropped after its time.
        let silent: Vec<_> = (0..40)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        get(address, OPENMETRICS);
        drop(silent);
        assert!(agent.status()["in_doubt"].is_null());
    });
}

#[test]
fn only_a_loopback_address_that_is_free_is_taken() {
    within(|net| {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = taken.local_addr().map(|at| (taken, at.to_string()));
        let (_held, taken) = taken.expect("its address");
        for (address, reason) in [("0.0.0.0:9464", "loopback"), (&*taken, "in use")] {
            let output = net
                .command(ours_path())
                .args(["agent", "--metrics", address, "--socket"])
                .arg(net.dir().join("refused.sock"))
                .output()
                .expect("run the agent");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(reason) && said.contains(address), "{said}");
        }
    });
}
