//! Requests with ids that nobody has minted, many more than there are visitors.

use futures_util::future::join_all;

use super::*;
use crate::{cluster::rate_limit, config::ListenAddress, node::net::transport::Transport as _};

fn made_up(number: u32) -> SessionKey {
    let mut bytes = [0xAA; 16];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    SessionKey::from_bytes(bytes)
}

/// Questions of one kind that a node asks its peers in half a second, and one step at each end.
const IN_HALF_A_SECOND: u64 = (500 / rate_limit::STEP_MS + 2) * rate_limit::OF_OTHERS as u64;

#[tokio::test(start_paused = true)]
async fn made_up_ids_are_asked_for_at_a_bounded_rate_and_the_others_at_once() {
    const FLOOD: u32 = 20_000;
    let network = MemoryNetwork::default();
    let one = start(&network, "n1", 1, &[]);
    let listen = ListenAddress::parse(&address(3), 1).expect("valid");
    let _mute = network.transport(3).bind(&listen).expect("free");
    let key = create(one.node());
    let two = start(&network, "n2", 2, &[1, 3]);
    wait_until("the session has come", || holds(&two, &key)).await;
    assert!(two.node().awaits_transfer(), "the mute peer may have more");

    let before = two.stats().lookups;
    let flood =
        join_all((0..FLOOD).map(|number| two.node().recover_sessions(vec![made_up(number)])));
    let visitor = two.node().recover_sessions(vec![key]);
    let watcher = async {
        let mut most = 0;
        let mut last = before;
        assert!(
            two.node().requests.fetches.has_asked(&key),
            "before any time has passed"
        );
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(rate_limit::STEP_MS)).await;
            let lookups = two.stats().lookups;
            most = most.max(lookups - last);
            last = lookups;
        }
        most
    };
    let (_, (), most) = tokio::join!(flood, visitor, watcher);
    let lookups = two.stats().lookups - before;
    println!("{lookups} of {FLOOD} asked, {most} in a step");
    let step = u64::from(rate_limit::OF_OTHERS);
    assert!(most <= 2 * step, "{most}");
    assert!(
        (10 * step..=IN_HALF_A_SECOND).contains(&lookups),
        "{lookups}"
    );
}

#[tokio::test(start_paused = true)]
async fn ready_node_asks_nobody_for_made_up_ids() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    for number in 0..1000 {
        let unknown = two.node().read(&made_up(number), |_| ());
        assert!(unknown.is_err());
        assert!(!two.node().may_be_behind(two.node().now()));
        assert!(!two.node().awaits_transfer());
    }
    assert_eq!((one.stats().lookups, two.stats().lookups), (0, 0));
}
