//! The names, kinds and meanings of all figures, and where they can go.
//!
//! Names follow Prometheus' rules: base units, `_total` for what only grows.

use super::histogram::Snapshot;

/// Figures of one name.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Gauge,
    Counter,
    Histogram,
}

pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// Where figures go.
pub(super) trait Sink {
    /// Begins a family, whose samples follow.
    fn family(&mut self, family: &'static Family);
    fn sample(&mut self, family: &'static Family, labels: Labels<'_>, value: f64);
    fn histogram(&mut self, family: &'static Family, labels: Labels<'_>, snapshot: &Snapshot);
}

/// Declares the families, and a list of all of them.
macro_rules! families {
    ($($constant:ident: $kind:ident $name:literal $help:literal,)*) => {
        $(
            pub(super) static $constant: Family = Family {
                name: concat!("cluster_sessions_", $name),
                kind: Kind::$kind,
                help: $help,
            };
        )*

        #[cfg(test)]
        static ALL: &[&Family] = &[$(&$constant),*];
    };
}

families! {
    READY: Gauge "ready" "Whether requests should be sent here, 1 or 0.",
    LIVE: Gauge "live" "Sessions held.",
    MAX_LIVE: Gauge "max_live" "Sessions that may be held.",
    MEMORY: Gauge "memory_bytes" "Memory that the sessions take.",
    MAX_MEMORY: Gauge "max_memory_bytes" "Memory that the sessions may take.",
    TOMBSTONES: Gauge "tombstones" "Destroyed sessions that are remembered.",
    TOMBSTONE_BYTES: Gauge "tombstone_bytes" "Memory that tombstones take.",
    MAX_TOMBSTONE_BYTES: Gauge "max_tombstone_bytes" "Memory that tombstones may take.",
    RETENTION: Gauge "tombstone_retention_seconds" "How long tombstones are kept for want of room, 0 while there is room.",
    TOMBSTONES_LOST: Counter "tombstones_lost_total" "Tombstones that were dropped early, because there was no room even for those of a minute.",
    MEMBER_UP: Gauge "member_up" "Whether the member is linked and waited for, 1 or 0.",
    LAG: Gauge "replication_lag_records" "Changes that the member has not acknowledged.",
    QUEUE: Gauge "send_queue_bytes" "Bytes sent for repair that the member has not merged.",
    SENT: Counter "sent_bytes_total" "Bytes sent to the member.",
    RECEIVED: Counter "received_bytes_total" "Bytes received from the member.",
    CREATED: Counter "created_total" "Sessions created by requests of this node.",
    DESTROYED: Counter "destroyed_total" "Sessions that ended here, by reason.",
    ID_CHANGES: Counter "id_changes_total" "Ids replaced by requests of this node.",
    REJECTED: Counter "rejected_total" "Sessions not created and writes not done, by reason.",
    LOADS: Counter "loads_total" "Ids presented to this node, by what was found.",
    LOOKUPS: Counter "lookups_total" "Questions to peers for single sessions.",
    STALE_READS: Counter "stale_reads_total" "Requests served without what their client wrote elsewhere.",
    OVER_LIMIT: Counter "over_limit_total" "Messages of peers that were not merged, being far over a limit.",
    REFUSED: Counter "refused_total" "Connections refused by this node or by the other side.",
    VIOLATIONS: Counter "violations_total" "Links closed because the peer broke the protocol.",
    TASK_PANICS: Counter "task_panics_total" "Panics in tasks of the node.",
    ACK_TIMEOUTS: Counter "ack_timeouts_total" "Times that a member missed ack_timeout.",
    REPAIR_ROUNDS: Counter "repair_rounds_total" "Rounds of comparing sessions with a member that were completed.",
    RECONNECTS: Counter "link_reconnects_total" "Links made to members that had a link before.",
    DISCOVERED: Gauge "discovered_addresses" "Addresses that discoveries have brought and that are dialled or linked.",
    DISCOVERY_FAILURES: Counter "discovery_failures_total" "Times that a discovery, such as a name server, did not answer.",
    DISK_UNSAVED: Gauge "disk_unsaved" "Sessions that have changed since they were written to disk.",
    DISK_FAILING: Gauge "disk_failing" "Whether the last write to disk failed, 1 or 0.",
    DISK_BYTES: Gauge "disk_bytes" "Bytes that the data directory takes.",
    DISK_FAILURES: Counter "disk_failures_total" "Writes to disk that failed.",
    DISK_WRITTEN: Counter "disk_written_bytes_total" "Bytes of changes written to disk.",
    COMMITS: Histogram "commit_duration_seconds" "Time from a commit to the end of the wait that ack asks for.",
    ACK_WAITS: Histogram "ack_wait_seconds" "Time from a commit to the end of the wait, for those that had to wait for a member.",
    TRANSFERS: Histogram "transfer_duration_seconds" "Time in which all sessions of a member were received.",
    DISK_WRITES: Histogram "disk_write_duration_seconds" "Time of one write to disk, of many changes, until it is synced.",
    AGES: Histogram "session_age_seconds" "Age of the sessions that ended here.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them() {
        for Family { name, kind, help } in ALL {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(
                *kind != Kind::Histogram || name.ends_with("_seconds"),
                "{name}"
            );
            assert!(
                help.ends_with('.') && !help.contains(['\n', '\\']),
                "{name}"
            );
        }
    }

    #[test]
    fn operations_md_lists_each_figure() {
        let text = include_str!("../../../docs/operations.md");
        for Family { name, .. } in ALL {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }

    fn queries() -> Vec<String> {
        let text = include_str!("../../../docs/grafana-dashboard.json");
        let dashboard: serde_json::Value = serde_json::from_str(text).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("a list");
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array());
        let queries = targets.flatten().map(|target| target["expr"].as_str());
        queries
            .map(|query| query.expect("a text").to_owned())
            .collect()
    }

    #[test]
    fn dashboard_asks_for_labels_that_there_are() {
        let text = include_str!("../../../docs/operations.md");
        let mut asked = Vec::new();
        for query in queries() {
            for label in ["result", "reason"] {
                let Some((before, after)) = query.split_once(&format!("{label}=~\"")) else {
                    continue;
                };
                let (values, _) = after.split_once('"').expect("the end of a text");
                let (_, name) = before.rsplit_once("cluster_sessions_").expect("a figure");
                let name = name.split('{').next().expect("a name");
                let row = format!("| `cluster_sessions_{name}` |");
                let row = text.lines().find(|line| line.starts_with(&row));
                for value in values.split('|') {
                    assert!(
                        row.is_some_and(|row| row.contains(&format!("`{value}`"))),
                        "{query}"
                    );
                    asked.push(value.to_owned());
                }
            }
        }
        // What tells of theft is not to be lost among what all visitors do.
        for value in ["replaced", "forged"] {
            assert!(asked.iter().any(|asked| asked == value), "{value}");
        }
    }

    #[test]
    fn dashboard_asks_for_each_figure_and_for_no_other() {
        let mut unseen: Vec<&str> = ALL.iter().map(|family| family.name).collect();
        for query in queries() {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            for word in query.split(|c| !is_part(c)) {
                if !word.starts_with("cluster_sessions_") {
                    continue;
                }
                let is_asked = |family: &&&Family| match family.kind {
                    Kind::Histogram => word.strip_suffix("_bucket") == Some(family.name),
                    Kind::Counter | Kind::Gauge => word == family.name,
                };
                let family = ALL.iter().find(is_asked);
                let family = family.unwrap_or_else(|| panic!("{word} in {query}"));
                unseen.retain(|name| *name != family.name);
            }
        }
        assert_eq!(unseen, [""; 0]);
    }
}
