//! The labels of families that any thread may count in.

use super::value::labels;

labels! {
    /// Labels of a fetch of a provider's keys.
    pub struct KeyFetchLabels {
        provider: String,
        /// `ok` or `failed`.
        result: &'static str,
    }

    /// Labels of files that changed while the program ran.
    pub struct RotationLabels {
        /// `credential agent`, `listener 0.0.0.0:8443` …
        of: String,
        what: &'static str,
        /// `applied` or `refused`.
        result: &'static str,
    }
    /// Labels of what has only a provider.
    pub struct ProviderLabels { provider: String }

    /// Labels of a question to a provider about a caller's token.
    pub struct IntrospectionLabels {
        provider: String,
        /// `active`, `inactive`, `failed` or `unauthorized`.
        result: &'static str,
    }

    /// Labels of a token metric.
    pub struct CredentialLabels {
        credential: String,
        /// The scope set, as it is sent.
        scopes: String,
    }

    /// Labels of a token that a caller was given.
    pub struct HandedOutLabels { credential: String }

    /// Labels of the people of a session.
    pub struct SessionLabels { session: String }

    /// Labels of a sign-in.
    pub struct SignInLabels {
        session: String,
        /// `begun`, `ok`, or why there was none.
        result: &'static str,
    }

    /// Labels of an attempt to take another configuration.
    pub struct ReloadLabels {
        /// `applied`, `unchanged` or `refused`.
        result: &'static str,
    }

    /// Labels of lines of the audit stream.
    pub struct AuditLabels {
        /// `written` or `lost`.
        result: &'static str,
    }

    /// Labels of sessions that have ended.
    pub struct SessionEndLabels {
        session: String,
        reason: &'static str,
    }

    /// Labels of a token fetch.
    pub struct FetchLabels {
        credential: String,
        /// `ok`, or the failure's class.
        result: &'static str,
    }

    /// Labels of a refusal or failure of our own.
    pub struct FailureLabels {
        route: String,
        /// The error's code, as the caller reads it.
        code: &'static str,
    }

    /// Labels of bytes that were passed on.
    pub struct DirectionLabels {
        /// `received` of callers, or `sent` to them.
        direction: &'static str,
    }

    /// Labels of a redirected connection.
    pub struct RedirectedLabels {
        /// `opened`, `served`, `passed`, `refused` or `failed`.
        course: &'static str,
    }
}
