use std::time::Duration;

/// What a caller can do about a [`ProviderError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The call may succeed if made again: a lost connection, a server error, a thing not yet visible or still in use.
    Retryable,
    /// The provider asked us to slow down.
    Throttled,
    /// Our credentials do not allow the call, or there are none. An operator has to act; retried slowly.
    Permission,
    /// The call cannot succeed as it is: bad input, a quota, a conflict. The user or an operator has to act.
    Terminal,
}

/// Why a call to a provider failed: which operation, on which object, and the provider's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {object}: {code}: {message}")]
pub struct ProviderError {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// The operation as the provider's API names it.
    pub operation: String,
    /// The object it was about; a name that a user recognises.
    pub object: String,
    /// The provider's error code in CamelCase; becomes the reason of a condition.
    pub code: String,
    /// The provider's explanation and, where known, the remedy.
    pub message: String,
    /// The earliest time to try again, when the provider said one.
    pub retry_after: Option<Duration>,
}

impl ProviderError {
    /// An error of `kind` in `operation` on `object`, without a code of the provider.
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<String>,
        object: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let code = match kind {
            ErrorKind::Retryable => "ProviderUnavailable",
            ErrorKind::Throttled => "Throttled",
            ErrorKind::Permission => "AccessDenied",
            ErrorKind::Terminal => "ProviderRefused",
        };
        Self {
            kind,
            operation: operation.into(),
            object: object.into(),
            code: code.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// The same error with the provider's own code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }
}
