//! What monitoring systems read, after what visitors did.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tower_cluster_sessions::{
    AtLimit, Cluster, ClusterConfig, ClusterSessionLayer, test_util::TestCluster,
};

use crate::http_support::*;

/// Returns the value of the one line that begins so.
fn value_of(text: &str, line: &str) -> f64 {
    let mut found = text.lines().filter_map(|other| other.strip_prefix(line));
    let value = found
        .next()
        .unwrap_or_else(|| panic!("no {line} in {text}"));
    assert_eq!(found.next(), None, "two of {line}");
    value.trim().parse().expect("a number")
}

#[tokio::test]
async fn figures_tell_what_visitors_did() {
    let cluster = TestCluster::start(2).await;
    let [one, two] = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let (visitor, _) = start(&one, "a", 1).await;
    let response = visit(&two, &visitor, async |session| session.cycle_id().unwrap()).await;
    let cycled = cookie(&response).expect("another cookie");
    visit(&one, &visitor, async |_| ()).await;
    visit(
        &one,
        "__Host-id=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        async |_| (),
    )
    .await;
    let (other, _) = start(&one, "a", 1).await;
    visit(&two, &other, async |session| session.destroy().unwrap()).await;

    let names = [
        one.cluster().node_name().to_owned(),
        two.cluster().node_name().to_owned(),
    ];
    let texts = [one.cluster().prometheus(), two.cluster().prometheus()];
    let figure = |node: usize, name: &str, more: &str| {
        let own = format!(
            "cluster=\"{}\",node=\"{}\"",
            one.cluster().stats().cluster,
            names[node]
        );
        value_of(
            &texts[node],
            &format!("cluster_sessions_{name}{{{own}{more}}}"),
        )
    };
    for (node, name, more, expected) in [
        (0, "ready", "", 1.0),
        (0, "live", "", 1.0),
        (1, "live", "", 1.0),
        (1, "tombstones", "", 1.0),
        (0, "created_total", "", 2.0),
        (1, "created_total", "", 0.0),
        (1, "destroyed_total", ",reason=\"request\"", 1.0),
        (0, "destroyed_total", ",reason=\"request\"", 0.0),
        (1, "id_changes_total", "", 1.0),
        (0, "loads_total", ",result=\"superseded\"", 1.0),
        (0, "loads_total", ",result=\"unknown\"", 1.0),
        (1, "loads_total", ",result=\"alive\"", 2.0),
        (0, "commit_duration_seconds_count", ",ack=\"all\"", 4.0),
        (1, "commit_duration_seconds_count", ",ack=\"all\"", 2.0),
        (0, "commit_duration_seconds_count", ",ack=\"none\"", 0.0),
        (1, "session_age_seconds_count", "", 1.0),
    ] {
        assert_eq!(
            figure(node, name, more),
            expected,
            "{name}{more} of node {node}"
        );
    }
    let peer = format!(",peer=\"{}\"", names[1]);
    assert_eq!(figure(0, "member_up", &peer), 1.0);
    assert!(figure(0, "sent_bytes_total", &peer) > 0.0);
    for cookie in [&visitor, &cycled, &other] {
        let (_, value) = cookie.split_once('=').expect("a pair");
        assert!(texts.iter().all(|text| !text.contains(value)));
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_another_node_has_ended_are_counted_where_they_were() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    let ended = |node: usize, reason: &str| destroyed(cluster.cluster(node), reason);
    let ages = |node: usize| {
        let text = cluster.cluster(node).prometheus();
        let mut lines = text.lines();
        let line =
            lines.find(|line| line.starts_with("cluster_sessions_session_age_seconds_count"));
        let count = line.and_then(|line| line.rsplit_once(' '));
        count.expect("a count").1.to_owned()
    };
    // What only the second node holds when the first one is asked.
    cluster.cut();
    let (visitor, _) = start(&layers[1], "a", 1).await;
    let (_, id) = start(&layers[1], "b", 1).await;
    assert!(!cluster.cluster(0).destroy(&id).await, "it is not here");
    visit(&layers[0], &visitor, async |session| {
        session.destroy().expect("it is ordered");
    })
    .await;
    cluster.heal();
    cluster.converged().await;
    until(|| ended(1, "order") == 2.0).await;
    assert_eq!((ended(1, "request"), ages(1).as_str()), (0.0, "2"));
    assert_eq!(ended(0, "request"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn sessions_that_a_search_ends_are_counted_by_the_node_that_ended_them() {
    let cluster = TestCluster::start(2).await;
    let layers = [0, 1].map(|node| ClusterSessionLayer::from_cluster(cluster.cluster(node)));
    // Of two sessions of the user the second node alone knows one.
    start(&layers[0], "user", 7).await;
    cluster.converged().await;
    cluster.cut();
    start(&layers[1], "user", 7).await;
    let sessions = cluster.cluster(0).sessions("");
    let result = sessions.destroy_where("user", &7).await;
    assert_eq!(result.expect("a value").sessions, 1, "one is out of reach");
    cluster.heal();
    let ended = |node: usize, reason: &str| destroyed(cluster.cluster(node), reason);
    until(|| ended(1, "order") == 1.0).await;
    assert_eq!((ended(0, "request"), ended(0, "order")), (1.0, 0.0));
    assert_eq!(ended(1, "request"), 0.0);
}

#[tokio::test]
async fn sessions_beyond_a_limit_are_counted_as_such() {
    let config = ClusterConfig::standalone().index("user");
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let layer =
        ClusterSessionLayer::from_cluster(&cluster).with_limit("user", 1, AtLimit::EndOldest);
    start(&layer, "user", 7).await;
    start(&layer, "user", 7).await;
    assert_eq!(destroyed(&cluster, "limit"), 1.0);
    assert_eq!(destroyed(&cluster, "request"), 0.0);
}

/// Returns how many sessions a node has counted as ended for this reason.
fn destroyed(cluster: &Cluster, reason: &str) -> f64 {
    let own = format!(
        "cluster=\"{}\",node=\"{}\"",
        cluster.stats().cluster,
        cluster.node_name()
    );
    let line = format!("cluster_sessions_destroyed_total{{{own},reason=\"{reason}\"}}");
    value_of(&cluster.prometheus(), &line)
}

#[tokio::test(start_paused = true)]
async fn sessions_that_make_room_are_counted_as_ended() {
    let config = ClusterConfig::standalone().max_sessions(2);
    let cluster = Cluster::start(config).await.expect("nothing is bound");
    let layer = ClusterSessionLayer::from_cluster(&cluster);
    for _ in 0..3 {
        // Clients that do not come back.
        visit(&layer, (), async |session| session.insert("a", 1))
            .await
            .into_body()
            .expect("there is room");
        pass(Duration::from_secs(10)).await;
    }
    let text = cluster.prometheus();
    let own = "cluster=\"sessions\",node=\"standalone\"";
    assert_eq!(destroyed(&cluster, "evicted"), 1.0);
    let line = format!("cluster_sessions_session_age_seconds_count{{{own}}}");
    assert_eq!(value_of(&text, &line), 1.0);
}

/// Waits until it is so, in virtual time.
async fn until(mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            pass(Duration::from_millis(100)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), so).await;
    waited.expect("it is so in time");
}

#[tokio::test(start_paused = true)]
async fn figures_reach_the_recorder_of_the_app() {
    let recorder = Told::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let layer = layer().await;
    start(&layer, "a", 1).await;
    // Counts are passed on each second.
    while recorder.counter("cluster_sessions_created_total") != Some(1) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(recorder.gauge("cluster_sessions_live"), Some(1.0));
    // The creation, and the request by which the client came back.
    assert_eq!(
        recorder.times("cluster_sessions_commit_duration_seconds"),
        2
    );
}

/// A recorder that remembers, as an exporter's would.
#[derive(Default)]
struct Told {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<Vec<(String, Arc<Times>)>>,
}

/// How many times were recorded.
#[derive(Default)]
struct Times(AtomicU64);

impl HistogramFn for Times {
    fn record(&self, _seconds: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Told {
    fn counter(&self, name: &str) -> Option<u64> {
        let counters = self.counters.lock().expect("no panic");
        counters
            .get(name)
            .map(|counter| counter.load(Ordering::Relaxed))
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        let gauges = self.gauges.lock().expect("no panic");
        let bits = gauges.get(name)?.load(Ordering::Relaxed);
        Some(f64::from_bits(bits))
    }

    fn times(&self, name: &str) -> u64 {
        let histograms = self.histograms.lock().expect("no panic");
        let named = histograms.iter().filter(|(other, _)| other == name);
        named
            .map(|(_, times)| times.0.load(Ordering::Relaxed))
            .sum()
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.counters.lock().expect("no panic");
        Counter::from_arc(Arc::clone(
            counters.entry(key.name().to_owned()).or_default(),
        ))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut gauges = self.gauges.lock().expect("no panic");
        Gauge::from_arc(Arc::clone(gauges.entry(key.name().to_owned()).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let times = Arc::new(Times::default());
        let mut histograms = self.histograms.lock().expect("no panic");
        histograms.push((key.name().to_owned(), Arc::clone(&times)));
        Histogram::from_arc(times)
    }
}
