//! The first page, the change of the password, and the page for those who may see all users.

use axum::{
    Form,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};
use axum_login::AuthnBackend as _;
use axum_messages::Messages;
use maud::Markup;
use serde::Deserialize;

use crate::{
    app::App,
    browser_name::browser_name,
    failure::Failure,
    login::{self, SERIES, USER},
    page::{self, UserRow},
    password::Password,
    users::{AuthSession, Credentials, User},
};

pub(crate) async fn home(
    State(app): State<App>,
    auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Markup, Failure> {
    let menu = page::Menu::of(&auth, &user).await?;
    let id = app.door.public_id(&auth.session).await;
    let session = match &id {
        Some(id) => app.sessions.open(id).await,
        // It begins with this response.
        None => None,
    };
    let info = session.and_then(|session| session.info().ok().flatten());
    let is_remembered = auth.session.get::<String>(SERIES).await?.is_some();
    Ok(page::home(
        &menu,
        messages,
        &app.cluster,
        info.as_ref(),
        is_remembered,
    ))
}

/// For those with the permission `users.read`.
pub(crate) async fn users(
    State(app): State<App>,
    auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Markup, Failure> {
    let mut rows = Vec::new();
    for of in app.users.all().await? {
        rows.push(UserRow {
            sessions: app.sessions.find(USER, &of.id).await?.len(),
            remembered: app.remember.sessions.find(USER, &of.id).await?.len(),
            name: of.name,
        });
    }
    let menu = page::Menu::of(&auth, &user).await?;
    Ok(page::users(&menu, messages, &rows))
}

pub(crate) async fn password_page(
    auth: AuthSession,
    user: User,
    messages: Messages,
) -> Result<Markup, Failure> {
    let menu = page::Menu::of(&auth, &user).await?;
    Ok(page::password(&menu, messages))
}

#[derive(Debug, Deserialize)]
pub(crate) struct PasswordForm {
    old: Password,
    new: Password,
}

/// Changes the password, after which nothing is logged in that was before, but this browser.
///
/// 1. The new hash is stored. From here on axum-login ends each session of the old one when it is
///    used, and a remembered login of the old one is worth nothing, on whatever node.
/// 2. This session gets another cookie: whoever had a copy of the old one is out.
/// 3. If this browser was remembered, it is remembered anew.
/// 4. All other sessions and all other remembered logins end now, not at their next use. That closes
///    WebSockets, and empties the list of devices.
pub(crate) async fn change_password(
    State(app): State<App>,
    mut auth: AuthSession,
    user: User,
    messages: Messages,
    headers: HeaderMap,
    Form(form): Form<PasswordForm>,
) -> Result<Response, Failure> {
    let refused = |messages: Messages, why: String| {
        messages.error(why);
        Ok(Redirect::to("/password").into_response())
    };
    if !form.new.is_long_enough() {
        let least = Password::LEAST_CHARS;
        return refused(
            messages,
            format!("The new password needs {least} characters or more."),
        );
    }
    let credentials = Credentials {
        name: user.name.clone(),
        password: form.old,
    };
    if auth.backend.authenticate(credentials).await?.is_none() {
        return refused(messages, "The old password is another one.".to_owned());
    }
    let Some(user) = app.users.change_password(&user, form.new).await? else {
        return refused(messages, "The password was changed elsewhere.".to_owned());
    };

    let browser = browser_name(&headers);
    let was_remembered = auth.session.get::<String>(SERIES).await?.is_some();
    let remembered = match was_remembered {
        true => Some(app.remember.begin(&user, &browser).await?),
        false => None,
    };
    auth.session.cycle_id().await?;
    let series = remembered.as_ref().map(|remembered| &*remembered.series);
    login::begin(&mut auth, &user, &browser, series).await?;
    // Before the others end, so that it is known which is not one of them.
    auth.session.save().await?;
    let keep = series.unwrap_or_default();
    let series = &app.remember.sessions;
    series.destroy_where_except(USER, &user.id, keep).await?;
    let keep = app.door.public_id(&auth.session).await.unwrap_or_default();
    let sessions = &app.sessions;
    let others = sessions.destroy_where_except(USER, &user.id, &keep).await?;

    messages.success(match others.sessions {
        0 => "The password is changed.".to_owned(),
        1 => "The password is changed. One other device is logged out.".to_owned(),
        count => format!("The password is changed. {count} other devices are logged out."),
    });
    let to_page = Redirect::to("/password");
    Ok(match remembered {
        Some(remembered) => (app.remember.cookie(&remembered), to_page).into_response(),
        None => (app.remember.no_cookie(), to_page).into_response(),
    })
}
