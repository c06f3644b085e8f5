use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::secret::Secret;
use http::header::COOKIE;

const NOW: u64 = 1_700_000_000;
const DAY: Duration = Duration::from_secs(86_400);
const HANDLE: Handle = Handle {
    id: *b"0123456789abcdef",
    version: 3,
    sealed_at: NOW,
};

fn cookies_of(session: &str, current: &str, previous: Option<&str>) -> Cookies {
    let previous = previous.map(Secret::new);
    let ring = Ring::new(session, &Secret::new(current), previous.as_ref()).unwrap();
    Cookies::new(Name::sole(), ring)
}

fn cookies() -> Cookies {
    cookies_of("web", "one", None)
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

fn set(cookies: &Cookies, handle: &Handle, state: State<'_>) -> Vec<HeaderValue> {
    let had = 0;
    let lines = cookies.set(handle, state, DAY, had, &mut rng());
    lines.unwrap()
}

/// A browser's jar after these lines: those with `Max-Age=0` are gone.
fn jar(lines: &[HeaderValue]) -> Vec<(String, String)> {
    let mut jar: Vec<(String, String)> = Vec::new();
    for line in lines {
        let line = line.to_str().unwrap();
        assert!(line.len() <= 4_000, "{}", line.len());
        for must in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite="] {
            assert!(line.contains(must), "{line}");
        }
        let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
        jar.retain(|(held, _)| held != name);
        if !line.ends_with("Max-Age=0") {
            jar.push((name.to_owned(), value.to_owned()));
        }
    }
    jar
}

fn request(jar: &[(String, String)]) -> HeaderMap {
    let pairs = jar.iter().map(|(name, value)| format!("{name}={value}"));
    let pairs: Vec<_> = pairs.collect();
    HeaderMap::from_iter([(COOKIE, pairs.join("; ").parse().unwrap())])
}

fn sent(lines: &[HeaderValue]) -> HeaderMap {
    request(&jar(lines))
}

/// What is opened, to its state; a handle alone opens to nothing.
fn opened(cookies: &Cookies, headers: &HeaderMap) -> Result<(Handle, Vec<u8>), BadCookie> {
    match cookies.shown(headers, NOW, DAY) {
        Shown::Nothing => panic!("no cookie"),
        Shown::Bad(bad) => Err(bad),
        Shown::Opened(opened) => match cookies.state(headers, &opened) {
            Ok(state) => Ok((opened.handle, state.to_vec())),
            Err(BadCookie::Stateless) => Ok((opened.handle, Vec::new())),
            Err(bad) => Err(bad),
        },
    }
}

#[test]
fn what_is_set_is_opened_with_and_without_state() {
    let cookies = cookies();
    let headers = sent(&set(&cookies, &HANDLE, State::Elsewhere));
    assert!(headers[COOKIE].len() < 110, "{headers:?}");
    assert_eq!(opened(&cookies, &headers), Ok((HANDLE, Vec::new())));
    for bytes in [1, 100, 2_800, 6_000, 11_000] {
        let state = vec![7; bytes];
        let lines = set(&cookies, &HANDLE, State::Carried(&state));
        assert_eq!(opened(&cookies, &sent(&lines)), Ok((HANDLE, state)));
        assert!(lines.len() <= CHUNKS);
    }
    let state = vec![7; 12_000];
    let refused = cookies.set(&HANDLE, State::Carried(&state), DAY, 0, &mut rng());
    assert!(matches!(refused, Err(SealError::TooLarge(12_000))));
}

#[test]
fn four_kilobytes_of_tokens_fit_into_two_cookies() {
    use crate::session::codec::{Form, Writer};
    let part = |length| URL_SAFE_NO_PAD.encode(vec![b'x'; length]);
    let jwt = |payload| format!("{}.{}.{}", part(60), part(payload), part(256));
    let tokens = [jwt(1_000), jwt(800), "r".repeat(43)];
    let length: usize = tokens.iter().map(String::len).sum();
    assert!((3_000..4_096).contains(&length), "{length}");
    let rest = jwt((4_096 - length) * 3 / 4 + 40);
    let form = Form {
        kind: 1,
        version: 1,
    };
    let mut writer = Writer::new(form);
    writer
        .text("ann@example.com")
        .text("Ann Example")
        .number(NOW);
    for token in tokens.iter().chain([&rest]) {
        writer.secret(&Secret::new(token.as_str())).number(NOW);
    }
    let lines = set(&cookies(), &HANDLE, State::Carried(&writer.finish()));
    assert_eq!(lines.len(), 2);
}

#[test]
fn surplus_chunks_are_cleared_and_would_not_harm() {
    let cookies = cookies();
    let large = set(&cookies, &HANDLE, State::Carried(&[7; 9_000]));
    let headers = sent(&large);
    assert_eq!(cookies.held(&headers), large.len());
    assert!(large.len() > 3);
    let newer = Handle {
        version: 4,
        ..HANDLE
    };
    let had = cookies.held(&headers);
    let small = cookies.set(&newer, State::Carried(b"x"), DAY, had, &mut rng());
    let small = small.unwrap();
    let both = jar(&[large.clone(), small.clone()].concat());
    assert_eq!(both.len(), 1, "the others were cleared");
    assert_eq!(
        opened(&cookies, &request(&both)),
        Ok((newer, b"x".to_vec()))
    );
    // a browser that kept them all the same
    let kept = jar(&[large, small[..1].to_vec()].concat());
    assert!(kept.len() > 3);
    assert_eq!(
        opened(&cookies, &request(&kept)),
        Ok((newer, b"x".to_vec()))
    );
    assert!(jar(&[sent_lines(&kept), cookies.clear()].concat()).is_empty());
}

fn sent_lines(jar: &[(String, String)]) -> Vec<HeaderValue> {
    let line = |(name, value): &(String, String)| {
        let line = format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax");
        line.parse().unwrap()
    };
    jar.iter().map(line).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_is_not_ours_as_we_set_it_is_no_session() {
    use BadCookie::{Ancient, Foreign, Future, Incomplete, Malformed};
    let ours = cookies();
    let state = State::Carried(b"state");
    let good = jar(&set(&ours, &HANDLE, state)).remove(0).1;
    let other = |handle: &Handle| jar(&set(&ours, handle, state)).remove(0).1;
    let foreign = |cookies: &Cookies| jar(&set(cookies, &HANDLE, state)).remove(0).1;
    let aged = |sealed_at| {
        other(&Handle {
            sealed_at,
            ..HANDLE
        })
    };
    let transaction = {
        let lines = ours.begin(
            &HeaderMap::new(),
            &transaction("abcdefgh"),
            SameSite::Lax,
            &mut rng(),
        );
        jar(&lines.unwrap()).remove(0).1
    };
    // `v1.HANDLE.1.STATE`
    let (handle, sealed) = (&good[..3 + TEXT], &good[3 + TEXT + 3..]);
    let id = *b"another session!";
    let theirs = other(&Handle { id, ..HANDLE });
    let past = other(&Handle {
        version: 2,
        ..HANDLE
    });
    let mut changed = good.clone().into_bytes();
    changed[20] = if changed[20] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (what, value, expected) in [
        ("as it was set", good.clone(), Ok(())),
        ("nothing", String::new(), Err(Malformed)),
        ("garbage", "x".repeat(200), Err(Malformed)),
        (
            "another format",
            good.replacen("v1", "v2", 1),
            Err(Malformed),
        ),
        ("no format", good[3..].to_owned(), Err(Malformed)),
        ("a changed character", changed, Err(Foreign)),
        (
            "a character that is no base64url",
            good.replacen(&good[20..21], "+", 1),
            Err(Malformed),
        ),
        ("cut in the handle", good[..50].to_owned(), Err(Malformed)),
        (
            "cut in the state",
            good[..good.len() - 4].to_owned(),
            Err(Foreign),
        ),
        (
            "state of almost nothing",
            format!("{handle}.1.AAAA"),
            Err(Malformed),
        ),
        (
            "more after the handle",
            format!("{handle}x"),
            Err(Malformed),
        ),
        (
            "more chunks than there are",
            format!("{handle}.2.{sealed}"),
            Err(Incomplete),
        ),
        ("no chunks", format!("{handle}.0.{sealed}"), Err(Malformed)),
        (
            "too many chunks",
            format!("{handle}.5.{sealed}"),
            Err(Malformed),
        ),
        (
            "state of another session",
            format!("{handle}.1.{}", &theirs[3 + TEXT + 3..]),
            Err(Foreign),
        ),
        (
            "state of its past",
            format!("{handle}.1.{}", &past[3 + TEXT + 3..]),
            Err(Foreign),
        ),
        (
            "a state as handle",
            format!("v1.{}.1.{sealed}", "A".repeat(TEXT)),
            Err(Foreign),
        ),
        (
            "a transaction as handle",
            format!("v1.{}", &transaction[..TEXT]),
            Err(Foreign),
        ),
        (
            "a handle as state",
            format!("{handle}.1.{}", &handle[3..]),
            Err(Foreign),
        ),
        ("quoted", format!("\"{good}\""), Err(Malformed)),
        (
            "of another key",
            foreign(&cookies_of("web", "two", None)),
            Err(Foreign),
        ),
        (
            "of another session of the configuration",
            foreign(&cookies_of("b", "one", None)),
            Err(Foreign),
        ),
        ("of yesterday", aged(NOW - 86_400), Ok(())),
        ("ancient", aged(NOW - 86_401), Err(Ancient)),
        ("of a clock that is ahead", aged(NOW + SKEW), Ok(())),
        ("of the future", aged(NOW + SKEW + 1), Err(Future)),
        ("of the end of time", aged(u64::MAX), Err(Future)),
    ] {
        let headers = request(&[(PREFIX.to_owned(), value)]);
        let found = opened(&ours, &headers).map(|_| ());
        assert_eq!(found, expected, "{what}");
    }
    let twice = [(PREFIX.to_owned(), good.clone()), (PREFIX.to_owned(), good)];
    assert_eq!(opened(&ours, &request(&twice)), Err(BadCookie::Twice));
}

#[test]
fn a_chunk_that_is_missing_twice_or_of_another_time_is_no_session() {
    let cookies = cookies();
    let set = |version, fill| {
        let handle = Handle { version, ..HANDLE };
        jar(&set(&cookies, &handle, State::Carried(&vec![fill; 6_002])))
    };
    let (old, new) = (set(1, 1), set(2, 2));
    assert_eq!(new.len(), 3);
    assert!(opened(&cookies, &request(&new)).is_ok());
    let missing = request(&new[..2]);
    assert_eq!(opened(&cookies, &missing), Err(BadCookie::Incomplete));
    let mixed = [new[0].clone(), old[1].clone(), new[2].clone()];
    assert_eq!(opened(&cookies, &request(&mixed)), Err(BadCookie::Foreign));
    let twice = [&new[..], &old[2..]].concat();
    assert_eq!(opened(&cookies, &request(&twice)), Err(BadCookie::Twice));
    let swapped = [
        new[0].clone(),
        (new[1].0.clone(), new[2].1.clone()),
        (new[2].0.clone(), new[1].1.clone()),
    ];
    assert_eq!(
        opened(&cookies, &request(&swapped)),
        Err(BadCookie::Foreign)
    );
}

#[test]
fn a_cookie_of_the_previous_key_opens_and_says_so() {
    let old = cookies_of("web", "one", None);
    let new = cookies_of("web", "two", Some("one"));
    let headers = sent(&set(&old, &HANDLE, State::Carried(b"state")));
    let Shown::Opened(shown) = new.shown(&headers, NOW, DAY) else {
        panic!("not opened")
    };
    assert_eq!(shown.by, SealedBy::Previous);
    assert_eq!(*new.state(&headers, &shown).unwrap(), b"state");
}

fn transaction(tag: &str) -> Transaction {
    Transaction {
        state: Secret::new(format!("{tag}-and-the-rest-of-the-state-0123456789")),
        nonce: Secret::new("nonce"),
        verifier: Secret::new("verifier"),
        return_to: "/app?x=1".to_owned(),
        issuer: "https://ims.example".to_owned(),
        renews: None,
        started_at: NOW,
    }
}

#[test]
fn a_sign_in_ends_in_the_browser_that_began_it() {
    use NoTransaction::{Expired, Foreign, Twice, Unknown};
    let cookies = cookies();
    let begun = transaction("abcdefgh");
    let lines = cookies
        .begin(&HeaderMap::new(), &begun, SameSite::None, &mut rng())
        .unwrap();
    assert!(lines[0].to_str().unwrap().contains("SameSite=None"));
    let headers = sent(&lines);
    let state = begun.state.expose();
    let found = cookies.transaction(&headers, state, NOW + 599).unwrap();
    assert_eq!(found.nonce.expose(), "nonce");
    assert_eq!(found.verifier.expose(), "verifier");
    assert_eq!(
        (&*found.return_to, &*found.issuer),
        ("/app?x=1", "https://ims.example")
    );
    let name = jar(&lines)[0].0.clone();
    let value = jar(&lines)[0].1.clone();
    let moved = request(&[(name.replace("abcdefgh", "ABCDEFGH"), value.clone())]);
    let twice = request(&[(name.clone(), value.clone()), (name.clone(), value.clone())]);
    let cut = request(&[(name.clone(), value[..value.len() - 4].to_owned())]);
    let handle = jar(&set(&cookies, &HANDLE, State::Elsewhere)).remove(0).1;
    let handle = request(&[(name, handle[3..].to_owned())]);
    for (what, headers, state, now, expected) in [
        ("another browser", &HeaderMap::new(), state, NOW, Unknown),
        (
            "another state",
            &headers,
            "zzzzzzzz-and-the-rest",
            NOW,
            Unknown,
        ),
        (
            "the same beginning only",
            &headers,
            "abcdefgh",
            NOW,
            Unknown,
        ),
        ("an empty state", &headers, "", NOW, Unknown),
        (
            "a state that is no name",
            &headers,
            "a;b=c ümlaut",
            NOW,
            Unknown,
        ),
        ("too late", &headers, state, NOW + 600, Expired),
        ("before it began", &headers, state, NOW - SKEW - 1, Expired),
        (
            "under another name",
            &moved,
            &state.replace("abcdefgh", "ABCDEFGH"),
            NOW,
            Foreign,
        ),
        ("twice", &twice, state, NOW, Twice),
        ("cut", &cut, state, NOW, Foreign),
        ("a handle", &handle, state, NOW, Foreign),
    ] {
        let found = cookies.transaction(headers, state, now);
        assert_eq!(found.err(), Some(expected), "{what}");
    }
    let after = jar(&[lines, vec![cookies.end(state).unwrap()]].concat());
    assert!(after.is_empty());
}

#[test]
fn no_more_than_five_sign_ins_live_in_a_browser_and_the_oldest_goes() {
    let cookies = cookies();
    let mut held: Vec<HeaderValue> = Vec::new();
    for number in 0..9 {
        let begun = Transaction {
            started_at: NOW + number,
            ..transaction(&format!("sign-in{number}"))
        };
        let lines = cookies.begin(&sent(&held), &begun, SameSite::Lax, &mut rng());
        held = sent_lines(&jar(&[held, lines.unwrap()].concat()));
    }
    let names: Vec<_> = jar(&held).into_iter().map(|(name, _)| name).collect();
    let expected = [4, 5, 6, 7, 8].map(|number| format!("{PREFIX}.tx-sign-in{number}"));
    assert_eq!(names, expected);

    // those that are over, or not ours, go first; what we would not have written is left alone
    let mut jar_now = jar(&held);
    jar_now.push((format!("{PREFIX}.tx-garbage1"), "x".to_owned()));
    jar_now.push((format!("{PREFIX}.tx-no tag"), "x".to_owned()));
    let later = Transaction {
        started_at: NOW + 606,
        ..transaction("sign-in9")
    };
    let lines = cookies.begin(&request(&jar_now), &later, SameSite::Lax, &mut rng());
    let cleared = lines.unwrap();
    let cleared = cleared.iter().skip(1).map(|line| line.to_str().unwrap());
    let cleared: Vec<_> = cleared
        .map(|line| line.split('=').next().unwrap())
        .collect();
    let over = ["garbage1", "sign-in4", "sign-in5", "sign-in6"];
    assert_eq!(cleared, over.map(|tag| format!("{PREFIX}.tx-{tag}")));
}

#[test]
fn long_addresses_do_not_make_the_header_grow_without_end() {
    let cookies = cookies();
    let mut held: Vec<HeaderValue> = Vec::new();
    for number in 0..5 {
        let begun = Transaction {
            started_at: NOW + number,
            return_to: format!("/{}", "x".repeat(2_000)),
            ..transaction(&format!("sign-in{number}"))
        };
        let lines = cookies.begin(&sent(&held), &begun, SameSite::Lax, &mut rng());
        held = sent_lines(&jar(&[held, lines.unwrap()].concat()));
    }
    assert!(sent(&held)[COOKIE].len() <= ALIVE_BYTES_TOLD);
    let endless = Transaction {
        return_to: "x".repeat(3_000),
        ..transaction("abcdefgh")
    };
    let refused = cookies.begin(&HeaderMap::new(), &endless, SameSite::Lax, &mut rng());
    assert!(matches!(refused, Err(SealError::TransactionTooLarge)));
}

const ALIVE_BYTES_TOLD: usize = 8_000;

proptest! {
    #[test]
    fn any_bytes_are_a_session_of_ours_or_none(
        lines in prop::collection::vec("[\\x21-\\x7e\u{80}-\u{ff} ]{0,40}", 0..4),
        value in "(v1|\\.|[0-5]|[A-Za-z0-9_-]{80}|[A-Za-z0-9_-]{0,9}){0,8}",
    ) {
        let cookies = cookies();
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, format!("a=b; {PREFIX}={value}; {PREFIX}.1=x").parse().unwrap());
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let shown = cookies.shown(&headers, NOW, DAY);
        prop_assert!(!matches!(shown, Shown::Opened(_)));
        let _ = cookies.transaction(&headers, &value, NOW);
        let _ = cookies.held(&headers);
    }
}
