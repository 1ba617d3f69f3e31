//! The spine: authorize, operate, record, release.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use audit::{Class, Record};
use crypto_module::{Module, SealedKey};
use model::{
    Caller, Groups, KeyKind, KeyName, KeyOperation, KeyRef, KeyVersion, Operation, PrincipalId, Scope, UnixTime,
};
use store::Path;
use uuid::Uuid;

use crate::error::Error;
use crate::keys::Making;
use crate::view::State;
use crate::writer::{Committed, Planned};
use crate::{Inner, Pool};

/// How an operation ended, as the audit log tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The status of the answer.
    pub status: u16,
    /// The error code of the answer, if it is an error.
    pub code: Option<&'static str>,
}

/// One authenticated request: who asks, and what the audit record says about the way it came.
#[derive(Clone)]
pub struct Call {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The address it came from.
    pub source: IpAddr,
    /// The id of this request, which its answer carries too.
    pub request_id: Uuid,
    /// The id that the client gave the request.
    pub correlation: Option<Arc<str>>,
    /// What the client calls itself.
    pub user_agent: Option<Arc<str>>,
    /// Method and path, without the query.
    pub request: Arc<str>,
    /// When it arrived.
    pub received: Instant,
    /// How its success is answered.
    pub success: Outcome,
    /// How each error is answered.
    pub failure: fn(&Error) -> Outcome,
}

/// Answers which groups a principal is in, when its token cannot list them all.
#[async_trait]
pub trait Directory: Send + Sync {
    /// All groups of `principal`.
    ///
    /// # Errors
    /// [`DirectoryError`] if the directory gives no answer.
    async fn groups(&self, principal: &PrincipalId) -> Result<Vec<PrincipalId>, DirectoryError>;
}

/// The directory gave no answer; its own log says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the directory gave no answer")]
pub struct DirectoryError;

/// A granted right: made by `Pool::admitted` alone, and the only way to the keys, the module and the store.
pub struct Permit<'a> {
    pool: &'a Inner,
    call: &'a Call,
    operation: Operation,
    scope: Scope,
    /// The caller and all groups that are known to be its own.
    principals: Cow<'a, [PrincipalId]>,
    sequence: u64,
    trace: Mutex<Trace>,
}

/// What the record will say beyond what was known at the door.
#[derive(Default)]
struct Trace {
    version: Option<KeyVersion>,
    algorithm: Option<&'static str>,
    used: Option<(KeyName, KeyVersion, KeyOperation)>,
    committed: Option<Committed>,
}

impl Pool {
    /// Admits `call` to `operation` at `scope`, runs `body`, settles the record and releases the answer.
    ///
    /// # Errors
    /// [`Error::NotPermitted`] or [`Error::GroupsUnreadable`] before anything is revealed; whatever `body` returns;
    /// [`Error::Unavailable`] if the record cannot be made durable. Every one of them is recorded like a success.
    pub(crate) async fn admitted<T, F>(
        &self,
        call: &Call,
        operation: Operation,
        scope: Scope,
        body: F,
    ) -> Result<T, Error>
    where
        F: AsyncFnOnce(&Permit<'_>) -> Result<T, Error>,
    {
        let pool = &*self.0;
        let _record = pool.log.announce();
        let permit = match pool.permit(call, operation, scope).await {
            Ok(permit) => permit,
            Err((scope, denied)) => {
                let record = pool.record(call, operation, &scope, &Trace::default(), Err(&denied));
                pool.append(&record, Class::Unauthenticated).await?;
                return Err(denied);
            }
        };
        let result = body(&permit).await;
        permit.settle(&result).await?;
        permit.still_holds().await?;
        result
    }

    /// Refuses a request whose input cannot be read, as an outcome of `operation` like any other: a caller without the
    /// right is told that and nothing else. Returns the error to answer.
    pub async fn refuse(&self, call: &Call, operation: Operation, scope: Scope, why: &str) -> Error {
        let refused = self.admitted(call, operation, scope, async |_| Err::<(), _>(Error::Input(why.to_owned()))).await;
        refused.err().unwrap_or(Error::Internal)
    }

    /// Records an authenticated request that names no operation of the pool.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the record cannot be made durable.
    pub async fn record_refusal(&self, call: &Call, outcome: Outcome, why: &str) -> Result<(), Error> {
        let Outcome { status, code } = outcome;
        let record = Record {
            status,
            code: code.map(Cow::Borrowed),
            reason: Some(why.into()),
            ..self.0.record_of(call, "Unknown")
        };
        self.0.append(&record, Class::Unauthenticated).await
    }

    /// A record of this pool and node, now, about something that no operation stands for.
    #[must_use]
    pub fn blank_record(&self, operation: &'static str) -> Record {
        self.0.blank_record(operation)
    }
}

impl Inner {
    async fn permit<'a>(
        &'a self,
        call: &'a Call,
        operation: Operation,
        scope: Scope,
    ) -> Result<Permit<'a>, (Scope, Error)> {
        let action = operation.data_action();
        let (sequence, permitted) = {
            let state = self.view.read();
            (state.sequence, state.access.permits(call.caller.principals(), action, &scope))
        };
        let permit = |principals| Permit {
            pool: self,
            call,
            operation,
            scope: scope.clone(),
            principals,
            sequence,
            trace: Mutex::default(),
        };
        if permitted {
            return Ok(permit(Cow::Borrowed(call.caller.groups.listed())));
        }
        if let Groups::Overage(_) = call.caller.groups {
            let groups = match &self.directory {
                Some(directory) => directory.groups(&call.caller.principal).await.ok(),
                None => None,
            };
            match groups {
                None => return Err((scope.clone(), Error::GroupsUnreadable { action, scope })),
                Some(groups) if self.view.read().access.permits(&groups, action, &scope) => {
                    return Ok(permit(Cow::Owned(groups)));
                }
                Some(_) => {}
            }
        }
        Err((scope.clone(), Error::NotPermitted { action, scope }))
    }

    fn record(
        &self,
        call: &Call,
        operation: Operation,
        scope: &Scope,
        trace: &Trace,
        result: Result<(), &Error>,
    ) -> Record {
        let outcome = result.map_or_else(call.failure, |()| call.success);
        Record {
            data_action: Some(Cow::Borrowed(operation.data_action().as_str())),
            scope: Some(scope.to_string().into()),
            key_version: trace.version.map(|version| u128::from_be_bytes(version.0)),
            algorithm: trace.algorithm.map(Cow::Borrowed),
            status: outcome.status,
            code: outcome.code.map(Cow::Borrowed),
            reason: result.err().map(|error| error.to_string().into()),
            ..self.record_of(call, operation.audit_name())
        }
    }

    /// What every record of `call` says.
    fn record_of(&self, call: &Call, operation: &'static str) -> Record {
        let caller = &call.caller;
        Record {
            caller: Some(audit::Caller {
                principal: caller.principal.shared(),
                tenant: caller.tenant.clone(),
                application: caller.application.clone(),
                upn: caller.upn.clone(),
                token_id: caller.token_id.clone(),
                issuer: caller.issuer.clone(),
            }),
            source: Some(call.source),
            correlation: call.correlation.clone(),
            request_id: Some(call.request_id.as_u128()),
            request: Some(call.request.clone()),
            user_agent: call.user_agent.clone(),
            duration_us: u64::try_from(call.received.elapsed().as_micros()).ok(),
            ..self.blank_record(operation)
        }
    }

    /// What every record of this pool says of an operation.
    pub(crate) fn blank_record(&self, operation: &'static str) -> Record {
        Record {
            id: Uuid::now_v7().as_u128(),
            time: self.clock.now_millis(),
            pool: self.name.shared(),
            node: self.node.clone(),
            operation: Cow::Borrowed(operation),
            data_action: None,
            caller: None,
            source: None,
            correlation: None,
            request_id: None,
            request: None,
            user_agent: None,
            scope: None,
            key_version: None,
            algorithm: None,
            status: 0,
            code: None,
            reason: None,
            duration_us: None,
            change: None,
            count: None,
        }
    }

    /// The record of something the pool does to a key by itself.
    pub(crate) fn own_record(&self, operation: Operation, key: &KeyName, reason: &'static str) -> Record {
        Record {
            reason: Some(reason.into()),
            scope: Some(Scope::Key(key.clone()).to_string().into()),
            status: 204,
            data_action: Some(Cow::Borrowed(operation.data_action().as_str())),
            ..self.blank_record(operation.audit_name())
        }
    }

    async fn append(&self, record: &Record, class: Class) -> Result<(), Error> {
        self.log.append(record, class).await.map(drop).map_err(|error| {
            tracing::error!(%error, "the audit log refused a record; the request is refused");
            Error::Unavailable { what: "the audit log" }
        })
    }
}

impl Permit<'_> {
    /// Makes the record durable before anything is answered: a change's record moves from the outbox to the log, any
    /// other result is appended.
    async fn settle<T>(&self, result: &Result<T, Error>) -> Result<(), Error> {
        let committed = self.trace().committed.take();
        match committed {
            Some(committed) => self.pool.deliver(committed).await,
            None => {
                let record = self.record(result.as_ref().map(drop));
                self.pool.append(&record, Class::Authenticated).await
            }
        }
    }

    /// Decides once more, if anything changed since the door: a right or a key that was taken away meanwhile, and
    /// whose removal may already have been answered, is not honoured. A change is not looked at again, since its
    /// commit had its place in the order.
    async fn still_holds(&self) -> Result<(), Error> {
        if self.operation.changes_state() {
            return Ok(());
        }
        let verdict = {
            let state = self.pool.view.read();
            if state.sequence == self.sequence { Ok(()) } else { self.decide_again(&state) }
        };
        if let Err(denied) = verdict {
            self.pool.append(&self.record(Err(&denied)), Class::Authenticated).await?;
            return Err(denied);
        }
        Ok(())
    }

    fn decide_again(&self, state: &State) -> Result<(), Error> {
        let action = self.operation.data_action();
        let principals = std::iter::once(&self.call.caller.principal).chain(self.principals.iter());
        if !state.access.permits(principals, action, &self.scope) {
            return Err(Error::NotPermitted { action, scope: self.scope.clone() });
        }
        let used = self.trace().used.clone();
        if let Some((name, version, operation)) = used {
            let (_, sealed) = state.live(&name)?.version(Some(version))?;
            let facts = sealed.facts();
            facts.attributes.check_use(facts.operations, operation, self.now())?;
        }
        Ok(())
    }

    fn record(&self, result: Result<(), &Error>) -> Record {
        self.pool.record(self.call, self.operation, &self.scope, &self.trace(), result)
    }

    fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool's state as it is now.
    pub(crate) fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.pool.view.read()
    }

    /// The cryptographic module.
    pub(crate) fn module(&self) -> &dyn Module {
        &*self.pool.module
    }

    /// What time it is.
    pub(crate) fn now(&self) -> UnixTime {
        self.pool.clock.now()
    }

    /// Takes one of the turns that the caller has at making keys of this kind, while what it returns is held.
    pub(crate) fn making(&self, kind: KeyKind) -> Result<Option<Making>, Error> {
        if !matches!(kind, KeyKind::Rsa(_)) {
            return Ok(None);
        }
        self.pool.in_making.begin(&self.call.caller.principal, self.pool.quotas.keys_in_making).map(Some)
    }

    /// Notes which version and algorithm the request is about, for the record.
    pub(crate) fn concerns(&self, version: KeyVersion, algorithm: Option<&'static str>) {
        let mut trace = self.trace();
        trace.version = Some(version);
        trace.algorithm = algorithm;
    }

    /// The version of `key` that may now be used for `operation`. The same is asked again before the answer leaves.
    pub(crate) fn usable_version(
        &self,
        key: &KeyRef,
        operation: KeyOperation,
        algorithm: &'static str,
    ) -> Result<(KeyName, KeyVersion, SealedKey), Error> {
        let (name, (version, sealed)) = {
            let state = self.state();
            let live = state.live(&key.name)?;
            (live.name.clone(), live.version(key.version)?)
        };
        self.concerns(version, Some(algorithm));
        let facts = sealed.facts();
        facts.attributes.check_use(facts.operations, operation, self.now())?;
        self.trace().used = Some((name.clone(), version, operation));
        Ok((name, version, sealed))
    }

    /// Commits what `plan` makes of the newest state, together with this operation's record. `plan` may run more than
    /// once, and must not wait.
    /// The right is looked at once more where the change gets its place in the order.
    pub(crate) async fn commit<T, P>(&self, mut plan: P) -> Result<T, Error>
    where
        T: Send + 'static,
        P: FnMut(&State, &Inner) -> Result<(Planned, T), Error> + Send + 'static,
    {
        let record = self.record(Ok(()));
        let (action, scope) = (self.operation.data_action(), self.scope.clone());
        let principals: Vec<PrincipalId> =
            std::iter::once(&self.call.caller.principal).chain(self.principals.iter()).cloned().collect();
        let guarded = move |state: &State, pool: &Inner| {
            if !state.access.permits(&principals, action, &scope) {
                return Err(Error::NotPermitted { action, scope: scope.clone() });
            }
            plan(state, pool)
        };
        let (committed, output) = self.pool.writer.commit(record, guarded).await?;
        self.trace().committed = Some(committed);
        Ok(output)
    }
}

impl Inner {
    /// Moves the record of a committed change from the outbox to the log.
    pub(crate) async fn deliver(&self, committed: Committed) -> Result<(), Error> {
        committed.deliver(&self.log).await.map_err(|error| {
            tracing::error!(%error, "the audit log refused the record of a change; it stays in the outbox");
            Error::Unavailable { what: "the audit log" }
        })
    }
}

/// The path at which a change's record waits.
pub(crate) fn outbox_path(paths: &crate::paths::Paths, record: &Record) -> Path {
    paths.outbox(Uuid::from_u128(record.id))
}
