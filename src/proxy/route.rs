//! Which route a request takes: the first whose host, path and method match.

use crate::config::{Glob, Match};

/// A route's conditions, prepared.
#[derive(Debug, Clone)]
pub(super) struct Matcher {
    hosts: Vec<HostPattern>,
    path: PathPattern,
    /// In upper case.
    methods: Vec<String>,
}

#[derive(Debug, Clone)]
enum HostPattern {
    Exact(String),
    /// `*.` and this, which begins with a dot.
    Below(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PathPattern {
    Anything,
    Segments { segments: Vec<String>, deep: Depth },
}

/// Whether more segments may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Exact,
    AndBelow,
}

impl Matcher {
    pub(super) fn new(conditions: &Match) -> Self {
        let hosts = conditions
            .hosts
            .iter()
            .map(|host| HostPattern::new(host))
            .collect();
        let methods = conditions.methods.iter().cloned().collect();
        Self {
            hosts,
            path: PathPattern::new(&conditions.path),
            methods,
        }
    }

    /// Whether the path decides anything here.
    pub(super) fn depends_on_path(&self) -> bool {
        self.path != PathPattern::Anything
    }

    /// Whether it matches this host by its name.
    pub(super) fn is_for_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(host))
    }

    /// Whether it matches hosts by their names.
    pub(super) fn names_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// `host` in lower case without port, `path` canonical.
    pub(super) fn matches(&self, method: &http::Method, host: &str, path: &str) -> bool {
        // case matters (RFC 9110 section 9.1), but not to every service: what one may take for DELETE
        // must not pass by a route for everything else
        let asked = |name: &String| name.eq_ignore_ascii_case(method.as_str());
        (self.methods.is_empty() || self.methods.iter().any(asked))
            && (self.hosts.is_empty() || self.hosts.iter().any(|pattern| pattern.matches(host)))
            && self.path.matches(path)
    }
}

impl HostPattern {
    /// A name, or `*.` and one.
    fn new(written: &str) -> Self {
        match written.strip_prefix('*') {
            Some(below) => Self::Below(below.to_owned()),
            None => Self::Exact(written.to_owned()),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
        }
    }
}

impl PathPattern {
    fn new(glob: &Glob) -> Self {
        if glob.as_str() == "/**" {
            return Self::Anything;
        }
        let mut segments: Vec<String> = glob.as_str()[1..].split('/').map(Into::into).collect();
        let deep = if segments.last().is_some_and(|last| last == "**") {
            segments.pop();
            Depth::AndBelow
        } else {
            Depth::Exact
        };
        Self::Segments { segments, deep }
    }

    fn matches(&self, path: &str) -> bool {
        let Self::Segments { segments, deep } = self else {
            return true;
        };
        let mut given = path.strip_prefix('/').unwrap_or(path).split('/');
        for segment in segments {
            if !given.next().is_some_and(|text| wild(segment, text)) {
                return false;
            }
        }
        *deep == Depth::AndBelow || given.next().is_none()
    }
}

/// `*` stands for any text, also none.
fn wild(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_patterns() {
        let table = [
            ("/**", "/", true),
            ("/imodels/**", "/imodels", true),
            ("/imodels/**", "/imodels/", true),
            ("/imodels/**", "/imodels/1/changesets", true),
            ("/imodels/**", "/imodelsx", false),
            ("/imodels/**", "/IMODELS", false),
            ("/imodels/*", "/imodels/1", true),
            ("/imodels/*", "/imodels/1/2", false),
            ("/imodels/*/changesets", "/imodels/1/changesets", true),
            ("/v*-x/a", "/v1-x/a", true),
            ("/v*-x/a", "/v1-y/a", false),
            ("/a*b*c", "/abc", true),
            ("/a*b*c", "/aXbYbZc", true),
            ("/a*b*c", "/ac", false),
            ("/a*a", "/a", false),
            ("/imodels", "/imodels", true),
            ("/imodels", "/imodels/", false),
        ];
        for (pattern, path, expected) in table {
            let pattern_of = PathPattern::new(&Glob::parse(pattern).unwrap());
            assert_eq!(pattern_of.matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn hosts_and_methods() {
        let matcher = Matcher::new(&Match {
            hosts: vec!["api.test".into(), "*.example.test".into()],
            path: Glob::default(),
            methods: ["GET".to_owned()].into(),
        });
        let get = |host| matcher.matches(&http::Method::GET, host, "/");
        assert!(get("api.test") && get("a.example.test") && get("a.b.example.test"));
        assert!(!get("example.test") && !get("xexample.test") && !get("api.test.evil"));
        assert!(!matcher.matches(&http::Method::POST, "api.test", "/"));
        let lower = http::Method::from_bytes(b"get").unwrap();
        assert!(matcher.matches(&lower, "api.test", "/"));
    }
}
