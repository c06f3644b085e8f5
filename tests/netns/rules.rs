//! What `redirect` makes of a namespace's rules.

use super::{
    space::permitted,
    world::{Family, World},
};

const BACKENDS: [&str; 4] = ["nft", "iptables", "iptables-nft", "iptables-legacy"];

const TRAFFIC: [&str; 7] = [
    "--uid 1337",
    "--uid 1337,1338 --no-ipv6 --ports 443",
    "--only 1000 --except 192.0.2.0/24,2001:db8::/32",
    "--only 1000,1001 --except 10.0.0.0/8,10.1.0.0/16,10.4.4.0/22,192.0.2.1/32,fd00::/9,fe80::1/128",
    "--inbound",
    "--inbound --mode tproxy",
    "--inbound --mode tproxy --no-ipv6 --port 15007 --ports 1,65535",
];

/// What an init container has that may make rules, and nothing else.
const INIT_CONTAINER: &str = "exec setpriv --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin \
                              --no-new-privs";

#[test]
fn rules_are_the_same_when_applied_twice_and_none_stays_when_they_are_removed() {
    if !permitted() {
        return;
    }
    for backend in BACKENDS {
        let world = World::pod();
        let before = world.rules();
        for traffic in TRAFFIC {
            let apply = format!("--apply --backend {backend} {traffic}");
            world.redirect(&apply);
            let once = world.rules();
            let name = once.to_ascii_lowercase().contains("itwin_auth_proxy");
            assert!(name, "{apply}: {once}");
            world.redirect(&apply);
            assert_eq!(world.rules(), once, "{apply}");
        }
        let remove = format!("--remove --backend {backend}");
        for _ in 0..2 {
            world.redirect(&remove);
            let after = world.rules();
            for ours in ["ITWIN_AUTH_PROXY", "itwin_auth_proxy", "15001"] {
                assert!(!after.contains(ours), "{remove}: {after}");
            }
            if backend == "nft" {
                assert_eq!(after, before);
            }
        }
    }
}

#[test]
fn removing_removes_what_any_program_wrote_and_says_so() {
    if !permitted() {
        return;
    }
    let clean = |world: &World, what: &str| {
        let after = world.rules();
        for ours in ["ITWIN_AUTH_PROXY", "itwin_auth_proxy", "15001"] {
            assert!(!after.contains(ours), "{what}: {after}");
        }
    };
    let said = |world: &World| {
        let output = world.redirect_output("--remove");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for backend in BACKENDS {
        for traffic in ["--uid 1337", "--inbound --mode tproxy"] {
            let world = World::pod();
            let apply = format!("--apply --backend {backend} {traffic}");
            world.redirect(&apply);
            let text = said(&world);
            assert!(text.contains(backend), "{apply}: {text}");
            clean(&world, &apply);
            assert_eq!(said(&world), "there was nothing to remove\n", "{apply}");
            world.redirect(&apply);
            let output = world.redirect_output("--print --remove");
            world.sh(&String::from_utf8(output.stdout).unwrap());
            clean(&world, &apply);
        }
    }
}

#[test]
fn rules_replace_each_other_at_once() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    for backend in BACKENDS {
        for (traffic, gone) in [("--uid 1337", "2000"), ("--uid 2000", "1337")] {
            world.redirect(&format!("--apply --backend {backend} {traffic}"));
            assert!(
                !world.rules().contains(gone),
                "{backend}: {}",
                world.rules()
            );
        }
        world.redirect(&format!("--remove --backend {backend}"));
    }
}

#[test]
fn what_is_printed_does_what_is_applied() {
    if !permitted() {
        return;
    }
    for backend in BACKENDS {
        for traffic in TRAFFIC {
            let (applied, printed) = (World::pod(), World::pod());
            applied.redirect(&format!("--apply --backend {backend} {traffic}"));
            let output = printed.redirect_output(&format!("--print --backend {backend} {traffic}"));
            printed.sh(&String::from_utf8(output.stdout).unwrap());
            assert_eq!(printed.rules(), applied.rules(), "{backend} {traffic}");
            let output = printed.redirect_output(&format!("--print --remove --backend {backend}"));
            printed.sh(&String::from_utf8(output.stdout).unwrap());
            applied.redirect(&format!("--remove --backend {backend}"));
            assert_eq!(printed.rules(), applied.rules(), "{backend} {traffic}");
        }
    }
}

#[test]
fn nothing_but_the_ports_the_users_and_the_networks_that_were_named_is_redirected() {
    if !permitted() {
        return;
    }
    // nobody listens at the port: what is redirected fails
    let world = World::pod();
    let reaches = |uid, port: u16| {
        let url = format!("http://10.244.0.3:{port}/");
        world.curl_as(uid, Family::V4, &[&url]).is_ok()
    };
    super::server::serve(
        &world.outside,
        &["10.244.0.3:8000"],
        &super::server::Kind::Http,
    );
    for backend in BACKENDS {
        assert!(reaches(1000, 80) && reaches(1000, 8000));
        for (traffic, expected) in [
            ("--uid 1337", [false, true, true]),
            ("--only 1000,1001", [false, true, true]),
            ("--only 1337", [true, false, true]),
            ("--uid 1337 --ports 8000", [true, true, false]),
            ("--uid 1337 --except 10.244.0.0/16", [true, true, true]),
        ] {
            world.redirect(&format!("--apply --backend {backend} {traffic}"));
            let found = [reaches(1000, 80), reaches(1337, 80), reaches(1000, 8000)];
            assert_eq!(found, expected, "{backend} {traffic}");
        }
        world.redirect(&format!("--remove --backend {backend}"));
    }
}

#[test]
fn whoever_may_not_make_rules_is_told_what_it_takes() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    for (backend, word) in BACKENDS.map(|backend| (backend, "CAP_NET_ADMIN")) {
        let script = format!(
            "exec setpriv --reuid=1337 --regid=1337 --clear-groups {} redirect --apply --uid 1337 --backend {backend}",
            world.program().display()
        );
        let output = world
            .pod
            .output(std::process::Command::new("sh").args(["-c", &script]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{backend}: {said}");
        assert!(said.contains(word), "{said}");
    }
    let script = format!(
        "exec setpriv --reuid=1337 --regid=1337 --clear-groups {} redirect --remove",
        world.program().display()
    );
    let output = world
        .pod
        .output(std::process::Command::new("sh").args(["-c", &script]));
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let mut command = std::process::Command::new(world.program());
    command.args(["redirect", "--apply", "--uid=1337", "--backend=iptables"]);
    let output = world.pod.output(command.env("PATH", "/nowhere"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("--backend nft"), "{said}");
}

#[test]
fn no_program_and_one_capability_are_all_it_takes() {
    if !permitted() {
        return;
    }
    let alone = |world: &World, words: &str| {
        let script = format!(
            "{INIT_CONTAINER} env PATH=/nowhere {} redirect {words}",
            world.program().display()
        );
        let output = world
            .pod
            .output(std::process::Command::new("sh").args(["-c", &script]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words}: {said}");
        String::from_utf8(output.stdout).unwrap()
    };
    for traffic in TRAFFIC {
        let (world, other) = (World::pod(), World::pod());
        let before = world.rules();
        alone(&world, &format!("--apply {traffic}"));
        other.redirect(&format!("--apply {traffic}"));
        assert_eq!(world.rules(), other.rules(), "{traffic}");
        assert_eq!(alone(&world, "--remove"), "removed what nft wrote\n");
        assert_eq!(world.rules(), before, "{traffic}");
        assert_eq!(alone(&world, "--remove"), "there was nothing to remove\n");
    }
}

#[test]
fn thousands_of_lines_are_one_transaction() {
    if !permitted() {
        return;
    }
    let world = World::pod();
    let ports: Vec<String> = (1..=5000).map(|port: u16| port.to_string()).collect();
    world.redirect(&format!("--apply --uid 1337 --ports {}", ports.join(",")));
    assert_eq!(world.rules().matches("redirect to :15001").count(), 5000);
    world.redirect("--apply --uid 1337 --ports 80");
    assert_eq!(world.rules().matches("redirect to :15001").count(), 1);
}
