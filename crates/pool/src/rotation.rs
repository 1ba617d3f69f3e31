//! Rotation: the policy of a key, and new versions made by it.

use std::sync::Arc;

use crypto_module::KeyFacts;
use model::rotation::RotationPolicy;
use model::{Attributes, KeyName, Operation, UnixTime};

use crate::error::Error;
use crate::keys::{KeyVersionState, Source};
use crate::view::{Effect, Key};
use crate::writer::Planned;
use crate::{Call, Pool};

/// A key's rotation policy, and when it was set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredPolicy {
    /// What it says.
    pub policy: RotationPolicy,
    /// When the key first got one.
    pub created: UnixTime,
    /// When it was last replaced.
    pub updated: UnixTime,
}

impl Pool {
    /// The rotation policy of `name`; `None` if it never got one.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a live key of the name; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `getKeyRotationPolicy`.
    pub async fn rotation_policy(&self, call: &Call, name: &KeyName) -> Result<Option<StoredPolicy>, Error> {
        let operation = Operation::GetRotationPolicy;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            Ok(permit.state().live(name)?.rotation.as_deref().cloned())
        })
        .await
    }

    /// Replaces the rotation policy of `name`. An empty policy takes it away.
    ///
    /// # Errors
    /// [`Error::NotFound`] without a live key of the name; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `updateKeyRotationPolicy`.
    pub async fn set_rotation_policy(
        &self,
        call: &Call,
        name: &KeyName,
        policy: RotationPolicy,
    ) -> Result<StoredPolicy, Error> {
        let operation = Operation::SetRotationPolicy;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            let (name, now) = (name.clone(), permit.now());
            permit
                .commit(move |state, pool| {
                    let key = state.live(&name)?;
                    let created = key.rotation.as_ref().map_or(now, |stored| stored.created);
                    let stored = StoredPolicy { policy: policy.clone(), created, updated: now };
                    let rotation = (!policy.is_empty()).then(|| Box::new(stored.clone()));
                    let next = Key { rotation, ..Key::clone(key) };
                    let writes = vec![pool.key_write(&next, state.sequence + 1)?];
                    Ok((Planned { writes, effects: vec![Effect::Key(Arc::new(next))] }, stored))
                })
                .await
        })
        .await
    }

    /// Makes a new version of `name` like its latest one: same type, size, operations, tags. Where the key's policy says
    /// how long versions live, the new one expires then; otherwise it does not.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Quota`], [`Error::Calendar`], [`Error::Busy`]; [`Error::Input`] if the key has no
    /// rotation policy; [`Error::NotPermitted`].
    ///
    /// Source: keys document, operation `rotateKey`; product documentation on key rotation: the policy "must be set
    /// before keys can be rotated on-demand".
    pub async fn rotate(&self, call: &Call, name: &KeyName) -> Result<KeyVersionState, Error> {
        let operation = Operation::RotateKey;
        self.admitted(call, operation, operation.scope(Some(name)), async |permit| {
            permit.state().live(name)?;
            self.make_version(permit, name, Source::Rotate).await
        })
        .await
    }
}

/// What a version made by rotation begins with: the operations and tags of `latest`, and the life that `policy` gives.
pub(crate) fn rotated(latest: &KeyFacts, policy: Option<&StoredPolicy>, now: UnixTime) -> Result<KeyFacts, Error> {
    let Some(stored) = policy else {
        return Err(Error::Input("the key has no rotation policy; set one before rotating it".to_owned()));
    };
    let expires = match stored.policy.expiry() {
        Some(period) => Some(period.after(now).ok_or(Error::Calendar)?),
        None => None,
    };
    let attributes = Attributes { enabled: true, not_before: None, expires, created: now, updated: now };
    Ok(KeyFacts { attributes, ..latest.clone() })
}
