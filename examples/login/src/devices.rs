//! "Your devices": where a user is logged in, and how to end that.
//!
//! A device is a browser that is remembered, with all sessions that go with it, or a session that
//! goes with none.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Form,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use axum_messages::Messages;
use maud::Markup;
use serde::Deserialize;
use tower_cluster_sessions::{Ack, Session, SessionError, SessionInfo};

use crate::{
    app::App,
    failure::Failure,
    login::{BROWSER, SERIES, USER},
    page,
    users::{AuthSession, User},
};

/// A browser in which a user is logged in, or that is remembered.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    /// The public id of the series, or of the session. It opens nothing.
    pub(crate) id: String,
    pub(crate) browser: String,
    /// The time since the login.
    pub(crate) age: Duration,
    /// The time since the last use.
    pub(crate) idle: Duration,
    pub(crate) is_remembered: bool,
    pub(crate) is_this: bool,
}

pub(crate) async fn page(
    State(app): State<App>,
    auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Markup, Failure> {
    let devices = app.devices(&auth, &user).await?;
    let menu = page::Menu::of(&auth, &user).await?;
    Ok(page::devices(&menu, messages, &devices))
}

#[derive(Debug, Deserialize)]
pub(crate) struct EndForm {
    device: String,
}

/// Ends one device of the user.
pub(crate) async fn end(
    State(app): State<App>,
    user: User,
    messages: Messages,
    Form(form): Form<EndForm>,
) -> Result<Redirect, Failure> {
    let ended = app.end_device(&user, &form.device).await?;
    match ended {
        Some(browser) => messages.success(format!("{browser} is logged out.")),
        None => messages.info("That device was logged out already."),
    };
    Ok(Redirect::to("/devices"))
}

/// Ends all devices of the user but the one that asks.
pub(crate) async fn end_others(
    State(app): State<App>,
    auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Redirect, Failure> {
    app.end_others(&auth, &user).await?;
    messages.success("All other devices are logged out.");
    Ok(Redirect::to("/devices"))
}

/// Logs the user out everywhere, here too.
pub(crate) async fn end_all(
    State(app): State<App>,
    mut auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Response, Failure> {
    auth.logout().await?;
    app.end_everywhere(user.id).await?;
    messages.success("You are logged out on all your devices.");
    Ok((app.remember.no_cookie(), Redirect::to("/login")).into_response())
}

impl App {
    /// Returns where a user is logged in or remembered, the device used last first.
    async fn devices(&self, auth: &AuthSession, user: &User) -> Result<Vec<Device>, Failure> {
        let this = self.door.public_id(&auth.session).await;
        let mut devices = BTreeMap::new();
        for info in self.remember.sessions.find(USER, &user.id).await? {
            if let Some(series) = self.remember.sessions.open(&info.id).await {
                let browser = unless_ended(series.get(BROWSER))?;
                let device = Device::of(&info, browser, Kind::Series);
                devices.insert(info.id, device);
            }
        }
        for info in self.sessions.find(USER, &user.id).await? {
            let Some(session) = self.sessions.open(&info.id).await else {
                continue;
            };
            let series: Option<String> = unless_ended(session.get(SERIES))?;
            let browser = unless_ended(session.get(BROWSER))?;
            let id = series.unwrap_or_else(|| info.id.clone());
            let device = devices
                .entry(id)
                .or_insert_with(|| Device::of(&info, browser, Kind::Session));
            device.idle = device.idle.min(info.idle);
            device.is_this |= is_same(this.as_deref(), &info.id);
        }
        let mut devices: Vec<_> = devices.into_values().collect();
        devices.sort_by_key(|device| (!device.is_this, device.idle));
        Ok(devices)
    }

    /// Ends one device, if it is one of the user's. Returns the name of its browser then.
    async fn end_device(&self, user: &User, id: &str) -> Result<Option<String>, Failure> {
        if let Some(series) = self.remember.sessions.open(id).await
            && is_of(&series, user)?
        {
            let browser = unless_ended(series.get(BROWSER))?;
            self.end_series(&series).await?;
            return Ok(browser);
        }
        if let Some(session) = self.sessions.open(id).await
            && is_of(&session, user)?
        {
            let browser = unless_ended(session.get(BROWSER))?;
            session.destroy()?;
            session.acknowledged(Ack::All).await;
            return Ok(browser);
        }
        Ok(None)
    }

    /// Ends all devices of a user but that of the session, which stays remembered if it was.
    async fn end_others(&self, auth: &AuthSession, user: &User) -> Result<(), Failure> {
        let series: Option<String> = auth.session.get(SERIES).await?;
        let keep = series.unwrap_or_default();
        let remembered = &self.remember.sessions;
        remembered
            .destroy_where_except(USER, &user.id, &keep)
            .await?;
        let keep = self.door.public_id(&auth.session).await.unwrap_or_default();
        self.sessions
            .destroy_where_except(USER, &user.id, &keep)
            .await?;
        Ok(())
    }
}

impl Device {
    fn of(info: &SessionInfo, browser: Option<String>, kind: Kind) -> Self {
        Self {
            id: info.id.clone(),
            browser: browser.unwrap_or_else(|| "A browser".to_owned()),
            age: info.age,
            idle: info.idle,
            is_remembered: kind == Kind::Series,
            is_this: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Series,
    Session,
}

/// Returns whether two public ids are of one session: behind the dot is a route.
fn is_same(one: Option<&str>, other: &str) -> bool {
    let bare = |id: &str| id.split('.').next().map(str::to_owned);
    one.is_some_and(|one| bare(one) == bare(other))
}

fn is_of(session: &Session, user: &User) -> Result<bool, SessionError> {
    let of: Option<i64> = unless_ended(session.get(USER))?;
    Ok(of == Some(user.id))
}

/// Takes a session that has ended since it was found for one without attributes.
fn unless_ended<T>(read: Result<Option<T>, SessionError>) -> Result<Option<T>, SessionError> {
    match read {
        Err(SessionError::Destroyed) => Ok(None),
        read => read,
    }
}
