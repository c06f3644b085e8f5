//! The handbook as a page: `docs/troubleshooting.md`.

use std::fmt::Write as _;

use super::{Answered, Code, Exit, PARTS, PROVIDER_ANSWERS, SYMPTOMS};

const INTRODUCTION: &str = "\
# Troubleshooting

<!-- Written by `itwin-auth-proxy schema --troubleshooting`; change src/handbook instead. -->

Begin with what you see, or with the code of an answer. `itwin-auth-proxy explain CODE` says the same in a terminal.
An answer of the proxy's own has `Proxy-Status: itwin-auth-proxy` and a request id, and the log has a line with that id
and the whole chain of reasons ([errors.md](errors.md)); everything else is the upstream's answer, passed on.

";

/// The page, Markdown, as it is kept in `docs/`.
pub fn markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    // a String takes everything
    let _ = write(&mut out);
    out
}

fn write(out: &mut String) -> std::fmt::Result {
    writeln!(out, "- [What you see](#what-you-see)")?;
    for part in PARTS {
        let anchor = anchor(part.title);
        writeln!(out, "- Codes: [{}](#{anchor})", part.title)?;
    }
    writeln!(out, "- [What a provider answers](#what-a-provider-answers)")?;
    writeln!(out, "- [Exit codes](#exit-codes)\n\n## What you see")?;
    for symptom in SYMPTOMS {
        writeln!(out, "\n### {}\n", symptom.seen)?;
        writeln!(out, "| how to tell | what to do |\n| --- | --- |")?;
        for (sign, remedy) in symptom.causes {
            writeln!(out, "| {} | {} |", linked(sign), linked(remedy))?;
        }
    }
    for part in PARTS {
        writeln!(out, "\n## {}", part.title)?;
        for code in part.codes {
            writeln!(out, "\n### {code}\n")?;
            writeln!(out, "{} {}\n", answered(*code), code.means())?;
            writeln!(out, "**What to do:** {}", code.remedy())?;
        }
    }
    writeln!(out, "\n## What a provider answers\n")?;
    writeln!(
        out,
        "| its code | means | what to do |\n| --- | --- | --- |"
    )?;
    for Answered {
        name,
        means,
        remedy,
    } in PROVIDER_ANSWERS
    {
        writeln!(out, "| `{name}` | {means} | {remedy} |")?;
    }
    writeln!(out, "\n## Exit codes\n")?;
    writeln!(out, "| code | means | what to do |\n| --- | --- | --- |")?;
    for exit in Exit::ALL {
        let (means, remedy) = exit.meaning();
        writeln!(out, "| {} | {means} | {remedy} |", exit.number())?;
    }
    Ok(())
}

/// `Answered 403, or 401.`
fn answered(code: Code) -> String {
    match code.statuses() {
        [] => "In log and metrics only.".into(),
        [one] => format!("Answered {one}."),
        [one, others @ ..] => {
            let others: Vec<String> = others.iter().map(u16::to_string).collect();
            format!("Answered {one}, or {}.", others.join(", "))
        }
    }
}

/// Codes lead to what is said of them.
fn linked(text: &str) -> String {
    let pieces = text.split('`').enumerate().map(|(at, piece)| {
        if at % 2 == 0 {
            return piece.to_owned();
        }
        match Code::find(piece) {
            Some(code) => format!("[`{piece}`](#{})", code.anchor()),
            None if Answered::find(piece).is_some() => {
                format!("[`{piece}`](#what-a-provider-answers)")
            }
            None => format!("`{piece}`"),
        }
    });
    pieces.collect()
}

/// As forges make them of headings.
fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || *c == ' ');
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_among_symptoms_lead_to_their_explanations() {
        assert_eq!(
            linked("The body says `Overloaded`, not `invalid_client` or `nothing`"),
            "The body says [`Overloaded`](#overloaded), not [`invalid_client`](#what-a-provider-answers) or `nothing`"
        );
    }

    #[test]
    fn every_link_within_the_page_leads_somewhere() {
        let page = markdown();
        let headings = page.lines().filter_map(|line| line.strip_prefix("##"));
        let anchors: Vec<String> = headings
            .map(|heading| anchor(heading.trim_start_matches('#').trim()))
            .collect();
        let links: Vec<&str> = page
            .split("(#")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
            .collect();
        assert!(links.len() > 20);
        for link in links {
            assert!(anchors.iter().any(|anchor| anchor == link), "{link}");
        }
    }
}
