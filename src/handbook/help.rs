//! Where a reader of an error finds what it means.

use super::Code;

/// Where our errors point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Help {
    /// To the command and the page that come with the program.
    #[default]
    Program,
    /// To a page that somebody serves: this address, `#` and the code in lower case.
    At(Box<str>),
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
