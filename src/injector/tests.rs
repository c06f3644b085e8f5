//! The golden files, and what holds for every pod.
//!
//! `golden/NAME/review.json` is a question as an API server of the version in the name asks it;
//! `pod.yaml` beside it is the pod that our patch makes of it. Where they differ, what is made is in
//! `pod.yaml.new`.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Form,
    patch::{Outcome, inject},
    review::{self, Admission},
};
use crate::config::{
    self, Sources,
    injector::{self, InjectionSettings},
    print::block,
};

pub(super) fn settings() -> InjectionSettings {
    let text = "image: registry.example.com/itwin-auth-proxy:0.1.0\npull_policy: IfNotPresent\n\
                certificate: { managed: { secret: s, namespace: n, service: v, webhook: w } }\n\
                defaults: { credential_secret: itwin-client, scopes: [itwin-platform] }\n";
    injector::read(text, "injector.yaml")
        .unwrap()
        .injector
        .settings
}

fn golden() -> Vec<(String, PathBuf)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/injector/golden");
    let mut all: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .collect();
    all.sort();
    all
}

/// As the version in the name runs sidecars.
fn form(name: &str) -> Form {
    let minor: u32 = name.rsplit('.').next().unwrap().parse().unwrap();
    if minor >= 29 {
        Form::Native
    } else {
        Form::Container
    }
}

fn read(file: &Path) -> Vec<u8> {
    fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The patch of an answer.
fn patch_of(answer: &Value) -> json_patch::Patch {
    let response = &answer["response"];
    let patch = response["patch"].as_str().expect("a patch");
    assert_eq!(response["patchType"], "JSONPatch");
    serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
}

/// The pod that another implementation of JSON Patch makes of the question by our answer.
fn patched(name: &str, folder: &Path) -> Value {
    let body = read(&folder.join("review.json"));
    let answer = review::answer(&body, &settings(), form(name)).unwrap();
    assert_eq!(
        answer.result,
        Admission::Injected,
        "{name}: {:?}",
        answer.faults
    );
    let review: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer.body["response"]["uid"], review["request"]["uid"]);
    let mut pod = review["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch_of(&answer.body)).unwrap();
    pod
}

fn yaml(pod: &Value) -> String {
    let mut shown = pod.clone();
    // long, and never changed
    shown["metadata"]["managedFields"] = json!([]);
    block::yaml(&shown)
}

#[test]
fn every_golden_pod_is_what_the_patch_makes_of_its_question() {
    for (name, folder) in golden() {
        let made = yaml(&patched(&name, &folder));
        let expected = String::from_utf8(read(&folder.join("pod.yaml"))).unwrap();
        if made != expected {
            let new = folder.join("pod.yaml.new");
            fs::write(&new, made).unwrap();
            panic!(
                "{name} differs: see {}, and put it in its place if it is meant",
                new.display()
            );
        }
    }
}

#[test]
fn a_pod_that_was_injected_is_not_changed_again() {
    for (name, folder) in golden() {
        let pod = patched(&name, &folder);
        let again = inject(&pod, &settings(), form(&name)).unwrap();
        assert_eq!(again.outcome, Outcome::Again);
        assert!(
            again.draft.operations().is_empty(),
            "{name}: {:?}",
            again.draft.operations()
        );
        // a cluster that was upgraded in between changes nothing either
        for form in [Form::Native, Form::Container] {
            assert!(
                inject(&pod, &settings(), form)
                    .unwrap()
                    .draft
                    .operations()
                    .is_empty()
            );
        }
    }
}

#[test]
fn containers_that_another_webhook_added_since_are_told_too() {
    let (name, folder) = golden()
        .into_iter()
        .find(|(name, _)| name.starts_with("transparent-1.31"))
        .unwrap();
    let mut pod = patched(&name, &folder);
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({ "name": "late", "image": "x" }));
    let again = inject(&pod, &settings(), Form::Native).unwrap();
    assert_eq!(again.outcome, Outcome::Again);
    let paths: Vec<&str> = again
        .draft
        .operations()
        .iter()
        .map(|o| o["path"].as_str().unwrap())
        .collect();
    assert!(
        paths
            .iter()
            .all(|path| path.starts_with("/spec/containers/0/") || path.ends_with("status")),
        "{paths:?}"
    );
    let late = &again.draft.pod()["spec"]["containers"][0];
    assert_eq!(
        late["env"][0],
        json!({ "name": "ITWIN_AUTH_PROXY_URL", "value": "http://127.0.0.1:8080" })
    );
    assert_eq!(
        late["volumeMounts"][0]["mountPath"],
        "/run/itwin-auth-proxy/trust"
    );
}

/// The environment of a container, with files and Secrets as a kubelet gives them.
fn environment(container: &Value, files: &Path) -> BTreeMap<String, String> {
    let all = container["env"].as_array().unwrap().iter();
    all.map(|entry| {
        let written = entry["value"].as_str();
        let mut value = written.unwrap_or("service-a1b2c3").to_owned();
        if written.is_none() {
            assert_eq!(entry["valueFrom"]["secretKeyRef"]["key"], "client-id");
        }
        for mount in container["volumeMounts"].as_array().unwrap() {
            let at = mount["mountPath"].as_str().unwrap();
            if let Some(rest) = value.strip_prefix(at) {
                let folder = files.join(mount["name"].as_str().unwrap());
                value = format!("{}{rest}", folder.display());
                break;
            }
        }
        (entry["name"].as_str().unwrap().to_owned(), value)
    })
    .collect()
}

fn sidecar(pod: &Value) -> Value {
    let spec = &pod["spec"];
    let lists = ["initContainers", "containers"].iter();
    let mut all = lists.flat_map(|list| spec[*list].as_array().into_iter().flatten());
    all.find(|one| one["name"] == "itwin-auth-proxy")
        .unwrap()
        .clone()
}

/// What the Secret, the token and the `ca init` of a pod would put there.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let put = |volume: &str, file: &str, text: &str| {
        let folder = folder.path().join(format!("itwin-auth-proxy-{volume}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file), text).unwrap();
        fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("credential", "client-secret", "hunter2hunter2");
    put("identity", "token", "a.b.c");
    let now = crate::clock::Clock::system().now();
    let day = std::time::Duration::from_secs(24 * 3600);
    let hosts = [
        "api.bentley.com",
        "qa-api.bentley.com",
        "api.example.com",
        "sandbox.imodels.svc",
    ]
    .map(str::to_owned);
    let made = crate::tls::authority::Authority::new(&hosts, now, 365 * day).unwrap();
    put("ca", "ca.crt", &made.certificate);
    put("ca", "ca.key", made.key.expose());
    folder
}

#[test]
fn the_configuration_in_the_sidecar_is_one_that_the_proxy_takes() {
    let files = files();
    for (name, folder) in golden() {
        if name.starts_with("config-") {
            continue; // the ConfigMap says it
        }
        let sidecar = sidecar(&patched(&name, &folder));
        let environment = environment(&sidecar, files.path());
        let pairs = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let loaded = config::load(Sources::variables(pairs));
        let loaded =
            loaded.unwrap_or_else(|problems| panic!("{name}: {problems}\n{environment:#?}"));
        // of a sandbox without TLS the pod's author is told as well
        let mut warnings = loaded.warnings.iter().map(|warning| warning.text.as_str());
        assert!(
            warnings.all(|text| text.contains("unencrypted")),
            "{name}: {}",
            loaded.warnings
        );
        assert!(loaded.config.admin.unwrap().ip().is_loopback());
    }
}

#[test]
fn a_configuration_of_a_config_map_keeps_its_own_and_gets_our_files() {
    let files = files();
    let (name, folder) = golden()
        .into_iter()
        .find(|(name, _)| name.starts_with("config-"))
        .unwrap();
    let sidecar = sidecar(&patched(&name, &folder));
    let mut environment = environment(&sidecar, files.path());
    assert!(
        environment
            .remove("ITWIN_CONFIG")
            .unwrap()
            .ends_with("/config.yaml")
    );
    let secret = files
        .path()
        .join("itwin-auth-proxy-credential/client-secret");
    let written = format!(
        "credentials: {{ agent: {{ provider: bentley, client_id: service-a, client_secret_file: {} }} }}\n\
         interception: {{ hosts: [api.bentley.com] }}\n\
         listeners: [{{ bind: '127.0.0.1:15001', mode: transparent }}]\n\
         routes: [{{ upstream: 'https://api.bentley.com', inject: agent }}]\n",
        secret.display()
    );
    let pairs = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let loaded = config::load(Sources::yaml(&written).with_variables(pairs));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.config.interception.is_some());
}

/// What Pod Security "restricted" asks of a container (v1.25 and newer).
fn restricted(container: &Value) -> bool {
    let context = &container["securityContext"];
    context["allowPrivilegeEscalation"] == false
        && context["capabilities"] == json!({ "drop": ["ALL"] })
        && context["runAsNonRoot"] == true
        && context["runAsUser"] != 0
        && context["seccompProfile"]["type"] == "RuntimeDefault"
        && context["readOnlyRootFilesystem"] == true
}

#[test]
fn all_but_the_one_that_redirects_pass_pod_security_restricted() {
    for (name, folder) in golden() {
        let pod = patched(&name, &folder);
        for list in ["initContainers", "containers"] {
            for container in pod["spec"][list].as_array().into_iter().flatten() {
                let called = container["name"].as_str().unwrap();
                match called {
                    "itwin-auth-proxy" | "itwin-auth-proxy-ca" => {
                        assert!(restricted(container), "{name}: {called}");
                    }
                    "itwin-auth-proxy-redirect" => {
                        assert_eq!(
                            container["securityContext"]["capabilities"]["add"],
                            json!(["NET_ADMIN"])
                        );
                        assert!(container.get("volumeMounts").is_none(), "it sees no secret");
                    }
                    _ => {
                        let mounts = container["volumeMounts"].to_string();
                        assert!(
                            !mounts.contains("proxy-credential") && !mounts.contains("proxy-ca\""),
                            "{name}: {mounts}"
                        );
                    }
                }
            }
        }
    }
}

pub(super) fn pod(annotations: &[(&str, &str)]) -> Value {
    let mut all = serde_json::Map::new();
    for (name, value) in annotations {
        all.insert(format!("itwin-auth-proxy/{name}"), json!(value));
    }
    json!({
        "metadata": { "name": "agent", "annotations": all },
        "spec": { "containers": [{ "name": "agent", "image": "x" }] },
    })
}

#[test]
fn a_pod_that_did_not_ask_is_left_alone() {
    for pod in [
        pod(&[]),
        pod(&[("inject", "false"), ("port", "nonsense")]),
        pod(&[("port", "9000")]),
        json!({ "metadata": {}, "spec": {} }),
        json!({ "metadata": { "labels": { "itwin-auth-proxy/inject": "true" }, "annotations": { "itwin-auth-proxy/inject": "false" } } }),
        json!({}),
    ] {
        let left = inject(&pod, &settings(), Form::Native).unwrap();
        assert_eq!(left.outcome, Outcome::NotAsked);
        assert!(left.draft.operations().is_empty());
    }
    let stray = inject(&pod(&[("injct", "true")]), &settings(), Form::Native).unwrap();
    assert_eq!(
        stray.warnings,
        ["itwin-auth-proxy/injct has no effect without itwin-auth-proxy/inject: \"true\""]
    );
}

#[test]
fn every_problem_of_a_pod_is_told_at_once() {
    let mut pod = pod(&[
        ("inject", "true"),
        ("credental-secret", "x"),
        ("credential-secret", "No Such Name"),
        ("port", "80"),
        ("mode", "transparant"),
        ("cpu-limit", "much"),
        ("containers", "agnet"),
    ]);
    let refused = inject(&pod, &settings(), Form::Native)
        .unwrap_err()
        .to_string();
    for expected in [
        "annotation itwin-auth-proxy/credental-secret: is not known; did you mean itwin-auth-proxy/credential-secret?",
        "annotation itwin-auth-proxy/credential-secret: \"No Such Name\" is not allowed; allowed is the name of an object",
        "annotation itwin-auth-proxy/port: \"80\" is not allowed; allowed is a number from 1024 to 65535",
        "annotation itwin-auth-proxy/mode: \"transparant\" is not allowed; allowed is reverse, forward or transparent",
        "annotation itwin-auth-proxy/cpu-limit: \"much\" is not allowed; allowed is an amount of CPU",
        "annotation itwin-auth-proxy/containers: the pod has no container \"agnet\"; it has agent",
    ] {
        assert!(refused.contains(expected), "{expected}\n\n{refused}");
    }
    pod["metadata"]["annotations"] = json!({ "itwin-auth-proxy/inject": "yes" });
    let refused = inject(&pod, &settings(), Form::Native)
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "- annotation itwin-auth-proxy/inject: \"yes\" is not allowed; allowed is \"true\" or \"false\""
    );
}

#[test]
fn however_much_is_wrong_the_work_and_the_answer_stay_small() {
    let containers = |number: usize| -> Value {
        let all = (0..number).map(|at| json!({ "name": format!("container-{at}") }));
        all.collect()
    };
    let words = |number: usize| {
        let all: Vec<String> = (0..number).map(|at| format!("x{at}")).collect();
        all.join(",")
    };
    let mut many = pod(&[("inject", "true"), ("containers", &words(5000))]);
    many["spec"]["containers"] = containers(5000);
    let mut named = pod(&[("inject", "true"), ("containers", &words(5000))]);
    named["spec"]["containers"] = containers(400);
    let mut unknown = pod(&[("inject", "true")]);
    for at in 0..20_000 {
        unknown["metadata"]["annotations"][format!("itwin-auth-proxy/x{at}")] = json!("");
    }
    let mut misspelt = pod(&[("inject", "true")]);
    for at in 0..2000 {
        misspelt["metadata"]["annotations"][format!("itwin-auth-proxy/x{at}")] = json!("");
    }
    let mut told = pod(&[("inject", "true"), ("url-variables", &words(5000))]);
    told["spec"]["containers"] = containers(400);
    for (pod, expected) in [
        (
            &many,
            "has 5000 containers and volumes; a pod with more than 500",
        ),
        (&named, "and 390 more"),
        (&named, "\n- and 4950 more"),
        (&unknown, "bytes; allowed are 65536"),
        (&misspelt, "\n- and 1950 more"),
        (
            &told,
            "annotation itwin-auth-proxy/url-variables: the variables for 400",
        ),
    ] {
        let refused = inject(pod, &settings(), Form::Native).unwrap_err();
        let text = refused.to_string();
        assert!(refused.iter().count() <= 50);
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let mut other = pod(&[("inject", "true")]);
    other["metadata"]["annotations"]["other/one"] = json!("x".repeat(300_000));
    let refused = inject(&other, &settings(), Form::Native).unwrap_err();
    assert!(
        refused.to_string().contains("allowed are 262144"),
        "{refused}"
    );
    other["metadata"]["annotations"]["itwin-auth-proxy/inject"] = json!("false");
    assert!(
        inject(&other, &settings(), Form::Native).is_ok(),
        "it did not ask"
    );
}

#[test]
fn what_will_not_work_as_it_is_is_a_warning() {
    let warnings = |annotations: &[(&str, &str)], form, change: &dyn Fn(&mut Value)| {
        let mut all = vec![("inject", "true")];
        all.extend(annotations);
        let mut pod = pod(&all);
        change(&mut pod["spec"]);
        let injection = inject(&pod, &settings(), form).unwrap();
        injection.warnings.join("\n")
    };
    let ends = |spec: &mut Value| spec["restartPolicy"] = json!("Never");
    let told = warnings(&[], Form::Container, &ends);
    assert!(told.contains("POST http://127.0.0.1:9901/quit"), "{told}");
    assert_eq!(warnings(&[], Form::Native, &ends), "");
    let shared = |spec: &mut Value| spec["shareProcessNamespace"] = json!(true);
    assert!(warnings(&[], Form::Native, &shared).contains("shareProcessNamespace"));
    let trusts = |spec: &mut Value| {
        spec["containers"][0]["env"] = json!([{ "name": "NODE_EXTRA_CA_CERTS", "value": "/a" }]);
    };
    let told = warnings(&[("mode", "transparent")], Form::Native, &trusts);
    let expected = "container agent sets NODE_EXTRA_CA_CERTS itself: it has to trust \
                    /run/itwin-auth-proxy/trust/ca.crt as well";
    assert_eq!(told, expected);
    assert_eq!(warnings(&[], Form::Native, &trusts), "");
    let plain = [("upstream", "http://sandbox:8080")];
    assert!(warnings(&plain, Form::Native, &|_| {}).contains("unencrypted"));
}

#[test]
fn what_a_pod_is_like_can_stand_in_the_way() {
    let refused = |annotations: &[(&str, &str)], change: &dyn Fn(&mut Value)| {
        let mut all = vec![("inject", "true")];
        all.extend(annotations);
        let mut pod = pod(&all);
        change(&mut pod["spec"]);
        match inject(&pod, &settings(), Form::Native) {
            Ok(_) => String::new(),
            Err(faults) => faults.to_string(),
        }
    };
    let transparent = [("mode", "transparent")];
    let cases: [(&str, String); 10] = [
        (
            "the connections of the whole node",
            refused(&transparent, &|spec| spec["hostNetwork"] = json!(true)),
        ),
        (
            "with this pod's credential",
            refused(&[], &|spec| spec["hostNetwork"] = json!(true)),
        ),
        (
            "Windows pod",
            refused(&[], &|spec| spec["os"] = json!({ "name": "windows" })),
        ),
        (
            "Windows pod",
            refused(&[], &|spec| {
                spec["nodeSelector"] = json!({ "kubernetes.io/os": "windows" });
            }),
        ),
        (
            "runs as user 61501",
            refused(&transparent, &|spec| {
                spec["securityContext"] = json!({ "runAsUser": 61501 });
            }),
        ),
        (
            "has port 8080, which the sidecar takes; set itwin-auth-proxy/port",
            refused(&[], &|spec| {
                spec["containers"][0]["ports"] = json!([{ "containerPort": 8080 }]);
            }),
        ),
        (
            "container itwin-auth-proxy: has a name that the injector uses",
            refused(&[], &|spec| {
                spec["containers"][0]["name"] = json!("itwin-auth-proxy");
            }),
        ),
        (
            "volume itwin-auth-proxy-tmp: has a name",
            refused(&[], &|spec| {
                spec["volumes"] = json!([{ "name": "itwin-auth-proxy-tmp" }]);
            }),
        ),
        (
            "spec.containers: is no list",
            refused(&[], &|spec| spec["containers"] = json!({})),
        ),
        (
            "admin-port: 8080 is the port of the calls",
            refused(&[("admin-port", "8080")], &|_| {}),
        ),
    ];
    for (expected, refused) in cases {
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    assert_eq!(
        refused(&[], &|spec| spec["containers"][0]["ports"] =
            json!([{ "containerPort": 8080, "protocol": "UDP" }])),
        ""
    );
    assert_eq!(
        refused(&[], &|spec| spec["securityContext"] =
            json!({ "runAsUser": 61501 })),
        ""
    );
}

#[test]
fn what_only_looks_like_the_sidecar_is_refused() {
    let mut asks = pod(&[("inject", "true"), ("mode", "transparent")]);
    let injected = inject(&asks, &settings(), Form::Native).unwrap();
    let injected = injected.draft.into_pod();
    let status = injected["metadata"]["annotations"]["itwin-auth-proxy/status"].clone();
    asks["metadata"]["annotations"]["itwin-auth-proxy/status"] = status;
    let mut named = asks.clone();
    named["spec"]["initContainers"] = json!([{ "name": "itwin-auth-proxy", "image": "other" }]);
    let mut second = asks.clone();
    second["spec"]["containers"] = json!([{ "name": "agent" }, { "name": "itwin-auth-proxy", "image": "other", "args": ["run"] }]);
    let mut without = injected.clone();
    let init = without["spec"]["initContainers"].as_array_mut().unwrap();
    init.retain(|one| one["name"] != "itwin-auth-proxy-redirect");
    let mut user = injected.clone();
    for one in user["spec"]["initContainers"].as_array_mut().unwrap() {
        one["securityContext"]["runAsUser"] = json!(0);
    }
    let mut moved = injected.clone();
    moved["metadata"]["annotations"]["itwin-auth-proxy/port"] = json!("9000");
    let form = |pod: &Value| match pod["spec"]["initContainers"] {
        Value::Null => Form::Container,
        _ => Form::Native,
    };
    for pod in [&named, &second, &without, &user, &moved] {
        let refused = inject(pod, &settings(), form(pod)).unwrap_err().to_string();
        assert!(
            refused.contains("has a name that the injector uses"),
            "{refused}"
        );
    }
    let again = inject(&injected, &settings(), Form::Native).unwrap();
    assert_eq!(again.outcome, Outcome::Again);
}

#[test]
fn ports_and_upstreams_that_a_mode_cannot_have_are_refused() {
    for (annotations, expected) in [
        (
            &[("mode", "forward"), ("port", "3128")],
            "itwin-auth-proxy/port: 3128 is what the sidecar takes in mode forward",
        ),
        (
            &[("mode", "transparent"), ("admin-port", "15001")],
            "itwin-auth-proxy/admin-port: 15001 is what the sidecar takes in mode transparent",
        ),
        (
            &[("mode", "transparent"), ("port", "9901")],
            "itwin-auth-proxy/admin-port: 9901 is the port of the calls, too",
        ),
        (
            &[("mode", "forward"), ("upstream", "https://[fd00::1]")],
            "itwin-auth-proxy/upstream: https://[fd00::1]/ is an address",
        ),
        (
            &[("mode", "transparent"), ("upstream", "https://10.0.0.1")],
            "is an address; mode transparent is for hosts with a name",
        ),
        (
            &[("mode", "reverse"), ("upstream", "https://a,b")],
            "itwin-auth-proxy/upstream: \"https://a,b\" is not allowed",
        ),
        (
            &[("mode", "reverse"), ("url-variables", "NO_PROXY")],
            "url-variables: \"NO_PROXY\" is not allowed",
        ),
    ] {
        let mut all = vec![("inject", "true")];
        all.extend(annotations);
        let refused = inject(&pod(&all), &settings(), Form::Native)
            .unwrap_err()
            .to_string();
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    let mut empty = pod(&[("inject", "true")]);
    empty["spec"]["containers"] = json!([]);
    let refused = inject(&empty, &settings(), Form::Container)
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "- spec.containers: is empty");
}

#[test]
fn a_credential_has_to_come_from_somewhere() {
    let mut settings = settings();
    settings.credential_secret = None;
    let outcome = |annotations: &[(&str, &str)]| {
        let mut all = vec![("inject", "true")];
        all.extend(annotations);
        match inject(&pod(&all), &settings, Form::Native) {
            Ok(_) => "good".to_owned(),
            Err(faults) => faults.to_string(),
        }
    };
    assert!(outcome(&[]).contains("credential-secret: is missing: the name of a Secret"));
    assert!(outcome(&[("client-id", "a")]).contains("is missing"));
    assert!(outcome(&[("workload-identity", "aud")]).contains("is missing"));
    assert_eq!(outcome(&[("credential-secret", "s")]), "good");
    assert_eq!(
        outcome(&[("workload-identity", "aud"), ("client-id", "a")]),
        "good"
    );
    assert_eq!(outcome(&[("config", "c")]), "good");
    assert!(outcome(&[("config", "c"), ("scopes", "a")]).contains("scopes: has no effect"));
}

#[test]
fn only_the_creation_of_a_pod_is_looked_at() {
    let (_, folder) = golden().remove(0);
    let review: Value = serde_json::from_slice(&read(&folder.join("review.json"))).unwrap();
    let result = |change: &dyn Fn(&mut Value)| {
        let mut review = review.clone();
        change(&mut review["request"]);
        let answer =
            review::answer(review.to_string().as_bytes(), &settings(), Form::Native).unwrap();
        assert_eq!(answer.body["response"]["allowed"], true);
        answer.result
    };
    assert_eq!(result(&|_| {}), Admission::Injected);
    assert_eq!(
        result(&|request| request["dryRun"] = json!(true)),
        Admission::Injected
    );
    for operation in ["UPDATE", "DELETE", "CONNECT"] {
        assert_eq!(
            result(&|request| request["operation"] = json!(operation)),
            Admission::Untouched
        );
    }
    assert_eq!(
        result(&|request| request["subResource"] = json!("ephemeralcontainers")),
        Admission::Untouched
    );
    assert_eq!(
        result(&|request| request["resource"]["resource"] = json!("deployments")),
        Admission::Untouched
    );
    assert_eq!(
        result(&|request| request["object"] = Value::Null),
        Admission::Untouched
    );
}

#[test]
fn only_what_is_needed_of_a_question_is_read() {
    let zeros = "0,".repeat(1_000_000);
    let answer = |head: &str, request: &str| {
        let text = format!("{{{head},\"request\":{{\"uid\":\"u\",{request}}}}}");
        review::answer(text.as_bytes(), &settings(), Form::Native)
    };
    let head = r#""apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview""#;
    let pods = r#""operation":"CREATE","resource":{"group":"","resource":"pods"}"#;
    let large = format!("{pods},\"object\":{{\"a\":[{zeros}0]}}");
    let refused = answer(head, &large).unwrap();
    assert_eq!(refused.result, Admission::Refused);
    assert!(refused.faults[0].contains("50000 values"));
    let other = large.replace("CREATE", "UPDATE");
    assert_eq!(answer(head, &other).unwrap().result, Admission::Untouched);
    let old = format!("{pods},\"oldObject\":[{zeros}0],\"object\":{{}}");
    assert_eq!(answer(head, &old).unwrap().result, Admission::Untouched);
    let kind = answer("\"kind\":\"x\"", &large).unwrap_err();
    assert!(matches!(kind, review::ReviewError::Kind), "{kind}");
    let text = r#""operation":"CREATE","resource":{"resource":"pods"},"object":{"a":",[{\\\",["}"#;
    assert_eq!(answer(head, text).unwrap().result, Admission::Untouched);
}

/// Any JSON, with the words that matter among its keys and texts.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "metadata",
            "annotations",
            "labels",
            "spec",
            "containers",
            "initContainers",
            "volumes",
            "name",
            "env",
            "ports",
            "containerPort",
            "volumeMounts",
            "hostNetwork",
            "itwin-auth-proxy/inject",
            "itwin-auth-proxy/mode",
            "itwin-auth-proxy/status",
            "itwin-auth-proxy",
            "true",
            "transparent",
            "agent",
            "request",
            "object",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn asks() -> impl Strategy<Value = Value> {
    let values = prop::sample::select(vec![
        ("mode", "transparent"),
        ("mode", "forward"),
        ("port", "9000"),
        ("containers", "agent"),
        ("workload-identity", "aud"),
        ("config", "c"),
        ("upstream", "http://a:81"),
        ("scopes", "a b"),
    ]);
    (
        prop::collection::vec(values, 0..4),
        anything(),
        anything(),
        anything(),
        any::<bool>(),
    )
        .prop_map(|(annotations, containers, init, volumes, whole)| {
            let mut all = vec![("inject", "true")];
            all.extend(annotations);
            let mut pod = pod(&all);
            if whole {
                pod["spec"]["containers"] = json!([{ "name": "agent", "env": containers }]);
            } else {
                pod["spec"]["containers"] = json!([containers, { "name": "agent" }]);
            }
            pod["spec"]["initContainers"] = init;
            pod["spec"]["volumes"] = volumes;
            pod
        })
}

proptest! {
    #[test]
    fn no_question_makes_it_panic(object in anything(), body in ".{0,64}", ask in asks()) {
        let _ = review::answer(body.as_bytes(), &settings(), Form::Native);
        let _ = review::answer(object.to_string().as_bytes(), &settings(), Form::Native);
        for object in [object, ask] {
            let review = json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
                "uid": "u", "operation": "CREATE", "resource": { "group": "", "resource": "pods" }, "object": object } });
            let _ = review::answer(review.to_string().as_bytes(), &settings(), Form::Container);
        }
    }

    #[test]
    fn doing_it_twice_is_doing_it_once(pod in asks(), native in any::<bool>()) {
        let form = if native { Form::Native } else { Form::Container };
        if let Ok(once) = inject(&pod, &settings(), form) {
            let patch: json_patch::Patch = serde_json::from_value(json!(once.draft.operations())).unwrap();
            let mut applied = pod;
            json_patch::patch(&mut applied, &patch).unwrap();
            prop_assert_eq!(&applied, once.draft.pod());
            let twice = inject(&applied, &settings(), form).unwrap();
            prop_assert!(twice.draft.operations().is_empty(), "{:?}", twice.draft.operations());
        }
    }
}
