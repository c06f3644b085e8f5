//! The reference page and the published schema, both from the one definition of every key.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    schema::{Part, Schema, allowed, has_type, names, text},
    variables::{PREFIX, SHORT, written_to},
};

/// The JSON schema of the configuration file (draft 2020-12), as it is kept in `docs/`.
pub fn json_schema() -> String {
    let schema = Schema::new().published();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written by `itwin-auth-proxy schema --reference`; change the comments in src/config/raw instead. -->

The configuration is one YAML file, named by `--config` or `ITWIN_CONFIG`, or the environment, or both: a variable
overrides the file. `itwin-auth-proxy check` shows every problem in it, with its place and a remedy, and
`itwin-auth-proxy check --print` the whole effective configuration without secrets. An unknown key is a problem.

Durations are numbers with units: `500ms`, `10s`, `2m`, `1h`. Sizes are bytes: `4096`, `64KiB`, `1MB`. Where a list of
words stands, one text with spaces or commas between the words will do. A key with nothing behind it counts as absent.
";

/// The reference page, Markdown, as it is kept in `docs/`.
pub fn markdown() -> String {
    let schema = Schema::new();
    let mut page = Page {
        out: String::from(INTRODUCTION),
        schema: &schema,
        waiting: Vec::new(),
        told: Vec::new(),
    };
    page.environment();
    page.section("The file", &schema.root());
    while !page.waiting.is_empty() {
        let (name, part) = page.waiting.remove(0);
        page.section(&name, &part);
    }
    page.out
}

struct Page<'a> {
    out: String,
    schema: &'a Schema,
    waiting: Vec<(String, Part)>,
    told: Vec<String>,
}

impl Page<'_> {
    fn environment(&mut self) {
        self.out.push_str(
            "\n## Environment\n\nThe short form is for one credential, one provider, one listener and one route. An empty variable \
             counts as not set.\n\n| variable | meaning | key |\n| --- | --- | --- |\n",
        );
        for short in &SHORT {
            let key = match written_to(short) {
                key if key.is_empty() => String::new(),
                key => format!("`{key}`"),
            };
            let _ = writeln!(self.out, "| `{}` | {} | {key} |", short.name, short.meaning);
        }
        let _ = writeln!(
            self.out,
            "\nThe long form reaches every key: `{PREFIX}` and then the path in capitals with `__` between its levels, items of \
             a list by number from 0.\nNames are found whatever their case, with `_` for `-` and `.`. A list or map may be \
             written as YAML in one line.\n\n```\n{PREFIX}LIMITS__HEADER_TIMEOUT=5s\n{PREFIX}ROUTES__0__INJECT__MIN_REMAINING=2m\n\
             {PREFIX}LISTENERS='[\"127.0.0.1:8080\", \"unix:/run/itwin/proxy.sock\"]'\n```"
        );
    }

    fn section(&mut self, name: &str, part: &Part) {
        let _ = write!(self.out, "\n## {name}\n");
        if let Some(description) = text(part, "description").filter(|_| name != "The file") {
            let _ = write!(self.out, "\n{}\n", paragraph(description));
        }
        if let Some(short) = text(part, "x-short") {
            let _ = write!(
                self.out,
                "\nA single value instead of the keys stands for `{short}`.\n"
            );
        }
        self.out
            .push_str("\n| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
        let required = names(part, "required");
        let Some(properties) = part.get("properties").and_then(Value::as_object) else {
            return;
        };
        for (key, property) in properties {
            let kind = self.kind(property);
            let property = self.schema.resolve(property);
            let default = match property.get("default") {
                _ if required.contains(&key.as_str()) => "required".into(),
                Some(Value::String(text)) => format!("`{text}`"),
                Some(Value::Array(words)) => words
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|word| format!("`{word}`"))
                    .collect::<Vec<_>>()
                    .join(", "),
                Some(value) if !value.is_object() => format!("`{value}`"),
                _ => String::new(),
            };
            let meaning = text(&property, "description")
                .map(paragraph)
                .unwrap_or_default();
            let _ = writeln!(
                self.out,
                "| `{key}` | {kind} | {default} | {} |",
                meaning.replace('|', "\\|")
            );
        }
    }

    /// The type in words; what has keys of its own gets a section.
    fn kind(&mut self, written: &Value) -> String {
        let target = written.get("$ref").and_then(Value::as_str);
        let part = self.schema.resolve(written);
        if part.contains_key("anyOf") {
            let kinds: Vec<String> = part
                .get("anyOf")
                .and_then(Value::as_array)
                .map(|all| all.iter().map(|one| self.kind(one)).collect())
                .unwrap_or_default();
            return kinds.join(", or ");
        }
        if let Some(words) = allowed(&part) {
            return words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", ");
        }
        if has_type(&part, "object") {
            if let Some(others) = part.get("additionalProperties").filter(|v| v.is_object()) {
                return format!("map of {}", self.kind(others));
            }
            let Some(name) = target.and_then(|target| target.rsplit('/').next()) else {
                return "map".into();
            };
            if !self.told.iter().any(|told| told == name) {
                self.told.push(name.to_owned());
                let plain = self.schema.resolve(&serde_json::json!({"$ref": target}));
                self.waiting.push((name.to_owned(), plain));
            }
            return format!("[{name}](#{})", name.to_ascii_lowercase());
        }
        if has_type(&part, "array") {
            let items = part.get("items").cloned().unwrap_or_default();
            return format!("list of {}", self.kind(&items));
        }
        let kinds = [
            ("string", "text"),
            ("integer", "number"),
            ("boolean", "`true`, `false`"),
        ];
        let kinds = kinds.into_iter().filter(|(name, _)| has_type(&part, name));
        let kinds: Vec<&str> = kinds.map(|(_, words)| words).collect();
        if kinds.is_empty() {
            return "text".into();
        }
        kinds.join(", ")
    }
}

/// One line: tables and paragraphs hold no line ends.
fn paragraph(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kept_schema_and_reference_page_are_current() {
        for (kept, now, command) in [
            (
                "docs/config.schema.json",
                json_schema(),
                "cargo run -- schema > docs/config.schema.json",
            ),
            (
                "docs/configuration.md",
                markdown(),
                "cargo run -- schema --reference > docs/configuration.md",
            ),
        ] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(kept);
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text == now, "{kept} is out of date: {command}");
        }
    }

    #[test]
    fn every_key_is_described() {
        fn described(part: &Value, at: &str) {
            let keys = part.get("properties").and_then(Value::as_object);
            for (key, property) in keys.into_iter().flatten() {
                let text = property.get("description").and_then(Value::as_str);
                assert!(text.is_some_and(|text| text.len() > 10), "{at}.{key}");
            }
        }
        let schema = Schema::new().published();
        described(&schema, "");
        for (name, part) in schema["$defs"].as_object().unwrap() {
            described(part, name);
        }
        for ours in ["x-short", "x-one", "x-secret", "x-later"] {
            assert!(!json_schema().contains(ours), "{ours} is for ourselves");
        }
    }
}
