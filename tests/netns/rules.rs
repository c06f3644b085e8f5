//! What `redirect` makes of a namespace's rules.

use super::{
    space::permitted,
    world::{Family, World},
};

const BACKENDS: [&str; 4] = ["nft", "iptables", "iptables-nft", "iptables-legacy"];

const TRAFFIC: [&str; 5] = [
    "--uid 1337",
    "--uid 1337,1338 --no-ipv6 --ports 443",
    "--only 1000 --except 192.0.2.0/24,2001:db8::/32",
    "--inbound",
    "--inbound --mode tproxy",
];

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
    for words in [&["--apply", "--uid", "1337"][..], &["--remove"]] {
        let mut command = std::process::Command::new(world.program());
        command.arg("redirect").args(words).env("PATH", "/nowhere");
        let output = world.pod.output(&mut command);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.contains("nftables"), "{said}");
    }
}
