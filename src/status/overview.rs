//! What the first page shows, put together from a node's figures.

use std::time::Duration;

use serde::Serialize;

use super::{
    figures::{Moment, byte_rate, bytes, counted, duration, grouped, percent, rate},
    sparkline::{Rate, Sparkline},
    verdict::{Level, Verdict, is_linked, name_of, verdict},
};
use crate::{
    cluster::Readiness,
    node::{
        Cluster, Event, Member, MemberEventKind, MemberSample, MemberState, RecentEvent, Sample,
        Stats,
    },
};

/// The first page.
#[derive(Clone, Debug)]
pub(super) struct Overview {
    pub(super) verdict: Verdict,
    pub(super) tiles: Vec<Tile>,
    pub(super) members: Vec<MemberRow>,
    pub(super) transfers: Vec<TransferRow>,
    pub(super) notes: Vec<Note>,
    pub(super) events: Vec<EventRow>,
}

/// A figure of its own.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) detail: String,
    /// How much of a limit is used, from 0 to 100.
    pub(super) used: Option<u64>,
    pub(super) spark: Option<Sparkline>,
}

/// A node in the list.
#[derive(Clone, Debug)]
pub(super) struct MemberRow {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) is_self: bool,
    /// The class in the style sheet.
    pub(super) state: &'static str,
    pub(super) state_text: &'static str,
    pub(super) holds: String,
    pub(super) holds_hint: String,
    pub(super) lag: String,
    pub(super) queue: String,
    pub(super) received: String,
    pub(super) sent: String,
    pub(super) spark: Sparkline,
}

/// A state transfer under way.
#[derive(Clone, Debug)]
pub(super) struct TransferRow {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) done: String,
    pub(super) elapsed: String,
}

/// A count that should be zero, and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) count: String,
    pub(super) text: String,
}

/// An event in the list.
#[derive(Clone, Debug)]
pub(super) struct EventRow {
    pub(super) level: Level,
    pub(super) text: String,
    pub(super) at: Moment,
}

/// All of the first page for programs.
#[derive(Debug, Serialize)]
pub(super) struct OverviewJson {
    verdict: &'static str,
    title: String,
    detail: String,
    at: String,
    version: &'static str,
    stats: Stats,
    rates: RatesJson,
    events: Vec<EventJson>,
}

/// In a second, over the last ten; `null` before there are samples.
#[derive(Debug, Serialize)]
struct RatesJson {
    loads: Option<f64>,
    changes: Option<f64>,
    created: Option<f64>,
    members: Vec<MemberRatesJson>,
}

#[derive(Debug, Serialize)]
struct MemberRatesJson {
    address: String,
    sent_bytes: Option<f64>,
    received_bytes: Option<f64>,
}

#[derive(Debug, Serialize)]
struct EventJson {
    at: String,
    age_ms: u64,
    level: &'static str,
    text: String,
}

impl Overview {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let node = cluster.node();
        let (stats, samples, now) = (cluster.stats(), node.history(), node.now());
        let verdict = verdict(&stats, node.unready(), node.settings().min_peers);
        let events = cluster.recent_events();
        Self {
            verdict,
            tiles: tiles(&stats, &samples),
            members: members(&stats, &samples),
            transfers: transfers(&stats),
            notes: notes(&stats),
            events: events
                .iter()
                .filter_map(|event| event_row(event, now.wall_ms))
                .take(EVENTS)
                .collect(),
        }
    }
}

impl OverviewJson {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let node = cluster.node();
        let (stats, samples, now) = (cluster.stats(), node.history(), node.now());
        let verdict = verdict(&stats, node.unready(), node.settings().min_peers);
        let now_of = |rate: Rate| rate.now;
        let members = stats.members.iter().map(|member| {
            let (sent, received) = traffic(&samples, &member.address);
            MemberRatesJson {
                address: member.address.clone(),
                sent_bytes: sent.now,
                received_bytes: received.now,
            }
        });
        let rates = RatesJson {
            loads: now_of(Rate::of(&samples, |sample| Some(sample.loads))),
            changes: now_of(Rate::of(&samples, |sample| Some(sample.changes))),
            created: now_of(Rate::of(&samples, |sample| Some(sample.created))),
            members: members.collect(),
        };
        let recent = cluster.recent_events();
        let events = recent.iter().filter_map(|event| {
            let EventRow { level, text, at } = event_row(event, now.wall_ms)?;
            Some(EventJson {
                at: at.stamp,
                age_ms: millis(event.age),
                level: level.class(),
                text,
            })
        });
        Self {
            verdict: verdict.level.class(),
            title: verdict.title,
            detail: verdict.detail,
            at: Moment::past(0, now.wall_ms).stamp,
            version: env!("CARGO_PKG_VERSION"),
            rates,
            events: events.collect(),
            stats,
        }
    }
}

fn tiles(stats: &Stats, samples: &[Sample]) -> Vec<Tile> {
    let limited = |label, value: String, used: usize, limit: usize, limit_text: String| Tile {
        label,
        value,
        detail: format!("of {limit_text}"),
        used: Some(percent(used as u64, limit as u64)),
        spark: None,
    };
    let rated = |label, detail: &str, rate: Rate| Tile {
        label,
        value: shown(rate.now, self::rate),
        detail: detail.to_owned(),
        used: None,
        spark: Some(rate.spark),
    };
    let mut tiles = vec![
        limited(
            "Sessions",
            grouped(stats.sessions as u64),
            stats.sessions,
            stats.max_sessions,
            grouped(stats.max_sessions as u64),
        ),
        limited(
            "Memory of sessions",
            bytes(stats.session_bytes as u64),
            stats.session_bytes,
            stats.max_bytes,
            bytes(stats.max_bytes as u64),
        ),
        rated(
            "Requests",
            "a second with a session, here",
            Rate::of(samples, |sample| Some(sample.loads)),
        ),
        rated(
            "Changes",
            "a second, made here",
            Rate::of(samples, |sample| Some(sample.changes)),
        ),
        rated(
            "New sessions",
            "a second, begun here",
            Rate::of(samples, |sample| Some(sample.created)),
        ),
    ];
    tiles.extend(stats.disk.as_ref().map(|disk| Tile {
        label: "On disk",
        value: bytes(disk.bytes),
        detail: match (disk.unsaved, disk.failing) {
            (0, false) => "all is written".to_owned(),
            (unsaved, false) => format!(
                "{} to write",
                counted(unsaved as u64, "session", "sessions")
            ),
            (_, true) => "cannot be written".to_owned(),
        },
        used: None,
        spark: None,
    }));
    tiles
}

fn members(stats: &Stats, samples: &[Sample]) -> Vec<MemberRow> {
    let mut rows = vec![MemberRow {
        name: stats.node.clone(),
        address: String::new(),
        is_self: true,
        state: if stats.ready { "up" } else { "syncing" },
        state_text: if stats.ready { "ready" } else { "not ready" },
        holds: counted(stats.sessions as u64, "session", "sessions"),
        holds_hint: String::new(),
        lag: String::new(),
        queue: String::new(),
        received: String::new(),
        sent: String::new(),
        spark: Sparkline::default(),
    }];
    rows.extend(stats.members.iter().map(|member| {
        let (sent, received) = traffic(samples, &member.address);
        let both = Rate::of(samples, |sample| {
            let found = of_member(sample, &member.address)?;
            Some(found.sent_bytes.saturating_add(found.received_bytes))
        });
        let (state, state_text) = state_of(member.state);
        let (holds, holds_hint) = holds(member);
        let is_linked = is_linked(member.state);
        let linked = |text: String| match is_linked {
            true => text,
            false => NOTHING.to_owned(),
        };
        MemberRow {
            name: member
                .name
                .clone()
                .unwrap_or_else(|| "not met yet".to_owned()),
            address: member.address.clone(),
            is_self: false,
            state,
            state_text,
            holds,
            holds_hint,
            lag: linked(grouped(member.acked_lag)),
            queue: linked(bytes(member.queued_bytes)),
            received: linked(shown(received.now, byte_rate)),
            sent: linked(shown(sent.now, byte_rate)),
            spark: both.spark,
        }
    }));
    rows
}

fn traffic(samples: &[Sample], address: &str) -> (Rate, Rate) {
    let sent = Rate::of(samples, |sample| {
        Some(of_member(sample, address)?.sent_bytes)
    });
    let received = Rate::of(samples, |sample| {
        Some(of_member(sample, address)?.received_bytes)
    });
    (sent, received)
}

fn of_member<'a>(sample: &'a Sample, address: &str) -> Option<&'a MemberSample> {
    let mut members = sample.members.iter();
    members.find(|member| member.address == address)
}

/// Returns the class and the word of a state.
const fn state_of(state: MemberState) -> (&'static str, &'static str) {
    match state {
        MemberState::Up => ("up", "up"),
        MemberState::Lagging => ("lagging", "lagging"),
        MemberState::Syncing => ("syncing", "syncing"),
        MemberState::Suspect => ("suspect", "suspect"),
        MemberState::Down => ("down", "down"),
        MemberState::Left => ("left", "left"),
        MemberState::Refused => ("refused", "refused"),
    }
}

/// Returns whether a member holds what this node holds, in short and at length.
fn holds(member: &Member) -> (String, String) {
    let ago = |ms: Option<u64>, what: &str| ms.map(|ms| format!("{what} {} ago", duration(ms)));
    if !is_linked(member.state) {
        return (NOTHING.to_owned(), String::new());
    }
    if let Some(ms) = member.equal_for_ms {
        let hint = format!("both have held the same for {}", duration(ms));
        return (format!("the same, {}", duration(ms)), hint);
    }
    let equal = ago(member.last_equal_ms, "equal");
    let round = ago(member.last_round_ms, "compared");
    let latest = match (member.last_equal_ms, member.last_round_ms) {
        (Some(equal_ms), Some(round_ms)) if round_ms < equal_ms => &round,
        (None, _) => &round,
        (Some(_), _) => &equal,
    };
    let short = latest
        .clone()
        .unwrap_or_else(|| "not compared yet".to_owned());
    let hint: Vec<String> = equal.into_iter().chain(round).collect();
    (short, hint.join(", "))
}

fn transfers(stats: &Stats) -> Vec<TransferRow> {
    let mut rows = Vec::new();
    for member in &stats.members {
        let (own, other) = (stats.node.clone(), name_of(member).to_owned());
        let both = [
            (member.receiving, other.clone(), own.clone()),
            (member.sending, own, other),
        ];
        for (transfer, from, to) in both {
            if let Some(transfer) = transfer {
                let sessions = counted(transfer.sessions, "session", "sessions");
                rows.push(TransferRow {
                    from,
                    to,
                    done: match (transfer.sessions, transfer.bytes) {
                        (0, 0) => "nothing yet".to_owned(),
                        (0, sent) => bytes(sent),
                        (_, sent) => format!("{sessions}, {}", bytes(sent)),
                    },
                    elapsed: duration(transfer.elapsed_ms),
                });
            }
        }
    }
    rows
}

/// Returns the counts that should be zero. What each means is in docs/operations.md.
fn notes(stats: &Stats) -> Vec<Note> {
    let counts = [
        (
            stats.full,
            ["session or write", "sessions or writes"],
            "refused, because there was no room",
        ),
        (
            stats.evicted,
            ["session", "sessions"],
            "of clients that had not come back made room for others",
        ),
        (
            stats.too_large,
            ["write", "writes"],
            "refused, because the session would have been too large",
        ),
        (
            stats.over_limit,
            ["message", "messages"],
            "of members not merged, being far over a limit here",
        ),
        (
            stats.violations,
            ["link", "links"],
            "closed, because the member broke the protocol",
        ),
        (
            stats.refused,
            ["connection", "connections"],
            "refused, by this node or the other side",
        ),
        (
            stats.stale_reads,
            ["request", "requests"],
            "served without what its client wrote elsewhere",
        ),
        (
            stats.tombstones_lost,
            ["destroyed session", "destroyed sessions"],
            "forgotten early, for want of room",
        ),
        (
            stats.disk.as_ref().map_or(0, |disk| disk.failures),
            ["write", "writes"],
            "to disk failed; what was to be written is tried again each second",
        ),
        (
            stats.task_panics,
            ["panic", "panics"],
            "in tasks of the node, which is a defect",
        ),
    ];
    let told = counts.into_iter().filter(|(count, ..)| *count > 0);
    told.map(|(count, [one, many], what)| Note {
        count: grouped(count),
        text: format!("{} {what}", if count == 1 { one } else { many }),
    })
    .collect()
}

/// Returns how an event is told, `None` for those of sessions.
fn event_row(recent: &RecentEvent, wall_ms: u64) -> Option<EventRow> {
    let (level, text) = match &recent.event {
        Event::Member(member) => {
            let (level, what) = match member.kind {
                MemberEventKind::Up => (Level::Good, "is up"),
                MemberEventKind::Suspect => (Level::Bad, "has lost its link"),
                MemberEventKind::Down => (Level::Bad, "is down"),
                MemberEventKind::Left => (Level::Notice, "has left"),
                MemberEventKind::Lagging => (Level::Notice, "lags behind"),
                MemberEventKind::CaughtUp => (Level::Good, "has caught up"),
            };
            (level, format!("{} {what}", member.name))
        }
        Event::DroppedOutdated { sessions } => {
            let sessions = counted(*sessions as u64, "session", "sessions");
            let text = format!("dropped {sessions} that the others may have destroyed");
            (Level::Notice, text)
        }
        Event::TransferStarted { from } => (Level::Good, format!("asks {from} for all sessions")),
        Event::TransferFinished {
            from,
            sessions,
            bytes,
            duration: took,
        } => {
            let sessions = counted(*sessions, "session", "sessions");
            let (bytes, took) = (self::bytes(*bytes), duration(millis(*took)));
            let text = format!("received {sessions} from {from}: {bytes} in {took}");
            (Level::Good, text)
        }
        Event::Ready(readiness) => match readiness {
            Readiness::Synced => (Level::Good, "ready, with all sessions".to_owned()),
            Readiness::Alone => (Level::Notice, "ready, with nobody to ask".to_owned()),
            Readiness::TimedOut => (Level::Bad, "goes on without all sessions".to_owned()),
            Readiness::Refused => (Level::Bad, "no member has let it in".to_owned()),
        },
        Event::Stalled(stood_still) => {
            let text = format!("stood still for {}", duration(millis(*stood_still)));
            (Level::Bad, text)
        }
        Event::Session(_) | Event::Missed(_) => return None,
    };
    Some(EventRow {
        level,
        text,
        at: Moment::past(millis(recent.age), wall_ms),
    })
}

fn shown(rate: Option<f64>, show: fn(f64) -> String) -> String {
    rate.map_or_else(|| NOTHING.to_owned(), show)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Where there is no figure.
const NOTHING: &str = "\u{2013}";
/// Events that the page shows; the JSON has all.
const EVENTS: usize = 20;
