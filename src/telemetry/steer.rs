//! What can be changed of the log while the program runs: how much is in it, and how it looks.
//!
//! [`Log`] is a handle on it for the configuration and for orders (`POST /log`). An order may have an
//! end: then what is configured comes back by itself. Reading the level costs an event a load, and one
//! that is not wanted nothing (`tracing` remembers it); reading the look costs a request a load.
//!
//! An order never reaches into libraries: their debug output shows headers, and with them tokens.
//! Whoever wants to read it must write so into the configuration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::{Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    filter::Targets,
    layer::{Context, Layer},
};

use super::{
    Format, LevelError, OURS, Screen, Style, follow::Hub, levels, queue::Queue, recent::Recent,
};
use crate::{
    clock::Clock,
    health::{Disobeyed, Order, Report},
    shutdown::Shutdown,
};

/// The longest time after which an order ends by itself.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The word in an order for what the configuration says.
const CONFIGURED: &str = "configured";

/// The log of this process. Clones share.
#[derive(Debug, Clone)]
pub struct Log(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) clock: Clock,
    pub(super) hub: Hub,
    pub(super) recent: Recent,
    screen: Screen,
    levels: ArcSwap<Targets>,
    style: AtomicU8,
    chosen: Mutex<Chosen>,
}

/// What is configured, and what holds.
#[derive(Debug)]
struct Chosen {
    configured: Look,
    now: Look,
    /// When the order ends that holds, since 1970-01-01T00:00:00Z.
    until: Option<Duration>,
    /// How many there were: the end of one must not end a later one.
    orders: u64,
}

/// How much is logged, and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    level: String,
    format: Format,
}

impl Log {
    pub(super) fn new(
        level: &str,
        format: Format,
        screen: Screen,
        queue: Queue,
        clock: Clock,
    ) -> Result<Self, LevelError> {
        let look = Look {
            level: level.to_owned(),
            format,
        };
        Ok(Self(Arc::new(Shared {
            hub: queue.hub().clone(),
            queue,
            clock,
            recent: Recent::default(),
            screen,
            levels: ArcSwap::from_pointee(levels(level)?),
            style: AtomicU8::new(format.on(screen).number()),
            chosen: Mutex::new(Chosen {
                configured: look.clone(),
                now: look,
                until: None,
                orders: 0,
            }),
        })))
    }

    /// How lines look now.
    #[inline]
    pub(super) fn style(&self) -> Style {
        Style::of_number(self.0.style.load(Ordering::Relaxed))
    }

    /// What the configuration says from now on. An order that holds goes on holding until its end.
    ///
    /// # Errors
    /// When the level cannot be understood; nothing is changed then.
    pub fn configure(&self, level: &str, format: Format) -> Result<(), LevelError> {
        levels(level)?;
        let mut chosen = self.0.chosen.lock();
        let ordered = chosen.now != chosen.configured;
        chosen.configured = Look {
            level: level.to_owned(),
            format,
        };
        if !ordered {
            chosen.now = chosen.configured.clone();
            self.apply(&chosen.now);
        }
        Ok(())
    }

    /// Makes `look`, whose level is understood, the one that holds.
    fn apply(&self, look: &Look) {
        let Ok(targets) = levels(&look.level) else {
            return;
        };
        let style = look.format.on(self.0.screen).number();
        self.0.style.store(style, Ordering::Relaxed);
        self.0.levels.store(Arc::new(targets));
        tracing::callsite::rebuild_interest_cache();
    }

    /// Changes what is given; the number of the order.
    fn change(&self, look: &Look, until: Option<Duration>) -> u64 {
        let said = tracing::enabled!(tracing::Level::INFO);
        if said {
            self.say(look, until);
        }
        let mut chosen = self.0.chosen.lock();
        self.apply(look);
        chosen.now = look.clone();
        chosen.until = until;
        chosen.orders += 1;
        let order = chosen.orders;
        drop(chosen);
        if !said {
            self.say(look, until);
        }
        order
    }

    #[expect(clippy::unused_self, reason = "it is this log's change")]
    fn say(&self, look: &Look, until: Option<Duration>) {
        tracing::info!(
            log_level = look.level,
            format = look.format.name(),
            until = until.map(rfc3339),
            "the log is changed"
        );
    }

    /// The order with this number has come to its end.
    fn end(&self, order: u64) {
        let chosen = self.0.chosen.lock();
        if chosen.orders == order {
            let configured = chosen.configured.clone();
            drop(chosen);
            self.change(&configured, None);
        }
    }

    fn told(&self) -> Value {
        let chosen = self.0.chosen.lock();
        let mut told = json!({"level": chosen.now.level, "format": chosen.now.format.name()});
        if let Some(until) = chosen.until {
            told["until"] = rfc3339(until).into();
        }
        if chosen.now != chosen.configured {
            told["configured"] = json!({
                "level": chosen.configured.level, "format": chosen.configured.format.name(),
            });
        }
        told
    }
}

impl Report for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn report(&self) -> Value {
        let mut told = self.told();
        told["dropped"] = self.0.queue.dropped().into();
        told["recent"] = self.0.recent.newest_first().into();
        told
    }
}

/// Lets events pass whose level is wanted.
pub(super) struct Levels(pub(super) Log);

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        Layer::<S>::register_callsite(&**self.0.0.levels.load(), metadata)
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        Layer::<S>::enabled(&**self.0.0.levels.load(), metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Layer::<S>::max_level_hint(&**self.0.0.levels.load())
    }
}

/// `POST /log`.
#[derive(Debug, Clone)]
pub struct LogOrder {
    pub log: Log,
    pub shutdown: Shutdown,
}

/// What is ordered: at least one of level and format.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    level: Option<String>,
    format: Option<String>,
    #[serde(rename = "for")]
    lasting: Option<String>,
}

impl Order for LogOrder {
    fn path(&self) -> &'static str {
        "/log"
    }

    fn obey(&self, body: Bytes) -> BoxFuture<'_, Result<Value, Disobeyed>> {
        Box::pin(async move {
            let wanted: Wanted = serde_json::from_slice(&body).map_err(|error| {
                let form = r#"{"level":"info,itwin_auth_proxy::tokens=debug","format":"json","for":"10m"}"#;
                Disobeyed::Wrong(vec![format!("expected JSON such as {form}: {error}")])
            })?;
            self.take(&wanted).map_err(Disobeyed::Wrong)
        })
    }
}

impl LogOrder {
    fn take(&self, wanted: &Wanted) -> Result<Value, Vec<String>> {
        let mut wrong = Vec::new();
        if wanted.level.is_none() && wanted.format.is_none() {
            wrong.push("neither `level` nor `format` is given".to_owned());
        }
        let mut look = {
            let chosen = self.log.0.chosen.lock();
            match wanted.level.as_deref() {
                Some(CONFIGURED) => chosen.configured.clone(),
                _ => chosen.now.clone(),
            }
        };
        if let Some(level) = wanted.level.as_deref().filter(|level| *level != CONFIGURED) {
            match levels(level) {
                Ok(_) => wrong.extend(libraries(level)),
                Err(error) => wrong.push(error.to_string()),
            }
            look.level = onto(&look.level, level);
        }
        match wanted.format.as_deref().map(Format::of_name) {
            None => {}
            Some(Some(format)) => look.format = format,
            Some(None) => wrong.push("`format` is one of auto, human and json".to_owned()),
        }
        let lasting = wanted.lasting.as_deref().map(|text| {
            let lasting = humantime::parse_duration(text).unwrap_or_default();
            if lasting.is_zero() || lasting > LONGEST {
                wrong.push(format!(
                    "`for` is a time up to 7 days, such as 10m: `{text}`"
                ));
            }
            lasting
        });
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let now = self.log.0.clock.now().wall;
        let order = self.log.change(&look, lasting.map(|lasting| now + lasting));
        if let Some(lasting) = lasting {
            let log = self.log.clone();
            self.shutdown.spawn(async move {
                tokio::time::sleep(lasting).await;
                log.end(order);
            });
        }
        Ok(self.log.told())
    }
}

/// The directives that hold once these are ordered: those that name modules only leave the others as
/// they are.
fn onto(now: &str, ordered: &str) -> String {
    let module = |directive: &str| {
        let (module, _) = directive.split_once('=')?;
        Some(module.trim().to_owned())
    };
    let named: Vec<_> = ordered.split(',').map(module).collect();
    if named.contains(&None) {
        return ordered.to_owned();
    }
    let mut all: Vec<_> = now.split(',').map(str::trim).collect();
    all.retain(|directive| module(directive).is_none_or(|its| !named.contains(&Some(its))));
    all.push(ordered);
    all.join(",")
}

/// What an order says of libraries that only the configuration may.
fn libraries(directives: &str) -> Option<String> {
    let inside = |module: &str| {
        let rest = module.strip_prefix(OURS);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let (module, _) = directives
        .split(',')
        .filter_map(|directive| directive.split_once('='))
        .map(|(module, level)| (module.trim(), level.trim().to_ascii_lowercase()))
        .find(|(module, level)| {
            !inside(module) && matches!(&**level, "info" | "debug" | "trace")
        })?;
    Some(format!(
        "`{module}` is a library: its debug output can show tokens, so that only the configuration (log.level) may ask for it"
    ))
}

pub(crate) fn rfc3339(since_1970: Duration) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + since_1970).to_string()
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, warn};
    use tracing_subscriber::{layer::SubscriberExt, registry::Registry};

    use super::{super::event::Events, *};

    /// A log, and the guard that makes it this thread's.
    fn log(level: &str) -> (LogOrder, tracing::subscriber::DefaultGuard) {
        let clock = Clock::for_tests(Duration::from_secs(1_700_000_000));
        let queue = Queue::new(usize::MAX);
        let log = Log::new(level, Format::Json, Screen::None, queue, clock).unwrap();
        let subscriber = Registry::default()
            .with(Levels(log.clone()))
            .with(Events(log.clone()));
        let shutdown = Shutdown::new();
        let guard = tracing::subscriber::set_default(subscriber);
        (LogOrder { log, shutdown }, guard)
    }

    async fn order(to: &LogOrder, body: Value) -> Result<Value, Disobeyed> {
        to.obey(body.to_string().into()).await
    }

    /// The messages since the last call.
    fn messages(order: &LogOrder) -> Vec<String> {
        let text = String::from_utf8(order.log.0.queue.take()).unwrap();
        let message = |line: &str| {
            let line: Option<Value> = serde_json::from_str(line).ok();
            line.map_or_else(
                || line_for_people().to_owned(),
                |line| line["message"].as_str().unwrap().to_owned(),
            )
        };
        text.lines().map(message).collect()
    }

    const fn line_for_people() -> &'static str {
        "(a line for people)"
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_ordered_for_a_time_ends_by_itself() {
        let (log, _guard) = log("info");
        debug!("before");
        let told = order(&log, json!({"level": "debug", "for": "10m"})).await;
        assert_eq!(
            told,
            Ok(json!({
                "level": "debug", "format": "json", "until": "2023-11-14T22:23:20.000Z",
                "configured": {"level": "info", "format": "json"},
            }))
        );
        debug!("within");
        tokio::time::sleep(Duration::from_secs(601)).await;
        debug!("after");
        info!("after");
        let said = "the log is changed";
        assert_eq!(messages(&log), [said, "within", said, "after"]);
        let report = log.log.report();
        assert_eq!(
            (&report["level"], &report["until"]),
            (&"info".into(), &Value::Null)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_order_does_not_end_the_next_one() {
        let (log, _guard) = log("info");
        order(&log, json!({"level": "debug", "for": "1m"}))
            .await
            .unwrap();
        order(&log, json!({"level": "trace", "for": "1h"}))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(log.log.report()["level"], "trace");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(log.log.report()["level"], "info");
    }

    #[tokio::test]
    async fn one_module_can_be_heard_alone_and_what_is_configured_comes_back_by_its_name() {
        let (log, _guard) = log("warn");
        let ours = json!({"level": "warn,itwin_auth_proxy::tokens=debug"});
        order(&log, ours).await.unwrap();
        debug!(target: "itwin_auth_proxy::tokens::worker", "wanted");
        debug!("not wanted");
        order(&log, json!({"level": "configured"})).await.unwrap();
        debug!(target: "itwin_auth_proxy::tokens::worker", "not wanted");
        assert_eq!(messages(&log), ["wanted"]);
    }

    #[tokio::test]
    async fn lines_change_their_look_from_one_to_the_next() {
        let (log, _guard) = log("info");
        info!("one");
        order(&log, json!({"format": "human"})).await.unwrap();
        info!("two");
        order(&log, json!({"format": "json"})).await.unwrap();
        info!("three");
        let people = line_for_people();
        let expected = ["one", "the log is changed", people, people, "three"];
        assert_eq!(messages(&log), expected);
    }

    #[tokio::test]
    async fn an_order_that_cannot_be_obeyed_changes_nothing_and_says_all_that_is_wrong() {
        let (log, _guard) = log("info");
        for (body, wrong) in [
            (json!({}), vec!["neither `level` nor `format` is given"]),
            (
                json!({"level": "loud", "format": "xml", "for": "8days"}),
                vec![
                    "`loud` is not a level",
                    "`format` is one of",
                    "`for` is a time up to 7 days",
                ],
            ),
            (json!({"level": "info,h2=trace"}), vec!["`h2` is a library"]),
            (
                json!({"level": "info,itwin_auth_proxyx=debug"}),
                vec!["`itwin_auth_proxyx` is a library"],
            ),
            (json!({"levle": "info"}), vec!["expected JSON such as"]),
        ] {
            let Err(Disobeyed::Wrong(all)) = order(&log, body.clone()).await else {
                panic!("{body} is obeyed");
            };
            assert_eq!(all.len(), wrong.len(), "{all:?}");
            for (said, expected) in all.iter().zip(wrong) {
                assert!(said.starts_with(expected), "{said}");
            }
        }
        assert!(
            order(&log, json!({"level": "debug,hyper=error"}))
                .await
                .is_ok()
        );
        log.log.configure("warn", Format::Json).unwrap();
        assert_eq!(
            log.log.report()["level"],
            "debug,hyper=error",
            "an order holds"
        );
        order(&log, json!({"level": "configured"})).await.unwrap();
        assert_eq!(log.log.report()["level"], "warn");
        log.log.configure("error", Format::Json).unwrap();
        assert_eq!(log.log.report()["level"], "error");
    }

    #[test]
    fn the_newest_events_are_shown_and_nothing_of_libraries_that_may_hold_a_token() {
        let (log, _guard) = log("trace,h2=trace");
        debug!(target: "h2", "authorization: Bearer hunter2");
        debug!("ours");
        let cause = std::io::Error::other("no route to host");
        warn!(
            error = &cause as &dyn std::error::Error,
            tries = 3,
            level = 7,
            "cannot fetch"
        );
        info!("{}", "x".repeat(10_000));
        let report = log.log.report();
        let recent = report["recent"].as_array().unwrap();
        assert_eq!(recent.len(), 2);
        assert!(recent[0]["message"].as_str().unwrap().len() < 3000);
        let at = recent[1]["at"].as_str().unwrap();
        assert!(
            at.starts_with("2023-11-14T22:13:2") && at.len() == 24,
            "{at}"
        );
        assert_eq!(
            recent[1],
            json!({
                "at": at, "level": "warn", "message": "cannot fetch",
                "target": "itwin_auth_proxy::telemetry::steer::tests",
                "error": "no route to host", "tries": 3, "level_": 7,
            })
        );
        (0..500).for_each(|number| info!(number, "one of many"));
        let report = log.log.report();
        let recent = report["recent"].as_array().unwrap();
        assert_eq!((recent.len(), &recent[0]["number"]), (200, &499.into()));
    }

    #[test]
    fn one_module_more_leaves_the_others_as_they_are() {
        for (now, ordered, then) in [
            ("info", "a=debug", "info,a=debug"),
            ("info,a=debug", "a=trace", "info,a=trace"),
            (
                "info,a=debug, b=warn",
                "b=debug,a=info",
                "info,b=debug,a=info",
            ),
            ("info,a=debug", "warn", "warn"),
            ("info,a=debug", "warn,b=debug", "warn,b=debug"),
        ] {
            assert_eq!(onto(now, ordered), then);
        }
    }
}
