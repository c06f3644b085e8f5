//! What `doctor` finds out about the kernel's rules, where the proxy is.

use serde_json::{Value, json};

use super::{space::permitted, world::World};

const RIGHTS: &str = "-all,+net_admin,+net_raw,+dac_override";

fn told(found: &[Value]) -> (&str, String) {
    let [one] = found else {
        panic!("{found:?}");
    };
    (one["verdict"].as_str().unwrap(), one.to_string())
}

#[test]
fn rules_in_place_are_told_from_missing_ones_and_from_those_that_cannot_be_seen() {
    if !permitted() {
        return;
    }
    let listeners = json!([{"bind": "127.0.0.1:15001", "mode": "transparent"}]);
    for backend in ["nft", "iptables"] {
        let world = World::pod();
        let before = world.doctor(&listeners, RIGHTS);
        let (verdict, text) = told(&before);
        assert_eq!(verdict, "failure", "{text}");
        assert!(text.contains("redirect --apply"), "{text}");

        world.redirect(&format!("--apply --backend {backend} --uid 1337"));
        let there = world.doctor(&listeners, RIGHTS);
        let (verdict, text) = told(&there);
        assert_eq!(verdict, "ok", "{backend}: {text}");

        let hidden = world.doctor(&listeners, "-all,+dac_override");
        let (verdict, text) = told(&hidden);
        assert_eq!(verdict, "warning", "{backend}: {text}");
        assert!(text.contains("CAP_NET_ADMIN"), "{text}");

        world.redirect(&format!("--remove --backend {backend}"));
        let after = world.doctor(&listeners, RIGHTS);
        assert_eq!(told(&after).0, "failure", "{backend}");
    }
    let world = World::pod();
    let reverse = json!([{"bind": "127.0.0.1:15001"}]);
    assert_eq!(world.doctor(&reverse, RIGHTS), Vec::<Value>::new());
}
