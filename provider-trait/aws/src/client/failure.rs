//! What went wrong with one request, in the same terms for both clients.

use std::fmt;

use aws_sdk_elasticloadbalancingv2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use herald_provider::ErrorKind;

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: ErrorKind,
    pub(super) code: String,
    pub(super) message: String,
    /// A reading request may be made again at once.
    pub(super) transient: bool,
}

impl Failure {
    /// From the code and message of AWS's answer.
    pub(super) fn answered(code: &str, message: &str, status: u16) -> Self {
        let server = status >= 500;
        let kind = match kind(code) {
            ErrorKind::Terminal if server => ErrorKind::Retryable,
            // A proxy or a private endpoint that answers in its own words.
            ErrorKind::Terminal if code.is_empty() && matches!(status, 401 | 403) => {
                ErrorKind::Permission
            }
            kind => kind,
        };
        Self {
            kind,
            code: if code.is_empty() {
                format!("Http{status}")
            } else {
                code.to_owned()
            },
            message: remedy(kind, code, message),
            transient: server || TRANSIENT.contains(&code),
        }
    }

    /// The request did not get there, or its answer did not come back.
    pub(super) fn unreachable(message: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Retryable,
            code: "ConnectionFailed".into(),
            message: message.to_string(),
            transient: true,
        }
    }

    /// There are no credentials.
    pub(super) fn no_credentials(message: impl fmt::Display) -> Self {
        Self {
            kind: ErrorKind::Permission,
            code: "NoCredentials".into(),
            message: format!(
                "{message}; give the controller's ServiceAccount a role (IRSA or Pod Identity)"
            ),
            transient: false,
        }
    }

    /// Whether AWS says that the object is not there.
    pub(super) fn not_found(&self) -> bool {
        let code = self.code.as_str();
        NOT_FOUND.contains(&code) || code == "InvalidPermission.NotFound"
    }
}

/// Our own things that are not there: not visible yet after their creation, or removed by somebody. Both are settled
/// by looking again.
const NOT_FOUND: [&str; 5] = [
    "LoadBalancerNotFound",
    "TargetGroupNotFound",
    "ListenerNotFound",
    "InvalidGroup.NotFound",
    "InvalidGroupId.NotFound",
];
const TRANSIENT: [&str; 6] = [
    "InternalFailure",
    "InternalError",
    "ServiceUnavailable",
    "Unavailable",
    "RequestTimeout",
    "RequestTimeoutException",
];
const BUSY: [&str; 5] = [
    "PriorRequestNotComplete",
    "ResourceInUse",
    "DependencyViolation",
    "InvalidGroup.InUse",
    "Conflict",
];
const PERMISSION: [&str; 13] = [
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthFailure",
    "InvalidClientTokenId",
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "MissingAuthenticationToken",
    "IncompleteSignature",
    "OptInRequired",
];

/// What an error code of AWS means for a caller.
fn kind(code: &str) -> ErrorKind {
    let throttled = code.contains("Throttl")
        || [
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "SlowDown",
        ]
        .contains(&code);
    if throttled {
        ErrorKind::Throttled
    } else if PERMISSION.contains(&code) {
        ErrorKind::Permission
    } else if BUSY.contains(&code) || TRANSIENT.contains(&code) || NOT_FOUND.contains(&code) {
        ErrorKind::Retryable
    } else {
        ErrorKind::Terminal
    }
}

fn remedy(kind: ErrorKind, code: &str, message: &str) -> String {
    let remedy = match code {
        _ if kind != ErrorKind::Permission => return message.to_owned(),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            "the credentials are out of date: check the role of the controller's ServiceAccount, and the node's clock"
        }
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "IncompleteSignature" => "check the controller's credentials, and the node's clock",
        _ => "grant the action in the controller's IAM policy",
    };
    format!("{message} ({remedy})")
}

impl<E> From<SdkError<E>> for Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    fn from(error: SdkError<E>) -> Self {
        let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
        match &error {
            SdkError::ServiceError(service) => {
                let meta = service.err().meta();
                let message = meta.message().unwrap_or("no explanation given");
                Self::answered(meta.code().unwrap_or_default(), message, status)
            }
            SdkError::ResponseError(_) => Self::answered(
                "",
                &DisplayErrorContext(&error).to_string(),
                status.max(500),
            ),
            _ => {
                let text = DisplayErrorContext(&error).to_string();
                if text.contains("credentials") || text.contains("identity") {
                    Self::no_credentials(text)
                } else {
                    Self::unreachable(text)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_a_caller_can_do() {
        for (code, status, expected) in [
            ("Throttling", 400, ErrorKind::Throttled),
            ("ThrottlingException", 400, ErrorKind::Throttled),
            ("RequestLimitExceeded", 503, ErrorKind::Throttled),
            ("AccessDenied", 403, ErrorKind::Permission),
            ("UnauthorizedOperation", 403, ErrorKind::Permission),
            ("ResourceInUse", 400, ErrorKind::Retryable),
            ("DependencyViolation", 400, ErrorKind::Retryable),
            ("TargetGroupNotFound", 400, ErrorKind::Retryable),
            ("SubnetNotFound", 400, ErrorKind::Terminal),
            ("CertificateNotFound", 400, ErrorKind::Terminal),
            ("TooManyListeners", 400, ErrorKind::Terminal),
            ("OperationNotPermitted", 400, ErrorKind::Terminal),
            ("", 500, ErrorKind::Retryable),
            ("", 403, ErrorKind::Permission),
            ("Surprise", 502, ErrorKind::Retryable),
        ] {
            assert_eq!(
                Failure::answered(code, "", status).kind,
                expected,
                "{code} {status}"
            );
        }
    }

    #[test]
    fn only_what_never_reached_aws_or_broke_there_is_repeated_at_once() {
        assert!(Failure::answered("", "", 503).transient);
        assert!(Failure::unreachable("refused").transient);
        assert!(!Failure::answered("ResourceInUse", "", 400).transient);
        assert!(!Failure::answered("TooManyListeners", "", 400).transient);
    }
}
