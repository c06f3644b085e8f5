//! Durations, sizes, addresses, URLs: single values.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};

use ipnet::IpNet;
use url::Url;

use super::{
    super::{Origin, path::Path, problem::shown, raw::Words},
    Check,
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

impl Check<'_> {
    /// A duration within a range; the default when it is absent or wrong.
    pub(super) fn duration(
        &mut self,
        path: &Path,
        written: Option<&str>,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(written) = written else {
            return default;
        };
        let hint = "a duration is a number with a unit, such as 500ms, 10s, 2m or 1h";
        match humantime::parse_duration(written) {
            Ok(duration) if range.contains(&duration) => return duration,
            Ok(_) => {
                let (least, most) = (range.start(), range.end());
                let text = format!(
                    "{} is out of range: {} to {} is allowed",
                    shown(path, written),
                    humantime::format_duration(*least),
                    humantime::format_duration(*most)
                );
                self.error(path, text, "");
            }
            Err(_) if written == "0" => return self.duration(path, Some("0s"), default, range),
            Err(_) if written.parse::<f64>().is_ok() => {
                self.error(path, format!("{} has no unit", shown(path, written)), hint);
            }
            Err(_) => self.error(
                path,
                format!("{} is not a duration", shown(path, written)),
                hint,
            ),
        }
        default
    }

    /// A number of bytes within a range; the default when it is absent or wrong.
    pub(super) fn size(
        &mut self,
        path: &Path,
        written: Option<&str>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        let Some(written) = written else {
            return default;
        };
        match parse_size(written) {
            Some(size) if range.contains(&size) => return size,
            Some(_) => {
                let text = format!(
                    "{} is out of range: {} to {} is allowed",
                    shown(path, written),
                    format_size(*range.start()),
                    format_size(*range.end())
                );
                self.error(path, text, "");
            }
            None => self.error(
                path,
                format!("{} is not a size", shown(path, written)),
                "a size is a number of bytes with or without a unit, such as 4096, 64KiB or 1MB",
            ),
        }
        default
    }

    /// An absolute URL without user, query and fragment: `https`, or `http` on a loopback host.
    pub(super) fn secure_url(&mut self, path: &Path, written: &str) -> Option<Url> {
        let url = self.url(path, written)?;
        if url.scheme() == "http" && !is_loopback(&url) {
            self.error(
                path,
                "must be https: secrets and tokens pass over this connection",
                "http is good for loopback addresses only (127.0.0.1, [::1], localhost)",
            );
            return None;
        }
        Some(url)
    }

    /// An absolute http or https URL without user, query and fragment.
    pub(super) fn url(&mut self, path: &Path, written: &str) -> Option<Url> {
        let fault = match Url::parse(written) {
            Err(error) => (
                format!("{} is not a URL: {error}", shown(path, written)),
                "write it with its scheme, as in https://api.bentley.com",
            ),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => (
                format!("{} is no http or https URL", shown(path, written)),
                "write it with its scheme, as in https://api.bentley.com",
            ),
            Ok(url) if !url.username().is_empty() || url.password().is_some() => (
                "a URL with a user or password in it is not used".to_owned(),
                "remove what stands before '@'; secrets have keys of their own",
            ),
            Ok(url) if url.query().is_some() || url.fragment().is_some() => (
                "the URL must have no query and no fragment".to_owned(),
                "remove what begins with '?' or '#'",
            ),
            Ok(url) => return Some(url),
        };
        self.error(path, fault.0, fault.1);
        None
    }

    /// A URL that is scheme, host and port only.
    pub(super) fn origin(
        &mut self,
        path: &Path,
        written: &str,
        why_no_path: &str,
    ) -> Option<Origin> {
        let url = self.url(path, written)?;
        let origin = origin_of(&url)?;
        if url.path() != "/" {
            self.error(
                path,
                "must be scheme, host and port, without a path",
                format!("write {origin}; {why_no_path}"),
            );
            return None;
        }
        Some(origin)
    }

    /// An address to listen on.
    pub(super) fn socket_address(&mut self, path: &Path, written: &str) -> Option<SocketAddr> {
        if let Ok(address) = written.parse() {
            return Some(address);
        }
        if let Some(port) = written
            .strip_prefix("localhost:")
            .and_then(|p| p.parse().ok())
        {
            return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        }
        let port = written.trim_start_matches(['*', ':']);
        let hint = if !port.is_empty() && port.parse::<u16>().is_ok() {
            format!(
                "write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} or [::]:{port} for all interfaces"
            )
        } else if written.parse::<IpAddr>().is_ok() {
            "add a port, as in 127.0.0.1:8080 or [::1]:8080".into()
        } else {
            "an address is a number with a port, as in 127.0.0.1:8080 or [::1]:8080".into()
        };
        self.error(
            path,
            format!("{} is not an address to listen on", shown(path, written)),
            hint,
        );
        None
    }

    /// Networks, `10.0.0.0/8`, or single addresses.
    pub(super) fn networks(&mut self, path: &Path, written: Option<&Words>) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for (n, text) in written
            .map(|words| &words.0)
            .into_iter()
            .flatten()
            .enumerate()
        {
            let path = path.index(n);
            let single = || text.parse::<IpAddr>().ok().map(IpNet::from);
            match text.parse::<IpNet>().ok().or_else(single) {
                Some(network) if network.trunc() != network => {
                    let hint = format!("did you mean {}?", network.trunc());
                    self.error(
                        &path,
                        format!("{network} is an address in a network, not a network"),
                        hint,
                    );
                }
                Some(network) => networks.push(network),
                None => self.error(
                    &path,
                    format!("{} is not a network", shown(&path, text)),
                    "a network is an address with a prefix length, as in 10.0.0.0/8 or fd00::/8",
                ),
            }
        }
        networks
    }
}

/// Scheme, host and port of a URL.
pub(super) fn origin_of(url: &Url) -> Option<Origin> {
    let host = match url.host()? {
        url::Host::Domain(name) => name.to_ascii_lowercase(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    Some(Origin {
        https: url.scheme() == "https",
        host,
        port: url.port_or_known_default()?,
    })
}

/// Whether a URL names this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

const UNITS: [(&str, u64); 8] = [
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

fn parse_size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// A size with the largest unit that divides it.
pub(in crate::config) fn format_size(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes != 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || bytes.to_string(),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64KiB", Some(65536)),
            ("64 kib", Some(65536)),
            ("1MB", Some(1_000_000)),
            ("2GiB", Some(2 << 30)),
            ("", None),
            ("KiB", None),
            ("-1", None),
            ("1.5MB", None),
            ("99999999999GiB", None),
            ("1 parsec", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        assert_eq!(format_size(65536), "64KiB");
        assert_eq!(format_size(1_000_000), "1000000");
        assert_eq!(format_size(0), "0");
    }

    proptest::proptest! {
        #[test]
        fn a_size_that_was_written_is_read_back(bytes: u64) {
            proptest::prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
        }
    }
}
