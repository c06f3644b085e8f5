//! The proxy on a gateway: connections that pass through it are redirected.

use serde_json::{Value, json};

use super::{
    space::permitted,
    world::{FAMILIES, OPENED, OTHER, World},
};

fn listeners(by: &str) -> Value {
    let listener = |bind: &str| {
        json!({
            "bind": bind,
            "mode": "transparent",
            "redirected_by": by,
            "admit": {"networks": ["10.244.1.0/24", "fd00:245::/64"]},
        })
    };
    json!([listener("0.0.0.0:15001"), listener("[::]:15001")])
}

fn connections_that_pass_through(words: &str, by: &str, capabilities: &str) {
    if !permitted() {
        return;
    }
    let world = World::gateway();
    world.redirect(&format!("--apply --inbound {words}"));
    let _proxy = world.proxy(&listeners(by), capabilities);
    for family in FAMILIES {
        let seen = world.https_ours(family, OPENED).unwrap();
        assert!(seen.contains("the-token"), "{seen}");
        let seen = world.https_theirs(family, OTHER).unwrap();
        assert!(!seen.contains("the-token"), "{seen}");
        let seen = world
            .curl(family, &[&format!("http://{OPENED}/clear")])
            .unwrap();
        assert!(seen.contains("the-token"), "{seen}");
        // to the gateway itself
        let at = match family {
            super::world::Family::V4 => "10.244.1.1",
            super::world::Family::V6 => "[fd00:245::1]",
        };
        let refused = world.curl(family, &[&format!("http://{at}:15001/")]);
        assert!(matches!(refused, Err(7 | 52 | 56)), "{refused:?}");
    }
    world.redirect(&format!(
        "--remove {}",
        words.split(" --mode").next().unwrap()
    ));
    assert!(matches!(
        world.https_ours(FAMILIES[0], OPENED),
        Err(35 | 60)
    ));
}

#[test]
fn translated_by_nftables() {
    connections_that_pass_through("--backend nft", "nat", "");
}

#[test]
fn translated_by_iptables() {
    connections_that_pass_through("--backend iptables-nft", "nat", "");
    connections_that_pass_through("--backend iptables-legacy", "nat", "");
}

#[test]
fn intercepted_by_tproxy_of_nftables() {
    connections_that_pass_through("--backend nft --mode tproxy", "tproxy", "+net_admin");
}

#[test]
fn intercepted_by_tproxy_of_iptables() {
    let words = [
        "--backend iptables-nft --mode tproxy",
        "--backend iptables-legacy --mode tproxy",
    ];
    for words in words {
        // the narrower of the two capabilities will do
        connections_that_pass_through(words, "tproxy", "+net_raw");
    }
}

#[test]
fn without_the_capability_tproxy_is_refused_at_the_start() {
    if !permitted() {
        return;
    }
    let said = World::gateway().failing_proxy(&listeners("tproxy"));
    assert!(said.contains("CAP_NET_ADMIN"), "{said}");
}

#[test]
fn others_are_not_reached_for_whoever_is_not_admitted_nor_what_only_the_gateway_reaches() {
    if !permitted() {
        return;
    }
    let world = World::gateway();
    world.redirect("--apply --inbound");
    let mut nobody = listeners("nat");
    for listener in nobody.as_array_mut().unwrap() {
        listener["admit"] = json!({"networks": ["192.0.2.0/24"]});
    }
    let proxy = world.proxy(&nobody, "");
    for url in [format!("http://{OPENED}/"), format!("http://{OTHER}/")] {
        let refused = world.curl(FAMILIES[0], &[&url]);
        assert!(matches!(refused, Err(7 | 52 | 56)), "{refused:?}");
    }
    proxy.line("a redirected connection is refused");
    drop(proxy);
    // a cloud's metadata service, as the gateway sees it
    let _proxy = world.proxy(&listeners("nat"), "");
    world.pod.ip("route add 169.254.169.254 via 10.244.1.1");
    world.gateway_route_to_metadata();
    let refused = world.curl(FAMILIES[0], &["http://169.254.169.254/latest"]);
    assert!(refused.is_ok_and(|answer| answer.contains("AddressNotAllowed")));
    assert!(
        !world
            .plain
            .seen
            .read(|seen| seen.concat().contains("/latest"))
    );
}
