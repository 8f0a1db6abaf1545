//! The agent's metrics as text: OpenMetrics, or Prometheus' older form of it.
//!
//! Formats: <https://prometheus.io/docs/specs/om/open_metrics_spec/> and
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::conn::tally::{BOUNDS_NS, Histogram, Tally};

/// Listeners that are shown by themselves; the rest is summed up as `other`, so that a host with many
/// of them, or one where they come and go, makes no endless series.
pub const LISTENERS: usize = 50;
/// A listener takes another's place only if it has more than twice its connections, and so many more.
const MARGIN: u64 = 10;

/// Which of the two forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Form {
    /// The form that an `Accept` header asks for.
    #[must_use]
    pub fn of_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// The `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
}

/// What belongs to a listener, or to several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections that wait to be accepted.
    pub queue: u64,
    /// Connections at its address and port, in any state.
    pub connections: u64,
}

/// Adds up what belongs to each listener: queues of those that share an address and port, and
/// connections, of which each counts at the listener that the kernel would find for it.
#[must_use]
pub fn loads(
    queues: impl IntoIterator<Item = (Listener, u64)>,
    connections: impl IntoIterator<Item = Listener>,
) -> BTreeMap<Listener, Load> {
    let mut loads: BTreeMap<Listener, Load> = BTreeMap::new();
    for (listener, queue) in queues {
        loads.entry(listener).or_default().queue += queue;
    }
    for end in connections {
        let any4 = end.addr.is_ipv4().then_some(Ipv4Addr::UNSPECIFIED.into());
        let any6 = Some(Ipv6Addr::UNSPECIFIED.into());
        for addr in [Some(end.addr), any4, any6].into_iter().flatten() {
            if let Some(load) = loads.get_mut(&Listener { addr, ..end }) {
                load.connections += 1;
                break;
            }
        }
    }
    loads
}

/// The listeners that are shown by themselves, if `before` were: those that still listen stay, so that
/// their series do not come and go with small changes, until another has many more connections.
#[must_use]
pub fn choose(before: &BTreeSet<Listener>, loads: &BTreeMap<Listener, Load>) -> BTreeSet<Listener> {
    type Ranked = (u64, std::cmp::Reverse<Listener>);
    let rank = |listener: &Listener| -> Option<Ranked> {
        let load = loads.get(listener)?;
        Some((load.connections, std::cmp::Reverse(*listener)))
    };
    let mut shown: BTreeSet<Ranked> = before.iter().filter_map(rank).collect();
    let others = loads.keys().filter(|listener| !before.contains(listener));
    let others: BTreeSet<Ranked> = others.filter_map(rank).collect();
    // What was too much before is too much now.
    while shown.len() > LISTENERS {
        shown.pop_first();
    }
    for other in others.into_iter().rev() {
        if shown.len() == LISTENERS {
            let least = shown.first().map_or(0, |(connections, _)| *connections);
            if other.0 <= 2 * least + MARGIN {
                break;
            }
            shown.pop_first();
        }
        shown.insert(other);
    }
    shown.into_iter().map(|(_, listener)| listener.0).collect()
}

/// All that is shown, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Version of the program.
    pub version: &'static str,
    /// TCP sockets of all network namespaces by netstat's word for their state.
    pub states: BTreeMap<&'static str, u64>,
    /// Listeners.
    pub listeners: BTreeMap<Listener, Load>,
    /// Those that are shown by themselves: see [`choose`].
    pub shown: BTreeSet<Listener>,
    /// What has happened.
    pub tally: Tally,
    /// Socket events taken in.
    pub events: u64,
    /// Events lost, by cause.
    pub lost: [(&'static str, u64); 4],
    /// Events of half-open connections that a flood kept out; their rows are read when needed.
    pub over_budget: u64,
    /// Times that the table was compared with the kernel because of a loss.
    pub healings: u64,
    /// Times that it was compared without a reason.
    pub audits: u64,
    /// Rows that a comparison found wrong.
    pub mismatches: u64,
    /// Changes that nobody told and that were inferred.
    pub gaps: u64,
    /// Since when the table is exact, nanoseconds since 1970.
    pub exact_since_ns: u64,
    /// Whether it may be wrong now.
    pub in_doubt: bool,
    /// Processor time of the process, nanoseconds.
    pub cpu_ns: u64,
    /// Resident memory of the process.
    pub rss_bytes: u64,
}

/// Writes all metrics.
#[must_use]
pub fn render(sample: &Sample, form: Form) -> String {
    let mut page = Page {
        text: String::new(),
        form,
    };
    page.begin("netstat_build_info", "gauge", "Version of netstat-bpf.");
    page.labelled("netstat_build_info", &[("version", sample.version)], 1);
    page.begin(
        "netstat_sockets",
        "gauge",
        "TCP sockets of all network namespaces.",
    );
    for (state, count) in &sample.states {
        page.labelled("netstat_sockets", &[("state", state)], *count);
    }
    listeners(&mut page, sample);
    changes(&mut page, &sample.tally);
    own(&mut page, sample);
    if form == Form::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

fn listeners(page: &mut Page, sample: &Sample) {
    let all = sample.listeners.iter();
    let (shown, rest): (Vec<_>, Vec<_>) =
        all.partition(|(listener, _)| sample.shown.contains(listener));
    let mut other = Load::default();
    for (_, load) in rest {
        other.queue += load.queue;
        other.connections += load.connections;
    }
    type Number = fn(&Load) -> u64;
    let families: [(&str, &str, Number); 2] = [
        (
            "netstat_listener_queue",
            "Connections that wait to be accepted.",
            |load| load.queue,
        ),
        (
            "netstat_listener_sockets",
            "Connections at a listener's address and port, in any state.",
            |load| load.connections,
        ),
    ];
    for (name, help, number) in families {
        page.begin(name, "gauge", help);
        for (listener, load) in &shown {
            let (netns, addr) = (listener.netns.to_string(), listener.addr.to_string());
            let port = listener.port.to_string();
            let labels = [("netns", &*netns), ("addr", &*addr), ("port", &*port)];
            page.labelled(name, &labels, number(load));
        }
        let labels = [("netns", "other"), ("addr", "other"), ("port", "other")];
        page.labelled(name, &labels, number(&other));
    }
}

fn changes(page: &mut Page, tally: &Tally) {
    let name = "netstat_connections_opened";
    page.begin(name, "counter", "Connections begun, by who called.");
    page.count(name, &[("direction", "out")], tally.opened_out);
    page.count(name, &[("direction", "in")], tally.opened_in);
    let name = "netstat_connections_failed";
    page.begin(
        name,
        "counter",
        "Connections that ended before they were established.",
    );
    page.count(name, &[("direction", "out")], tally.failed_out);
    page.count(name, &[("direction", "in")], tally.failed_in);
    let name = "netstat_connections_established";
    page.begin(name, "counter", "Connections that came to be established.");
    page.count(name, &[], tally.established);
    let name = "netstat_connections_ended";
    page.begin(name, "counter", "Connections that ended, by reason.");
    for (why, count) in &tally.ended {
        let why = why.map_or("unknown", |why| why.name());
        page.count(name, &[("why", why)], *count);
    }
    page.histogram(
        "netstat_connect_seconds",
        "Time from SYN_SENT to ESTABLISHED.",
        &tally.connect,
    );
    page.histogram(
        "netstat_syn_recv_seconds",
        "Time from SYN_RECV to ESTABLISHED.",
        &tally.accept,
    );
}

fn own(page: &mut Page, sample: &Sample) {
    let name = "netstat_events_lost";
    page.begin(
        name,
        "counter",
        "Socket events lost, by cause: what they told of connections is not counted elsewhere.",
    );
    for (cause, count) in sample.lost {
        page.count(name, &[("cause", cause)], count);
    }
    for (name, help, count) in [
        ("netstat_events", "Socket events taken in.", sample.events),
        (
            "netstat_events_over_budget",
            "Events of half-open connections that a flood kept out.",
            sample.over_budget,
        ),
        (
            "netstat_healings",
            "Comparisons with the kernel because events were lost.",
            sample.healings,
        ),
        (
            "netstat_audits",
            "Comparisons with the kernel without a reason.",
            sample.audits,
        ),
        (
            "netstat_audit_mismatches",
            "Rows that a comparison found wrong.",
            sample.mismatches,
        ),
        (
            "netstat_gaps",
            "Changes that no event told and that were inferred from later ones.",
            sample.gaps,
        ),
    ] {
        page.begin(name, "counter", help);
        page.count(name, &[], count);
    }
    let name = "netstat_exact_since_seconds";
    page.begin(
        name,
        "gauge",
        "Since when the table has missed nothing (Unix time).",
    );
    page.sample(name, &[], &seconds(sample.exact_since_ns));
    page.begin(
        "netstat_in_doubt",
        "gauge",
        "Whether the table may be wrong now.",
    );
    page.labelled("netstat_in_doubt", &[], u64::from(sample.in_doubt));
    let name = "process_cpu_seconds";
    page.begin(name, "counter", "Processor time of the agent.");
    page.sample(&format!("{name}_total"), &[], &seconds(sample.cpu_ns));
    let name = "process_resident_memory_bytes";
    page.begin(name, "gauge", "Resident memory of the agent.");
    page.labelled(name, &[], sample.rss_bytes);
}

struct Page {
    text: String,
    form: Form,
}

impl Page {
    fn begin(&mut self, name: &str, kind: &str, help: &str) {
        // The older form names a counter as its samples are named.
        let total = if kind == "counter" && self.form == Form::Text {
            "_total"
        } else {
            ""
        };
        // Writing to a String does not fail, here and below.
        let _ = writeln!(self.text, "# HELP {name}{total} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{total} {kind}");
    }

    fn count(&mut self, name: &str, labels: &[(&str, &str)], number: u64) {
        self.labelled(&format!("{name}_total"), labels, number);
    }

    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], number: u64) {
        self.sample(name, labels, &number.to_string());
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], number: &str) {
        self.text.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            // No label value comes from outside: all are words of ours, numbers and addresses.
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {number}");
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.begin(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (bound, count) in BOUNDS_NS.iter().zip(histogram.buckets) {
            below += count;
            self.labelled(&bucket, &[("le", &seconds(*bound))], below);
        }
        self.labelled(&bucket, &[("le", "+Inf")], histogram.count());
        self.sample(&format!("{name}_sum"), &[], &seconds(histogram.sum_ns));
        self.labelled(&format!("{name}_count"), &[], histogram.count());
    }
}

/// Exact decimal seconds, with a point as OpenMetrics wants it for `le`.
fn seconds(ns: u64) -> String {
    let text = format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') {
        format!("{short}0")
    } else {
        short.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::types::Why;

    fn sample() -> Sample {
        let mut tally = Tally {
            opened_out: 3,
            ..Tally::default()
        };
        tally.ended.insert(Some(Why::RstSent), 2);
        tally.ended.insert(None, 1);
        tally.connect.observe(60_000);
        tally.connect.observe(20_000_000_000);
        Sample {
            version: "1",
            states: [("ESTABLISHED", 4)].into(),
            tally,
            cpu_ns: 1_500_000_000,
            lost: [("a", 0), ("b", 1), ("c", 2), ("d", 3)],
            ..Sample::default()
        }
    }

    #[test]
    fn numbers_stand_where_the_format_wants_them() {
        let text = render(&sample(), Form::OpenMetrics);
        for line in [
            "# TYPE netstat_connections_opened counter",
            "netstat_connections_opened_total{direction=\"out\"} 3",
            "netstat_connections_ended_total{why=\"rst-sent\"} 2",
            "netstat_connections_ended_total{why=\"unknown\"} 1",
            "netstat_sockets{state=\"ESTABLISHED\"} 4",
            "netstat_connect_seconds_bucket{le=\"0.00001\"} 0",
            "netstat_connect_seconds_bucket{le=\"0.0001\"} 1",
            "netstat_connect_seconds_bucket{le=\"10.0\"} 1",
            "netstat_connect_seconds_bucket{le=\"+Inf\"} 2",
            "netstat_connect_seconds_sum 20.00006",
            "netstat_connect_seconds_count 2",
            "process_cpu_seconds_total 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
        let older = render(&sample(), Form::Text);
        assert!(older.contains("# TYPE netstat_connections_opened_total counter\n"));
        assert!(!older.contains("# EOF"));
    }

    #[test]
    fn no_series_comes_twice() {
        for form in [Form::OpenMetrics, Form::Text] {
            let text = render(&sample(), form);
            let series = text.lines().filter(|line| !line.starts_with('#'));
            let series: Vec<_> = series
                .map(|line| line.rsplit_once(' ').expect("a number").0)
                .collect();
            let unique: BTreeSet<_> = series.iter().collect();
            assert_eq!(unique.len(), series.len());
        }
    }

    #[test]
    fn many_listeners_make_a_bounded_page_and_none_is_forgotten() {
        let mut sample = sample();
        for port in 1..=1000 {
            let listener = Listener {
                netns: 1,
                addr: IpAddr::from([127, 0, 0, 1]),
                port,
            };
            let load = Load {
                queue: 1,
                connections: u64::from(port),
            };
            sample.listeners.insert(listener, load);
        }
        sample.shown = choose(&BTreeSet::new(), &sample.listeners);
        let text = render(&sample, Form::Text);
        let numbers = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let numbers = lines.map(|line| line.rsplit_once(' ').expect("a number").1);
            numbers
                .map(|number| number.parse::<u64>().expect("whole"))
                .collect::<Vec<_>>()
        };
        let queues = numbers("netstat_listener_queue{");
        assert_eq!((queues.len(), queues.iter().sum()), (LISTENERS + 1, 1000));
        let sockets = numbers("netstat_listener_sockets{");
        assert_eq!(sockets[LISTENERS - 1], 1000);
        assert_eq!(sockets.iter().sum::<u64>(), 1000 * 1001 / 2);
    }

    fn listener(port: u16) -> Listener {
        Listener {
            netns: 1,
            addr: IpAddr::from([127, 0, 0, 1]),
            port,
        }
    }

    fn all_with(connections: impl Fn(u16) -> u64, ports: u16) -> BTreeMap<Listener, Load> {
        let load = |port| Load {
            queue: 0,
            connections: connections(port),
        };
        (1..=ports)
            .map(|port| (listener(port), load(port)))
            .collect()
    }

    #[test]
    fn listeners_keep_their_series_while_connections_come_and_go() {
        let busy = all_with(|port| 100 + u64::from(port), 200);
        let mut shown = choose(&BTreeSet::new(), &busy);
        assert_eq!(shown, (151..=200).map(listener).collect());
        for round in 0..50 {
            let loads = all_with(|port| 90 + (u64::from(port) * 7 + round * 31) % 21, 200);
            let next = choose(&shown, &loads);
            assert_eq!(next, shown, "round {round}");
            shown = next;
        }
        // One that has many more comes in, for the least; one that is gone makes room.
        let mut loads = all_with(|port| if port == 3 { 1000 } else { 100 }, 200);
        loads.remove(&listener(160));
        let next = choose(&shown, &loads);
        assert_eq!(next.len(), LISTENERS);
        assert!(next.contains(&listener(3)) && !next.contains(&listener(160)));
        assert_eq!(next.intersection(&shown).count(), LISTENERS - 1);
    }

    proptest::proptest! {
        #[test]
        fn never_more_are_shown_and_only_those_that_listen(
            before in proptest::collection::btree_set(1u16..300, 0..120),
            loads in proptest::collection::btree_map(1u16..300, 0u64..500, 0..200),
        ) {
            let before = before.into_iter().map(listener).collect();
            let loads: BTreeMap<_, _> = loads
                .into_iter()
                .map(|(port, connections)| (listener(port), Load { queue: 0, connections }))
                .collect();
            let shown = choose(&before, &loads);
            proptest::prop_assert_eq!(shown.len(), shown.len().min(LISTENERS));
            proptest::prop_assert!(shown.len() == LISTENERS || shown.len() == loads.len());
            proptest::prop_assert!(shown.iter().all(|listener| loads.contains_key(listener)));
            proptest::prop_assert_eq!(&choose(&shown, &loads), &shown, "it settles at once");
        }
    }

    #[test]
    fn a_connection_counts_at_the_listener_that_the_kernel_would_find() {
        let at = |netns, addr: &str, port| Listener {
            netns,
            addr: addr.parse().expect("an address"),
            port,
        };
        let listeners = [
            at(1, "10.0.0.1", 80),
            at(1, "0.0.0.0", 80),
            at(1, "::", 80),
            at(1, "::", 81),
            at(2, "10.0.0.1", 80),
        ];
        let queues = listeners.into_iter().map(|listener| (listener, 1));
        let shared = [(at(1, "::", 81), 5)];
        let connections = [
            at(1, "10.0.0.1", 80),
            at(1, "10.0.0.2", 80),
            at(1, "fe80::1", 80),
            at(1, "10.0.0.1", 81),
            at(1, "10.0.0.1", 82),
            at(3, "10.0.0.1", 80),
        ];
        let loads = loads(queues.chain(shared), connections);
        let found =
            listeners.map(|listener| (loads[&listener].queue, loads[&listener].connections));
        assert_eq!(found, [(1, 1), (1, 1), (1, 1), (6, 1), (1, 0)]);
    }

    #[test]
    fn the_form_is_what_is_asked_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Form::of_accept(prometheus), Form::OpenMetrics);
        assert_eq!(Form::of_accept("*/*"), Form::Text);
    }
}
