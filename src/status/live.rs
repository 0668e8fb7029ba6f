//! The parts of the first page again, whenever they change.

use std::{convert::Infallible, sync::Arc, time::Duration};

use askama::Template;
use axum::{
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use futures_util::{StreamExt as _, stream};

use super::{StatusPage, overview::Overview};

/// The ids of the elements that are kept up to date.
const PARTS: [&str; 4] = ["verdict", "figures", "members", "log"];

/// Returns what the elements hold now, in the order of [`PARTS`].
fn parts(view: &Overview) -> [String; PARTS.len()] {
    [
        text(&VerdictPart { view }),
        text(&FiguresPart { view }),
        text(&MembersPart { view }),
        text(&LogPart { view }),
    ]
}

#[derive(Template)]
#[template(path = "status/verdict.html")]
struct VerdictPart<'a> {
    view: &'a Overview,
}

#[derive(Template)]
#[template(path = "status/figures.html")]
struct FiguresPart<'a> {
    view: &'a Overview,
}

#[derive(Template)]
#[template(path = "status/members.html")]
struct MembersPart<'a> {
    view: &'a Overview,
}

#[derive(Template)]
#[template(path = "status/log.html")]
struct LogPart<'a> {
    view: &'a Overview,
}

/// Streams the parts that have changed, once a second.
///
/// A stream ends after half a minute, and the browser asks anew: a server that shuts down in order
/// waits for open streams. Once the node is about to stop, it ends at once.
pub(super) async fn live(State(page): State<Arc<StatusPage>>) -> Response {
    let begin = Live {
        page,
        told: [const { String::new() }; PARTS.len()],
        turn: 0,
    };
    let turns = stream::unfold(begin, |mut live| async move {
        let events = live.next().await?;
        Some((
            stream::iter(events.into_iter().map(Ok::<_, Infallible>)),
            live,
        ))
    });
    Sse::new(turns.flatten()).into_response()
}

struct Live {
    page: Arc<StatusPage>,
    /// What each part was when it was told last.
    told: [String; PARTS.len()],
    turn: u32,
}

impl Live {
    /// Waits for the next turn. Returns what has changed, `None` at the end.
    async fn next(&mut self) -> Option<Vec<Event>> {
        let node = self.page.cluster.node();
        if self.turn > 0 {
            if self.turn == TURNS || node.is_stopping() {
                return None;
            }
            node.pause(PAUSE).await;
        }
        self.turn += 1;
        let view = Overview::of(&self.page.cluster);
        let mut events = Vec::new();
        if self.turn == 1 {
            events.push(Event::default().retry(PAUSE));
        }
        for ((id, part), told) in PARTS.iter().zip(parts(&view)).zip(&mut self.told) {
            if *told != part {
                events.push(Event::default().event(*id).data(&part));
                *told = part;
            }
        }
        // A sign of life, by which the page knows that the node is there. Browsers drop what is empty.
        events.push(Event::default().event("beat").data("live"));
        Some(events)
    }
}

fn text(part: &impl Template) -> String {
    // Only what is written into the text could fail, and numbers and texts do not.
    part.render().unwrap_or_default()
}

const PAUSE: Duration = Duration::from_secs(1);
const TURNS: u32 = 30;
