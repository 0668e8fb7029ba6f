//! How the cluster is, in one sentence.

use super::figures::{counted, duration, grouped};
use crate::{
    node::{Member, MemberState, Stats, Unready},
    probes::reason,
};

/// The first thing that a page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) title: String,
    pub(super) detail: String,
}

/// How much attention something deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    /// It passes by itself, or should be looked at some time.
    Notice,
    Bad,
}

impl Level {
    /// Returns the name of its class in the style sheet.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Notice => "notice",
            Self::Bad => "bad",
        }
    }
}

/// Judges a node's figures. `unready` says why it takes no requests, and `min_peers` how many peers
/// it needs.
pub(super) fn verdict(stats: &Stats, unready: Option<Unready>, min_peers: usize) -> Verdict {
    let verdict = |level, title: String, detail: String| Verdict {
        level,
        title,
        detail,
    };
    let node = &stats.node;
    let here: Vec<&Member> = stats
        .members
        .iter()
        .filter(|member| member.state != MemberState::Left)
        .collect();
    if let Some(unready) = unready {
        let links = here.iter().filter(|member| is_linked(member.state)).count();
        let level = match unready {
            Unready::Refused => Level::Bad,
            Unready::Leaving | Unready::Draining | Unready::Joining => Level::Notice,
        };
        let title = format!("{node} is not ready");
        return verdict(level, title, sentence(&reason(unready, links, min_peers)));
    }
    let disk = failing_disk(stats);
    if here.is_empty() {
        let title = format!("{node} is alone");
        let detail = match stats.disk {
            None => "No other node is in the cluster: when this one stops, its sessions are gone.",
            Some(_) => {
                "No other node is in the cluster: while this one is stopped, nobody serves its \
                 sessions."
            }
        };
        let alone = || verdict(Level::Notice, title, detail.to_owned());
        return disk.unwrap_or_else(alone);
    }
    match (trouble(node, &here), disk) {
        (Some(trouble), Some(disk)) if trouble.level < disk.level => disk,
        (Some(trouble), _) => trouble,
        (None, Some(disk)) => disk,
        (None, None) => agreement(stats, &here),
    }
}

/// Returns what is wrong with members: the worst, and with whom.
fn trouble(node: &str, here: &[&Member]) -> Option<Verdict> {
    for (states, level, is, are) in TROUBLES {
        let mut named: Vec<String> = here
            .iter()
            .filter(|member| states.contains(&member.state))
            .map(|member| name_of(member).to_owned())
            .collect();
        if named.is_empty() {
            continue;
        }
        let count = named.len();
        let title = match count {
            1 => format!("{} {is}", named.remove(0)),
            _ => format!("{} {are}", counted(count as u64, "node", "nodes")),
        };
        let others = here.len() + 1 - count;
        let detail = match (others, level) {
            (1, Level::Bad) => format!("Of {} nodes only {node} is left.", here.len() + 1),
            (1, _) => format!("{node} is well, and its requests do not wait."),
            _ => format!("The other {others} of {} nodes are well.", here.len() + 1),
        };
        return Some(Verdict {
            level: *level,
            title,
            detail,
        });
    }
    None
}

/// Returns what is wrong with the disk of the node.
fn failing_disk(stats: &Stats) -> Option<Verdict> {
    let disk = stats.disk.as_ref().filter(|disk| disk.failing)?;
    let wait = match disk.unsaved {
        1 => "1 changed session waits".to_owned(),
        count => format!("{} changed sessions wait", grouped(count as u64)),
    };
    Some(Verdict {
        level: Level::Bad,
        title: format!("{} cannot write to its disk", stats.node),
        detail: format!("{wait} for it. A stop of all nodes loses what waits. The log says why."),
    })
}

/// Tells whether nodes that are all up hold the same.
fn agreement(stats: &Stats, here: &[&Member]) -> Verdict {
    let sessions = counted(stats.sessions as u64, "session", "sessions");
    let all = match here.len() + 1 {
        2 => "Both nodes".to_owned(),
        count => format!("All {count} nodes"),
    };
    let equal = here
        .iter()
        .map(|member| member.equal_for_ms)
        .min()
        .flatten();
    if let Some(equal_ms) = equal {
        if stats.over_limit > 0 {
            // What is refused here counts as held, so that it does not come again and again.
            return Verdict {
                level: Level::Notice,
                title: format!("{} does not hold all", stats.node),
                detail: "Some of what members hold is far over a limit here. Give all nodes the \
                         same limits."
                    .to_owned(),
            };
        }
        return Verdict {
            level: Level::Good,
            title: format!("{all} hold the same {sessions}"),
            detail: format!("For {}.", duration(equal_ms)),
        };
    }
    let unlike = here.iter().find(|member| differs_for_long(member, stats));
    match unlike {
        Some(member) => Verdict {
            level: Level::Notice,
            title: format!("{} does not hold the same", name_of(member)),
            detail: format!(
                "It has not been compared with {} for a minute, which has {sessions}.",
                stats.node
            ),
        },
        None => Verdict {
            level: Level::Good,
            title: format!("{all} are up"),
            detail: format!("{sessions}; changes are under way."),
        },
    }
}

/// Returns whether neither equality nor a comparison has shown for a minute that a member has all.
fn differs_for_long(member: &Member, stats: &Stats) -> bool {
    let is_recent = |ms: Option<u64>| ms.is_some_and(|ms| ms < LONG_MS);
    member.equal_for_ms.is_none()
        && !is_recent(member.last_equal_ms)
        && !is_recent(member.last_round_ms)
        && stats.uptime_ms >= LONG_MS
}

/// Returns whether a member has a link.
pub(super) const fn is_linked(state: MemberState) -> bool {
    matches!(
        state,
        MemberState::Up | MemberState::Lagging | MemberState::Syncing
    )
}

/// Returns the name of a member, or its address if it was never met.
pub(super) fn name_of(member: &Member) -> &str {
    member.name.as_deref().unwrap_or(&member.address)
}

/// Begins a reason with a capital, and ends it with a full stop.
fn sentence(reason: &str) -> String {
    let mut chars = reason.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

/// The worst first, with what is said of one member and of several.
const TROUBLES: &[(&[MemberState], Level, &str, &str)] = &[
    (&[MemberState::Down], Level::Bad, "is down", "are down"),
    (
        &[MemberState::Refused],
        Level::Bad,
        "is refused",
        "are refused",
    ),
    (
        &[MemberState::Suspect],
        Level::Bad,
        "has lost its link",
        "have lost their links",
    ),
    (
        &[MemberState::Lagging],
        Level::Notice,
        "lags behind",
        "lag behind",
    ),
    (
        &[MemberState::Syncing],
        Level::Notice,
        "receives sessions",
        "receive sessions",
    ),
];
const LONG_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::ClusterConfig,
        node::{Cluster, DiskStats},
    };

    async fn stats(disk: Option<DiskStats>) -> Stats {
        let cluster = Cluster::start(ClusterConfig::standalone()).await;
        let mut stats = cluster.expect("nothing is bound").stats();
        stats.disk = disk;
        stats
    }

    fn disk(failing: bool, unsaved: usize) -> DiskStats {
        DiskStats {
            unsaved,
            failing,
            failures: 0,
            writes: 0,
            written_bytes: 0,
            bytes: 0,
            old_records: 0,
        }
    }

    #[tokio::test]
    async fn node_whose_disk_fails_is_what_is_said_first() {
        let failing = verdict(&stats(Some(disk(true, 2))).await, None, 0);
        assert_eq!(failing.level, Level::Bad);
        assert_eq!(failing.title, "standalone cannot write to its disk");
        assert!(
            failing.detail.starts_with("2 changed sessions wait for it"),
            "{}",
            failing.detail
        );
    }

    #[tokio::test]
    async fn node_that_refuses_what_is_over_its_limits_is_not_said_to_hold_the_same() {
        let mut stats = stats(None).await;
        stats.members = vec![Member {
            name: Some("other".to_owned()),
            address: "127.0.0.1:1".to_owned(),
            state: MemberState::Up,
            acked_lag: 0,
            queued_bytes: 0,
            sent_bytes: 0,
            received_bytes: 0,
            equal_for_ms: Some(7),
            last_equal_ms: None,
            last_round_ms: None,
            receiving: None,
            sending: None,
        }];
        assert_eq!(verdict(&stats, None, 0).level, Level::Good);
        stats.over_limit = 1;
        let refusing = verdict(&stats, None, 0);
        assert_eq!(refusing.level, Level::Notice);
        assert_eq!(refusing.title, "standalone does not hold all");
    }

    #[tokio::test]
    async fn node_that_is_alone_loses_its_sessions_only_without_a_directory() {
        let lost = "when this one stops, its sessions are gone";
        let without = verdict(&stats(None).await, None, 0);
        assert!(without.detail.contains(lost), "{}", without.detail);
        let with = verdict(&stats(Some(disk(false, 0))).await, None, 0);
        assert!(!with.detail.contains(lost), "{}", with.detail);
    }
}
