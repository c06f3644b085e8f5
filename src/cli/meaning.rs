//! `itwin-auth-proxy explain CODE`: what an error code, a status or an exit code means.

use http::{Method, StatusCode};

use super::{
    Exit, complain,
    output::{self, Style, wrapped},
    say,
};
use crate::handbook::{Answered, Code, Exit as Ended, PROVIDER_ANSWERS, plain};

/// Columns of a text; the widest that is read without losing the line.
const WIDTH: usize = 88;

pub(super) fn explain(asked: &str) -> Result<Exit, Exit> {
    if let Some(code) = Code::find(asked) {
        tell(code);
        return Ok(Exit::Ok);
    }
    if let Some(one) = Answered::find(asked) {
        let name = output::styled(Style::Bold, one.name);
        say(format!("{name} (a provider's answer to a token request)\n"));
        paragraphs(one.means, one.remedy);
        return Ok(Exit::Ok);
    }
    if let Ok(number) = asked.parse::<u16>() {
        return of_number(number);
    }
    if is_method(asked) {
        complain(format!(
            "error: a URL is missing: itwin-auth-proxy explain {asked} URL"
        ));
        return Err(Exit::Usage);
    }
    complain(format!("error: {asked} is no code of this program"));
    let near = near(asked);
    if !near.is_empty() {
        complain(format!("did you mean {}?", near.join(", ")));
    }
    Err(Exit::No)
}

/// A status of HTTP, or an exit code.
fn of_number(number: u16) -> Result<Exit, Exit> {
    if let Some(exit) = Ended::ALL
        .iter()
        .find(|exit| u16::from(exit.number()) == number)
    {
        let (means, remedy) = exit.meaning();
        say(format!(
            "{} ({})\n",
            output::styled(Style::Bold, &format!("exit code {number}")),
            exit.word()
        ));
        paragraphs(means, remedy);
        return Ok(Exit::Ok);
    }
    let codes: Vec<Code> = Code::all()
        .filter(|code| code.statuses().contains(&number))
        .collect();
    let reason = StatusCode::from_u16(number).ok();
    let reason = reason.and_then(|status| status.canonical_reason());
    if codes.is_empty() {
        complain(format!(
            "error: nothing here answers {number}, nor ends so: a status of the upstream's is passed on"
        ));
        return Err(Exit::No);
    }
    say(format!(
        "{} {} is answered with these codes; explain CODE says what to do:\n",
        output::styled(Style::Bold, &number.to_string()),
        reason.unwrap_or_default()
    ));
    let width = codes.iter().map(|code| code.name().len()).max();
    let width = width.unwrap_or_default() + 2;
    for code in codes {
        let name = format!("{:width$}", code.name());
        let means = wrapped(&plain(code.means()), WIDTH.saturating_sub(width).max(30));
        for (at, line) in means.iter().enumerate() {
            let lead = if at == 0 {
                output::styled(Style::Bold, &name)
            } else {
                " ".repeat(width)
            };
            say(format!("{lead}{line}"));
        }
    }
    say("\nWithout `Proxy-Status: itwin-auth-proxy` in the answer it is the upstream's own.");
    Ok(Exit::Ok)
}

fn tell(code: Code) {
    let statuses: Vec<String> = code.statuses().iter().map(u16::to_string).collect();
    let statuses = match statuses.as_slice() {
        [] => "in log and metrics only".to_owned(),
        all => all.join(" or "),
    };
    let name = output::styled(Style::Bold, code.name());
    say(format!("{name} ({statuses})\n"));
    paragraphs(code.means(), code.remedy());
}

fn paragraphs(means: &str, remedy: &str) {
    for line in wrapped(&plain(means), WIDTH) {
        say(line);
    }
    say(format!("\n{}", output::styled(Style::Green, "What to do:")));
    for line in wrapped(&plain(remedy), WIDTH) {
        say(line);
    }
}

fn is_method(text: &str) -> bool {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::CONNECT,
        Method::TRACE,
    ];
    known
        .iter()
        .any(|method| method.as_str().eq_ignore_ascii_case(text))
}

/// Codes that have the text in them, or share words with it.
fn near(asked: &str) -> Vec<&'static str> {
    let asked = asked.to_ascii_lowercase();
    let close = |code: &Code| {
        let name = code.anchor();
        let beginning = asked.get(..6).unwrap_or(&asked);
        asked.len() > 2 && (name.contains(&asked) || name.starts_with(beginning))
    };
    let answered = PROVIDER_ANSWERS.iter().map(|one| one.name);
    let answered = answered.filter(|name| asked.len() > 2 && name.contains(&asked));
    let ours = Code::all().filter(close).map(Code::name);
    ours.chain(answered).take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_are_nearly_right_are_offered() {
        assert!(near("tokenunavailble").contains(&"TokenUnavailable"));
        assert!(near("overload").contains(&"Overloaded"));
        assert!(near("xyz").is_empty());
    }
}
