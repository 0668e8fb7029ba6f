//! All figures of a node, told to whoever collects them.

use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "metrics")]
use super::facade::Facade;
use super::{
    ACKS,
    family::*,
    histogram::Histogram,
    name_of, own_labels,
    prometheus::{Text, whole},
};
use crate::node::{Member, Node, Stats};

impl Node {
    /// Returns all figures in Prometheus' text format.
    pub(in crate::node) fn prometheus(&self) -> String {
        let mut text = Text::default();
        self.report(&mut text);
        text.into_string()
    }

    /// Passes all figures on to the recorder that the app has installed.
    #[cfg(feature = "metrics")]
    pub(in crate::node) fn publish_metrics(&self) {
        self.report(&mut Facade);
    }

    fn report(&self, sink: &mut impl Sink) {
        let metrics = &self.monitor.metrics;
        let stats = self.stats();
        let own = own_labels(&stats.cluster, &stats.node);
        let mut tell = Teller { sink, own: &own };
        tell.one(&READY, u64::from(stats.ready));
        tell.one(&LIVE, stats.sessions as u64);
        tell.one(&MAX_LIVE, stats.max_sessions as u64);
        tell.one(&MEMORY, stats.session_bytes as u64);
        tell.one(&MAX_MEMORY, stats.max_bytes as u64);
        tell.one(&TOMBSTONES, stats.tombstones as u64);
        tell.one(&TOMBSTONE_BYTES, stats.tombstone_bytes as u64);
        tell.one(&MAX_TOMBSTONE_BYTES, stats.max_tombstone_bytes as u64);
        let retention_ms = stats.tombstone_retention_ms.unwrap_or_default();
        tell.one(&RETENTION, retention_ms.div_ceil(1000));
        tell.one(&TOMBSTONES_LOST, stats.tombstones_lost);
        tell.members(&stats);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        tell.one(&CREATED, read(&metrics.created));
        tell.by(
            &DESTROYED,
            "reason",
            &[
                ("request", read(&metrics.destroyed)),
                ("order", read(&metrics.destroyed_by_order)),
                ("limit", read(&metrics.destroyed_by_limit)),
                ("expired", read(&metrics.expired)),
                ("evicted", stats.evicted),
            ],
        );
        tell.one(&ID_CHANGES, read(&metrics.ids_cycled));
        tell.by(
            &REJECTED,
            "reason",
            &[
                ("full", stats.full),
                ("too_large", stats.too_large),
                ("leaving", read(&metrics.leaving)),
            ],
        );
        tell.by(
            &LOADS,
            "result",
            &[
                ("alive", read(&metrics.loads_alive)),
                ("superseded", read(&metrics.loads_superseded)),
                ("replaced", read(&metrics.loads_replaced)),
                ("forged", read(&metrics.loads_forged)),
                ("unknown", read(&metrics.loads_unknown)),
                ("unreadable", read(&metrics.loads_unreadable)),
            ],
        );
        tell.one(&LOOKUPS, stats.lookups);
        tell.one(&STALE_READS, stats.stale_reads);
        tell.one(&OVER_LIMIT, stats.over_limit);
        tell.one(&REFUSED, stats.refused);
        tell.one(&VIOLATIONS, stats.violations);
        tell.one(&TASK_PANICS, stats.task_panics);
        tell.one(&ACK_TIMEOUTS, read(&metrics.ack_timeouts));
        tell.one(&REPAIR_ROUNDS, read(&metrics.repair_rounds));
        tell.one(&RECONNECTS, read(&metrics.reconnects));
        tell.one(&DISCOVERED, self.peers.table().discovered() as u64);
        tell.one(&DISCOVERY_FAILURES, read(&metrics.discovery_failures));
        if let Some(disk) = &stats.disk {
            tell.one(&DISK_UNSAVED, disk.unsaved as u64);
            tell.one(&DISK_FAILING, u64::from(disk.failing));
            tell.one(&DISK_BYTES, disk.bytes);
            tell.one(&DISK_FAILURES, disk.failures);
            tell.one(&DISK_WRITTEN, disk.written_bytes);
            tell.sink.family(&DISK_WRITES);
            tell.histogram(&DISK_WRITES, &[], &metrics.disk_writes);
        }
        tell.sink.family(&COMMITS);
        for ack in ACKS {
            tell.histogram(&COMMITS, &[("ack", name_of(ack))], metrics.commits(ack));
        }
        for (family, histogram) in [
            (&ACK_WAITS, &metrics.ack_waits),
            (&TRANSFERS, &metrics.transfers),
            (&AGES, &metrics.ages),
        ] {
            tell.sink.family(family);
            tell.histogram(family, &[], histogram);
        }
    }
}

/// Tells a sink figures with the labels of the node.
struct Teller<'a, S> {
    sink: &'a mut S,
    own: Labels<'a>,
}

impl<S: Sink> Teller<'_, S> {
    fn one(&mut self, family: &'static Family, value: u64) {
        self.sink.family(family);
        self.sink.sample(family, self.own, whole(value));
    }

    fn by(&mut self, family: &'static Family, label: &'static str, values: &[(&str, u64)]) {
        self.sink.family(family);
        for (name, value) in values {
            let labels = [self.own, &[(label, *name)]].concat();
            self.sink.sample(family, &labels, whole(*value));
        }
    }

    fn members(&mut self, stats: &Stats) {
        type Figure = fn(&Member) -> u64;
        let figures: [(&'static Family, Figure); 5] = [
            (&MEMBER_UP, |member| u64::from(member.state.is_waited_for())),
            (&LAG, |member| member.acked_lag),
            (&QUEUE, |member| member.queued_bytes),
            (&SENT, |member| member.sent_bytes),
            (&RECEIVED, |member| member.received_bytes),
        ];
        for (family, figure) in figures {
            let mut values = Vec::with_capacity(stats.members.len());
            for member in &stats.members {
                let name = member.name.as_deref().unwrap_or(&member.address);
                values.push((name, figure(member)));
            }
            self.by(family, "peer", &values);
        }
    }

    fn histogram(&mut self, family: &'static Family, more: Labels<'_>, histogram: &Histogram) {
        let labels = [self.own, more].concat();
        self.sink.histogram(family, &labels, &histogram.snapshot());
    }
}
