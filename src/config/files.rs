//! The files that a configuration names, so that a process can give up all others.
//!
//! A key that ends in `file` names one that is read; of all others it is said where they are defined
//! (`x-file`), and of those without other forms whether they hold a secret (`x-private`). A test goes through all keys: one that looks like a file's and is neither fails it.

use std::path::PathBuf;

use serde_json::Value;

use super::schema::{Part, Schema, text};

/// A file that is used as long as the program runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NamedFile {
    /// Read, again and again.
    Read(PathBuf),
    /// Read, and replaced by a newer one of ours.
    Replaced(PathBuf),
    /// A Unix socket that is made.
    Socket(PathBuf),
}

/// What a configuration names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) all: Vec<NamedFile>,
    /// Those of them that hold a secret.
    pub(super) secret: Vec<PathBuf>,
}

/// All files that `value` names, which fits the schema.
pub(super) fn named(value: &Value, schema: &Schema) -> Found {
    let mut found = Found::default();
    walk(value, &schema.root(), schema, &mut found);
    found.all.sort();
    found.all.dedup();
    found.secret.sort();
    found.secret.dedup();
    found
}

fn walk(value: &Value, part: &Part, schema: &Schema, found: &mut Found) {
    for part in schema.alternatives(part) {
        let known = part.get("properties").and_then(Value::as_object);
        let others = part.get("additionalProperties").filter(|v| v.is_object());
        for (key, value) in value.as_object().into_iter().flatten() {
            let Some(property) = known.and_then(|known| known.get(key)).or(others) else {
                continue;
            };
            let property = schema.resolve(property);
            match kind(key, &property) {
                Some(kind) => {
                    found
                        .all
                        .extend(texts(value).filter_map(|text| file(kind, text)));
                    if is_secret(&property) {
                        found.secret.extend(texts(value).map(PathBuf::from));
                    }
                }
                None => walk(value, &property, schema, found),
            }
        }
        if let (Some(items), Some(item)) = (value.as_array(), part.get("items")) {
            let item = schema.resolve(item);
            for value in items {
                walk(value, &item, schema, found);
            }
        }
    }
}

/// What kind of file the key names.
fn kind<'a>(key: &str, property: &'a Part) -> Option<&'a str> {
    let by_name = key.ends_with("file") || key.ends_with("files");
    text(property, "x-file").or_else(|| by_name.then_some("read"))
}

/// A form of a secret, or a key in a file.
fn is_secret(property: &Part) -> bool {
    let marked = |with: &str| text(property, with).is_some();
    marked("x-secret") || marked("x-private")
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.chain([value]).filter_map(Value::as_str)
}

fn file(kind: &str, written: &str) -> Option<NamedFile> {
    Some(match kind {
        "replaced" => NamedFile::Replaced(written.into()),
        // whatever is made in there
        "directory" => NamedFile::Replaced(PathBuf::from(written).join("session")),
        "socket" => NamedFile::Socket(written.into()),
        "bind" => NamedFile::Socket(written.strip_prefix("unix:")?.into()),
        _ => NamedFile::Read(written.into()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_file_is_found_wherever_it_is_named() {
        let value = json!({
            "listeners": [
                { "bind": "unix:/run/p/s", "tls": { "certificate": "/c", "key": "/k", "client_ca": "/ca" } },
                { "bind": "127.0.0.1:80" },
            ],
            "credentials": {
                "a": { "client_secret_file": "/a", "client_secret": "not a file" },
                "b": { "refresh_token_file": "/b", "client_secret_env": "NOT_A_FILE" },
                "c": { "assertion": { "file": "/c" }, "tls": { "certificate": "/d", "key": "/e" } },
            },
            "providers": { "p": { "tls": { "extra_ca": ["/f", "/g"] } } },
            "signing": { "key_files": ["/h"], "path": "/not/a/file" },
            "token_store": { "path": "/var/t", "key": "not a file", "key_file": "/i" },
        });
        let read = |path: &str| NamedFile::Read(path.into());
        let replaced = |path: &str| NamedFile::Replaced(path.into());
        let mut expected: Vec<_> = ["/a", "/c", "/ca", "/d", "/e", "/f", "/g", "/h", "/i", "/k"]
            .map(read)
            .into();
        expected.extend(["/b", "/var/t"].map(replaced));
        expected.push(NamedFile::Socket("/run/p/s".into()));
        let found = named(&value, &Schema::new());
        assert_eq!(found.all, expected);
        let secret: Vec<_> = found
            .secret
            .iter()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(secret, ["/a", "/b", "/c", "/e", "/h", "/i", "/k"]);
    }

    /// Texts whose keys look like a file's and are none.
    const NO_FILES: [&str; 16] = [
        ".admin.bind",
        // in its full form, the path in it is marked
        ".admin.socket",
        ".authorities.path",
        ".credentials.private_key_algorithm",
        ".credentials.private_key_id",
        ".credentials.redirect.path",
        ".listeners.socket_mode",
        ".providers.introspection.private_key_algorithm",
        ".providers.introspection.private_key_id",
        ".revocation.backchannel_logout.path",
        ".routes.path",
        ".sessions.callback_path",
        ".sessions.store",
        ".signing.path",
        ".token_requests.path",
        ".url_discovery.path",
    ];
    const WORDS: [&str; 9] = [
        "file",
        "path",
        "certificate",
        "key",
        "ca",
        "socket",
        "bind",
        "directory",
        "store",
    ];

    #[test]
    fn no_key_that_names_a_file_is_forgotten() {
        let schema = Schema::new();
        let mut unmarked = Vec::new();
        unmarked_below(&schema.root(), &schema, "", &mut unmarked);
        unmarked.sort();
        unmarked.dedup();
        assert_eq!(
            unmarked, NO_FILES,
            "files are marked x-file, the others stand here"
        );
    }

    /// Below a part that refers to itself nothing new is found.
    const DEEPEST: usize = 8;

    fn unmarked_below(part: &Part, schema: &Schema, above: &str, found: &mut Vec<String>) {
        if above.matches('.').count() > DEEPEST {
            return;
        }
        for part in schema.alternatives(part) {
            let properties = part.get("properties").and_then(Value::as_object);
            for (key, property) in properties.into_iter().flatten() {
                let property = schema.resolve(property);
                let at = format!("{above}.{key}");
                let looks = key.split('_').any(|word| WORDS.contains(&word));
                let holds_text = ["string", "array"]
                    .iter()
                    .any(|kind| schema.of_type(&property, kind).is_some());
                if looks
                    && holds_text
                    && kind(key, &property).is_none()
                    && text(&property, "x-secret").is_none()
                {
                    found.push(at.clone());
                }
                unmarked_below(&property, schema, &at, found);
            }
            for inner in ["additionalProperties", "items"] {
                if let Some(inner) = part.get(inner).filter(|inner| inner.is_object()) {
                    unmarked_below(&schema.resolve(inner), schema, above, found);
                }
            }
        }
    }
}
