//! `docs/metrics.md`, made of the list.

use super::list::{ALL, Kind, Metric, Part};

/// What is around the tables.
const PAGE: &str = include_str!("page.md");

/// The page.
pub fn markdown() -> String {
    let mut tables = String::new();
    for part in Part::ALL {
        let rows: Vec<_> = ALL.iter().filter(|metric| metric.part == part).collect();
        if rows.is_empty() {
            continue;
        }
        tables.extend(["## ", part.heading(), "\n\n"]);
        tables += "| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n";
        for metric in rows {
            tables += &row(metric);
        }
        tables.push('\n');
    }
    PAGE.replace("{{tables}}\n", &tables)
}

fn row(metric: &Metric) -> String {
    let name = match metric.kind {
        Kind::Info => format!("{}_info", metric.name),
        _ => metric.name.to_owned(),
    };
    let labels = metric.labels.iter().map(|label| match label.values {
        "" => format!("`{}`", label.name),
        values => format!("`{}`: {values}", label.name),
    });
    let labels = labels.collect::<Vec<_>>().join("<br>");
    let kind = metric.kind.as_str();
    let help = metric.help;
    let meaning = match metric.purpose {
        "" => help.to_owned(),
        purpose => format!("{help}. {purpose}"),
    };
    format!("| `{name}` | {kind} | {labels} | {meaning} |\n")
}
