//! Where a reader of an error finds what it means.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Code;

/// Where our errors point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Help {
    /// To the command and the page that come with the program.
    #[default]
    Program,
    /// To a page that somebody serves: this address, `#` and the code in lower case.
    At(Arc<str>),
}

/// What every error says, whatever happened: which request it was, and where its code is explained.
#[derive(Debug, Clone, Default)]
pub struct Reference {
    pub request_id: String,
    pub help: Help,
}

impl Reference {
    /// The `details` of an error.
    pub fn details(&self, code: Code) -> [Value; 2] {
        [
            json!({"code": "RequestId", "message": self.request_id}),
            json!({"code": "Help", "message": self.help.to(code)}),
        ]
    }
}

impl Help {
    /// What `details` say of a code.
    pub fn to(&self, code: Code) -> String {
        match self {
            Self::Program => format!(
                "itwin-auth-proxy explain {code}, or docs/troubleshooting.md#{}",
                code.anchor()
            ),
            Self::At(page) => format!("{page}#{}", code.anchor()),
        }
    }

    /// The page that somebody serves for people, if there is one.
    pub fn page(&self, code: Code) -> Option<String> {
        matches!(self, Self::At(_)).then(|| self.to(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_to_where_the_configuration_says() {
        let at = |page: &str| Help::At(page.into()).to(Code::TokenUnavailable);
        assert_eq!(
            at("https://wiki/errors"),
            "https://wiki/errors#tokenunavailable"
        );
        assert_eq!(
            Help::Program.to(Code::TokenUnavailable),
            "itwin-auth-proxy explain TokenUnavailable, or docs/troubleshooting.md#tokenunavailable"
        );
    }
}
