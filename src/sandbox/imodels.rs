//! The iModels API: everything below `/imodels`.

use http::{HeaderValue, Method, Response, StatusCode, header::LOCATION};
use serde_json::{Value, json};

use super::{
    answer::{self, ApiError},
    changesets::{self, no_changeset},
    model::{BASELINE, IModel, IModelState, Model, NamedVersion, Source, user_id},
    page::{Ask, Cursor, Detail, page},
    server::Body,
};

type Answer = Result<Response<Body>, ApiError>;

/// Answers a request whose first segment is `imodels`.
pub(super) fn serve(model: &mut Model, ask: &Ask<'_>) -> Answer {
    let segments: Vec<&str> = ask.segments.iter().skip(1).map(String::as_str).collect();
    match (ask.method.as_str(), &*segments) {
        ("GET", [] | ["favorites" | "recents"]) => list(model, ask),
        ("PUT" | "DELETE", ["favorites" | "recents", id]) => {
            model.imodel(id)?;
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        ("POST", []) => create(model, ask),
        ("GET", [id]) => {
            let body = json!({"iModel": model.imodel_json(model.imodel(id)?)});
            Ok(answer::json(StatusCode::OK, &body))
        }
        ("PATCH", [id]) => update(model, ask, id),
        ("DELETE", [id]) => {
            model.imodel(id)?;
            model.imodels.retain(|imodel| imodel.id != *id);
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        ("POST", [id, "clone" | "fork"]) => copy(model, ask, id),
        ("POST", [id, "complete"]) => complete(model, id),
        (_, [id, "changesets", rest @ ..]) => changesets::serve(model, ask, id, rest),
        (_, [id, "namedversions", rest @ ..]) => versions(model, ask, id, rest),
        (_, [id, "briefcases", rest @ ..]) => briefcases(model, ask, id, rest),
        (_, [id, "thumbnail"]) => thumbnail(model, ask, id),
        ("GET", [id, rest @ ..]) => details(model, ask, id, rest),
        _ => Err(no_such_resource()),
    }
}

/// 404 for a path that the API does not have.
pub(super) fn no_such_resource() -> ApiError {
    ApiError::not_found("ResourceNotFound", "resource")
}

fn list(model: &Model, ask: &Ask<'_>) -> Answer {
    let itwin = match (ask.parameter("iTwinId"), ask.segments.len()) {
        (Some(id), _) => Some(id),
        // favourites and recents are across iTwins
        (None, 2) => None,
        (None, _) => {
            let message = "Required parameter is missing.";
            let code = "MissingRequiredParameter";
            return Err(ApiError::invalid(code, "iTwinId", message));
        }
    };
    if itwin.is_some_and(|id| model.itwins.iter().all(|itwin| itwin.id != id)) {
        return Err(ApiError::not_found("iTwinNotFound", "iTwin"));
    }
    let contains = |name: &str, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| name.to_lowercase().contains(&wanted.to_lowercase()))
    };
    let mut found: Vec<&IModel> = model
        .imodels
        .iter()
        .filter(|imodel| itwin.is_none_or(|id| imodel.itwin == id))
        .filter(|imodel| ask.parameter("name").is_none_or(|name| imodel.name == name))
        .filter(|imodel| contains(&imodel.name, ask.parameter("$search")))
        .collect();
    match ask.parameter("$orderBy") {
        Some("name" | "name asc" | "displayName" | "displayName asc") => {
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Some("name desc" | "displayName desc") => found.sort_by(|a, b| b.name.cmp(&a.name)),
        _ => {}
    }
    let body = page(
        ask,
        &model.hub,
        "iModels",
        Cursor::Skip,
        &found,
        |imodel| match ask.detail {
            Detail::Minimal => Model::imodel_minimal(imodel),
            Detail::Representation => model.imodel_json(imodel),
        },
    )?;
    Ok(answer::json(StatusCode::OK, &body))
}

fn create(model: &mut Model, ask: &Ask<'_>) -> Answer {
    let (itwin, name) = (ask.text("iTwinId")?, ask.text("name")?);
    model.name_is_free(&itwin, &name)?;
    let (id, now) = (model.new_id(), model.now());
    let mut imodel = IModel::empty(id, itwin, name, now);
    imodel.change(&ask.body);
    if ask
        .body
        .get("baselineFile")
        .is_some_and(|file| !file.is_null())
    {
        imodel.state = IModelState::WaitingForFile;
    }
    let body = json!({"iModel": model.imodel_json(&imodel)});
    model.imodels.push(imodel);
    Ok(answer::json(StatusCode::CREATED, &body))
}

fn update(model: &mut Model, ask: &Ask<'_>, id: &str) -> Answer {
    if let Some(name) = ask.body["name"].as_str() {
        let imodel = model.imodel(id)?;
        if imodel.name != name {
            model.name_is_free(&imodel.itwin, name)?;
        }
        name.clone_into(&mut model.imodel_mut(id)?.name);
    }
    model.imodel_mut(id)?.change(&ask.body);
    let body = json!({"iModel": model.imodel_json(model.imodel(id)?)});
    Ok(answer::json(StatusCode::OK, &body))
}

/// 202 and the place of the new one, which is ready at once.
fn copy(model: &mut Model, ask: &Ask<'_>, id: &str) -> Answer {
    let new = model.new_id();
    let from = model.imodel(id)?;
    let itwin = ask.text("iTwinId")?;
    let name = ask.body["name"].as_str().unwrap_or(&from.name).to_owned();
    let (of, changeset) = (from.id.clone(), from.last_changeset());
    let mut imodel = IModel::empty(new, itwin, name, model.now());
    imodel.source = match ask.segments.last().map(String::as_str) {
        Some("fork") => Source::Fork { of, changeset },
        _ => Source::Clone { of, changeset },
    };
    imodel.change(&ask.body);
    let mut response = answer::empty(StatusCode::ACCEPTED);
    let place = format!("{}/imodels/{}", model.hub, imodel.id);
    if let Ok(place) = HeaderValue::try_from(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    model.imodels.push(imodel);
    Ok(response)
}

/// Confirms the upload of a baseline file.
fn complete(model: &mut Model, id: &str) -> Answer {
    let container = model.imodel(id)?.container();
    if model.storage.size(&container, BASELINE).is_none() {
        return Err(ApiError::not_found("FileNotFound", "Baseline file"));
    }
    model.imodel_mut(id)?.state = IModelState::Initialized;
    let body = json!({"iModel": model.imodel_json(model.imodel(id)?)});
    Ok(answer::json(StatusCode::OK, &body))
}

fn versions(model: &mut Model, ask: &Ask<'_>, id: &str, rest: &[&str]) -> Answer {
    let none = || ApiError::not_found("NamedVersionNotFound", "Named Version");
    if let ("POST", []) = (ask.method.as_str(), rest) {
        let name = ask.text("name")?;
        let (version_id, created) = (model.new_id(), model.now());
        let imodel = model.imodel_mut(id)?;
        if imodel.versions.iter().any(|version| version.name == name) {
            let message = "Named Version with the same name already exists.";
            return Err(ApiError::new(
                StatusCode::CONFLICT,
                "NamedVersionExists",
                message,
            ));
        }
        let changeset = match ask.body["changesetId"].as_str() {
            None => None,
            Some(key) => {
                let set = imodel.changeset(key).ok_or_else(no_changeset)?;
                Some((set.id.clone(), set.index))
            }
        };
        let version = NamedVersion {
            id: version_id,
            name,
            description: ask.body["description"].clone(),
            state: "visible".to_owned(),
            changeset,
            created,
        };
        imodel.versions.push(version.clone());
        let body = json!({"namedVersion": model.version_json(model.imodel(id)?, &version)});
        return Ok(answer::json(StatusCode::CREATED, &body));
    }
    if let ("PATCH", [version]) = (ask.method.as_str(), rest) {
        let versions = &mut model.imodel_mut(id)?.versions;
        let found = versions.iter_mut().find(|v| v.id == *version);
        let found = found.ok_or_else(none)?;
        if let Some(name) = ask.body["name"].as_str() {
            name.clone_into(&mut found.name);
        }
        if let Some(state) = ask.body["state"].as_str() {
            state.clone_into(&mut found.state);
        }
    }
    let imodel = model.imodel(id)?;
    let find = |id: &str| imodel.versions.iter().find(|v| v.id == id).ok_or_else(none);
    let body = match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let all = &imodel.versions;
            page(
                ask,
                &model.hub,
                "namedVersions",
                Cursor::Skip,
                all,
                |version| model.version_json(imodel, version),
            )?
        }
        ("GET" | "PATCH", [version]) => {
            json!({"namedVersion": model.version_json(imodel, find(version)?)})
        }
        ("GET" | "PUT", [version, "checkpoint"]) => {
            let set = find(version)?.changeset.as_ref();
            let set = set.and_then(|(id, _)| imodel.changeset(id));
            json!({"checkpoint": model.checkpoint_json(imodel, set)})
        }
        _ => return Err(no_such_resource()),
    };
    Ok(answer::json(StatusCode::OK, &body))
}

fn briefcases(model: &mut Model, ask: &Ask<'_>, id: &str, rest: &[&str]) -> Answer {
    let now = model.now();
    let hub = model.hub.clone();
    let none = || ApiError::not_found("BriefcaseNotFound", "Briefcase");
    let imodel = model.imodel_mut(id)?;
    match (ask.method.as_str(), rest) {
        ("POST", []) => {
            let number = imodel.briefcases.len() + 2;
            let path = format!("{hub}/imodels/{id}");
            let briefcase = json!({
                "id": number.to_string(),
                "displayName": number.to_string(),
                "briefcaseId": number,
                "ownerId": user_id(),
                "acquiredDateTime": now,
                "fileSize": 4096,
                "deviceName": ask.body["deviceName"],
                "application": null,
                "_links": {
                    "owner": {"href": format!("{path}/users/{}", user_id())},
                    "checkpoint": {"href": format!("{path}/briefcases/checkpoint")},
                },
            });
            imodel.briefcases.push(briefcase.clone());
            let body = json!({"briefcase": briefcase});
            Ok(answer::json(StatusCode::CREATED, &body))
        }
        ("GET", []) => {
            let all = &imodel.briefcases;
            let body = page(ask, &hub, "briefcases", Cursor::Skip, all, Value::clone)?;
            Ok(answer::json(StatusCode::OK, &body))
        }
        ("GET", ["checkpoint"]) => {
            let imodel = model.imodel(id)?;
            let set = imodel.changesets.last();
            let body = json!({"checkpoint": model.checkpoint_json(imodel, set)});
            Ok(answer::json(StatusCode::OK, &body))
        }
        ("GET", [briefcase]) => {
            let found = imodel.briefcases.iter().find(|b| b["id"] == *briefcase);
            let body = json!({"briefcase": found.ok_or_else(none)?});
            Ok(answer::json(StatusCode::OK, &body))
        }
        ("DELETE", [briefcase]) => {
            let before = imodel.briefcases.len();
            imodel.briefcases.retain(|b| b["id"] != *briefcase);
            if imodel.briefcases.len() == before {
                return Err(none());
            }
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(no_such_resource()),
    }
}

fn thumbnail(model: &mut Model, ask: &Ask<'_>, id: &str) -> Answer {
    let imodel = model.imodel_mut(id)?;
    match *ask.method {
        Method::GET => {
            let png = HeaderValue::from_static("image/png");
            Ok(answer::bytes(StatusCode::OK, png, imodel.thumbnail.clone()))
        }
        Method::PUT if matches!(ask.content_type, "image/png" | "image/jpeg") => {
            imodel.thumbnail = ask.content.clone();
            Ok(answer::empty(StatusCode::NO_CONTENT))
        }
        Method::PUT => Err(ApiError::invalid(
            "InvalidThumbnailFormat",
            "Content-Type",
            "A thumbnail is a PNG or a JPEG.",
        )),
        _ => Err(no_such_resource()),
    }
}

/// What can only be read.
fn details(model: &Model, ask: &Ask<'_>, id: &str, rest: &[&str]) -> Answer {
    let imodel = model.imodel(id)?;
    let body = match rest {
        ["operations", "create"] => {
            let state = match imodel.state {
                IModelState::Initialized => "successful",
                IModelState::WaitingForFile => "waitingForFile",
            };
            let source = |of: &str, set: &str| json!({"iModelId": of, "changesetId": set});
            let (cloned, forked) = match &imodel.source {
                Source::Nothing => (Value::Null, Value::Null),
                Source::Clone { of, changeset } => (source(of, changeset), Value::Null),
                Source::Fork { of, changeset } => (Value::Null, source(of, changeset)),
            };
            let details = json!({"state": state, "clonedFrom": cloned, "forkedFrom": forked});
            json!({"createOperation": details})
        }
        ["baselinefile"] => {
            let size = model.storage.size(&imodel.container(), BASELINE);
            let state = match imodel.state {
                IModelState::Initialized => "initialized",
                IModelState::WaitingForFile => "waitingForFile",
            };
            json!({"baselineFile": {
                "id": imodel.id,
                "displayName": imodel.name,
                "fileSize": size.unwrap_or_default(),
                "state": state,
                "_links": {"creator": null, "download": null},
            }})
        }
        ["users"] => page(ask, &model.hub, "users", Cursor::Skip, &[()], |()| {
            model.user_json(imodel)
        })?,
        ["users", user] if *user == user_id() => json!({"user": model.user_json(imodel)}),
        ["users", _] => return Err(ApiError::not_found("UserNotFound", "user")),
        ["permissions"] => json!({"permissions":
            ["imodels_webview", "imodels_read", "imodels_write", "imodels_manage"]}),
        ["locks"] => page(ask, &model.hub, "locks", Cursor::Skip, &[], Value::clone)?,
        _ => return Err(no_such_resource()),
    };
    Ok(answer::json(StatusCode::OK, &body))
}

impl Model {
    pub(super) fn imodel(&self, id: &str) -> Result<&IModel, ApiError> {
        let found = self.imodels.iter().find(|imodel| imodel.id == id);
        found.ok_or_else(|| ApiError::not_found("iModelNotFound", "iModel"))
    }

    pub(super) fn imodel_mut(&mut self, id: &str) -> Result<&mut IModel, ApiError> {
        let found = self.imodels.iter_mut().find(|imodel| imodel.id == id);
        found.ok_or_else(|| ApiError::not_found("iModelNotFound", "iModel"))
    }

    /// A name is unique within its iTwin, and the iTwin is there.
    fn name_is_free(&self, itwin: &str, name: &str) -> Result<(), ApiError> {
        if self.itwins.iter().all(|known| known.id != itwin) {
            return Err(ApiError::not_found("iTwinNotFound", "iTwin"));
        }
        let taken = |imodel: &IModel| imodel.itwin == itwin && imodel.name == name;
        if self.imodels.iter().any(taken) {
            let message = "iModel with the same name already exists within the specified iTwin.";
            return Err(ApiError::new(StatusCode::CONFLICT, "iModelExists", message));
        }
        Ok(())
    }
}

impl IModel {
    /// Takes from `body` what can be changed.
    fn change(&mut self, body: &Value) {
        for (property, place) in [
            ("description", &mut self.description),
            ("extent", &mut self.extent),
            ("containersEnabled", &mut self.containers),
        ] {
            if let Some(value) = body.get(property) {
                place.clone_from(value);
            }
        }
    }
}
