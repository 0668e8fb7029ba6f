//! Logins that are remembered for weeks: "remember me".
//!
//! A session ends after half an hour without a request. A browser that is to be remembered has a
//! second cookie for weeks, which logs it in again. It holds two things:
//!
//! - What opens a session of the context `remember`, the *series*: one for each remembered browser,
//!   the same for as long as it is remembered. Nodes hold a hash of its secret.
//! - A *token*, which is used once, and of which the series holds a hash. See [`series`].
//!
//! So the series are replicated as all sessions are, and ended as all sessions are: one, those of a
//! user, or all that nobody has used for a month.
//!
//! A series also holds what [`session_auth_hash`](axum_login::AuthUser::session_auth_hash) was. So
//! it is worth nothing after a change of the password, also where nobody has ended it.

mod series;
mod token;

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, Method,
        header::{COOKIE, SET_COOKIE},
    },
    middleware::Next,
    response::{AppendHeaders, IntoResponse as _, Response},
};
use axum_login::{AuthUser as _, AuthnBackend as _};
use axum_messages::Messages;
use cookie::{Cookie, SameSite};
use tower_cluster_sessions::{
    Ack, Changes, Cluster, CookieValue, Expiry, Session, SessionError, Sessions,
};

use self::{
    series::{Series, Verdict, add_successor},
    token::{Token, hex},
};
use crate::{
    app::{App, Scheme},
    failure::Failure,
    login::{self, BROWSER, THEFT, USER},
    users::{AuthSession, User},
};

/// The remembered logins. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Remember {
    /// The series.
    pub(crate) sessions: Sessions,
    scheme: Scheme,
}

/// What a browser is given, to be remembered by.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// The public id of the series.
    pub(crate) series: String,
    /// The value of the cookie.
    value: String,
}

/// What a cookie was worth.
#[derive(Debug)]
enum Presented {
    /// It is of no series that lives here, or another request of the browser was faster.
    Nothing,
    /// It was copied. The series is of this user.
    Stolen(i64),
    Login(Login),
}

/// A series whose token was right.
#[derive(Debug)]
struct Login {
    series: Session,
    user: i64,
    browser: String,
    auth_hash: String,
    /// What the browser presents the next time, if that is something else.
    successor: Option<Remembered>,
}

impl Remember {
    pub(crate) fn new(cluster: &Cluster, scheme: Scheme) -> Self {
        Self {
            sessions: cluster.sessions(CONTEXT),
            scheme,
        }
    }

    /// Remembers a user in a browser.
    pub(crate) async fn begin(&self, user: &User, browser: &str) -> Result<Remembered, Failure> {
        let token = Token::random()?;
        let mut changes = Series::begin(&token)?;
        changes.insert(USER, user.id)?;
        changes.insert(BROWSER, browser)?;
        changes.insert(AUTH_HASH, hex(user.session_auth_hash()))?;
        changes.set_expiry(Expiry::idle(IDLE_LIMIT).or_absolute(AGE_LIMIT))?;
        let (series, cookie) = self.sessions.create(&changes)?;
        // It comes back in days. A session that nobody was seen to use is kept for minutes.
        series.touch()?;
        series.acknowledged(Ack::All).await;
        Ok(self.remembered(&series, &cookie, &token)?)
    }

    /// Looks at a cookie, and has the series know that its token was presented.
    async fn present(&self, value: &str) -> Result<Presented, Failure> {
        let Some((token, series)) = value.split_once(SEPARATOR) else {
            return Ok(Presented::Nothing);
        };
        let Some(cookie) = self.sessions.parse_cookie(series) else {
            return Ok(Presented::Nothing);
        };
        let Some(session) = self.sessions.open_with(&cookie).await else {
            return Ok(Presented::Nothing);
        };
        match self
            .present_to(session, &cookie, &Token::presented(token))
            .await
        {
            // Another request has ended it meanwhile.
            Err(Failure::Session(SessionError::Destroyed)) => Ok(Presented::Nothing),
            presented => presented,
        }
    }

    async fn present_to(
        &self,
        session: Session,
        cookie: &CookieValue,
        token: &Token,
    ) -> Result<Presented, Failure> {
        let (Some(series), Some(user), Some(age)) =
            (Series::read(&session)?, session.get(USER)?, session.age()?)
        else {
            return Ok(Presented::Nothing);
        };
        let hash = token.hash();
        let verdict = series.judge(&hash, age);
        let mut changes = match verdict {
            Verdict::Overtaken => return Ok(Presented::Nothing),
            Verdict::Stolen => return Ok(Presented::Stolen(user)),
            Verdict::Current => Changes::new(),
            Verdict::Successor => series.advance(&hash, age)?,
        };
        let mut successor = None;
        if series.gives_successor(verdict) {
            let token = Token::random()?;
            add_successor(&mut changes, &token)?;
            successor = Some(self.remembered(&session, cookie, &token)?);
        }
        session.change(&changes)?;
        session.touch()?;
        // The browser gets the successor when all nodes know it.
        session.acknowledged(Ack::All).await;
        Ok(Presented::Login(Login {
            user,
            browser: session.get(BROWSER)?.unwrap_or_default(),
            auth_hash: session.get(AUTH_HASH)?.unwrap_or_default(),
            series: session,
            successor,
        }))
    }

    fn remembered(
        &self,
        series: &Session,
        cookie: &CookieValue,
        token: &Token,
    ) -> Result<Remembered, SessionError> {
        let text = self.sessions.format_cookie(cookie);
        Ok(Remembered {
            series: series.id().ok_or(SessionError::Destroyed)?,
            value: format!("{}{SEPARATOR}{text}", token.as_str()),
        })
    }

    /// Returns what sets the cookie.
    pub(crate) fn cookie(
        &self,
        remembered: &Remembered,
    ) -> AppendHeaders<[(http::HeaderName, String); 1]> {
        self.set_cookie(&remembered.value, IDLE_LIMIT)
    }

    /// Returns what removes the cookie.
    pub(crate) fn no_cookie(&self) -> AppendHeaders<[(http::HeaderName, String); 1]> {
        self.set_cookie("", Duration::ZERO)
    }

    fn set_cookie(
        &self,
        value: &str,
        age: Duration,
    ) -> AppendHeaders<[(http::HeaderName, String); 1]> {
        let seconds = age.as_secs().cast_signed();
        let cookie = Cookie::build((self.cookie_name(), value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.scheme == Scheme::Https)
            .max_age(cookie::time::Duration::seconds(seconds));
        AppendHeaders([(SET_COOKIE, cookie.to_string())])
    }

    /// Returns the value of the cookie that a browser presents.
    pub(crate) fn presented<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let fields = headers.get_all(COOKIE).into_iter();
        let pairs = fields
            .filter_map(|field| field.to_str().ok())
            .flat_map(|field| field.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .filter(|(name, _)| *name == self.cookie_name())
            .map(|(_, value)| value)
            .next()
    }

    const fn cookie_name(&self) -> &'static str {
        match self.scheme {
            Scheme::Http => "remember",
            Scheme::Https => "__Host-remember",
        }
    }
}

impl App {
    /// Ends the series of a browser that logs out, or logs in anew, and all sessions that go with it.
    ///
    /// In a partition, a node that does not know the series cannot end it, as the store of
    /// tower-sessions cannot end the session.
    pub(crate) async fn forget_browser(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let Some(value) = self.remember.presented(headers) else {
            return Ok(());
        };
        let cookie = value.split_once(SEPARATOR).map(|(_, series)| series);
        let cookie = cookie.and_then(|series| self.remember.sessions.parse_cookie(series));
        if let Some(cookie) = cookie
            && let Some(series) = self.remember.sessions.open_with(&cookie).await
        {
            self.end_series(&series).await?;
        }
        Ok(())
    }

    /// Ends a series and all sessions that go with it.
    pub(crate) async fn end_series(&self, series: &Session) -> Result<(), Failure> {
        if let Some(id) = series.id() {
            series.destroy()?;
            series.acknowledged(Ack::All).await;
            self.sessions.destroy_where(login::SERIES, &id).await?;
        }
        Ok(())
    }

    /// Ends all sessions and all series of a user, on all nodes. Series come first: none of them
    /// begins a session that would be missed.
    pub(crate) async fn end_everywhere(&self, user: i64) -> Result<(), Failure> {
        self.remember.sessions.destroy_where(USER, &user).await?;
        self.sessions.destroy_where(USER, &user).await?;
        Ok(())
    }
}

/// Logs out whoever's remembered login has ended.
///
/// Ending a series ends its sessions. But a request that was about to begin one may be the last to
/// write, and so the session is asked with each request. That is a look into memory.
pub(crate) async fn check(
    State(app): State<App>,
    mut auth: AuthSession,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if auth.user.is_some()
        && let Some(series) = auth.session.get::<String>(login::SERIES).await?
        && app.remember.sessions.open(&series).await.is_none()
    {
        auth.logout().await?;
        request.extensions_mut().insert(auth);
    }
    Ok(next.run(request).await)
}

/// Logs a browser in that is remembered and not logged in, before its page is made.
///
/// GET alone: what changes something asks for a session. So a cookie that is set here is never that
/// of a request which sets or removes it, too.
pub(crate) async fn resume(
    State(app): State<App>,
    auth: AuthSession,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let value = app.remember.presented(request.headers());
    let value = value.filter(|_| auth.user.is_none() && request.method() == Method::GET);
    let Some(value) = value.map(str::to_owned) else {
        return Ok(next.run(request).await);
    };
    match app.remember.present(&value).await? {
        // The cookie stays: in a partition, the series may live on the other side.
        Presented::Nothing => Ok(next.run(request).await),
        Presented::Stolen(user) => {
            app.users.note_theft(user).await?;
            app.end_everywhere(user).await?;
            tracing::warn!(
                user,
                "a remembered login was used by two, all of the user's are ended"
            );
            if let Some(messages) = request.extensions().get::<Messages>() {
                messages.clone().error(THEFT);
            }
            let response = next.run(request).await;
            Ok((app.remember.no_cookie(), response).into_response())
        }
        Presented::Login(login) => log_in(&app, login, auth, request, next).await,
    }
}

async fn log_in(
    app: &App,
    login: Login,
    mut auth: AuthSession,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let user = auth.backend.get_user(&login.user).await?;
    let user = user.filter(|user| hex(user.session_auth_hash()) == login.auth_hash);
    let Some(user) = user else {
        // There is another password by now.
        login.series.destroy()?;
        let response = next.run(request).await;
        return Ok((app.remember.no_cookie(), response).into_response());
    };
    let series = login.series.id();
    login::begin(&mut auth, &user, &login.browser, series.as_deref()).await?;
    request.extensions_mut().insert(auth);
    let response = next.run(request).await;
    Ok(match login.successor {
        Some(successor) => (app.remember.cookie(&successor), response).into_response(),
        None => response,
    })
}

/// The context of the series.
const CONTEXT: &str = "remember";
/// The attribute of a series with what the user's password was, hashed twice.
const AUTH_HASH: &str = "auth_hash";
/// Between token and series. It is in neither.
const SEPARATOR: char = '~';
/// A browser that does not come for so long is forgotten.
const IDLE_LIMIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// After so long the password is asked for again in any case.
const AGE_LIMIT: Duration = Duration::from_secs(180 * 24 * 60 * 60);
