//! The thread that writes the chain: the only one that numbers, hashes and signs.
//!
//! It wakes for events, collects the threads' counts once an interval and at the end, and keeps what
//! cannot be written (a full disk) until it can; what there is no room for is counted, and the chain
//! says how much is missing. Every hour and at the end the log is told the newest hash: a copy that who
//! changes the file does not reach.

use std::{fmt::Write as _, mem, sync::Arc, thread, time::Duration};

use super::{
    Every, Settings, Shared,
    chain::{Head, Key, put_text},
    desk::{Count, Given, Row, Single, Tally},
    event::{Event, put_caller},
    file::{Found, Sink, Target},
};
use crate::telemetry::rfc3339;

/// How long events are collected before they are written together.
const LINGER: Duration = Duration::from_millis(50);
/// After a failure; and how often it is looked whether the file was rotated.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the log is told the newest hash.
const TELL: Duration = Duration::from_secs(3600);
/// How often orders that were not permitted are told.
const FORBIDDEN: Duration = Duration::from_secs(60);
/// Lines that wait for a disk that is full.
const BACKLOG: usize = 64 * 1024;

pub(super) struct Writer {
    shared: Arc<Shared>,
    target: Target,
    key: Option<Key>,
    every: Every,
    /// `None`: it has to be opened again.
    sink: Option<Sink>,
    head: Head,
    /// Fields of lines that are to be written.
    backlog: Vec<String>,
    lost: u64,
    /// The name of this run; `None`, once the chain has been told.
    run: Option<String>,
    failing: bool,
}

/// Held by the thread as long as it runs: says so when it ends by a panic.
struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        self.0.seen.lock().dead = true;
        // nobody is to wait for it at the end
        self.0.waiting.lock().ended = true;
        self.0.idle.notify_all();
        tracing::error!(
            "audit: the thread that writes it has ended by a bug: nothing is written until a restart"
        );
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    Working,
    Ending,
}

impl Writer {
    pub(super) fn new(shared: &Arc<Shared>, settings: Settings) -> Self {
        Self {
            shared: Arc::clone(shared),
            target: settings.target,
            key: settings.key,
            every: settings.every,
            sink: None,
            head: Head::default(),
            backlog: Vec::new(),
            lost: 0,
            run: Some(format!("{:016x}", rand::random::<u64>())),
            failing: false,
        }
    }

    pub(super) fn start(mut self) -> std::io::Result<()> {
        thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                let _alive = Alive(Arc::clone(&self.shared));
                self.run();
            })
            .map(drop)
    }

    fn run(&mut self) {
        let clock = self.shared.clock.clone();
        let (mut collected, mut told) = (clock.mono(), clock.mono());
        let mut counted = clock.mono();
        self.write();
        loop {
            let woken = self.wait();
            let now = clock.mono();
            self.shared.seen.lock().passed = now;
            let interval = match self.every {
                Every::Request => LINGER,
                Every::Interval(interval) => interval,
            };
            let due = now.saturating_duration_since(collected) >= interval;
            if due || woken == Woken::Ending || mem::take(&mut self.shared.waiting.lock().hurry) {
                collected = now;
                self.collect();
            }
            self.take_events();
            if now.saturating_duration_since(counted) >= FORBIDDEN || woken == Woken::Ending {
                counted = now;
                self.take_forbidden();
            }
            if woken == Woken::Ending {
                self.say(",\"event\":\"ended\"", clock.now().wall);
            }
            self.write();
            if woken == Woken::Ending || now.saturating_duration_since(told) >= TELL {
                told = now;
                let Head { seq, hash } = &self.head;
                tracing::info!(seq, hash, "audit: the newest line");
            }
            if woken == Woken::Ending {
                if let Some(sink) = &self.sink {
                    sink.sync();
                }
                self.shared.waiting.lock().ended = true;
                self.shared.idle.notify_all();
                return;
            }
        }
    }

    /// Until there is something to do, at most for a moment.
    fn wait(&self) -> Woken {
        let mut waiting = self.shared.waiting.lock();
        let calm = waiting.events.is_empty() && !waiting.hurry && !waiting.ending;
        if calm {
            self.shared.work.wait_for(&mut waiting, AGAIN);
        }
        if !waiting.ending && !waiting.events.is_empty() {
            self.shared.work.wait_for(&mut waiting, LINGER);
        }
        if waiting.ending {
            Woken::Ending
        } else {
            Woken::Working
        }
    }

    fn take_events(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        let events = mem::take(&mut waiting.events);
        // has been counted
        self.lost += mem::take(&mut waiting.lost);
        drop(waiting);
        for (at, event) in events {
            self.say(&event.fields(), at);
        }
    }

    fn take_forbidden(&mut self) {
        let refused = mem::take(&mut self.shared.waiting.lock().forbidden);
        let now = self.shared.clock.now().wall;
        for ((by, order), count) in refused {
            let mut fields = Event::forbidden(by, order).fields();
            count.put(&mut fields);
            self.say(&fields, now);
        }
    }

    /// Takes what the threads have counted.
    fn collect(&mut self) {
        let lanes = self.shared.lanes.lock();
        let taken: Vec<Tally> = lanes
            .iter()
            .map(|lane| mem::take(&mut *lane.tally.lock()))
            .collect();
        drop(lanes);
        let now = self.shared.clock.now().wall;
        let mut rows: Vec<Row> = Vec::new();
        for tally in taken {
            self.lose(tally.lost);
            for single in tally.single {
                let (fields, at) = single.fields();
                self.say(&fields, at);
            }
            for row in tally.uses {
                merge(&mut rows, row);
            }
            for ((code, status, route, caller), count) in tally.refusals {
                let mut fields =
                    format!(",\"event\":\"refused\",\"code\":\"{code}\",\"status\":{status}");
                if let Some(route) = &route {
                    put_text(&mut fields, "route", route);
                }
                put_caller(&mut fields, caller.as_ref());
                count.put(&mut fields);
                self.say(&fields, now);
            }
        }
        for row in rows {
            for (caller, count) in &row.callers {
                let mut fields = row.given.fields(&row.credential, row.route.as_deref());
                put_caller(&mut fields, caller.as_ref());
                count.put(&mut fields);
                self.say(&fields, now);
            }
        }
    }

    /// Leaves a line to be written; `fields` begin with a comma.
    fn say(&mut self, fields: &str, at: Duration) {
        if self.backlog.len() < BACKLOG {
            self.backlog
                .push(format!(",\"at\":\"{}\"{fields}", rfc3339(at)));
        } else {
            self.lose(1);
        }
    }

    fn lose(&mut self, events: u64) {
        self.lost += events;
        self.shared.counts.lost.inc_by(events);
    }

    /// Writes what is left to be written, or keeps it.
    fn write(&mut self) {
        match self.try_write() {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!("audit: lines can be written again");
            }
            Ok(()) => {}
            Err(error) => {
                // the end of the file tells what was written
                self.sink = None;
                if !self.failing {
                    self.failing = true;
                    let hint = "lines are kept in memory, and written as soon as they can be";
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        hint,
                        "audit: cannot write"
                    );
                }
            }
        }
        let mut seen = self.shared.seen.lock();
        seen.head = self.head.clone();
        seen.failing = self.failing;
        seen.passed = self.shared.clock.mono();
        seen.waiting = self.backlog.len();
    }

    fn try_write(&mut self) -> std::io::Result<()> {
        let mut notes = Vec::new();
        let sink = if let Some(sink) = &mut self.sink {
            notes.extend(sink.check()?);
            sink
        } else {
            let (sink, head, found) = Sink::open(&self.target)?;
            self.head = head;
            notes.extend(found);
            if let Some(run) = self.run.take() {
                let begun = begun(&self.target, self.key.as_ref(), &run);
                let at = rfc3339(self.shared.clock.now().wall);
                self.backlog.insert(0, format!(",\"at\":\"{at}\"{begun}"));
            }
            self.sink.insert(sink)
        };
        let at = rfc3339(self.shared.clock.now().wall);
        let mut notes: Vec<String> = notes.iter().map(Found::fields).collect();
        if self.lost > 0 {
            notes.push(format!(",\"event\":\"lost\",\"count\":{}", self.lost));
        }
        if notes.is_empty() && self.backlog.is_empty() {
            return Ok(());
        }
        let (mut lines, mut head) = (Vec::new(), self.head.clone());
        for note in notes {
            head.seal(
                &mut lines,
                &format!(",\"at\":\"{at}\"{note}"),
                self.key.as_ref(),
            );
        }
        for fields in &self.backlog {
            head.seal(&mut lines, fields, self.key.as_ref());
        }
        sink.write(&lines, &head)?;
        let written = head.seq.saturating_sub(self.head.seq);
        self.shared.counts.written.inc_by(written);
        self.head = head;
        self.lost = 0;
        self.backlog.clear();
        Ok(())
    }
}

fn begun(target: &Target, key: Option<&Key>, run: &str) -> String {
    let to = match target {
        Target::File(_) => "file",
        Target::Stdout => "stdout",
        Target::Stderr => "stderr",
    };
    let mut fields = format!(
        ",\"event\":\"begun\",\"run\":\"{run}\",\"to\":\"{to}\",\"pid\":{},\"version\":\"{}\"",
        std::process::id(),
        env!("CARGO_PKG_VERSION")
    );
    if let Some(key) = key {
        put_text(&mut fields, "key", key.id());
    }
    fields
}

impl Found {
    fn fields(&self) -> String {
        match self {
            Self::Rotated => ",\"event\":\"rotated\"".into(),
            Self::Changed { expected, found } => {
                format!(
                    ",\"event\":\"changed_by_others\",\"expected_bytes\":{expected},\"found_bytes\":{found}"
                )
            }
            Self::Torn { bytes } => format!(",\"event\":\"torn\",\"bytes\":{bytes}"),
            Self::Short { ends, head } => {
                format!(",\"event\":\"short\",\"last_line\":{ends},\"last_written\":{head}")
            }
        }
    }
}

/// Adds a thread's counts to those of the others.
fn merge(rows: &mut Vec<Row>, row: Row) {
    let same = |other: &&mut Row| {
        other.given == row.given && other.credential == row.credential && other.route == row.route
    };
    let Some(other) = rows.iter_mut().find(same) else {
        return rows.push(row);
    };
    for (caller, count) in row.callers {
        let all = other
            .callers
            .entry(caller)
            .or_insert(Count { times: 0, ..count });
        all.times += count.times;
        all.first = all.first.min(count.first);
        all.last = all.last.max(count.last);
    }
}

impl Given {
    fn fields(self, credential: &str, route: Option<&str>) -> String {
        let mut fields = String::from(",\"event\":\"used\"");
        put_text(&mut fields, "credential", credential);
        if let Some(route) = route {
            put_text(&mut fields, "route", route);
        }
        fields.push_str(match self {
            Self::Injected => ",\"given\":\"injected\"",
            Self::HandedOut => ",\"given\":\"handed_out\"",
        });
        fields
    }
}

impl Count {
    fn put(&self, fields: &mut String) {
        let (first, last) = (rfc3339(self.first), rfc3339(self.last));
        let _ = write!(
            fields,
            ",\"count\":{},\"first\":\"{first}\",\"last\":\"{last}\"",
            self.times
        );
    }
}

impl Single {
    fn fields(&self) -> (String, Duration) {
        match self {
            Self::Used {
                at,
                caller,
                credential,
                route,
                given,
                id,
                status,
            } => {
                let mut fields = given.fields(credential, route.as_deref());
                put_caller(&mut fields, caller.as_ref());
                if let Some(status) = status {
                    let _ = write!(fields, ",\"status\":{status}");
                }
                let _ = write!(fields, ",\"request_id\":\"{id}\"");
                (fields, *at)
            }
            Self::Refused(refusal) => {
                let mut fields = format!(
                    ",\"event\":\"refused\",\"code\":\"{}\",\"status\":{}",
                    refusal.code, refusal.status
                );
                if let Some(route) = &refusal.route {
                    put_text(&mut fields, "route", route);
                }
                put_caller(&mut fields, refusal.caller.as_ref());
                put_text(&mut fields, "reason", &refusal.reason);
                let _ = write!(fields, ",\"request_id\":\"{}\"", refusal.id);
                (fields, refusal.at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::BufReader, path::Path};

    use serde_json::{Value, json};

    use super::{
        super::{
            Audit, Checked, Counts, Desk, Event, Refusal, Steerer, Stream, Use, Verdict, check,
            head_beside,
        },
        *,
    };
    use crate::{
        caller::Caller, clock::Clock, health::Report, secret::Secret, telemetry::RequestId,
    };

    const MINUTE: Every = Every::Interval(Duration::from_secs(60));

    fn key() -> Key {
        Key::new(&Secret::new("a key of the auditor".to_owned()))
    }

    fn clock() -> Clock {
        Clock::for_tests(Duration::from_secs(1_700_000_000))
    }

    /// A writer that is run by hand.
    fn writer(file: &Path, every: Every) -> (Audit, Writer) {
        let audit = Audit::new(clock(), Some(every), Counts::default());
        let settings = settings(file, every);
        let writer = Writer::new(&audit.0, settings);
        (audit, writer)
    }

    fn settings(file: &Path, every: Every) -> Settings {
        Settings {
            target: Target::File(file.into()),
            key: Some(key()),
            every,
        }
    }

    fn started(file: &Path) -> (Audit, Stream) {
        Audit::start(settings(file, MINUTE), clock(), Counts::default()).unwrap()
    }

    impl Writer {
        fn work(&mut self) {
            self.take_events();
            self.collect();
            self.write();
        }
    }

    fn event(number: u64) -> Event {
        Event::Reloaded {
            cause: "file",
            result: "applied",
            generation: number,
            difference: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn used(desk: &Desk, caller: &Caller, route: &Arc<str>) {
        desk.used(&Use {
            at: Duration::from_secs(1_700_000_001),
            caller: Some(caller),
            credential: "agent",
            route: Some(route),
            given: Given::Injected,
            id: RequestId(1, 2),
            status: Some(200),
        });
    }

    fn refusal(number: u64) -> Refusal {
        Refusal {
            at: Duration::from_secs(number),
            code: "Forbidden",
            status: 403,
            route: Some("imodels".into()),
            caller: Some(Caller::Uid(7)),
            reason: "no rule\nadmits it".into(),
            id: RequestId(0, number),
        }
    }

    /// The lines, without what makes them a chain.
    fn lines(file: &Path) -> Vec<Value> {
        let text = fs::read_to_string(file).unwrap();
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            // its time is that of a clock that goes on
            for name in [
                "at", "prev", "hash", "mac", "kind", "pid", "run", "version", "key",
            ] {
                fields.remove(name);
            }
            line
        };
        text.lines().map(line).collect()
    }

    fn events(file: &Path) -> Vec<String> {
        let name = |line: &Value| line["event"].as_str().unwrap().to_owned();
        lines(file).iter().map(name).collect()
    }

    fn checked(files: &[&Path]) -> Checked {
        let head = head_beside(files[files.len() - 1]);
        let open = |file: &&Path| {
            let reader = BufReader::new(fs::File::open(file).unwrap());
            (file.display().to_string(), reader)
        };
        let files = files.iter().map(open).collect::<Vec<_>>();
        check(files, &[key()], head.as_slice()).unwrap()
    }

    #[test]
    fn what_happened_stands_in_the_file_and_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        for generation in 1..3 {
            let (audit, stream) = started(&file);
            audit.note(event(generation));
            drop(stream);
        }
        let all = ["begun", "reloaded", "ended", "begun", "reloaded", "ended"];
        assert_eq!(events(&file), all);
        let found = checked(&[&file]);
        assert_eq!(
            (found.verdict(), found.last.seq),
            (Verdict::Authentic, 6),
            "{found:?}"
        );
    }

    #[test]
    fn who_was_given_a_credential_is_told_once_an_interval_with_the_count() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, MINUTE);
        let (one, other) = (audit.desk(), audit.desk());
        let route: Arc<str> = "imodels".into();
        (0..3).for_each(|_| used(&one, &Caller::Uid(7), &route));
        used(&other, &Caller::Uid(7), &route);
        used(&other, &Caller::Local, &route);
        other.refused(refusal(5));
        other.refused(refusal(6));
        writer.work();
        let mut found = lines(&file);
        found.sort_by_key(|line| line["caller"].to_string() + &line["event"].to_string());
        let used = |seq: &Value, caller: &str, count: u64| {
            let moment = "2023-11-14T22:13:21.000Z";
            json!({"seq": seq, "event": "used", "credential": "agent", "route": "imodels",
                   "given": "injected", "caller": caller, "count": count, "first": moment, "last": moment})
        };
        assert_eq!(found[0], used(&found[0]["seq"], "local", 1));
        assert_eq!(
            found[1],
            json!({"seq": 2, "event": "refused", "code": "Forbidden", "status": 403,
                   "route": "imodels", "caller": "uid:7", "count": 2,
                   "first": "1970-01-01T00:00:05.000Z", "last": "1970-01-01T00:00:06.000Z"})
        );
        assert_eq!(found[2], used(&found[2]["seq"], "uid:7", 4));
        writer.work();
        assert_eq!(lines(&file).len(), 4, "what was told is not told again");
    }

    #[test]
    fn where_every_request_is_to_be_told_each_has_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, Every::Request);
        let desk = audit.desk();
        used(&desk, &Caller::Local, &"imodels".into());
        desk.refused(refusal(5));
        writer.work();
        let found = lines(&file);
        assert_eq!(found[1]["request_id"], "00000000000000010000000000000002");
        assert_eq!(
            (&found[1]["status"], &found[1]["caller"]),
            (&200.into(), &"local".into())
        );
        assert_eq!(found[2]["reason"], "no rule\nadmits it");
    }

    #[test]
    fn a_file_that_is_rotated_is_followed_by_another_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (file, old) = (
            folder.path().join("audit.log"),
            folder.path().join("audit.log.1"),
        );
        let (audit, mut writer) = writer(&file, MINUTE);
        audit.note(event(1));
        writer.work();
        fs::rename(&file, &old).unwrap();
        audit.note(event(2));
        writer.work();
        assert_eq!(events(&old), ["begun", "reloaded"]);
        assert_eq!(events(&file), ["rotated", "reloaded"]);
        assert_eq!(checked(&[&old, &file]).verdict(), Verdict::Authentic);
        // rotated away while the program does not run
        drop(writer);
        let older = folder.path().join("audit.log.2");
        fs::rename(&old, &older).unwrap();
        fs::rename(&file, &old).unwrap();
        drop(started(&file));
        let found = checked(&[&older, &old, &file]);
        assert_eq!(
            (found.verdict(), found.last.seq),
            (Verdict::Authentic, 6),
            "{found:?}"
        );
    }

    #[test]
    fn lines_that_are_cut_off_are_missed_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, MINUTE);
        (1..6).for_each(|generation| audit.note(event(generation)));
        writer.work();
        let text = fs::read_to_string(&file).unwrap();
        let kept: String = text.split_inclusive('\n').take(3).collect();
        fs::write(&file, &kept).unwrap();
        let found = checked(&[&file]);
        assert_eq!(
            found.faults[0].1.to_string(),
            "cut: lines 4 to 6 are missing"
        );
        // while it runs
        audit.note(event(6));
        writer.work();
        assert_eq!(events(&file)[3..], ["changed_by_others", "reloaded"]);
        assert_eq!(checked(&[&file]).verdict(), Verdict::TamperedWith);
        // and while it does not
        drop(writer);
        fs::write(&file, kept).unwrap();
        drop(started(&file));
        assert_eq!(events(&file)[3..], ["short", "begun", "ended"]);
        let found = checked(&[&file]);
        assert_eq!(
            found.faults[0].1.to_string(),
            "removed: lines 4 to 8 are missing before this one"
        );
    }

    #[test]
    fn a_line_that_a_crash_cut_is_no_tampering_because_the_next_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        drop(started(&file));
        let mut text = fs::read(&file).unwrap();
        text.extend_from_slice(b"{\"seq\":3,\"ki");
        fs::write(&file, text).unwrap();
        drop(started(&file));
        let found = checked(&[&file]);
        assert_eq!(found.verdict(), Verdict::Authentic, "{found:?}");
        let torn = "a crash cut the line before";
        assert!(found.remarks.iter().any(|(_, text)| text == torn));
    }

    #[test]
    fn what_cannot_be_written_is_kept_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("later/audit.log");
        let (audit, mut writer) = writer(&file, MINUTE);
        audit.note(event(1));
        writer.work();
        let report = audit.stream_report().unwrap().report();
        assert_eq!(
            (&report["state"], &report["waiting"]),
            (&"failing".into(), &1.into())
        );
        fs::create_dir(folder.path().join("later")).unwrap();
        audit.note(event(2));
        writer.work();
        assert_eq!(events(&file), ["begun", "reloaded", "reloaded"]);
        let report = audit.stream_report().unwrap().report();
        assert_eq!(
            (&report["state"], &report["last_line"]),
            (&"writing".into(), &3.into())
        );
    }

    #[test]
    fn who_may_not_order_does_not_fill_the_stream() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, Every::Request);
        let stranger = Steerer::Anyone([192, 0, 2, 1].into());
        for number in 0..10_000 {
            audit.forbidden(stranger.clone(), "POST /drain".into());
            audit.forbidden(stranger.clone(), format!("POST /{number}"));
        }
        writer.work();
        assert_eq!(events(&file), ["begun"], "told once a minute");
        writer.take_forbidden();
        writer.write();
        let found = lines(&file);
        assert_eq!(found.len(), 1 + 257);
        assert_eq!(audit.0.counts.lost.get(), 0, "nobody sets off the alert");
        let by = |by: &str, order: &str| {
            let mut found = found.iter();
            let found = found.find(|line| line["by"] == by && line["order"] == order);
            found.unwrap()["count"].clone()
        };
        assert_eq!(by("others", "any"), 10_000 - 255);
        let drained = found.iter().find(|line| line["order"] == "POST /drain");
        let drained = drained.unwrap();
        assert_eq!(
            (&drained["by"], &drained["result"], &drained["count"]),
            (&"net:192.0.2.1".into(), &"forbidden".into(), &10_000.into())
        );
    }

    #[test]
    fn a_writer_that_hangs_or_has_ended_is_told_from_one_that_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, MINUTE);
        let state = || audit.stream_report().unwrap().report()["state"].clone();
        writer.work();
        assert_eq!(state(), "writing");
        audit.0.seen.lock().passed -= Duration::from_secs(11);
        assert_eq!(state(), "blocked");
        writer.work();
        assert_eq!(state(), "writing");
        let shared = Arc::clone(&audit.0);
        let died = thread::spawn(move || {
            let _alive = Alive(shared);
            panic!("a bug");
        });
        assert!(died.join().is_err());
        assert_eq!(state(), "dead");
        // and its end is not waited for
        drop(Stream(Arc::clone(&audit.0)));
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        let (audit, mut writer) = writer(&file, MINUTE);
        let (desk, route) = (audit.desk(), Arc::from("imodels"));
        (0..20_000).for_each(|uid| used(&desk, &Caller::Uid(uid), &route));
        assert!(
            audit.0.waiting.lock().hurry,
            "the writer is woken before that"
        );
        writer.work();
        let found = lines(&file);
        assert_eq!(found.len(), 16 * 1024 + 2);
        assert_eq!(
            (&found[0]["event"], &found[0]["count"]),
            (&"lost".into(), &3616.into())
        );
        let counts = &audit.0.counts;
        assert_eq!((counts.written.get(), counts.lost.get()), (16_386, 3616));
    }

    #[test]
    fn the_newest_refusals_of_all_threads_are_shown_also_where_nobody_audits() {
        let audit = Audit::off();
        let (one, other) = (audit.desk(), audit.desk());
        (0..150).for_each(|number| one.refused(refusal(2 * number)));
        (0..10).for_each(|number| other.refused(refusal(2 * number + 281)));
        let shown = audit.report();
        let recent = shown["recent"].as_array().unwrap();
        assert_eq!(recent.len(), 100);
        assert_eq!(
            recent[0],
            json!({"at": "1970-01-01T00:04:59.000Z", "code": "Forbidden", "status": 403, "route": "imodels",
                   "caller": "uid:7", "reason": "no rule\nadmits it",
                   "request_id": "0000000000000000000000000000012b"})
        );
        assert_eq!(recent[1]["at"], "1970-01-01T00:04:58.000Z");
    }
}
