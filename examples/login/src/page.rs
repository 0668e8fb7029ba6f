//! The pages. Everything that is put in is escaped.

use std::time::Duration;

use axum::http::StatusCode;
use axum_login::AuthzBackend as _;
use axum_messages::{Level, Messages};
use maud::{DOCTYPE, Markup, html};
use tower_cluster_sessions::{Cluster, MemberState, SessionInfo};

use crate::{
    devices::Device,
    failure::Failure,
    password::Password,
    users::{AuthSession, Permission, User},
};

/// What is above all pages of a user.
#[derive(Debug)]
pub(crate) struct Menu {
    user: String,
    may_read_users: bool,
}

impl Menu {
    pub(crate) async fn of(auth: &AuthSession, user: &User) -> Result<Self, Failure> {
        let permission = Permission::READ_USERS.into();
        let may = auth.backend.has_perm(user, permission).await;
        Ok(Self {
            user: user.name.clone(),
            may_read_users: may?,
        })
    }
}

pub(crate) fn login(messages: Messages, next: &str) -> Markup {
    let content = html! {
        section.card.narrow {
            h1 { "Log in" }
            (banners(messages))
            form method="post" action="/login" {
                input type="hidden" name="next" value=(next);
                label {
                    "Name"
                    input name="name" autocomplete="username" autocapitalize="none" required autofocus;
                }
                label {
                    "Password"
                    input type="password" name="password" autocomplete="current-password" required;
                }
                label.check {
                    input type="checkbox" name="remember";
                    span { "Remember me in this browser" }
                }
                button.primary { "Log in" }
            }
        }
    };
    layout("Log in", None, &content)
}

pub(crate) fn home(
    menu: &Menu,
    messages: Messages,
    cluster: &Cluster,
    session: Option<&SessionInfo>,
    is_remembered: bool,
) -> Markup {
    let content = html! {
        (banners(messages))
        h1 { "Hello, " (menu.user) "." }
        section.card {
            h2 { "This session" }
            dl {
                dt { "Served by" }
                dd { strong #node { (cluster.node_name()) } }
                @if let Some(info) = session {
                    dt { "Id" }
                    dd { code { (info.id) } }
                    dt { "Logged in" }
                    dd { (ago(info.age)) }
                }
                dt { "Remembered" }
                dd { (if is_remembered { "Yes, for 30 days after the last visit" } else { "No, until the browser closes" }) }
                dt { "Live connection" }
                dd { (live_state()) }
            }
        }
        section.card {
            h2 { "Nodes" }
            ul.rows {
                li { span { (cluster.node_name()) } span.state.good { "answers you" } }
                @for member in cluster.members() {
                    @let (class, state) = shown(member.state);
                    li {
                        span { (member.name.as_deref().unwrap_or(&member.address)) }
                        span class=(format!("state {class}")) { (state) }
                    }
                }
            }
            p.quiet { "Each of them has your session. End one, and go on with the others." }
        }
    };
    layout("Home", Some((menu, Place::Home)), &content)
}

pub(crate) fn devices(menu: &Menu, messages: Messages, devices: &[Device]) -> Markup {
    let content = html! {
        (banners(messages))
        h1 { "Your devices" }
        ul.devices {
            @for device in devices {
                li.card {
                    div {
                        h2 { (device.browser) }
                        p.quiet {
                            "Logged in " (ago(device.age)) ", last used " (ago(device.idle))
                        }
                        @if device.is_this { span.tag.this { "This device" } }
                        @if device.is_remembered { span.tag { "Remembered" } }
                    }
                    form method="post" action="/devices/end" {
                        input type="hidden" name="device" value=(device.id);
                        button { "Log out" }
                    }
                }
            }
        }
        div.actions {
            form method="post" action="/devices/end-others" {
                button { "Log out all others" }
            }
            form method="post" action="/devices/end-all" {
                button.danger { "Log out everywhere" }
            }
        }
    };
    layout("Your devices", Some((menu, Place::Devices)), &content)
}

pub(crate) fn password(menu: &Menu, messages: Messages) -> Markup {
    let content = html! {
        section.card.narrow {
            h1 { "Change the password" }
            (banners(messages))
            p.quiet { "All your other devices are logged out by it, and no longer remembered." }
            form method="post" action="/password" {
                input type="hidden" name="name" value=(menu.user) autocomplete="username";
                label {
                    "Old password"
                    input type="password" name="old" autocomplete="current-password" required;
                }
                label {
                    "New password"
                    input type="password" name="new" autocomplete="new-password"
                        minlength=(Password::LEAST_CHARS) aria-describedby="least" required;
                }
                p.quiet.hint #least { (Password::LEAST_CHARS) " characters or more" }
                button.primary { "Change it" }
            }
        }
    };
    layout(
        "Change the password",
        Some((menu, Place::Password)),
        &content,
    )
}

/// What is shown of a user to those who may see all.
#[derive(Debug)]
pub(crate) struct UserRow {
    pub(crate) name: String,
    pub(crate) sessions: usize,
    pub(crate) remembered: usize,
}

pub(crate) fn users(menu: &Menu, messages: Messages, rows: &[UserRow]) -> Markup {
    let content = html! {
        (banners(messages))
        h1 { "All users" }
        section.card {
            table {
                thead {
                    tr { th { "User" } th.number { "Sessions" } th.number { "Remembered" } }
                }
                tbody {
                    @for row in rows {
                        tr {
                            td { (row.name) }
                            td.number { (row.sessions) }
                            td.number { (row.remembered) }
                        }
                    }
                }
            }
            p.quiet { "You see this by the permission " code { (Permission::READ_USERS) } "." }
        }
    };
    layout("All users", Some((menu, Place::Users)), &content)
}

/// The page of an error that has none of its own.
pub(crate) fn failure(status: StatusCode) -> Markup {
    let (title, sentence) = match status {
        StatusCode::UNAUTHORIZED => ("You are not logged in", "Log in, and do it again."),
        StatusCode::FORBIDDEN => ("Not for you", "You have not the permission for this page."),
        StatusCode::NOT_FOUND => ("Nothing here", "There is no page of this address."),
        StatusCode::CONFLICT => (
            "Somebody was faster",
            "Another tab has just logged in. Do it again.",
        ),
        StatusCode::SERVICE_UNAVAILABLE => {
            ("Not now", "There is no room for a session. Try again soon.")
        }
        status if status.is_server_error() => ("That went wrong", "It is in the log of the node."),
        _ => (
            "That is no request",
            "The browser has sent what this app does not know.",
        ),
    };
    let content = html! {
        section.card.narrow {
            h1 { (title) }
            p { (sentence) }
            p { a href="/" { "To the first page" } }
        }
    };
    layout(title, None, &content)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Home,
    Devices,
    Password,
    Users,
}

fn layout(title: &str, menu: Option<(&Menu, Place)>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Login" }
                link rel="stylesheet" href="/static/style.css";
                link rel="icon" href="data:,";
                @if menu.is_some() { script src="/static/live.js" defer {} }
            }
            body {
                @if let Some((menu, place)) = menu { (header(menu, place)) }
                main { (content) }
                @if menu.is_some() { (ended()) }
            }
        }
    }
}

fn header(menu: &Menu, here: Place) -> Markup {
    let link = |place, path, text| {
        let current = (place == here).then_some("page");
        html! { a href=(path) aria-current=[current] { (text) } }
    };
    html! {
        header {
            nav aria-label="Pages" {
                (link(Place::Home, "/", "Home"))
                (link(Place::Devices, "/devices", "Devices"))
                (link(Place::Password, "/password", "Password"))
                @if menu.may_read_users { (link(Place::Users, "/users", "Users")) }
            }
            form method="post" action="/logout" {
                span.quiet { (menu.user) }
                button { "Log out" }
            }
        }
    }
}

/// Filled by the script, which is all that needs one.
fn live_state() -> Markup {
    html! {
        span #live .state.gone role="status" { "none, it needs JavaScript" }
    }
}

/// What the script shows when the session has ended elsewhere.
fn ended() -> Markup {
    html! {
        dialog #ended {
            h2 { "You are logged out" }
            p { "This session has ended: on another device, by its age, or because it was not used." }
            a.button.primary href="/login" { "Log in again" }
        }
    }
}

fn banners(messages: Messages) -> Markup {
    html! {
        @for message in messages {
            p class=(format!("banner {}", class_of(message.level))) role="status" { (message) }
        }
    }
}

const fn class_of(level: Level) -> &'static str {
    match level {
        Level::Debug | Level::Info => "info",
        Level::Success => "success",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

/// How a state looks, and what it is called.
const fn shown(state: MemberState) -> (&'static str, &'static str) {
    match state {
        MemberState::Up => ("good", "up"),
        MemberState::Lagging => ("slow", "lagging behind"),
        MemberState::Syncing => ("slow", "fetching sessions"),
        MemberState::Suspect => ("gone", "just lost"),
        MemberState::Down => ("gone", "down"),
        MemberState::Left => ("gone", "left"),
        _ => ("gone", "unknown"),
    }
}

/// Returns words for a time that has passed.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        0..60 => return "a moment ago".to_owned(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit() {
        for (seconds, words) in [
            (59, "a moment ago"),
            (60, "1 minute ago"),
            (7_199, "1 hour ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), words);
        }
    }
}
