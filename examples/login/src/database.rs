//! The users, in SQLite.
//!
//! All nodes of one machine can share the file. Nodes on several machines would share a database
//! server; nothing but this file would change.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension as _, Row};
use tokio::task::{JoinError, spawn_blocking};

use crate::users::User;

/// The connection to the users. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// Held for one query, on a thread that may block.
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens the file, and creates it with its tables if it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        Self::with_tables(connection)
    }

    /// Returns an empty one that is gone when the last handle is.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Result<Self, DatabaseError> {
        Self::with_tables(Connection::open_in_memory()?)
    }

    fn with_tables(connection: Connection) -> Result<Self, DatabaseError> {
        connection.execute_batch(TABLES)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    /// Adds a user, unless there is one of the name.
    pub(crate) async fn add(
        &self,
        name: &'static str,
        password_hash: String,
        permissions: &'static [&'static str],
    ) -> Result<(), DatabaseError> {
        self.run(move |connection| {
            let insert = "insert or ignore into users (name, password_hash) values (?, ?)";
            if connection.execute(insert, (name, password_hash))? == 0 {
                return Ok(());
            }
            let user = connection.last_insert_rowid();
            for permission in permissions {
                let insert = "insert into permissions (user, name) values (?, ?)";
                connection.execute(insert, (user, permission))?;
            }
            Ok(())
        })
        .await
    }

    /// Returns all users, by name.
    pub(crate) async fn users(&self) -> Result<Vec<User>, DatabaseError> {
        self.run(|connection| {
            let mut select = connection.prepare(&format!("{SELECT} order by name"))?;
            let users = select.query_map([], user_of)?;
            users.collect()
        })
        .await
    }

    pub(crate) async fn user(&self, id: i64) -> Result<Option<User>, DatabaseError> {
        self.run(move |connection| {
            let select = format!("{SELECT} where id = ?");
            connection.query_row(&select, [id], user_of).optional()
        })
        .await
    }

    pub(crate) async fn user_named(&self, name: String) -> Result<Option<User>, DatabaseError> {
        self.run(move |connection| {
            let select = format!("{SELECT} where name = ?");
            connection.query_row(&select, [name], user_of).optional()
        })
        .await
    }

    pub(crate) async fn permissions(&self, user: i64) -> Result<Vec<String>, DatabaseError> {
        self.run(move |connection| {
            let mut select = connection.prepare("select name from permissions where user = ?")?;
            let names = select.query_map([user], |row| row.get(0))?;
            names.collect()
        })
        .await
    }

    /// Replaces the hash of a user's password, if it is still the one that the caller knows.
    /// Returns whether it was.
    pub(crate) async fn replace_password(
        &self,
        user: i64,
        known: String,
        new: String,
    ) -> Result<bool, DatabaseError> {
        self.run(move |connection| {
            let update = "update users set password_hash = ? where id = ? and password_hash = ?";
            Ok(connection.execute(update, (new, user, known))? == 1)
        })
        .await
    }

    /// Notes that a remembered login of the user was used by two.
    pub(crate) async fn note_theft(&self, user: i64) -> Result<(), DatabaseError> {
        self.run(move |connection| {
            connection.execute("update users set theft_noticed = 1 where id = ?", [user])?;
            Ok(())
        })
        .await
    }

    /// Returns whether a theft was noted, and forgets it: the user is about to be told.
    pub(crate) async fn take_theft(&self, user: i64) -> Result<bool, DatabaseError> {
        self.run(move |connection| {
            let update = "update users set theft_noticed = 0 where id = ? and theft_noticed = 1";
            Ok(connection.execute(update, [user])? == 1)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        let database = self.clone();
        let done = spawn_blocking(move || work(&database.connection()));
        Ok(done.await??)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn user_of(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User::new(row.get(0)?, row.get(1)?, row.get(2)?))
}

/// Why users cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the database refuses: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the query did not end: {0}")]
    Task(#[from] JoinError),
}

const TABLES: &str = "
create table if not exists users (
    id integer primary key,
    name text not null unique,
    password_hash text not null,
    theft_noticed integer not null default 0
);
create table if not exists permissions (
    user integer not null references users (id),
    name text not null,
    primary key (user, name)
);
";
const SELECT: &str = "select id, name, password_hash from users";
