//! Sessions: a list of all, a search, and one of them.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{Form, OriginalUri, Path, Query, State},
    http::{HeaderMap, StatusCode, Uri, header::SET_COOKIE},
    response::{IntoResponse, Redirect, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    StatusPage,
    figures::{Moment, bytes, counted},
    forms::{self, FormToken},
    indexed::in_a_list,
    links::Links,
    responses::{Frame, html},
};
use crate::{
    log::info,
    node::{Cluster, Node},
    session::{SessionError, SessionInfo, SessionKey},
};

/// What a list is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Question {
    /// The context of the sessions.
    #[serde(default)]
    context: Option<String>,
    /// `id`, or the name of an index.
    #[serde(default)]
    by: Option<String>,
    /// What to find by that.
    #[serde(default)]
    value: Option<String>,
    /// Where the page before has ended.
    #[serde(default)]
    after: Option<String>,
    /// The session that this page has just ended.
    #[serde(default)]
    ended: Option<String>,
}

/// A list, and the form above it.
#[derive(Template)]
#[template(path = "status/sessions.html")]
struct SessionsPage {
    frame: Frame,
    contexts: Vec<Choice>,
    names: Vec<Choice>,
    /// What was looked for, empty for a list of all.
    value: String,
    context: String,
    is_first: bool,
    title: String,
    fault: Option<String>,
    /// The session that this page has ended, if this node remembers that.
    ended: Option<String>,
    /// That session, if this node does not remember, as one without peers need not.
    absent: Option<String>,
    /// By what sessions are indexed, if values are shown.
    indexes: Vec<String>,
    rows: Vec<SessionRow>,
    next: Option<String>,
    has_contexts: bool,
}

/// One session.
#[derive(Template)]
#[template(path = "status/session.html")]
struct SessionPage {
    frame: Frame,
    row: SessionRow,
    attributes: Vec<AttributeRow>,
    /// What the form to end it holds, `None` where sessions cannot be ended.
    token: Option<String>,
    shows_values: bool,
}

/// What cannot be shown or done.
#[derive(Template)]
#[template(path = "status/refusal.html")]
struct RefusalPage {
    frame: Frame,
    title: &'static str,
    detail: &'static str,
    at_sessions: bool,
}

#[derive(Clone, Debug)]
struct Choice {
    value: String,
    label: String,
    is_chosen: bool,
}

#[derive(Clone, Debug)]
struct SessionRow {
    id: String,
    context: String,
    created: Moment,
    used: Moment,
    expires: Option<Moment>,
    size: String,
    attributes: String,
    /// What it has for each index, if values are shown.
    indexed: Vec<String>,
}

#[derive(Clone, Debug)]
struct AttributeRow {
    name: String,
    value: Option<String>,
}

/// A list for programs.
#[derive(Debug, Serialize)]
struct SessionsJson {
    sessions: Vec<SessionJson>,
    next: Option<String>,
}

#[derive(Debug, Serialize)]
struct SessionJson {
    id: String,
    context: String,
    created: String,
    age_ms: u64,
    used: String,
    idle_ms: u64,
    expires: Option<String>,
    remaining_ms: Option<u64>,
    bytes: usize,
    attributes: Vec<String>,
    /// What it has for each index, if values are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    indexed: Option<Map<String, Value>>,
}

/// What the form to end a session holds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct EndForm {
    #[serde(default)]
    token: String,
}

/// What a question has found.
#[derive(Debug, Default)]
struct Found {
    sessions: Vec<SessionInfo>,
    next: Option<String>,
    fault: Option<String>,
}

pub(super) async fn list(
    State(page): State<Arc<StatusPage>>,
    OriginalUri(original): OriginalUri,
    own: Uri,
    Query(question): Query<Question>,
) -> Response {
    let cluster = &page.cluster;
    let found = find(cluster, &question).await;
    let wall_ms = cluster.node().now().wall_ms;
    let value = question.wanted().map(str::to_owned).unwrap_or_default();
    let count = found.sessions.len() as u64;
    let title = match (value.is_empty(), &found.next) {
        (true, _) => counted(cluster.session_count() as u64, "session", "sessions"),
        (false, _) => format!("{} found", counted(count, "session", "sessions")),
    };
    let contexts = cluster.contexts();
    let context = question.context.clone().unwrap_or_default();
    let chosen = question.by.as_deref().unwrap_or("id");
    let indexes = page.shown_indexes();
    // Anybody can write an address with the id of a session that lives, or that never was.
    let key = question
        .ended
        .as_deref()
        .and_then(SessionKey::from_public_id);
    let told = |is_told: fn(&Node, &SessionKey) -> bool| {
        let key = key.filter(|key| is_told(cluster.node(), key));
        key.map(|key| key.public_id(None))
    };
    let ended = told(|node, key| node.replica().is_destroyed(key));
    let absent =
        told(|node, key| node.read(key, |_| ()).is_err() && !node.replica().is_destroyed(key));
    html(&SessionsPage {
        has_contexts: contexts.len() > 1,
        contexts: contexts
            .into_iter()
            .map(|name| Choice {
                label: label_of(&name).to_owned(),
                is_chosen: name == context,
                value: name,
            })
            .collect(),
        names: names(cluster)
            .into_iter()
            .map(|name| Choice {
                label: if name == "id" {
                    "public id".to_owned()
                } else {
                    name.clone()
                },
                is_chosen: name == chosen,
                value: name,
            })
            .collect(),
        is_first: question.after.is_none(),
        rows: found
            .sessions
            .into_iter()
            .map(|info| {
                let values = page.indexed_values(&info.id).into_iter();
                let mut row = SessionRow::of(info, wall_ms);
                row.indexed = values.map(in_a_list).collect();
                row
            })
            .collect(),
        indexes,
        frame: Frame::of(cluster, Links::of(&own, &original)),
        next: found.next,
        fault: found.fault,
        ended,
        absent,
        title,
        value,
        context,
    })
}

pub(super) async fn list_json(
    State(page): State<Arc<StatusPage>>,
    Query(question): Query<Question>,
) -> Response {
    let found = find(&page.cluster, &question).await;
    if let Some(fault) = found.fault {
        return (StatusCode::BAD_REQUEST, fault).into_response();
    }
    let wall_ms = page.cluster.node().now().wall_ms;
    let sessions = found.sessions.into_iter();
    let indexes = page.shown_indexes();
    Json(SessionsJson {
        sessions: sessions
            .map(|info| {
                let values = indexes.iter().cloned().zip(page.indexed_values(&info.id));
                let values = values.filter_map(|(name, value)| Some((name, value?)));
                let values = values.collect();
                let mut session = SessionJson::of(info, wall_ms);
                session.indexed = page.shows_values.then_some(values);
                session
            })
            .collect(),
        next: found.next,
    })
    .into_response()
}

pub(super) async fn show(
    State(page): State<Arc<StatusPage>>,
    OriginalUri(original): OriginalUri,
    own: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    let cluster = &page.cluster;
    let frame = Frame::of(cluster, Links::of(&own, &original));
    let Some((info, values)) = open(&page, &id).await else {
        return unknown(frame);
    };
    let token = page
        .ends_sessions
        .then(|| FormToken::of(&headers, &own, cluster.node().random_bytes()));
    let names = info.attributes.clone();
    let shown = SessionPage {
        frame,
        row: SessionRow::of(info, cluster.node().now().wall_ms),
        attributes: names
            .into_iter()
            .map(|name| AttributeRow {
                value: values
                    .iter()
                    .find(|(other, _)| *other == name)
                    .map(|(_, value)| value.clone()),
                name,
            })
            .collect(),
        token: token.as_ref().map(|token| token.text().to_owned()),
        shows_values: page.shows_values,
    };
    let mut response = html(&shown);
    if let Some(cookie) = token.as_ref().and_then(FormToken::set_cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

pub(super) async fn end(
    State(page): State<Arc<StatusPage>>,
    OriginalUri(original): OriginalUri,
    own: Uri,
    headers: HeaderMap,
    Path(id): Path<String>,
    Form(form): Form<EndForm>,
) -> Response {
    let cluster = &page.cluster;
    let links = Links::of(&own, &original);
    if forms::check(&headers, &own, &form.token).is_err() {
        let mut response = html(&RefusalPage {
            frame: Frame::of(cluster, links),
            title: "This form is not taken",
            detail: "It was not made for this browser, or the browser keeps no cookies. Nothing was \
                     ended. Go back, load the session anew and try again.",
            at_sessions: true,
        });
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    let Some(key) = SessionKey::from_public_id(&id) else {
        return unknown(Frame::of(cluster, links));
    };
    // Without what else the path may hold.
    let id = key.public_id(None);
    if !cluster.destroy(&id).await {
        return unknown(Frame::of(cluster, links));
    }
    info!(
        node = %cluster.node_name(), session = %id,
        "an operator has ended the session [{id}] on the status page"
    );
    Redirect::to(&format!("{links}sessions?ended={id}")).into_response()
}

/// Answers for paths that are none of the page's.
pub(super) async fn nowhere(
    State(page): State<Arc<StatusPage>>,
    OriginalUri(original): OriginalUri,
    own: Uri,
) -> Response {
    let mut response = html(&RefusalPage {
        frame: Frame::of(&page.cluster, Links::of(&own, &original)),
        title: "There is no such page",
        detail: "What there is to see of the cluster is behind these links.",
        at_sessions: false,
    });
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

fn unknown(frame: Frame) -> Response {
    let mut response = html(&RefusalPage {
        frame,
        title: "There is no such session",
        detail: "It has ended, or it never was, or this node does not have it yet.",
        at_sessions: true,
    });
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// Opens a session of any context, with its values if they may be shown.
async fn open(page: &StatusPage, id: &str) -> Option<(SessionInfo, Vec<(String, String)>)> {
    for context in page.cluster.contexts() {
        let Ok(sessions) = page.cluster.sessions_of(&context) else {
            continue;
        };
        let Some(session) = sessions.open(id).await else {
            continue;
        };
        // An error means that it has ended meanwhile.
        let info = session.info().ok().flatten()?;
        let values = match page.shows_values {
            true => session.snapshot().ok()?,
            false => Default::default(),
        };
        let values = values
            .into_iter()
            .map(|(name, json)| (name, readable(&json)));
        return Some((info, values.collect()));
    }
    None
}

async fn find(cluster: &Cluster, question: &Question) -> Found {
    let context = question.context.clone().unwrap_or_default();
    // Any text may come here, and most are no context's name.
    let Ok(sessions) = cluster.sessions_of(&context) else {
        return Found {
            fault: Some("No context has such a name.".to_owned()),
            ..Found::default()
        };
    };
    let Some(value) = question.wanted() else {
        let page = sessions.page(question.after.as_deref(), PAGE).await;
        return Found {
            sessions: page.sessions,
            next: page.next,
            fault: None,
        };
    };
    let name = question.by.as_deref().unwrap_or("id");
    if name == "id" {
        return Found {
            sessions: find_by_id(cluster, value).await.into_iter().collect(),
            ..Found::default()
        };
    }
    let mut found = Found::default();
    // `42` may be written as a number or as a text.
    for value in readings(value) {
        match sessions.find(name, &value).await {
            Ok(more) => found.sessions.extend(more),
            Err(error) => found.fault = Some(fault_of(&error)),
        }
    }
    if found.sessions.len() > FOUND {
        let text = format!("Too many to be shown: these are the first {FOUND}.");
        found.fault.get_or_insert(text);
        found.sessions.truncate(FOUND);
    }
    found
}

async fn find_by_id(cluster: &Cluster, id: &str) -> Option<SessionInfo> {
    for context in cluster.contexts() {
        if let Ok(sessions) = cluster.sessions_of(&context)
            && let Some(session) = sessions.open(id).await
        {
            return session.info().ok().flatten();
        }
    }
    None
}

/// Returns what a text may mean as the value of an attribute.
fn readings(text: &str) -> Vec<Value> {
    let literal = serde_json::from_str::<Value>(text).ok();
    let literal = literal.filter(|value| !value.is_object() && !value.is_array());
    let quoted = Value::String(text.to_owned());
    match literal {
        Some(literal) if literal != quoted => vec![literal, quoted],
        _ => vec![quoted],
    }
}

fn fault_of(error: &SessionError) -> String {
    error.to_string()
}

/// Returns by what sessions can be found.
fn names(cluster: &Cluster) -> Vec<String> {
    let indexes = cluster.node().settings().indexes.iter();
    let indexes = indexes.map(ToString::to_string);
    ["id".to_owned()].into_iter().chain(indexes).collect()
}

fn label_of(context: &str) -> &str {
    if context.is_empty() {
        "the default one"
    } else {
        context
    }
}

/// Returns JSON in lines, cut where it is long.
fn readable(json: &str) -> String {
    let value = serde_json::from_str::<Value>(json);
    let pretty = value.and_then(|value| serde_json::to_string_pretty(&value));
    let mut text = pretty.unwrap_or_else(|_| json.to_owned());
    if text.len() > LONG {
        let end = (0..=LONG).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push('\u{2026}');
    }
    text
}

impl Question {
    /// Returns what is looked for, `None` for a list of all.
    fn wanted(&self) -> Option<&str> {
        self.value
            .as_deref()
            .map(str::trim)
            .filter(|value| !value.is_empty())
    }
}

impl SessionRow {
    fn of(info: SessionInfo, wall_ms: u64) -> Self {
        let SessionJson {
            age_ms,
            idle_ms,
            remaining_ms,
            ..
        } = SessionJson::of(info.clone(), wall_ms);
        Self {
            context: label_of(&info.context).to_owned(),
            created: Moment::past(age_ms, wall_ms),
            used: Moment::past(idle_ms, wall_ms),
            expires: remaining_ms.map(|left_ms| Moment::future(left_ms, wall_ms)),
            size: bytes(info.bytes as u64),
            attributes: info.attributes.join(", "),
            indexed: Vec::new(),
            id: info.id,
        }
    }
}

impl SessionJson {
    fn of(info: SessionInfo, wall_ms: u64) -> Self {
        let millis =
            |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (age_ms, idle_ms) = (millis(info.age), millis(info.idle));
        let remaining_ms = info.remaining.map(millis);
        Self {
            id: info.id,
            context: info.context,
            created: Moment::past(age_ms, wall_ms).stamp,
            age_ms,
            used: Moment::past(idle_ms, wall_ms).stamp,
            idle_ms,
            expires: remaining_ms.map(|left_ms| Moment::future(left_ms, wall_ms).stamp),
            remaining_ms,
            bytes: info.bytes,
            attributes: info.attributes,
            indexed: None,
        }
    }
}

/// Sessions of a page.
const PAGE: usize = 50;
/// Sessions of a search that are shown.
const FOUND: usize = 1000;
/// Bytes of a value that are shown.
const LONG: usize = 16 * 1024;
