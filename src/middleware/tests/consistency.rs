//! Clients that go from node to node without waiting for acknowledgements.

use http::HeaderMap;

use super::*;
use crate::{
    Consistency,
    config::ClusterSecret,
    session::{BootId, Origin, SessionKey, Stamp, Tag, Token, TokenKey},
};

#[tokio::test(start_paused = true)]
async fn client_reads_on_any_node_what_it_wrote_on_another() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    for round in (1..20).step_by(2) {
        // The first time the other node does not even know the session.
        assert_eq!(jar.at_once(&one, set(round)).await, Ok(()));
        assert_eq!(jar.get(&two).await, Some(round));
        assert_eq!(jar.at_once(&two, set(round + 1)).await, Ok(()));
        assert_eq!(jar.get(&one).await, Some(round + 1));
    }
    assert_eq!(two.cluster().stats().lookups, 1, "the rest came by stream");
    assert_eq!(one.cluster().stats().lookups, 0);
    assert_eq!([stale_reads(&one), stale_reads(&two)], [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn eventual_consistency_sets_no_second_cookie_and_reads_what_is_there() {
    let [one, two] = pair(Consistency::Eventual).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.names(), ["__Host-id"]);
    let mut value = None;
    let read = async |session: Session| {
        value = session.get("a")?;
        Ok(())
    };
    jar.at_once(&two, read).await.expect("read");
    assert_eq!(value, None::<u64>);
}

#[tokio::test(start_paused = true)]
async fn covered_token_is_not_waited_for() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    for layer in [&one, &two] {
        let read = async |session: Session| session.get::<u64>("a").map(drop);
        jar.at_once(layer, read).await.expect("read");
    }
    assert_eq!(two.cluster().stats().lookups, 1);
}

#[tokio::test(start_paused = true)]
async fn new_secret_opens_the_session_on_a_node_that_has_yet_to_learn_of_it() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    let cycle = async |session: Session| session.cycle_id();
    jar.at_once(&one, cycle).await.expect("cycled");
    assert_eq!(jar.get(&two).await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_silent_is_waited_for_within_bounds_and_the_stale_read_counted() {
    let (network, [one, two]) = linked(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    network.hold();
    jar.at_once(&one, set(2)).await.expect("written");
    let before = now_ms(&two);
    assert_eq!(jar.get(&two).await, Some(1));
    let waited = now_ms(&two) - before;
    assert!((50..=52).contains(&waited), "{waited} ms");
    assert_eq!(stale_reads(&two), 1);
    network.release();
    assert_eq!(jar.get(&two).await, Some(2));
    assert_eq!(stale_reads(&two), 1);
}

#[tokio::test(start_paused = true)]
async fn peer_that_is_cut_off_is_not_waited_for_and_the_stale_read_counted() {
    let (network, [one, two]) = linked(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    network.cut();
    wait_until(|| two.cluster().members()[0].state != MemberState::Up).await;
    jar.at_once(&one, set(2)).await.expect("written");
    let before = now_ms(&two);
    assert_eq!(jar.get(&two).await, Some(1));
    assert_eq!(now_ms(&two), before, "nobody can be asked");
    assert_eq!(stale_reads(&two), 1);
    network.heal();
    wait_until(|| two.cluster().members()[0].state == MemberState::Up).await;
    assert_eq!(jar.get(&two).await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn write_that_its_node_cannot_bring_is_got_from_a_third() {
    let network = MemoryNetwork::default();
    let [one, two, three] = [1, 2, 3].map(|port| node_of(&network, port, &[1, 2, 3]));
    let [one, two, three] = [one, two, three].map(|layer| layer.with_ack(Ack::None));
    for layer in [&one, &two, &three] {
        are_up(layer).await;
    }
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    network.cut_between(1, 2);
    wait_until(|| {
        let members = two.cluster().members();
        members
            .iter()
            .any(|member| member.state == MemberState::Suspect)
    })
    .await;
    jar.at_once(&one, set(2)).await.expect("written");
    assert_eq!(jar.get(&three).await, Some(2));
    assert_eq!(jar.get(&two).await, Some(2));
    assert_eq!([stale_reads(&two), stale_reads(&three)], [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn write_that_died_with_its_node_is_asked_for_until_the_next_write_only() {
    let (network, [one, two]) = linked(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    network.cut();
    wait_until(|| two.cluster().members()[0].state != MemberState::Up).await;
    jar.at_once(&one, set(2)).await.expect("written");
    // As long as its node may come back with it, it is not given up.
    jar.send(&two, set(3)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(3));
    assert_eq!(stale_reads(&two), 2);
    drop(one);
    network.heal();
    wait_until(|| network.is_free(1)).await;
    let one = node_of(&network, 1, &[1, 2]);
    are_up(&one).await;
    jar.send(&two, set(4)).await.expect("written");
    assert_eq!(stale_reads(&two), 3);
    assert_eq!(jar.get(&two).await, Some(4));
    assert_eq!(jar.get(&one).await, Some(4));
    assert_eq!([stale_reads(&one), stale_reads(&two)], [0, 3]);
}

#[tokio::test(start_paused = true)]
async fn only_a_token_with_a_valid_code_has_a_request_wait() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    let mut other = Jar::default();
    other.at_once(&one, set(1)).await.expect("written");
    let own = jar.0["__Host-id-seen"].clone();
    let never_written = Tag {
        stamp: Stamp::MAX,
        origin: Origin {
            boot: BootId::from_bytes([9; 8]),
            epoch: 0,
        },
    };
    let mut token = Token::default();
    token.add(never_written);
    let key = SessionKey::from_public_id(&id_of(&jar)).expect("a key");
    let wrong_key = TokenKey::new(&[ClusterSecret::from_bytes([8; 32])]).expect("a key");
    let forged = wrong_key.sign(&key, &token);
    let lookups = two.cluster().stats().lookups;
    for token in [
        "",
        "nonsense",
        &own[4..],
        &forged,
        &other.0["__Host-id-seen"],
    ] {
        jar.0.insert("__Host-id-seen".to_owned(), token.to_owned());
        let read = async |session: Session| session.get::<u64>("a").map(drop);
        jar.at_once(&two, read).await.expect(token);
    }
    // Nor can a client that made an id up have peers asked for it.
    jar.0.insert("__Host-id".to_owned(), "A".repeat(43));
    let read = async |session: Session| session.get::<u64>("a").map(drop);
    jar.at_once(&two, read).await.expect("nothing there");
    assert_eq!(two.cluster().stats().lookups, lookups);
    assert_eq!(stale_reads(&two), 0);
}

#[tokio::test(start_paused = true)]
async fn token_of_a_destroyed_session_is_not_waited_for() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    assert_eq!(jar.get(&two).await, Some(1));
    jar.at_once(&one, set(2)).await.expect("written");
    let mut old = Jar(jar.0.clone());
    let destroy = async |session: Session| {
        session.destroy()?;
        session.replicated().await;
        Ok(())
    };
    jar.send(&one, destroy).await.expect("destroyed");
    assert_eq!(jar.names(), [""; 0], "both cookies are removed");
    let read = async |session: Session| {
        assert_eq!(session.id(), None);
        Ok(())
    };
    old.at_once(&two, read).await.expect("read");
    assert_eq!(stale_reads(&two), 0);
}

#[tokio::test(start_paused = true)]
async fn session_that_nobody_has_any_more_is_not_a_stale_read() {
    let [one, two] = pair(Consistency::ReadYourWrites).await;
    let one = one.with_expiry(crate::Expiry::idle(Duration::from_secs(1)));
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    wait_until(|| one.cluster().session_count() == 0 && two.cluster().session_count() == 0).await;
    let before = now_ms(&two);
    assert_eq!(jar.get(&two).await, None);
    assert_eq!(now_ms(&two), before, "all have answered");
    assert_eq!(stale_reads(&two), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_load_stops_waiting_and_loads_nothing() {
    let (network, [one, two]) = linked(Consistency::ReadYourWrites).await;
    let mut jar = Jar::default();
    jar.at_once(&one, set(1)).await.expect("written");
    network.hold();
    let mut request = jar.request(&two, async |_| Ok(()));
    assert!(poll_once(&mut request).await.is_none());
    drop(request);
    network.release();
    assert_eq!(jar.get(&two).await, Some(1));
}

/// A client's cookies, by name.
#[derive(Debug, Default)]
struct Jar(std::collections::BTreeMap<String, String>);

impl Jar {
    /// Sends a request whose response must be there without any waiting.
    async fn at_once(
        &mut self,
        layer: &ClusterSessionLayer,
        handler: impl AsyncFnOnce(Session) -> Result<(), SessionError>,
    ) -> Result<(), String> {
        let mut response = self.request(layer, handler);
        let answer = poll_once(&mut response).await.expect("it waits for nobody");
        drop(response);
        self.keep(answer.headers());
        answer.into_body().map_err(|error| error.to_string())
    }

    async fn send(
        &mut self,
        layer: &ClusterSessionLayer,
        handler: impl AsyncFnOnce(Session) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        let answer = self.request(layer, handler).await;
        self.keep(answer.headers());
        answer.into_body()
    }

    async fn get(&mut self, layer: &ClusterSessionLayer) -> Option<u64> {
        let mut value = None;
        let read = async |session: Session| {
            value = session.get("a")?;
            Ok(())
        };
        let answer = self.request(layer, read).await;
        assert!(
            !answer.headers().contains_key(SET_COOKIE),
            "reading changes no cookie"
        );
        answer.into_body().expect("readable");
        value
    }

    fn request<'a>(
        &self,
        layer: &ClusterSessionLayer,
        handler: impl AsyncFnOnce(Session) -> Result<(), SessionError> + 'a,
    ) -> Pin<Box<dyn Future<Output = Answer> + 'a>> {
        let pairs = self.0.iter().map(|(name, value)| format!("{name}={value}"));
        let cookies: Vec<String> = pairs.collect();
        send(layer, "/", Some(&cookies.join("; ")), handler)
    }

    fn keep(&mut self, headers: &HeaderMap) {
        for field in headers.get_all(SET_COOKIE) {
            let field = field.to_str().expect("text");
            let pair = field.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            if field.contains("Max-Age=0") {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

fn set(value: u64) -> impl AsyncFnOnce(Session) -> Result<(), SessionError> {
    async move |session| session.insert("a", value)
}

fn stale_reads(layer: &ClusterSessionLayer) -> u64 {
    layer.cluster().stats().stale_reads
}

fn now_ms(layer: &ClusterSessionLayer) -> u64 {
    layer.cluster().node().now().mono_ms
}

/// The public id of the session that the jar opens.
fn id_of(jar: &Jar) -> String {
    let cookie = crate::session::CookieValue::parse(&jar.0["__Host-id"]).expect("a cookie");
    cookie.key.public_id(None)
}

/// Two linked nodes whose responses wait for nobody.
async fn pair(consistency: Consistency) -> [ClusterSessionLayer; 2] {
    linked(consistency).await.1
}

async fn linked(consistency: Consistency) -> (MemoryNetwork, [ClusterSessionLayer; 2]) {
    let network = MemoryNetwork::default();
    let nodes = [1, 2].map(|port| {
        let layer = node_of(&network, port, &[1, 2]);
        layer.with_ack(Ack::None).with_consistency(consistency)
    });
    for layer in &nodes {
        are_up(layer).await;
    }
    (network, nodes)
}

fn node_of(network: &MemoryNetwork, port: u16, ports: &[u16]) -> ClusterSessionLayer {
    let peers = ports.iter().filter(|peer| **peer != port);
    let config = ClusterConfig::new(format!("node{port}"))
        .listen(format!("127.0.0.1:{port}"))
        .peers(peers.map(|peer| format!("127.0.0.1:{peer}")))
        .consistency_key("Dp0/vSfysfmg8cRnfZoeW4jGwaJd33pMkDv+byJA1+M=");
    let cluster = Cluster::start_with(&config, Arc::new(network.transport(port)));
    ClusterSessionLayer::from_cluster(&cluster.expect("a valid configuration"))
        .with_consistency(Consistency::ReadYourWrites)
}

async fn are_up(layer: &ClusterSessionLayer) {
    wait_until(|| {
        let members = layer.cluster().members();
        members.iter().all(|member| member.state == MemberState::Up)
    })
    .await;
}
