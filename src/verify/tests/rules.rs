//! What a route asks of a token's claims, a line each.

use super::*;
use crate::config::{ClaimRule, ClaimTest, ClaimValue};

fn text(text: &str) -> ClaimValue {
    ClaimValue::Text(text.into())
}

fn with(change: impl FnOnce(&mut TokenRules)) -> TokenRules {
    let mut rules = rules();
    change(&mut rules);
    rules
}

#[tokio::test]
async fn claims_are_compared_by_value_and_type_whether_one_or_a_list() {
    let issuer = issuer(&[&EC]);
    let claims = ims_with(&json!({
        "role": "BENTLEY_EMPLOYEE",
        "roles": ["Admin", "Site Manager"],
        "level": 3,
        "level_text": "3",
        "email_verified": true,
        "nothing": null,
        "realm_access": {"roles": ["reader"]},
        "https://example.com/tenant": "t1",
        "https://example.com/more": {"tier": "gold"},
    }));
    let token = EC.token(&claims);
    let equals = |value| ClaimTest::Equals(value);
    let contains = |values: &[&str]| ClaimTest::Contains(values.iter().map(|v| text(v)).collect());
    let any_of = |values: &[&str]| ClaimTest::AnyOf(values.iter().map(|v| text(v)).collect());
    let cases = [
        ("role", equals(text("BENTLEY_EMPLOYEE")), true),
        ("role", contains(&["BENTLEY_EMPLOYEE"]), true),
        ("role", any_of(&["x", "BENTLEY_EMPLOYEE"]), true),
        ("role", equals(text("bentley_employee")), false),
        ("role", any_of(&["x"]), false),
        ("roles", equals(text("Admin")), false), // it is more than that
        ("roles", contains(&["Admin"]), true),
        ("roles", contains(&["Site Manager", "Admin"]), true),
        ("roles", contains(&["Admin", "Owner"]), false),
        ("roles", contains(&["Site"]), false), // a word of a name is no value
        ("roles", any_of(&["Owner", "Admin"]), true),
        ("level", equals(ClaimValue::Number(3)), true),
        ("level", equals(ClaimValue::Number(4)), false),
        ("level", equals(text("3")), false),
        ("level_text", equals(ClaimValue::Number(3)), false),
        ("email_verified", equals(ClaimValue::Truth(true)), true),
        ("email_verified", equals(ClaimValue::Truth(false)), false),
        ("email_verified", equals(text("true")), false),
        ("absent", equals(text("x")), false),
        ("nothing", any_of(&["null"]), false),
        ("realm_access.roles", contains(&["reader"]), true),
        ("realm_access.roles", contains(&["writer"]), false),
        ("realm_access", contains(&["reader"]), false),
        ("https://example.com/tenant", equals(text("t1")), true),
        ("https://example.com/more.tier", equals(text("gold")), true),
        ("scope", contains(&["email"]), true),
        ("scope", equals(text("email")), false),
    ];
    for (claim, test, good) in cases {
        let rule = ClaimRule {
            claim: claim.into(),
            test: test.clone(),
        };
        let rules = with(|rules| rules.claims = vec![rule]);
        let admitted = admit(&issuer, &rules, &token);
        assert_eq!(admitted.is_ok(), good, "{claim} {test:?}");
        if let Err(refusal) = admitted {
            let claim = claim.into();
            assert_eq!(refusal, Refusal::Claim { claim });
        }
    }
}

#[tokio::test]
async fn a_scope_is_asked_for_word_by_word_in_either_form() {
    let issuer = issuer(&[&EC]);
    let forms = [
        json!("a b itwin-platform"),
        json!(["a", "b", "itwin-platform"]),
        json!(["a b", "itwin-platform"]),
    ];
    for scope in forms {
        let token = EC.token(&ims_with(&json!({"scope": scope})));
        let any = |words: &[&str]| {
            let words = words.iter().map(ToString::to_string).collect();
            admit(&issuer, &with(|rules| rules.any_scopes = words), &token).map(drop)
        };
        assert_eq!(any(&["b", "c"]), Ok(()), "{scope}");
        let missing = "c d".to_owned();
        assert_eq!(
            any(&["c", "d"]),
            Err(Refusal::Scopes { missing }),
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_route_takes_the_types_that_it_names() {
    let issuer = issuer(&[&EC]);
    let token = |typ: &Value| {
        let mut header = EC.header();
        header["typ"] = typ.clone();
        EC.sign(&header, &ims())
    };
    let untyped = EC.token(&ims());
    let takes = |words: &[&str], token: &str| {
        let types = words.iter().map(ToString::to_string).collect();
        admit(&issuer, &with(|rules| rules.types = types), token).map(drop)
    };
    assert_eq!(takes(&["at+jwt"], &untyped), Err(Refusal::Type));
    assert_eq!(takes(&["absent"], &untyped), Ok(()));
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(takes(&["at+jwt"], &token(&json!(typ))), Ok(()), "{typ}");
        assert_eq!(takes(&["jwt"], &token(&json!(typ))), Err(Refusal::Type));
    }
    assert_eq!(
        takes(&["absent"], &token(&json!("absent"))),
        Err(Refusal::Type)
    );
    assert_eq!(takes(&["passport"], &token(&json!("passport"))), Ok(()));
    // whatever a route names: these are other things
    for typ in crate::config::NEVER_ACCESS {
        let token = token(&json!(typ.to_ascii_uppercase()));
        assert_eq!(takes(&[typ], &token), Err(Refusal::Type), "{typ}");
    }
}

#[tokio::test]
async fn a_sign_in_is_fresh_or_has_to_be_repeated() {
    let issuer = issuer(&[&EC]);
    let age = |since: Value, limit| {
        let token = EC.token(&ims_with(&json!({"auth_time": since})));
        let limit = Some(Duration::from_secs(limit));
        admit(&issuer, &with(|rules| rules.max_age = limit), &token).map(drop)
    };
    assert_eq!(age(json!(NOW - 300), 300), Ok(()));
    assert_eq!(age(json!(NOW - 350), 300), Ok(()), "the clocks may differ");
    let refused = age(json!(NOW - 370), 300);
    assert!(
        matches!(refused, Err(Refusal::SignedInLongAgo { .. })),
        "{refused:?}"
    );
    let missing = Err(Refusal::Missing { claim: "auth_time" });
    assert_eq!(age(Value::Null, 300), missing);
    let wrong = Err(Refusal::WrongType { claim: "auth_time" });
    assert_eq!(age(json!("yesterday"), 300), wrong);
}
