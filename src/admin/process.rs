//! What the kernel says about this process, under the names that dashboards know.
//!
//! Read from `/proc` at each scrape; what cannot be read is left out.

use std::fs;

use crate::{
    clock::Moment,
    metrics::{Scraped, Value, list},
};

/// Clock ticks a second in `/proc`: `USER_HZ`, fixed by the kernel's interface.
const TICKS: f64 = 100.0;

/// The metrics of a process that started at `started`.
pub(super) fn scrape(started: Moment) -> Vec<Scraped> {
    let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let (stat, memory, limits) = (read("stat"), read("status"), read("limits"));
    let files = fs::read_dir("/proc/self/fd").map(Iterator::count).ok();
    let resident = number_after(&memory, "VmRSS:").map(|kib| kib * 1024);
    let found = [
        (
            &list::PROCESS_START,
            Some(Value::Measure(started.wall.as_secs_f64())),
        ),
        (&list::PROCESS_CPU, cpu_seconds(&stat).map(Value::Measure)),
        (&list::PROCESS_MEMORY, resident.map(Value::Level)),
        (
            &list::PROCESS_THREADS,
            number_after(&memory, "Threads:").map(Value::Level),
        ),
        (
            &list::PROCESS_OPEN_FDS,
            files.and_then(|n| i64::try_from(n).ok()).map(Value::Level),
        ),
        (
            &list::PROCESS_MAX_FDS,
            number_after(&limits, "Max open files").map(Value::Level),
        ),
    ];
    let found = found.into_iter();
    let all = found.filter_map(|(metric, value)| Some(Scraped::one(metric, value?)));
    all.collect()
}

/// User and system time: fields 14 and 15, counted behind the command, which may hold spaces.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn number_after(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_understood() {
        let stat =
            "22753 (a) b) R 22743 22743 15427 0 -1 4194304 99 0 0 0 150 50 0 0 20 0 1 0 233131";
        assert_eq!(cpu_seconds(stat), Some(2.0));
        assert_eq!(cpu_seconds("nonsense"), None);
        assert_eq!(
            number_after("VmPeak:\t 7 kB\nVmRSS:\t  5120 kB\n", "VmRSS:"),
            Some(5120)
        );
        let limits = "Max open files            20000                20000                files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(20000));
        assert_eq!(
            number_after("Max open files   unlimited", "Max open files"),
            None
        );
    }
}
