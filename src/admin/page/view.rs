//! What the templates are given: `/status`, with what takes arithmetic worked out.
//!
//! Both the names of today's reports and those that say more are understood, so that a page of this
//! program never depends on which parts report what.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

/// A page is for people: behind so many of a kind nobody looks further.
const MOST: usize = 100;
/// Lines of the log.
const LINES: usize = 60;
/// Refused requests.
const REFUSALS: usize = 40;

/// All of it.
pub(super) fn view(status: &Value, now: SystemTime) -> Value {
    let mut view = status.as_object().cloned().unwrap_or_default();
    let at = humantime::format_rfc3339_seconds(now).to_string();
    view.insert("clock".into(), at[11..19].into());
    view.insert("at".into(), at.into());
    let since_1970 = now.duration_since(SystemTime::UNIX_EPOCH);
    let since_1970 = since_1970.unwrap_or_default().as_secs_f64();
    view.insert("now".into(), since_1970.into());
    let credentials = list(status, "tokens")
        .iter()
        .map(|one| credential(one, now));
    view.insert("credentials".into(), credentials.take(MOST).collect());
    view.insert("providers".into(), providers(status));
    for name in [
        "listeners",
        "routes",
        "sessions",
        "exchanges",
        "authorities",
    ] {
        let all = list(status, name);
        view.insert(
            format!("more_{name}"),
            all.len().saturating_sub(MOST).into(),
        );
        view.insert(name.into(), all.iter().take(MOST).cloned().collect());
    }
    let more = list(status, "tokens").len().saturating_sub(MOST);
    view.insert("more_credentials".into(), more.into());
    for (name, most) in [("refusals", REFUSALS), ("log", LINES)] {
        let recent = view.get_mut(name).and_then(|part| part.get_mut("recent"));
        if let Some(recent) = recent.and_then(Value::as_array_mut) {
            recent.truncate(most);
        }
    }
    Value::Object(view)
}

fn list<'a>(status: &'a Value, name: &str) -> &'a [Value] {
    status[name].as_array().map_or(&[], Vec::as_slice)
}

/// A credential, with one name for each fact, and a bar where its life is known.
fn credential(token: &Value, now: SystemTime) -> Value {
    let mut one = token.as_object().cloned().unwrap_or_default();
    let remaining = number(token, &["remaining_seconds", "ends_in_seconds"]);
    let failing = token["failures_since_success"].as_u64().unwrap_or(0) > 0;
    let zone = match token["zone"].as_str() {
        // its token is good, whatever becomes of the next
        Some("renewal failing") => "ageing",
        Some(zone) => zone,
        None => "none",
    };
    let life = life(token, zone, now);
    one.insert("zone".into(), zone.into());
    one.insert("failing".into(), failing.into());
    one.insert("remaining".into(), remaining.into());
    one.insert("life".into(), life);
    let failure = &token["last_failure"];
    let message = failure["message"].as_str().or(token["last_error"].as_str());
    if let Some(message) = message {
        let class = failure["class"].clone();
        one.insert(
            "failure".into(),
            json!({ "message": message, "class": class, "at": failure["at"] }),
        );
    }
    Value::Object(one)
}

/// Where on the bar (in per cent of the token's life) it is now, is renewed, and comes to its last
/// resort.
fn life(token: &Value, zone: &str, now: SystemTime) -> Value {
    let (Some(issued), Some(expires)) = (time(&token["issued"]), time(&token["expires"])) else {
        return Value::Null;
    };
    let Ok(whole) = expires.duration_since(issued) else {
        return Value::Null;
    };
    if whole.is_zero() {
        return Value::Null;
    }
    let place = |at: SystemTime| {
        let passed = at.duration_since(issued).unwrap_or(Duration::ZERO);
        (passed.as_secs_f64() / whole.as_secs_f64() * 100.0).clamp(0.0, 100.0)
    };
    let renews = time(&token["renews"]).map_or(100.0, place);
    let resort = token["last_resort_seconds"].as_f64();
    let resort = resort.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let resort = resort.and_then(|resort| expires.checked_sub(resort));
    // what was asked for later than the renewal ends the ageing, never the fresh part
    let resort = resort.map_or(100.0, place).max(renews);
    let until = time(&token["renews"]).and_then(|at| at.duration_since(now).ok());
    json!({
        "seconds": whole.as_secs_f64(),
        "now": if zone == "expired" { 100.0 } else { place(now) },
        "renews": renews,
        "ageing": resort - renews,
        "resort": resort,
        "last": 100.0 - resort,
        "renews_in_seconds": until.map(|until| until.as_secs_f64()),
    })
}

/// Providers, each with its keys, from whichever parts tell of them.
fn providers(status: &Value) -> Value {
    let mut all: Vec<Map<String, Value>> = Vec::new();
    for one in list(status, "providers") {
        all.extend(one.as_object().cloned());
    }
    for keys in list(status, "keys") {
        let Some(name) = keys["provider"].as_str() else {
            continue;
        };
        let at = all
            .iter()
            .position(|one| one.get("name").is_some_and(|n| n == name));
        let at = at.unwrap_or_else(|| {
            all.push(Map::from_iter([("name".into(), name.into())]));
            all.len() - 1
        });
        for (key, value) in keys.as_object().into_iter().flatten() {
            all[at].entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    for one in &mut all {
        let keys = one
            .get("keys")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        // some tell no more of a key than its name
        let keys: Value = keys
            .map(|key| match key.as_str() {
                Some(kid) => json!({ "kid": kid }),
                None => key.clone(),
            })
            .collect();
        one.insert("keys".into(), keys);
    }
    all.into_iter().map(Value::Object).collect()
}

fn number(of: &Value, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| of[*name].as_f64())
}

fn time(text: &Value) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text.as_str()?).ok()
}
