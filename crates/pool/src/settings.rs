//! The pool's settings.

use model::Operation;
use model::settings::{Setting, Settings};

use crate::admission::Permit;
use crate::error::{Error, Missing};
use crate::records::{SettingsRecord, encode};
use crate::view::Effect;
use crate::writer::{Planned, module_failed};
use crate::{Call, Pool};

impl Pool {
    /// All settings. `operation` is the list or the reading of one.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: settings document, operations `getSettings` and `getSetting`.
    pub async fn settings(&self, call: &Call, operation: Operation) -> Result<Settings, Error> {
        self.admitted(call, operation, operation.scope(None), async |permit| Ok(permit.state().settings)).await
    }

    /// Refuses to read or change, as `operation` says, a setting that does not exist: as not found to a caller with the
    /// right, as not permitted to others. Returns the error to answer.
    pub async fn refuse_setting(&self, call: &Call, operation: Operation) -> Error {
        let missing = async |_: &Permit<'_>| Err::<(), _>(Error::NotFound(Missing::Setting));
        let refused = self.admitted(call, operation, operation.scope(None), missing).await;
        refused.err().unwrap_or(Error::Internal)
    }

    /// Changes one setting and returns them all.
    ///
    /// # Errors
    /// [`Error::NotPermitted`].
    ///
    /// Source: settings document, operation `updateSetting`.
    pub async fn update_setting(&self, call: &Call, setting: Setting, value: bool) -> Result<Settings, Error> {
        let operation = Operation::UpdateSetting;
        self.admitted(call, operation, operation.scope(None), async |permit| {
            permit
                .commit(move |state, pool| {
                    let settings = state.settings.with(setting, value);
                    let record = SettingsRecord {
                        allow_key_management_operations_through_arm: settings
                            .allow_key_management_operations_through_arm,
                    };
                    let path = pool.paths.settings();
                    let sealed = pool
                        .module
                        .seal_value(path.as_str(), state.sequence + 1, &encode(&record))
                        .map_err(module_failed)?;
                    let writes = vec![(path, Some(sealed))];
                    Ok((Planned { writes, effects: vec![Effect::Settings(settings)] }, settings))
                })
                .await
        })
        .await
    }
}
