//! Changesets of an iModel: pages of them, their files, and how a new one is pushed.

use http::{Response, StatusCode};
use serde_json::json;

use super::{
    answer::{self, ApiError},
    imodels::no_such_resource,
    model::{Changeset, Full, Model, Upload, file},
    page::{Ask, Cursor, Detail, page},
    server::Body,
};

type Answer = Result<Response<Body>, ApiError>;

/// Answers a request below `/imodels/{id}/changesets`.
pub(super) fn serve(model: &mut Model, ask: &Ask<'_>, id: &str, rest: &[&str]) -> Answer {
    let body = match (ask.method.as_str(), rest) {
        ("GET", []) => {
            let imodel = model.imodel(id)?;
            let bound = |name| {
                ask.parameter(name)
                    .and_then(|text| text.parse::<usize>().ok())
            };
            let (after, last) = (bound("afterIndex"), bound("lastIndex"));
            let mut found: Vec<&Changeset> = imodel
                .changesets
                .iter()
                .filter(|set| after.is_none_or(|after| set.index > after))
                .filter(|set| last.is_none_or(|last| set.index <= last))
                .collect();
            if ask
                .parameter("$orderBy")
                .is_some_and(|order| order.ends_with("desc"))
            {
                found.reverse();
            }
            let full = match ask.detail {
                Detail::Minimal => Full::No,
                Detail::Representation => Full::Yes,
            };
            page(
                ask,
                &model.hub,
                "changesets",
                Cursor::Continuation,
                &found,
                |set| model.changeset_json(imodel, set, full),
            )?
        }
        ("POST", []) => return create_changeset(model, ask, id),
        ("GET", [key]) => {
            let imodel = model.imodel(id)?;
            let set = imodel.changeset(key).ok_or_else(no_changeset)?;
            json!({"changeset": model.changeset_json(imodel, set, Full::Yes)})
        }
        ("PATCH", [key]) => return complete_changeset(model, ask, id, key),
        ("GET", [key, "checkpoint"]) => {
            let imodel = model.imodel(id)?;
            // index 0 is the baseline
            let set = match *key {
                "0" => None,
                key => Some(imodel.changeset(key).ok_or_else(no_changeset)?),
            };
            json!({"checkpoint": model.checkpoint_json(imodel, set)})
        }
        _ => return Err(no_such_resource()),
    };
    Ok(answer::json(StatusCode::OK, &body))
}

fn create_changeset(model: &mut Model, ask: &Ask<'_>, id: &str) -> Answer {
    let set_id = ask.text("id")?;
    let now = model.now();
    let imodel = model.imodel_mut(id)?;
    if imodel
        .changeset(&set_id)
        .is_some_and(|set| set.uploaded == Upload::Done)
    {
        let message = "Changeset with such id already exists.";
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "ChangesetExists",
            message,
        ));
    }
    let parent = ask.body["parentId"].as_str().unwrap_or_default().to_owned();
    if parent != imodel.last_changeset() {
        let message = "There are newer changesets than the parent.";
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "NewerChangesExist",
            message,
        ));
    }
    imodel.changesets.retain(|set| set.uploaded == Upload::Done);
    let set = Changeset {
        id: set_id,
        index: imodel.changesets.len() + 1,
        parent,
        description: ask.body["description"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        briefcase: ask.body["briefcaseId"].as_u64().unwrap_or_default(),
        containing: ask.body["containingChanges"].as_u64().unwrap_or_default(),
        size: ask.body["fileSize"].as_u64().unwrap_or_default(),
        pushed: now,
        synchronization: ask.body["synchronizationInfo"].clone(),
        group: ask.body["groupId"].clone(),
        uploaded: Upload::Waiting,
    };
    imodel.changesets.push(set.clone());
    let imodel = model.imodel(id)?;
    let body = json!({"changeset": model.changeset_json(imodel, &set, Full::Yes)});
    Ok(answer::json(StatusCode::CREATED, &body))
}

/// The end of an upload: the file must be there, whole.
fn complete_changeset(model: &mut Model, ask: &Ask<'_>, id: &str, key: &str) -> Answer {
    let imodel = model.imodel(id)?;
    let set = imodel.changeset(key).ok_or_else(no_changeset)?;
    if ask.body["state"] == "fileUploaded" {
        let size = model.storage.size(&imodel.container(), &file(&set.id));
        if size.map(|size| size as u64) != Some(set.size) {
            return Err(ApiError::not_found("FileNotFound", "Changeset file"));
        }
    }
    let set_id = set.id.clone();
    let sets = &mut model.imodel_mut(id)?.changesets;
    if let Some(set) = sets.iter_mut().find(|set| set.id == set_id) {
        set.uploaded = Upload::Done;
    }
    let imodel = model.imodel(id)?;
    let set = imodel.changeset(&set_id).ok_or_else(no_changeset)?;
    let body = json!({"changeset": model.changeset_json(imodel, set, Full::Yes)});
    Ok(answer::json(StatusCode::OK, &body))
}

pub(super) fn no_changeset() -> ApiError {
    ApiError::not_found("ChangesetNotFound", "Changeset")
}
