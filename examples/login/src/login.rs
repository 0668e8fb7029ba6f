//! Logging in and out, and what the session of a login holds.

use axum::{
    Form,
    extract::{FromRequestParts, Query, State},
    http::{HeaderMap, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use axum_messages::Messages;
use maud::Markup;
use serde::Deserialize;

use crate::{
    app::App,
    browser_name::browser_name,
    failure::Failure,
    page,
    password::Password,
    users::{AuthSession, Credentials, User},
};

/// The attribute with the user's id. All sessions of a user are found by it.
pub(crate) const USER: &str = "user";
/// The attribute with the name of the browser.
pub(crate) const BROWSER: &str = "browser";
/// The attribute with the id of the remembered login that goes with the session, if there is one.
pub(crate) const SERIES: &str = "series";

/// Handlers that take the user are for those who are logged in.
impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let auth = parts.extensions.get::<AuthSession>();
        let user = auth.and_then(|auth| auth.user.clone());
        user.ok_or(Failure::NotLoggedIn)
    }
}

/// Logs a user in, whose password was right or who was remembered.
///
/// axum-login gives the session another cookie, and keeps the user's id in an entry of its own. The
/// others are what the list of devices shows, and what logs the user out everywhere.
pub(crate) async fn begin(
    auth: &mut AuthSession,
    user: &User,
    browser: &str,
    series: Option<&str>,
) -> Result<(), Failure> {
    auth.login(user).await?;
    auth.session.insert(USER, user.id).await?;
    auth.session.insert(BROWSER, browser).await?;
    match series {
        Some(series) => auth.session.insert(SERIES, series).await?,
        None => drop(auth.session.remove_value(SERIES).await?),
    }
    Ok(())
}

/// Where to go after the login.
#[derive(Debug, Deserialize)]
pub(crate) struct Destination {
    next: Option<String>,
}

pub(crate) async fn page(
    auth: AuthSession,
    messages: Messages,
    Query(Destination { next }): Query<Destination>,
) -> Result<Markup, Redirect> {
    if auth.user.is_some() {
        return Err(Redirect::to(&path_of_this_app(next)));
    }
    Ok(page::login(messages, &path_of_this_app(next)))
}

#[derive(Debug, Deserialize)]
pub(crate) struct LoginForm {
    name: String,
    password: Password,
    /// Present when the box is ticked.
    remember: Option<String>,
    next: Option<String>,
}

pub(crate) async fn log_in(
    State(app): State<App>,
    mut auth: AuthSession,
    messages: Messages,
    headers: HeaderMap,
    Form(form): Form<LoginForm>,
) -> Result<Response, Failure> {
    let next = path_of_this_app(form.next);
    let credentials = Credentials {
        name: form.name,
        password: form.password,
    };
    let Some(user) = auth.authenticate(credentials).await? else {
        messages.error("That name and that password do not go together.");
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("next", &next).finish();
        return Ok(Redirect::to(&format!("/login?{query}")).into_response());
    };
    // Another user's session is not carried on.
    if auth.user.is_some() {
        auth.logout().await?;
    }
    app.forget_browser(&headers).await?;
    let browser = browser_name(&headers);
    let remembered = match form.remember {
        Some(_) => Some(app.remember.begin(&user, &browser).await?),
        None => None,
    };
    let series = remembered.as_ref().map(|remembered| &*remembered.series);
    begin(&mut auth, &user, &browser, series).await?;
    if app.users.take_theft(&user).await? {
        messages.error(THEFT);
    } else {
        messages.success("You are logged in.");
    }
    let to_next = Redirect::to(&next);
    Ok(match remembered {
        Some(remembered) => (app.remember.cookie(&remembered), to_next).into_response(),
        None => to_next.into_response(),
    })
}

pub(crate) async fn log_out(
    State(app): State<App>,
    mut auth: AuthSession,
    messages: Messages,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    auth.logout().await?;
    app.forget_browser(&headers).await?;
    messages.success("You are logged out.");
    Ok((app.remember.no_cookie(), Redirect::to("/login")).into_response())
}

/// Returns a path that a link of others may ask to be led to after the login: one of this app.
fn path_of_this_app(next: Option<String>) -> String {
    let is_path = |next: &String| {
        let rest = next.strip_prefix('/');
        // Browsers take both for the beginning of a host.
        rest.is_some_and(|rest| !rest.starts_with(['/', '\\']))
    };
    next.filter(is_path).unwrap_or_else(|| "/".to_owned())
}

pub(crate) const THEFT: &str = "Somebody else has used a login that was remembered on one of your \
                                devices. All your devices were logged out. Change your password \
                                if you do not know who it was.";
