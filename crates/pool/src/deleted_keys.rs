//! Deleted keys: read, recovered, purged by hand and by time.

use std::sync::Arc;

use bytes::Bytes;
use crypto_module::SealedKey;
use model::deleted_keys::PurgeProtection;
use model::{KeyName, KeyVersion, Operation, UnixTime};

use crate::error::Error;
use crate::keys::{KeyVersionState, names_after, page};
use crate::records::Deletion;
use crate::view::{Effect, Key, State};
use crate::writer::{Planned, WRITES_PER_CHANGE};
use crate::{Call, Inner, Pool};

/// A deleted key, shown by its latest version.
#[derive(Clone)]
pub struct DeletedKeyVersion {
    /// The key as it was.
    pub key: KeyVersionState,
    /// When it was deleted.
    pub deleted: UnixTime,
    /// When it is purged by itself.
    pub scheduled_purge: UnixTime,
}

impl DeletedKeyVersion {
    pub(crate) fn latest(key: &Key, deletion: Deletion) -> Result<Self, Error> {
        let (version, sealed) = key.version(None)?;
        let state = KeyVersionState { name: key.name.clone(), version, sealed };
        Ok(Self { key: state, deleted: deletion.at, scheduled_purge: deletion.purge_at })
    }
}

impl Pool {
    /// A deleted key.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getDeletedKey`.
    pub async fn deleted_key(&self, call: &Call, name: &KeyName) -> Result<DeletedKeyVersion, Error> {
        let operation = Operation::GetDeletedKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let state = permit.state();
            let (key, deletion) = state.deleted(name)?;
            DeletedKeyVersion::latest(key, deletion)
        })
        .await
    }

    /// Up to `limit` deleted keys whose names follow `after`, and whether there are more.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getDeletedKeys`.
    pub async fn deleted_keys(
        &self,
        call: &Call,
        after: Option<&KeyName>,
        limit: usize,
    ) -> Result<(Vec<DeletedKeyVersion>, bool), Error> {
        let operation = Operation::ListDeletedKeys;
        self.admitted(call, operation, operation.scope(None), async |permit| {
            let state = permit.state();
            let deleted = names_after(&state, after).filter(|key| !key.is_going()).filter_map(|key| {
                let deletion = key.deleted?;
                DeletedKeyVersion::latest(key, deletion).ok()
            });
            Ok(page(deleted, limit))
        })
        .await
    }

    /// Brings a deleted key back with all its versions.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `recoverDeletedKey`.
    pub async fn recover_deleted_key(&self, call: &Call, name: &KeyName) -> Result<KeyVersionState, Error> {
        let operation = Operation::RecoverDeletedKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let name = name.clone();
            permit
                .commit(move |state, pool| {
                    let (key, deletion) = state.deleted(&name)?;
                    let answer = DeletedKeyVersion::latest(key, deletion)?.key;
                    let next = Key { deleted: None, ..Key::clone(key) };
                    let writes = vec![pool.key_write(&next, state.sequence + 1)?];
                    Ok((Planned { writes, effects: vec![Effect::Key(Arc::new(next))] }, answer))
                })
                .await
        })
        .await
    }

    /// Destroys a deleted key: its sealing key and all its versions. Its sealing key goes in the commit that is answered
    /// and recorded; versions that do not fit into it are bytes that nothing opens, and follow.
    ///
    /// # Errors
    /// [`Error::PurgeProtected`], [`Error::NotFound`]; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `purgeDeletedKey`.
    pub async fn purge_deleted_key(&self, call: &Call, name: &KeyName) -> Result<(), Error> {
        let operation = Operation::PurgeDeletedKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            permit.state().deleted(name)?;
            if self.0.properties.purge_protection == PurgeProtection::On {
                return Err(Error::PurgeProtected);
            }
            let wanted = name.clone();
            let more = permit
                .commit(move |state, pool| {
                    state.deleted(&wanted)?;
                    pool.purge_step(state, &wanted)
                })
                .await?;
            if more && let Err(error) = self.finish_purge(name, Cause::Begun).await {
                tracing::warn!(%error, "the rest of a purge has to wait");
            }
            Ok(())
        })
        .await
    }

    /// Purges what the retention has run out for, finishes purges that a crash cut short, and moves records that the log
    /// refused there from the outbox. To be called every few seconds; does nothing when there is nothing to do.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the store or the log cannot be written; the next call goes on.
    pub async fn purge_due(&self) -> Result<(), Error> {
        self.0.writer.deliver();
        let now = self.0.clock.now();
        let due: Vec<(KeyName, Cause)> = {
            let state = self.0.view.read();
            let cause = |key: &Key| match key.deleted {
                _ if key.is_going() => Some(Cause::Begun),
                Some(deletion) if deletion.purge_at <= now => Some(Cause::Retention),
                _ => None,
            };
            state.keys.values().filter_map(|key| Some((key.name.clone(), cause(key)?))).collect()
        };
        for (name, cause) in due {
            self.finish_purge(&name, cause).await?;
        }
        Ok(())
    }

    /// Takes steps of a purge until the key is gone. Each is recorded as the pool's own.
    async fn finish_purge(&self, name: &KeyName, cause: Cause) -> Result<(), Error> {
        loop {
            let (wanted, now) = (name.clone(), self.0.clock.now());
            let plan = move |state: &State, pool: &Inner| {
                let still_due = state.keys.get(&wanted).is_some_and(|key| {
                    key.is_going() || (cause == Cause::Retention && key.deleted.is_some_and(|d| d.purge_at <= now))
                });
                if !still_due {
                    return Err(Error::Contention);
                }
                pool.purge_step(state, &wanted)
            };
            let record = self.0.own_record(Operation::PurgeDeletedKey, name, cause.reason());
            match self.0.writer.commit(record, plan).await {
                Ok((committed, more)) => {
                    self.0.deliver(committed).await?;
                    if !more {
                        return Ok(());
                    }
                }
                // Recovered or gone meanwhile.
                Err(Error::Contention) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Why the pool purges by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It takes more than one commit.
    Begun,
    /// The retention ended.
    Retention,
}

impl Cause {
    fn reason(self) -> &'static str {
        match self {
            Self::Begun => "the rest of a purge",
            Self::Retention => "the end of the retention",
        }
    }
}

impl Inner {
    /// One commit of a purge: removes as many versions as fit, the name's record with the last. Says whether there is
    /// more to do. The first leaves no sealing key.
    fn purge_step(&self, state: &State, name: &KeyName) -> Result<(Planned, bool), Error> {
        let key = state.keys.get(name).ok_or(Error::Contention)?;
        self.first_creations.forget(name);
        let mut effects: Vec<_> =
            key.versions.iter().map(|(_, sealed)| Effect::VersionGone(SealedKey::clone(sealed))).collect();
        let mut left = key.versions.iter().map(|(version, _)| version).chain(&key.going).copied();
        let fitting = left.by_ref().take(WRITES_PER_CHANGE - 1);
        let mut writes: Vec<_> = fitting.map(|version| (self.paths.key_version(&key.name, version), None)).collect();
        let going: Vec<KeyVersion> = left.collect();
        if going.is_empty() {
            writes.push((self.paths.key(&key.name), None));
            effects.push(Effect::KeyGone(key.name.clone()));
            return Ok((Planned { writes, effects }, false));
        }
        let next = Key {
            name: key.name.clone(),
            sealing_key: Bytes::new(),
            versions: Vec::new(),
            deleted: key.deleted,
            going,
            rotation: None,
        };
        writes.push(self.key_write(&next, state.sequence + 1)?);
        effects.push(Effect::Key(Arc::new(next)));
        Ok((Planned { writes, effects }, true))
    }
}
