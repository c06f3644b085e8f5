//! The values that the injector's defaults and a pod's annotations have in common.
//!
//! Each parser says what is allowed when it refuses, so that file and annotation are told the same.

use std::collections::HashSet;

use url::{Host, Url};

/// How an agent meets the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectedMode {
    /// It calls the sidecar's address.
    Reverse,
    /// It obeys `HTTPS_PROXY`.
    Forward,
    /// It knows nothing; the kernel redirects its connections.
    Transparent,
}

impl InjectedMode {
    pub const ALL: [Self; 3] = [Self::Reverse, Self::Forward, Self::Transparent];

    pub fn name(self) -> &'static str {
        match self {
            Self::Reverse => "reverse",
            Self::Forward => "forward",
            Self::Transparent => "transparent",
        }
    }
}

/// Whose authorization server and API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BentleyEnvironment {
    Production,
    Qa,
}

impl BentleyEnvironment {
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Qa => "qa",
        }
    }

    /// The API's host.
    pub fn host(self) -> &'static str {
        match self {
            Self::Production => "api.bentley.com",
            Self::Qa => "qa-api.bentley.com",
        }
    }
}

/// What the injector sets in agents' containers, in whatever case.
const SET: [&str; 9] = [
    "ITWIN_AUTH_PROXY_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// What would have been allowed.
pub type Allowed = &'static str;

pub const PORT: Allowed =
    "a number from 1024 to 65535 (lower ones need a privilege that the sidecar does not have)";
const MODE: Allowed = "reverse, forward or transparent";
const ENVIRONMENT: Allowed = "production or qa";
const OBJECT: Allowed = "the name of an object: up to 253 small letters, digits, '-' and '.', a letter or digit at both ends";
const SCOPES: Allowed = "scopes with spaces or commas between them, at least one";
const UPSTREAM: Allowed =
    "a URL of scheme and host (letters, digits, '-' and '.'), such as https://api.bentley.com";
const CPU: Allowed = "an amount of CPU greater than 0, such as 10m or 0.5";
const MEMORY: Allowed = "an amount of memory greater than 0, such as 64Mi";
const IMAGE: Allowed =
    "the name of an image, such as registry.example.com/itwin-auth-proxy:1.0, without spaces";
const HOSTS: Allowed = "host names, .suffixes, addresses or networks with commas between them";
const VARIABLES: Allowed = "names of environment variables with spaces or commas between them: letters, digits and '_'; none that the injector sets, as NO_PROXY";
const AUDIENCE: Allowed = "one word of visible ASCII characters";

pub fn port(text: &str) -> Result<u16, Allowed> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port >= 1024);
    port.ok_or(PORT)
}

pub fn mode(text: &str) -> Result<InjectedMode, Allowed> {
    let mut all = InjectedMode::ALL.into_iter();
    all.find(|mode| mode.name() == text).ok_or(MODE)
}

pub fn environment(text: &str) -> Result<BentleyEnvironment, Allowed> {
    match text {
        "production" => Ok(BentleyEnvironment::Production),
        "qa" => Ok(BentleyEnvironment::Qa),
        _ => Err(ENVIRONMENT),
    }
}

/// A DNS subdomain (RFC 1123), as names of objects are.
pub fn object(text: &str) -> Result<String, Allowed> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty()
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let good = text.len() <= 253 && text.split('.').all(label);
    good.then(|| text.to_owned()).ok_or(OBJECT)
}

/// Scope tokens (RFC 6749 section 3.3).
pub fn scopes(text: &str) -> Result<Vec<String>, Allowed> {
    let token = |word: &str| {
        let allowed = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        word.chars().all(allowed)
    };
    let words = words(text);
    let good = !words.is_empty() && words.iter().all(|word| token(word));
    good.then_some(words).ok_or(SCOPES)
}

/// Scheme and host only: the caller's path is sent as it came.
pub fn upstream(text: &str) -> Result<Url, Allowed> {
    let url = Url::parse(text).map_err(|_| UPSTREAM)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path() == "/";
    // it becomes part of lists, and of variables in which Kubernetes replaces $(…)
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let host = match url.host() {
        Some(Host::Domain(name)) => name.chars().all(part),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    let scheme = matches!(url.scheme(), "http" | "https");
    let good = plain && host && scheme && url.port() != Some(0);
    good.then_some(url).ok_or(UPSTREAM)
}

pub fn cpu(text: &str) -> Result<String, Allowed> {
    quantity(text, &["", "m"]).ok_or(CPU)
}

pub fn memory(text: &str) -> Result<String, Allowed> {
    let units = ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"];
    quantity(text, &units).ok_or(MEMORY)
}

/// The part of Kubernetes' quantities that people write: a decimal number and a unit.
fn quantity(text: &str, units: &[&str]) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let good = digits(whole)
        && digits(part)
        && number.len() <= 15
        && number.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
        && units.contains(&unit);
    good.then(|| text.to_owned())
}

pub fn image(text: &str) -> Result<String, Allowed> {
    let good = !text.is_empty()
        && text.len() <= 512
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-/:@".contains(c))
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    good.then(|| text.to_owned()).ok_or(IMAGE)
}

pub fn hosts(text: &str) -> Result<Vec<String>, Allowed> {
    let words = words(text);
    let part = |c: char| c.is_ascii_alphanumeric() || "._-:/[]*".contains(c);
    let good = words.iter().all(|word| word.chars().all(part));
    good.then_some(words).ok_or(HOSTS)
}

pub fn variables(text: &str) -> Result<Vec<String>, Allowed> {
    let name = |word: &String| {
        word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !SET.iter().any(|ours| ours.eq_ignore_ascii_case(word))
    };
    let mut seen = HashSet::new();
    let mut words = words(text);
    words.retain(|word| seen.insert(word.to_ascii_uppercase()));
    words.iter().all(name).then_some(words).ok_or(VARIABLES)
}

/// One word: an audience, or a client's identifier.
pub fn word(text: &str) -> Result<String, Allowed> {
    let good = !text.is_empty() && text.len() <= 512 && text.chars().all(|c| c.is_ascii_graphic());
    good.then(|| text.to_owned()).ok_or(AUDIENCE)
}

/// Words with spaces or commas between them.
pub fn words(text: &str) -> Vec<String> {
    let separates = |c: char| c == ',' || c.is_whitespace();
    let words = text.split(separates).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_those_of_kubernetes() {
        for good in ["1", "0.5", "10m", "1500m"] {
            assert_eq!(cpu(good).as_deref(), Ok(good));
        }
        for bad in ["", "0", "0m", "-1", "1.", ".5", "1Mi", "1 m", "1e3", "half"] {
            assert_eq!(cpu(bad), Err(CPU), "{bad}");
        }
        for good in ["64Mi", "1Gi", "128000000", "100M", "1.5Gi"] {
            assert_eq!(memory(good).as_deref(), Ok(good));
        }
        for bad in ["64MB", "64m", "0Mi", "Mi", "64 Mi"] {
            assert_eq!(memory(bad), Err(MEMORY), "{bad}");
        }
    }

    #[test]
    fn names_are_those_of_objects() {
        for good in ["a", "itwin-client", "a.b-c.9"] {
            assert_eq!(object(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a..b", "a/b", "a b", &"a".repeat(254)] {
            assert_eq!(object(bad), Err(OBJECT), "{bad}");
        }
    }

    #[test]
    fn variables_are_named_once_and_are_not_the_injectors() {
        assert_eq!(variables("A, b A a B").unwrap(), ["A", "b"]);
        for bad in ["NO_PROXY", "A https_proxy", "SSL_CERT_FILE", "1A", "A=B"] {
            assert_eq!(variables(bad), Err(VARIABLES), "{bad}");
        }
    }

    #[test]
    fn an_upstream_is_scheme_and_host() {
        assert!(upstream("https://api.bentley.com").is_ok());
        assert!(upstream("http://sandbox:8081/").is_ok());
        for bad in [
            "api.bentley.com",
            "ftp://a",
            "https://a/b",
            "https://u@a",
            "https://a?q",
            "https://a,b",
            "https://$(x)",
            "https://a_b",
            "",
        ] {
            assert_eq!(upstream(bad), Err(UPSTREAM), "{bad}");
        }
    }
}
