//! What went to a provider as a secret, so that it can be taken out of what comes back.
//!
//! Some servers quote the request in `error` or `error_description`. Both are worth having in a log;
//! a client's secret is not. Values are recognised in the forms in which they were sent, and long
//! ones by any piece of them: who quotes a request may cut it short.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;
use zeroize::Zeroizing;

/// The parameters whose values are secrets (RFC 6749, RFC 7521, RFC 7636, RFC 7662, RFC 8628).
const SECRET_PARAMETERS: [&str; 10] = [
    "code",
    "code_verifier",
    "device_code",
    "client_secret",
    "client_assertion",
    "assertion",
    "password",
    "refresh_token",
    "token",
    "subject_token",
];

/// Shorter values would be found in the middle of words.
const SHORTEST: usize = 4;

/// A piece of a secret of this length is not there by chance.
const PIECE: usize = 12;

const MASK: &str = "(secret)";

/// The secrets of one request, in every form in which they were sent, longest first.
#[derive(Default)]
pub(super) struct Sent(Vec<Zeroizing<String>>);

impl Sent {
    pub(super) fn of<B: AsRef<[u8]>>(request: &Request<B>) -> Self {
        let mut sent = Self::default();
        for value in request.headers().get_all(AUTHORIZATION) {
            let value = String::from_utf8_lossy(value.as_bytes());
            let credentials = value.split_once(' ').map_or(&*value, |(_, rest)| rest);
            sent.add(credentials);
            let decoded = STANDARD.decode(credentials).unwrap_or_default();
            let decoded = Zeroizing::new(decoded);
            let pair = String::from_utf8_lossy(&decoded);
            // RFC 6749 section 2.3.1: both are form-encoded inside
            if let Some((_, password)) = pair.split_once(':') {
                sent.add(password);
                let plain = password.replace('+', " ");
                sent.add(&percent_decode_str(&plain).decode_utf8_lossy());
            }
        }
        let body = request.body().as_ref();
        for pair in body.split(|byte| *byte == b'&') {
            let raw = String::from_utf8_lossy(pair);
            for (name, value) in form_urlencoded::parse(pair) {
                if SECRET_PARAMETERS.contains(&&*name) {
                    sent.add(&value);
                    sent.add(raw.split_once('=').map_or("", |(_, value)| value));
                }
            }
        }
        sent.0.sort_by_key(|text| std::cmp::Reverse(text.len()));
        sent
    }

    fn add(&mut self, text: &str) {
        if text.len() >= SHORTEST {
            self.0.push(Zeroizing::new(text.to_owned()));
        }
    }

    /// `text` without what was sent.
    pub(super) fn mask(&self, text: &str) -> String {
        let found = self.0.iter().filter(|secret| text.contains(&***secret));
        let mut masked = text.to_owned();
        for secret in found {
            masked = masked.replace(&***secret, MASK);
        }
        self.mask_pieces(&masked)
    }

    fn mask_pieces(&self, text: &str) -> String {
        let secrets = self.0.iter().map(|secret| secret.as_bytes());
        let pieces: HashSet<&[u8]> = secrets.flat_map(|secret| secret.windows(PIECE)).collect();
        let mut masked = Vec::new();
        let mut end = 0;
        for (start, piece) in text.as_bytes().windows(PIECE).enumerate() {
            if !pieces.contains(piece) {
                continue;
            }
            if start > end || end == 0 {
                masked.extend_from_slice(&text.as_bytes()[end..start]);
                masked.extend_from_slice(MASK.as_bytes());
            }
            end = start + PIECE;
        }
        masked.extend_from_slice(&text.as_bytes()[end..]);
        // a piece may end within a character
        String::from_utf8_lossy(&masked).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_provider_that_quotes_the_request_tells_nobody_the_secret() {
        let encoded = "p%C3%A4ss+w%26rd";
        let basic = STANDARD.encode(format!("client:{encoded}"));
        let request = Request::post("https://idp.example/token")
            .header(AUTHORIZATION, format!("Basic {basic}"))
            .body(b"grant_type=password&username=anna&password=s%2Bcret&scope=a".to_vec())
            .unwrap();
        let quoted = format!(
            "client client, user anna: Basic {basic} {encoded} päss w&rd s%2Bcret s+cret scope a"
        );
        assert_eq!(
            Sent::of(&request).mask(&quoted),
            "client client, user anna: Basic (secret) (secret) (secret) (secret) (secret) scope a"
        );
    }

    #[test]
    fn a_provider_that_quotes_a_part_of_the_request_tells_nobody_that_part_of_an_assertion() {
        let assertion = STANDARD.encode("<saml:Assertion ID=\"\u{3ff}~~\">".repeat(20));
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair(
                "grant_type",
                "urn:ietf:params:oauth:grant-type:saml2-bearer",
            )
            .append_pair("assertion", &assertion)
            .append_pair("scope", "imodelhub")
            .finish();
        let request = Request::post("https://idp.example/token").body(form.clone());
        let sent = Sent::of(&request.unwrap());
        let before = form.split_once("PHNh").unwrap().0;
        for (quoted, expected) in [
            (form.clone(), format!("{before}(secret)&scope=imodelhub")),
            (form[..200].to_owned(), format!("{before}(secret)")),
            (
                format!("...{} is bad", &assertion[50..100]),
                "...(secret) is bad".into(),
            ),
        ] {
            assert_eq!(sent.mask(&quoted), expected);
        }
    }

    proptest! {
        #[test]
        fn no_piece_of_a_secret_is_left_in_any_text(
            secret in "[a-f0-9é]{12,40}",
            parts in prop::collection::vec(("[ -~é]{0,9}", 0..40_usize, 0..40_usize), 0..6),
        ) {
            let mut sent = Sent::default();
            sent.add(&secret);
            let mut text = String::new();
            for (between, from, length) in parts {
                text += &between;
                text.extend(secret.chars().skip(from).take(length));
            }
            let masked = sent.mask(&text);
            let secret: Vec<char> = secret.chars().collect();
            for piece in secret.windows(PIECE) {
                prop_assert!(!masked.contains(&piece.iter().collect::<String>()), "{masked}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        let request = Request::post("https://idp.example/token")
            .body(b"client_id=service&client_secret=abc".to_vec())
            .unwrap();
        let text = "AADSTS7000215: invalid client secret of service, trace 00-4bf92f35";
        assert_eq!(Sent::of(&request).mask(text), text);
    }
}
