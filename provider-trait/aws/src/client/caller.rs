//! The way of every request: wait for its turn, ask the gate, send, count, and maybe try again.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};

use herald_provider::{Backoff, ErrorKind, Gate, ProviderError};

use super::failure::Failure;
use super::limit::{Limiter, Limits};
use super::metrics::Metrics;

/// Requests per call, the first included.
const TRIES: u32 = 5;

/// Which limit a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Read,
    Change,
    Targets,
}

/// What is called.
#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub(super) name: &'static str,
    pub(super) object: &'a str,
    pub(super) class: Class,
    /// Asked before every request that changes something.
    pub(super) gate: Option<&'a dyn Gate>,
}

impl<'a> Operation<'a> {
    pub(super) fn read(name: &'static str, object: &'a str) -> Self {
        Self {
            name,
            object,
            class: Class::Read,
            gate: None,
        }
    }

    pub(super) fn change(name: &'static str, object: &'a str, gate: &'a dyn Gate) -> Self {
        Self {
            name,
            object,
            class: Class::Change,
            gate: Some(gate),
        }
    }

    pub(super) fn targets(name: &'static str, object: &'a str, gate: &'a dyn Gate) -> Self {
        Self {
            name,
            object,
            class: Class::Targets,
            gate: Some(gate),
        }
    }
}

/// Limits, retries and counts, shared by both clients.
#[derive(Debug)]
pub(super) struct Caller {
    read: Limiter,
    change: Limiter,
    targets: Limiter,
    backoff: Backoff,
    metrics: Metrics,
}

/// Why a call did not succeed: AWS's answer, or our own gate.
#[derive(Debug)]
pub(super) enum CallError {
    Failed(Failure),
    Stopped(ProviderError),
}

impl Caller {
    pub(super) fn new(limits: Limits, backoff: Backoff) -> Self {
        Self {
            read: Limiter::new(limits.read),
            change: Limiter::new(limits.change),
            targets: Limiter::new(limits.targets),
            backoff,
            metrics: Metrics::default(),
        }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Makes a call; every error is the provider's.
    pub(super) async fn call<T, F>(
        &self,
        operation: Operation<'_>,
        request: impl Fn() -> F,
    ) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let result = self.attempt(operation, request).await;
        result.map_err(|error| error.into_provider_error(operation))
    }

    /// Makes a call whose failure the caller wants to look at.
    pub(super) async fn attempt<T, F>(
        &self,
        operation: Operation<'_>,
        request: impl Fn() -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = 0;
        loop {
            self.limiter(operation.class).wait().await;
            if let Some(gate) = operation.gate {
                gate.check().map_err(CallError::Stopped)?;
            }
            let failure = match request().await {
                Ok(value) => {
                    self.metrics.count(operation.name, "ok");
                    return Ok(value);
                }
                Err(failure) => failure,
            };
            self.metrics.count(operation.name, &failure.code);
            // A throttled request took no effect. One that broke off may have: only reads are simply repeated.
            let again = failure.kind == ErrorKind::Throttled
                || (operation.class == Class::Read && failure.transient);
            tries += 1;
            if !again || tries >= TRIES {
                return Err(CallError::Failed(failure));
            }
            let delay = self.backoff.delay(tries - 1, random());
            tracing::debug!(
                operation = operation.name,
                code = failure.code,
                delay_ms = delay.as_millis(),
                "calling again"
            );
            tokio::time::sleep(delay).await;
        }
    }

    fn limiter(&self, class: Class) -> &Limiter {
        match class {
            Class::Read => &self.read,
            Class::Change => &self.change,
            Class::Targets => &self.targets,
        }
    }
}

impl CallError {
    pub(super) fn into_provider_error(self, operation: Operation<'_>) -> ProviderError {
        match self {
            Self::Stopped(error) => error,
            Self::Failed(failure) => {
                let Failure {
                    kind,
                    code,
                    message,
                    ..
                } = failure;
                ProviderError::new(kind, operation.name, operation.object, message).with_code(code)
            }
        }
    }

    /// Whether AWS answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Failed(failure) if failure.code == code)
    }

    /// Whether AWS says that the object is not there.
    pub(super) fn not_found(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.not_found())
    }
}

/// `Ok(None)` for what is not there.
pub(super) fn found<T>(
    operation: Operation<'_>,
    result: Result<T, CallError>,
) -> Result<Option<T>, ProviderError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.not_found() => Ok(None),
        Err(error) => Err(error.into_provider_error(operation)),
    }
}

/// A number good enough to spread tries.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
