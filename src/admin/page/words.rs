//! Figures as people say them.

use std::time::UNIX_EPOCH;

use url::Url;

/// A time span with one unit, two where the first is small: `42 s`, `12 min`, `3 h 5 min`, `9 d`.
pub(in crate::admin) fn span(seconds: f64) -> String {
    let seconds = whole(seconds);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (2.., _, _) => format!("{days} d"),
        (1, _, _) => with("1 d", hours - 24, "h"),
        (_, 1.., _) => with(&format!("{hours} h"), minutes % 60, "min"),
        (_, _, 10..) => format!("{minutes} min"),
        (_, _, 1..) => with(&format!("{minutes} min"), seconds % 60, "s"),
        _ => format!("{seconds} s"),
    }
}

fn with(first: &str, rest: u64, unit: &str) -> String {
    match rest {
        0 => first.to_owned(),
        rest => format!("{first} {rest} {unit}"),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float ends at the limits"
)]
fn whole(seconds: f64) -> u64 {
    seconds.max(0.0) as u64
}

/// Milliseconds as they are read: `0.8 ms`, `12 ms`, `1.4 s`.
pub(super) fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{:.1} s", v / 1000.0),
        v if v >= 10.0 => format!("{v:.0} ms"),
        v => format!("{v:.1} ms"),
    }
}

/// Per second, without decimals that nobody reads.
pub(super) fn rate(value: f64) -> String {
    match value {
        0.0 => "0/s".into(),
        v if v < 0.1 => format!("{:.1}/min", v * 60.0),
        v if v < 10.0 => format!("{v:.1}/s"),
        v => format!("{v:.0}/s"),
    }
}

/// What an address is known by; the text as it is, if it is none.
pub(in crate::admin) fn host(text: &str) -> String {
    let url = Url::parse(text).ok();
    let host = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    });
    host.unwrap_or_else(|| text.to_owned())
}

/// How long before `now` (Unix time) this was.
pub(super) fn ago(at: &str, now: f64) -> String {
    let at = humantime::parse_rfc3339_weak(at).ok();
    let at = at.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    at.map_or_else(|| "?".into(), |at| span(now - at.as_secs_f64()))
}

/// The time of day of an RFC 3339 timestamp.
pub(super) fn clock(at: &str) -> String {
    at.get(11..19).unwrap_or(at).to_owned()
}

/// As the name of a place in the page.
pub(super) fn slug(text: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    text.chars().map(letter).collect()
}

/// What somebody else wrote, without what changes how the rest is read.
pub(super) fn readable(text: &str) -> String {
    let odd =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if odd(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_say_them() {
        for (seconds, words) in [
            (-3.0, "0 s"),
            (0.9, "0 s"),
            (59.0, "59 s"),
            (60.0, "1 min"),
            (61.0, "1 min 1 s"),
            (660.0, "11 min"),
            (3600.0, "1 h"),
            (3725.0, "1 h 2 min"),
            (90_000.0, "1 d 1 h"),
            (200_000.0, "2 d"),
            (f64::NAN, "0 s"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn rates_and_latencies_have_no_more_figures_than_are_read() {
        assert_eq!(milliseconds(0.84), "0.8 ms");
        assert_eq!(milliseconds(12.4), "12 ms");
        assert_eq!(milliseconds(1400.0), "1.4 s");
        assert_eq!(rate(0.0), "0/s");
        assert_eq!(rate(0.05), "3.0/min");
        assert_eq!(rate(1.25), "1.2/s");
        assert_eq!(rate(312.4), "312/s");
    }

    #[test]
    fn addresses_are_known_by_their_host() {
        assert_eq!(host("https://ims.bentley.com/connect"), "ims.bentley.com");
        assert_eq!(host("http://[::1]:9000/"), "[::1]:9000");
        assert_eq!(host("unix:/run/x"), "unix:/run/x");
        assert_eq!(readable("a\u{1b}[31m\u{202e}b"), "a [31m b");
    }
}
