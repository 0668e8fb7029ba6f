//! The store of one request, which knows what the request has loaded and what it has deleted.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tower_cluster_sessions::{Expiry, Session, SessionError, SessionSlot};

use super::{
    core::{
        SessionStore,
        session::{self, Id, Record},
        session_store::Result,
    },
    note::Note,
    store::{data_of, date_in, expiry_at},
    store_error,
};

/// The session of one request as a store, in which there is nothing else.
///
/// Their `cycle_id` deletes a record and creates another one, their `flush` only deletes. So a
/// deletion waits for what comes next.
#[derive(Debug)]
pub(super) struct RequestStore {
    slot: SessionSlot,
    /// Never held across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the request has of the session, `None` as long as it was neither loaded nor saved.
    note: Option<Note>,
    deleted: Deleted,
    /// Whether the response is made, after which nothing waits.
    is_over: bool,
    /// Why the last operation has failed, in more than words.
    error: Option<SessionError>,
}

/// What was deleted and not yet destroyed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Deleted {
    #[default]
    Nothing,
    /// The record of this id. If one of another id follows, it is the same session.
    Once(Id),
    /// The session, whatever follows.
    ForGood,
}

impl RequestStore {
    pub(super) fn new(slot: SessionSlot) -> Self {
        Self {
            slot,
            state: Mutex::default(),
        }
    }

    /// Returns why the last operation has failed.
    pub(super) fn take_error(&self) -> Option<SessionError> {
        self.state().error.take()
    }

    /// Destroys the session if it was deleted and nothing has followed. From now on deleting is
    /// destroying.
    pub(super) async fn end(&self, wants: Ending) -> std::result::Result<(), SessionError> {
        let deleted = {
            let mut state = self.state();
            state.is_over = true;
            std::mem::take(&mut state.deleted)
        };
        match (deleted, wants) {
            (Deleted::Nothing, _) | (Deleted::Once(_), Ending::KeepCycled) => Ok(()),
            (Deleted::Once(_) | Deleted::ForGood, _) => self.slot.load().await.destroy(),
        }
    }

    /// Applies the expiry that the app has set.
    pub(super) async fn set_expiry(
        &self,
        expiry: session::Expiry,
    ) -> std::result::Result<(), SessionError> {
        let session = self.slot.load().await;
        let limits = match expiry {
            session::Expiry::OnSessionEnd => None,
            session::Expiry::OnInactivity(limit) => {
                let limit = limit.try_into().unwrap_or_default();
                Some(Expiry::idle(limit))
            }
            session::Expiry::AtDateTime(date) => {
                let age = session.age()?.unwrap_or_default();
                Some(expiry_at(date, age))
            }
        };
        if let Some(limits) =
            limits.filter(|limits| !session.expiry().is_ok_and(|held| are_near(held, *limits)))
        {
            session.set_expiry(limits)?;
        }
        let persistent = expiry != session::Expiry::OnSessionEnd;
        if session.is_persistent()? != persistent {
            session.set_persistent(persistent)?;
        }
        Ok(())
    }

    /// Writes what has changed since the note. Without one it was cleared before it was loaded: what
    /// is not in the record is to go.
    async fn write(
        &self,
        record: &Record,
        note: Option<Note>,
    ) -> std::result::Result<Session, SessionError> {
        let session = self.slot.load().await;
        let is_whole = note.is_none();
        let mut changes = note.unwrap_or_default().changes_to(&record.data)?;
        if is_whole {
            changes.clear();
        }
        session.change(&changes)?;
        self.state().note = Some(Note::of(&record.data));
        Ok(session)
    }

    async fn create_record(&self, record: &mut Record) -> std::result::Result<(), SessionError> {
        let (deleted, note) = {
            let mut state = self.state();
            (std::mem::take(&mut state.deleted), state.note.clone())
        };
        let session = self.slot.load().await;
        match deleted {
            Deleted::Nothing => {}
            Deleted::Once(old) if old != record.id => session.cycle_id()?,
            Deleted::Once(_) | Deleted::ForGood => session.destroy()?,
        }
        // Of a session that begins, the request has nothing.
        let note = note.filter(|_| session.id().is_some());
        let session = self.write(record, Some(note.unwrap_or_default())).await?;
        if let Some(id) = session.id().as_deref().and_then(id_of) {
            record.id = id;
        }
        Ok(())
    }

    async fn save_record(&self, record: &Record) -> std::result::Result<(), SessionError> {
        let (deleted, note) = {
            let state = self.state();
            (state.deleted, state.note.clone())
        };
        if deleted != Deleted::Nothing || self.slot.load().await.id().is_none() {
            return Ok(());
        }
        match self.write(record, note).await {
            // Somebody has logged out meanwhile.
            Ok(_) | Err(SessionError::Destroyed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn load_record(&self) -> std::result::Result<Option<Record>, SessionError> {
        let session = self.slot.load().await;
        let Some(info) = session.info()? else {
            return Ok(None);
        };
        let Some(id) = id_of(&info.id) else {
            return Ok(None);
        };
        let data = data_of(session.snapshot()?.iter());
        self.state().note = Some(Note::of(&data));
        Ok(Some(Record {
            id,
            data,
            expiry_date: date_in(info.remaining),
        }))
    }

    async fn delete_record(&self, id: &Id) -> std::result::Result<(), SessionError> {
        self.slot.load().await;
        let is_over = {
            let mut state = self.state();
            state.deleted = match state.deleted {
                Deleted::Nothing => Deleted::Once(*id),
                Deleted::Once(other) if other != *id => Deleted::Once(other),
                Deleted::Once(_) | Deleted::ForGood => Deleted::ForGood,
            };
            state.is_over
        };
        match is_over {
            true => self.end(Ending::Destroy).await,
            false => Ok(()),
        }
    }

    fn told<T>(&self, done: std::result::Result<T, SessionError>) -> Result<T> {
        done.map_err(|error| {
            let told = store_error(&error);
            self.state().error = Some(error);
            told
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of a session that was deleted when the response is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Destroy,
    /// Its id was to be replaced and was not, because the app has failed: it stays as it was.
    KeepCycled,
}

#[async_trait]
impl SessionStore for RequestStore {
    async fn create(&self, record: &mut Record) -> Result<()> {
        let created = self.create_record(record).await;
        self.told(created)
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let saved = self.save_record(record).await;
        self.told(saved)
    }

    async fn load(&self, _: &Id) -> Result<Option<Record>> {
        match self.load_record().await {
            Err(SessionError::Destroyed) => Ok(None),
            loaded => self.told(loaded),
        }
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let deleted = self.delete_record(id).await;
        self.told(deleted)
    }
}

/// Returns the id of a session: its session key, which is in its public id.
pub(super) fn id_of(public_id: &str) -> Option<Id> {
    public_id.split('.').next()?.parse().ok()
}

/// Returns whether limits are the same, but for the time that it takes to say so.
fn are_near(one: Expiry, other: Expiry) -> bool {
    let near = |one: Option<Duration>, other: Option<Duration>| match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) < Duration::from_secs(1),
        (one, other) => one == other,
    };
    near(one.idle_limit(), other.idle_limit()) && near(one.absolute_limit(), other.absolute_limit())
}
