//! `deploy/observability/alerts.yaml`: what somebody is to be told, and what to do then.

use super::{
    list::{
        AUDIT_LINES, CREDENTIAL_REQUESTS, FAILURES, KEYS, KEYS_LAST_SUCCESS,
        LAST_RELOAD_SUCCESSFUL, LOG_LINES_DROPPED, PANICS, PREVIOUS_SECRET_IN_USE,
        PROVIDER_CLOCK_OFFSET, PROVIDER_EXCHANGES, REFUSED_TOKENS, REQUESTS, ROTATIONS,
        TOKEN_FETCHES, WEBHOOK_CERTIFICATE_EXPIRY,
    },
    query::Query,
};

/// A rule.
#[derive(Debug)]
pub(super) struct Alert {
    pub(super) name: &'static str,
    pub(super) query: Query,
    /// How long it must have been so.
    lasts: &'static str,
    severity: &'static str,
    summary: &'static str,
    /// What to do.
    action: &'static str,
}

/// All rules, the worst first.
pub(super) const ALERTS: [Alert; 16] = [
    Alert {
        name: "ItwinAuthProxyNoToken",
        query: Query(
            r#"sum by (credential, job, instance) (rate(%{zone="none"}[5m])) > 0"#,
            &[&CREDENTIAL_REQUESTS],
        ),
        lasts: "1m",
        severity: "critical",
        summary: "Requests fail: there is no token for {{ $labels.credential }}",
        action: "`/status` and the log say why it cannot be fetched; `itwin-auth-proxy doctor` finds out what is wrong.",
    },
    Alert {
        name: "ItwinAuthProxyProviderRefuses",
        query: Query(
            r#"sum by (credential, result, job, instance) (increase(%{result=~"invalid_client|unauthorized_client|invalid_scope|unsupported_grant_type|invalid_grant|fatal"}[15m])) > 0"#,
            &[&TOKEN_FETCHES],
        ),
        lasts: "0m",
        severity: "critical",
        summary: "The provider refuses {{ $labels.credential }}: {{ $labels.result }}",
        action: "It does not pass by itself. Secret, client or scopes are wrong: compare them with the developer registration.",
    },
    Alert {
        name: "ItwinAuthProxyLastResort",
        query: Query(
            r#"sum by (credential, job, instance) (rate(%{zone="last_resort"}[5m])) > 0"#,
            &[&CREDENTIAL_REQUESTS],
        ),
        lasts: "2m",
        severity: "warning",
        summary: "The token of {{ $labels.credential }} is near its end and cannot be renewed",
        action: "Callers notice nothing yet. Mend the renewal before the token ends: `/status` says what failed last.",
    },
    Alert {
        name: "ItwinAuthProxyProviderDown",
        query: Query(
            r#"sum by (provider, job, instance) (increase(%{result!="2xx"}[10m])) > 0 unless sum by (provider, job, instance) (increase(%{result="2xx"}[10m])) > 0"#,
            &[&PROVIDER_EXCHANGES, &PROVIDER_EXCHANGES],
        ),
        lasts: "5m",
        severity: "warning",
        summary: "No exchange with the provider {{ $labels.provider }} has succeeded for ten minutes",
        action: "Tokens and keys that are there stay in use. Look at the result of `provider_exchanges`: it says how far one gets.",
    },
    Alert {
        name: "ItwinAuthProxyClockWrong",
        query: Query("abs(%) > 60", &[&PROVIDER_CLOCK_OFFSET]),
        lasts: "5m",
        severity: "warning",
        summary: "The clocks of {{ $labels.provider }} and of {{ $labels.instance }} differ by {{ $value | humanizeDuration }}",
        action: "Ends of tokens are misjudged. Set this machine's clock by NTP; if it is right, tell the provider.",
    },
    Alert {
        name: "ItwinAuthProxyNoKeys",
        query: Query("% == 0", &[&KEYS]),
        lasts: "2m",
        severity: "critical",
        summary: "There are no keys of {{ $labels.provider }}: tokens of its callers are refused",
        action: "The log says why they cannot be fetched; `itwin-auth-proxy doctor` tries it.",
    },
    Alert {
        name: "ItwinAuthProxyKeysOld",
        query: Query("time() - % > 6 * 3600", &[&KEYS_LAST_SUCCESS]),
        lasts: "5m",
        severity: "warning",
        summary: "The keys of {{ $labels.provider }} have not been fetched for {{ $value | humanizeDuration }}",
        action: "New keys are not known, and the old ones are given up after `keys.max_stale`.",
    },
    Alert {
        name: "ItwinAuthProxyPreviousSecret",
        query: Query("% == 1", &[&PREVIOUS_SECRET_IN_USE]),
        lasts: "10m",
        severity: "warning",
        summary: "Only the previous secret of {{ $labels.credential }} works",
        action: "The new one is wrong, or not registered yet. Mend it before the previous one is withdrawn.",
    },
    Alert {
        name: "ItwinAuthProxyUpstreamFails",
        query: Query(
            r#"sum by (route, job, instance) (rate(%{code=~"Upstream.*"}[5m])) / sum by (route, job, instance) (rate(%[5m])) > 0.05"#,
            &[&FAILURES, &REQUESTS],
        ),
        lasts: "5m",
        severity: "warning",
        summary: "{{ $value | humanizePercentage }} of the requests on {{ $labels.route }} do not reach their service",
        action: "`failures` by `code` says why, `itwin-auth-proxy explain CODE` what to do.",
    },
    Alert {
        name: "ItwinAuthProxyTokenRefused",
        query: Query(
            "sum by (route, status, job, instance) (rate(%[10m])) / on (route, job, instance) group_left () sum by (route, job, instance) (rate(%[10m])) > 0.5",
            &[&REFUSED_TOKENS, &REQUESTS],
        ),
        lasts: "5m",
        severity: "warning",
        summary: "The service behind {{ $labels.route }} answers {{ $labels.status }} to most requests with our token",
        action: "The provider thinks the token good. 401: compare its scopes and audience with what the service asks for; 403: its client may have to be made a member (of the iTwin).",
    },
    Alert {
        name: "ItwinAuthProxyReloadRefused",
        query: Query("% == 0", &[&LAST_RELOAD_SUCCESSFUL]),
        lasts: "1m",
        severity: "warning",
        summary: "The configuration that is on disk is not the one that runs",
        action: "It has mistakes: `itwin-auth-proxy check` tells them all.",
    },
    Alert {
        name: "ItwinAuthProxyRotationRefused",
        query: Query(
            r#"sum by (of, what, job, instance) (increase(%{result="refused"}[15m])) > 0"#,
            &[&ROTATIONS],
        ),
        lasts: "0m",
        severity: "warning",
        summary: "A file of {{ $labels.of }} has changed and cannot be used: {{ $labels.what }}",
        action: "What it held before stays in use. The log says what is wrong with it.",
    },
    Alert {
        name: "ItwinAuthProxyPanic",
        query: Query("increase(%[15m]) > 0", &[&PANICS]),
        lasts: "0m",
        severity: "warning",
        summary: "A panic was caught at {{ $labels.instance }}",
        action: "It is a bug of the program. Please report it with the lines of the log around it.",
    },
    Alert {
        name: "ItwinAuthProxyAuditLost",
        query: Query(r#"increase(%{result="lost"}[15m]) > 0"#, &[&AUDIT_LINES]),
        lasts: "0m",
        severity: "critical",
        summary: "Events of {{ $labels.instance }} are missing in its audit stream",
        action: "What it is written to is full, away or too slow: `/status` (`audit.state`) and the log say what fails.",
    },
    Alert {
        name: "ItwinAuthProxyLogDropped",
        query: Query("increase(%[15m]) > 0", &[&LOG_LINES_DROPPED]),
        lasts: "0m",
        severity: "info",
        summary: "Lines of the log of {{ $labels.instance }} were dropped",
        action: "Who reads it is too slow; log less (`log.requests`), or read faster.",
    },
    Alert {
        name: "ItwinAuthProxyWebhookCertificate",
        query: Query(
            "% - time() < 24 * 3600 and % > 0",
            &[&WEBHOOK_CERTIFICATE_EXPIRY, &WEBHOOK_CERTIFICATE_EXPIRY],
        ),
        lasts: "15m",
        severity: "warning",
        summary: "The injector's certificate ends within a day",
        action: "Its log says why it is not renewed. After its end no pod gets a sidecar.",
    },
];

/// The rules, as Prometheus reads them.
pub fn yaml() -> String {
    let mut out = String::from(
        "# Made by `itwin-auth-proxy schema --alerts`.\ngroups:\n  - name: itwin-auth-proxy\n    rules:\n",
    );
    for alert in &ALERTS {
        // single quotes: nothing is escaped in them but themselves
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        out.extend([
            "      - alert: ",
            alert.name,
            "\n        expr: ",
            &quoted(&alert.query.text()),
            "\n        for: ",
            alert.lasts,
            "\n        labels:\n          severity: ",
            alert.severity,
            "\n        annotations:\n          summary: ",
            &quoted(alert.summary),
            "\n          description: ",
            &quoted(alert.action),
            "\n",
        ]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_ask_for_what_there_is() {
        for alert in &ALERTS {
            assert_eq!(alert.query.mistakes(), [""; 0], "{}", alert.name);
        }
    }
}
