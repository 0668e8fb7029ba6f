//! Who may log in, and what they may do: what axum-login asks for.

use std::{collections::HashSet, fmt};

use axum_login::{AuthUser, AuthnBackend, AuthzBackend, UserId};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    database::{Database, DatabaseError},
    password::{HashError, Hasher, Password},
};

/// The session of a request, with its user.
pub(crate) type AuthSession = axum_login::AuthSession<Users>;

/// A user, as of one moment.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    password_hash: String,
    auth_hash: [u8; 32],
}

impl User {
    pub(crate) fn new(id: i64, name: String, password_hash: String) -> Self {
        let auth_hash = Sha256::new()
            .chain_update("login of a password\0")
            .chain_update(&password_hash);
        Self {
            id,
            name,
            auth_hash: auth_hash.finalize().into(),
            password_hash,
        }
    }
}

impl AuthUser for User {
    type Id = i64;

    fn id(&self) -> i64 {
        self.id
    }

    /// A hash of the password's hash. axum-login keeps it in the session, and ends sessions whose
    /// user has another one by now: those from before a change of the password.
    fn session_auth_hash(&self) -> &[u8] {
        &self.auth_hash
    }
}

/// axum-login logs users.
impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a user types to log in.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Credentials {
    pub(crate) name: String,
    pub(crate) password: Password,
}

/// All users. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Users {
    database: Database,
    hasher: Hasher,
}

impl Users {
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            hasher: Hasher::new(),
        }
    }

    /// Adds the users of the demonstration, whose passwords everybody knows.
    pub(crate) async fn add_demo_users(&self) -> Result<(), UsersError> {
        for (name, password, permissions) in DEMO_USERS {
            let hash = self.hasher.hash(password.into()).await?;
            self.database.add(name, hash, permissions).await?;
        }
        Ok(())
    }

    /// Returns all users, by name.
    pub(crate) async fn all(&self) -> Result<Vec<User>, UsersError> {
        Ok(self.database.users().await?)
    }

    /// Notes that a remembered login of the user was used by two.
    pub(crate) async fn note_theft(&self, user: i64) -> Result<(), UsersError> {
        Ok(self.database.note_theft(user).await?)
    }

    /// Returns whether a theft was noted, and forgets it: the user is about to be told.
    pub(crate) async fn take_theft(&self, user: &User) -> Result<bool, UsersError> {
        Ok(self.database.take_theft(user.id).await?)
    }

    /// Replaces a user's password, and returns the user with the new one. `None` when somebody was
    /// faster.
    pub(crate) async fn change_password(
        &self,
        user: &User,
        new: Password,
    ) -> Result<Option<User>, UsersError> {
        let hash = self.hasher.hash(new).await?;
        let known = user.password_hash.clone();
        let replaced = self
            .database
            .replace_password(user.id, known, hash.clone())
            .await?;
        Ok(replaced.then(|| User::new(user.id, user.name.clone(), hash)))
    }
}

impl AuthnBackend for Users {
    type User = User;
    type Credentials = Credentials;
    type Error = UsersError;

    async fn authenticate(&self, given: Credentials) -> Result<Option<User>, UsersError> {
        let user = self.database.user_named(given.name).await?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let is_right = self.hasher.is_right(given.password, stored).await?;
        Ok(user.filter(|_| is_right))
    }

    async fn get_user(&self, id: &UserId<Self>) -> Result<Option<User>, UsersError> {
        Ok(self.database.user(*id).await?)
    }
}

/// What a user may do, beside what all may.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Permission(String);

impl Permission {
    /// To see who the users are, and where they are logged in.
    pub(crate) const READ_USERS: &str = "users.read";
}

impl From<&str> for Permission {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}

impl AuthzBackend for Users {
    type Permission = Permission;

    async fn get_user_permissions(&self, user: &User) -> Result<HashSet<Permission>, UsersError> {
        let names = self.database.permissions(user.id).await?;
        Ok(names.into_iter().map(Permission).collect())
    }
}

/// Why users cannot be looked up or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Hash(#[from] HashError),
}

/// Name, password, permissions.
pub(crate) const DEMO_USERS: [(&str, &str, &[&str]); 2] = [
    ("alice", "down the rabbit hole", &[Permission::READ_USERS]),
    ("bob", "can we fix it", &[]),
];
