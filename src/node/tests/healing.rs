//! Cuts, restarts and writes all at once, and then everything must be equal.

use super::*;

#[tokio::test(start_paused = true)]
async fn nodes_end_equal_after_cuts_and_restarts() {
    for seed in 1..=4 {
        converge(seed).await;
    }
}

async fn converge(seed: u64) {
    let mut random = Random(seed);
    let network = MemoryNetwork::default();
    let list = |own: u16| -> Vec<u16> { (1..=NODES).filter(|port| *port != own).collect() };
    let begin = |own: u16| start(&network, &format!("n{own}"), own, &list(own));
    let mut nodes: Vec<Cluster> = (1..=NODES).map(begin).collect();
    for node in &nodes {
        node.ready().await;
    }
    let mut keys = Vec::new();
    for step in 0..STEPS {
        let at = random.below(nodes.len());
        match random.below(10) {
            0 => keys.push(create(nodes[at].node())),
            1 => network.cut_between(random.port(), random.port()),
            2 => network.heal(),
            3 if nodes.iter().all(|node| node.session_count() == keys.len()) => {
                // What nobody else holds would be lost with the node, and rightly so.
                let port = u16::try_from(at + 1).expect("few nodes");
                let old = nodes.remove(at);
                let node = Arc::downgrade(old.node());
                drop(old);
                wait_until("it is gone", || node.upgrade().is_none()).await;
                network.heal();
                nodes.insert(at, begin(port));
                assert_eq!(nodes[at].ready().await, Readiness::Synced, "seed {seed}");
            }
            _ => {
                let Some(key) = keys.get(random.below(keys.len().max(1))) else {
                    continue;
                };
                if holds(&nodes[at], key) {
                    let name = format!("a{}", random.below(4));
                    set(nodes[at].node(), key, &name, &step.into());
                }
            }
        }
        if random.below(3) == 0 {
            tokio::time::sleep(Duration::from_millis(random.below(2_000) as u64)).await;
        }
    }
    network.heal();
    let what = format!("all nodes are equal, seed {seed}");
    wait_until(&what, || {
        let views: Vec<_> = nodes.iter().map(|node| view(node, &keys)).collect();
        views.iter().all(|view| *view == views[0])
    })
    .await;
    assert!(
        view(&nodes[0], &keys).iter().all(Option::is_some),
        "seed {seed}"
    );
}

fn view(cluster: &Cluster, keys: &[SessionKey]) -> Vec<Option<Vec<Option<serde_json::Value>>>> {
    let attributes = |key| {
        let names = (0..4).map(|n| format!("a{n}"));
        names.map(|name| get(cluster.node(), key, &name)).collect()
    };
    let of = |key| holds(cluster, key).then(|| attributes(key));
    keys.iter().map(of).collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(usize::from(NODES))).expect("few nodes") + 1
    }
}

const NODES: u16 = 3;
const STEPS: i32 = 150;
