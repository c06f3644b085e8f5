//! The hub and the storage, as their clients see them.

use super::*;

#[tokio::test]
async fn the_hub_takes_no_call_without_a_token_that_is_good_now() {
    let clock = Clock::for_tests(std::time::Duration::from_secs(1_800_000_000));
    let sandbox = sandbox(|config| config.clock = clock.clone()).await;
    let url = format!("{}/imodels?iTwinId={}", sandbox.hub(), sandbox.itwin_id());
    let bearer = bearer(&sandbox).await;
    let ask = async |value: &str| {
        let headers = [("authorization", value)];
        let headers = if value == "-" {
            &headers[1..]
        } else {
            &headers
        };
        let got = send("GET", &url, headers, "").await.unwrap();
        (
            got.status,
            got.json()["error"]["code"].as_str().map(str::to_owned),
        )
    };
    let refused = |code: &str| (401, Some(code.to_owned()));
    assert_eq!(ask("-").await, refused("HeaderNotFound"));
    assert_eq!(ask("Bearer dummy").await, refused("Unauthorized"));
    assert_eq!(ask(&bearer.replace("Bearer", "bearer")).await, (200, None));
    assert_eq!(ask(&format!("{bearer}x")).await, refused("Unauthorized"));
    sandbox.faults().revoke_tokens();
    assert_eq!(ask(&bearer).await, refused("Unauthorized"));
    let next = super::bearer(&sandbox).await;
    assert_eq!(ask(&next).await, (200, None));
    clock.jump(3_601_000); // `exp` is rounded up
    assert_eq!(ask(&next).await, refused("Unauthorized"));
    let counts = sandbox.counts();
    assert_eq!(
        (
            counts.hub_requests,
            counts.hub_authorized,
            counts.hub_tokens
        ),
        (7, 2, 2)
    );
}

#[tokio::test]
async fn pages_lead_to_each_other_by_absolute_links() {
    let sandbox = sandbox(|config| (config.imodels, config.changesets) = (23, 5)).await;
    for (path, list, total) in [
        (
            format!("/imodels?iTwinId={}&$search=0&$top=5", sandbox.itwin_id()),
            "iModels",
            23,
        ),
        (
            format!("/imodels/{}/changesets?$top=2", guid(0x1a, "1")),
            "changesets",
            5,
        ),
        ("/itwins?$top=1".to_owned(), "iTwins", 2),
    ] {
        let mut url = format!("{}{path}", sandbox.hub());
        let (mut seen, mut pages) = (HashSet::new(), 0);
        loop {
            let page = get(&sandbox, &url).await.json();
            for member in page[list].as_array().unwrap() {
                assert!(seen.insert(member["id"].as_str().unwrap().to_owned()));
            }
            pages += 1;
            assert_eq!(page["_links"]["prev"].is_null(), pages == 1);
            assert!(
                page["_links"]["self"]["href"]
                    .as_str()
                    .unwrap()
                    .starts_with(sandbox.hub())
            );
            match page["_links"]["next"]["href"].as_str() {
                Some(next) => url = next.to_owned(),
                None => break,
            }
        }
        assert!(pages > 1);
        assert_eq!(seen.len(), total, "{list}");
    }
    for (query, status) in [("", 422), ("?iTwinId=x", 404)] {
        let got = get(&sandbox, &format!("{}/imodels{query}", sandbox.hub())).await;
        assert_eq!(got.status, status);
        assert!(got.json()["error"]["code"].is_string());
    }
    let top = format!(
        "{}/imodels?iTwinId={}&$top=0",
        sandbox.hub(),
        sandbox.itwin_id()
    );
    assert_eq!(get(&sandbox, &top).await.status, 422);
}

#[tokio::test]
async fn answers_come_in_the_coding_that_the_caller_takes() {
    let sandbox = sandbox(|_| ()).await;
    let url = format!("{}/itwins", sandbox.hub());
    let bearer = bearer(&sandbox).await;
    for (accepted, coding) in [
        ("gzip, compress, deflate, br", Some("br")),
        ("gzip", Some("gzip")),
        ("br;q=0, deflate;q=0.5", Some("deflate")),
        ("identity", None),
    ] {
        let headers = [("authorization", &*bearer), ("accept-encoding", accepted)];
        let got = send("GET", &url, &headers, "").await.unwrap();
        let named = got.headers.get(header::CONTENT_ENCODING);
        assert_eq!(named.map(|value| value.to_str().unwrap()), coding);
        let mut text = Vec::new();
        match coding {
            Some("br") => {
                std::io::copy(&mut brotli::Decompressor::new(&*got.body, 4096), &mut text)
            }
            Some("gzip") => std::io::copy(&mut flate2::read::GzDecoder::new(&*got.body), &mut text),
            Some(_) => std::io::copy(&mut flate2::read::ZlibDecoder::new(&*got.body), &mut text),
            None => std::io::copy(&mut &*got.body, &mut text),
        }
        .unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        assert!(value["iTwins"].is_array());
    }
}

#[tokio::test]
async fn a_changeset_is_created_uploaded_completed_and_downloaded() {
    let sandbox = sandbox(|_| ()).await;
    let bearer = bearer(&sandbox).await;
    let auth = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
    ];
    let sets = format!("{}/imodels/{}/changesets", sandbox.hub(), guid(0x1a, "1"));
    let last = send("GET", &format!("{sets}/5"), &auth, "")
        .await
        .unwrap()
        .json();
    let parent = last["changeset"]["id"].clone();
    let body = json!({"id": "f".repeat(40), "parentId": parent, "briefcaseId": 2, "fileSize": 5});
    let created = send("POST", &sets, &auth, &body.to_string()).await.unwrap();
    assert_eq!(created.status, 201, "{created:?}");
    let links = &created.json()["changeset"]["_links"];
    let (upload, complete) = (
        links["upload"]["href"].as_str().unwrap(),
        links["complete"]["href"].as_str().unwrap(),
    );
    assert!(upload.starts_with(sandbox.storage()) && complete.starts_with(sandbox.hub()));

    let done = json!({"state": "fileUploaded", "briefcaseId": 2}).to_string();
    let early = send("PATCH", complete, &auth, &done).await.unwrap();
    assert_eq!(early.status, 404, "before the file is there");
    let put = send("PUT", upload, &[("x-ms-blob-type", "BlockBlob")], "hello")
        .await
        .unwrap();
    assert_eq!(put.status, 201);
    let done = send("PATCH", complete, &auth, &done).await.unwrap().json();
    let download = done["changeset"]["_links"]["download"]["href"]
        .as_str()
        .unwrap();
    let got = send("GET", download, &[("range", "bytes=1-3")], "")
        .await
        .unwrap();
    assert_eq!((got.status, &*got.body), (206, &b"ell"[..]));
}

#[tokio::test]
async fn the_storage_refuses_a_bearer_token_and_a_link_with_a_changed_byte() {
    let sandbox = sandbox(|_| ()).await;
    let url = format!("{}/imodels/{}/changesets/1", sandbox.hub(), guid(0x1a, "1"));
    let set = get(&sandbox, &url).await.json();
    let link = set["changeset"]["_links"]["download"]["href"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(link.contains("%2B") && link.contains("%3D"), "{link}");
    assert_eq!(send("GET", &link, &[], "").await.unwrap().status, 200);

    let got = send("GET", &link, &[("authorization", "Bearer a")], "")
        .await
        .unwrap();
    assert_eq!(got.status, 400);
    assert_eq!(got.headers["x-ms-error-code"], "InvalidAuthenticationInfo");
    for (from, to) in [
        ("%2B", "+"),
        ("%2B", "%2b"),
        ("%3D", "="),
        ("%2Fimodel", "/imodel"),
        ("%3A", ":"),
        (".cs?", ".CS?"),
    ] {
        let changed = link.replacen(from, to, 1);
        if changed != link {
            let got = send("GET", &changed, &[], "").await.unwrap();
            assert_eq!(got.status, 403, "{from} became {to}");
        }
    }
    assert_eq!(
        send("PUT", &link, &[], "x").await.unwrap().status,
        403,
        "for reading only"
    );
    let counts = sandbox.counts();
    assert_eq!(counts.storage_with_authorization, 1);
    assert!(counts.storage_bad_signature >= 4);
}
