//! What has changed between two configurations, for those who read the log; and what of it a running
//! process cannot take over.
//!
//! Compared is what holds, defaults included, not what was written: a comment changes nothing. Secrets
//! that stand in the file itself are compared as well, and never shown.

use serde_json::Value;

use super::{Config, print};

/// No more is said of one change.
const MOST: usize = 100;

/// The changes in reading order, such as `routes.images.upstream: https://a → https://b`; empty if
/// both are the same.
pub fn difference(before: &Config, after: &Config) -> Vec<String> {
    if before == after {
        return Vec::new();
    }
    let mut found = Vec::new();
    compare("", &print::value(before), &print::value(after), &mut found);
    if found.is_empty() {
        found.push("a secret that is written in the configuration itself".to_owned());
    }
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("… and {more} more"));
    }
    found
}

/// The keys in which they differ and which hold as long as the process runs.
pub fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    // without `..`, so that of a new part it has to be decided
    let Config {
        providers: _,
        credentials: _,
        sessions: _,
        listeners: _,
        routes: _,
        own: _,
        signing: _,
        limits,
        admin,
        admin_key,
        admin_socket,
        admin_allow_quit,
        log,
        telemetry,
        help: _,
        audit,
        reload_watch: _,
        token_store,
        workers,
        handover_socket,
        trusted_proxies: _,
        revocation,
        interception: _,
    } = before;
    let all = [
        (
            "limits.connections",
            limits.connections != after.limits.connections,
        ),
        ("limits.requests", limits.requests != after.limits.requests),
        (
            "admin",
            *admin != after.admin
                || *admin_key != after.admin_key
                || *admin_socket != after.admin_socket
                || *admin_allow_quit != after.admin_allow_quit,
        ),
        ("telemetry", *telemetry != after.telemetry),
        ("log.requests", log.requests != after.log.requests),
        ("audit", *audit != after.audit),
        ("token_store", *token_store != after.token_store),
        ("workers", *workers != after.workers),
        ("handover_socket", *handover_socket != after.handover_socket),
        ("revocation.file", revocation.file != after.revocation.file),
    ];
    let differing = all.into_iter().filter(|(_, changed)| *changed);
    differing.map(|(key, _)| key).collect()
}

fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Some(old), Some(new)) = (entries(before), entries(after)) else {
        return found.push(format!("{path}: {} → {}", shown(before), shown(after)));
    };
    for (key, value) in &old {
        match new.iter().find(|(other, _)| other == key) {
            Some((_, now)) => compare(&below(path, key), value, now, found),
            None => found.push(format!("{}: removed", below(path, key))),
        }
    }
    for (key, value) in &new {
        if !old.iter().any(|(other, _)| other == key) {
            let below = below(path, key);
            found.push(if entries(value).is_some() {
                format!("{below}: new")
            } else {
                format!("{below}: {} (new)", shown(value))
            });
        }
    }
    // of two routes, the first that matches is taken
    let order = |all: &Entries<'_>, others: &Entries<'_>| -> Vec<String> {
        let keys = all.iter().map(|(key, _)| key.clone());
        keys.filter(|key| others.iter().any(|(other, _)| other == key))
            .collect()
    };
    if before.is_array() && order(&old, &new) != order(&new, &old) {
        found.push(format!("{path}: in another order"));
    }
}

type Entries<'v> = Vec<(String, &'v Value)>;

/// What is in it, by name; `None`: it is looked at as a whole.
fn entries(value: &Value) -> Option<Entries<'_>> {
    match value {
        Value::Object(fields) => Some(
            fields
                .iter()
                .map(|(key, value)| (key.clone(), value))
                .collect(),
        ),
        Value::Array(items) => {
            let name = |item: &Value| {
                let name = item.get("name").or_else(|| item.get("bind"))?;
                name.as_str().map(str::to_owned)
            };
            let named: Option<Entries<'_>> =
                items.iter().map(|item| Some((name(item)?, item))).collect();
            let named = named?;
            let mut keys: Vec<&String> = named.iter().map(|(name, _)| name).collect();
            keys.sort_unstable();
            let all = keys.len();
            keys.dedup();
            (keys.len() == all && all > 0).then_some(named)
        }
        _ => None,
    }
}

/// On one line.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn config(text: &str) -> Config {
        let loaded = load(Sources::yaml(text)).unwrap_or_else(|problems| panic!("{problems}"));
        loaded.config
    }

    const BEFORE: &str = "
credentials:
  agent: { provider: bentley, client_id: service-1, client_secret: one }
routes:
  - { name: images, path: /images/**, inject: agent, upstream: https://a.example.com }
  - { name: all, inject: agent, upstream: https://api.bentley.com }
";

    #[test]
    fn what_has_changed_is_said_by_name_and_no_secret_is_shown() {
        let before = config(BEFORE);
        let said = |text: &str| difference(&before, &config(text));
        assert_eq!(said(&format!("# other words\n{BEFORE}")), [""; 0]);
        assert_eq!(
            said(&BEFORE.replace("https://a.example", "https://b.example")),
            ["routes.images.upstream.url: https://a.example.com → https://b.example.com"]
        );
        assert_eq!(
            said(&BEFORE.replace("client_secret: one", "client_secret: two")),
            ["a secret that is written in the configuration itself"]
        );
        let first = "routes:\n  - { name: first, path: /first, upstream: http://127.0.0.1:1 }";
        assert_eq!(
            said(&BEFORE.replace("routes:", first)),
            ["routes.first: new"]
        );
        let removed = BEFORE.lines().filter(|line| !line.contains("images"));
        let removed: Vec<_> = removed.collect();
        assert_eq!(said(&removed.join("\n")), ["routes.images: removed"]);
        // some paths are both's
        let two = BEFORE.replace("name: all,", "name: all, path: /*/a,");
        let two = two.replace("/images/**", "/images/*");
        let mut lines: Vec<_> = two.trim_end().lines().collect();
        let last = lines.len() - 1;
        let before = config(&two);
        lines.swap(last, last - 1);
        let after = config(&lines.join("\n"));
        assert_eq!(difference(&before, &after), ["routes: in another order"]);
    }

    #[test]
    fn what_holds_as_long_as_the_process_runs_is_named() {
        let before = config(BEFORE);
        let after = config(&format!(
            "{BEFORE}\nworkers: 3\nlimits: {{ requests: 7, body_size: 7MB }}\n"
        ));
        assert_eq!(
            needs_restart(&before, &after),
            ["limits.requests", "workers"]
        );
        assert!(needs_restart(&before, &before).is_empty());
    }
}
