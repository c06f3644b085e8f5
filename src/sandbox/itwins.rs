//! The iTwins API: everything below `/itwins` that its client asks for.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{self, ApiError},
    guid,
    imodels::no_such_resource,
    model::{ITwin, Model},
    page::{Ask, Cursor, page},
    server::Body,
};

type Answer = Result<Response<Body>, ApiError>;

/// Answers a request whose first segment is `itwins`.
pub(super) fn serve(model: &mut Model, ask: &Ask<'_>) -> Answer {
    let segments: Vec<&str> = ask.segments.iter().skip(1).map(String::as_str).collect();
    let body = match (ask.method.as_str(), &*segments) {
        ("GET", [] | ["favorites" | "recents"]) => list(model, ask)?,
        ("POST", []) => return create(model, ask),
        ("GET", ["myprimaryaccount"]) => json!({"iTwin": account()}),
        ("GET", [id]) => json!({"iTwin": Model::itwin_json(find(model, id)?)}),
        ("PATCH", [id]) => {
            let itwin = find(model, id)?;
            itwin.change(&ask.body);
            json!({"iTwin": Model::itwin_json(itwin)})
        }
        ("DELETE", [id]) => {
            find(model, id)?;
            model.itwins.retain(|itwin| itwin.id != *id);
            return Ok(answer::empty(StatusCode::NO_CONTENT));
        }
        ("GET", [id, "account"]) => {
            find(model, id)?;
            json!({"iTwin": account()})
        }
        ("GET", [id, "repositories"]) => {
            let hub = model.hub.clone();
            let all = &find(model, id)?.repositories;
            page(ask, &hub, "repositories", Cursor::Skip, all, Value::clone)?
        }
        ("POST", [id, "repositories"]) => {
            let mut repository = ask.body.clone();
            if repository["class"].is_null() {
                ask.text("class")?;
            }
            repository["id"] = model.new_id().into();
            find(model, id)?.repositories.push(repository.clone());
            let body = json!({"repository": repository});
            return Ok(answer::json(StatusCode::CREATED, &body));
        }
        ("DELETE", [id, "repositories", repository]) => {
            let all = &mut find(model, id)?.repositories;
            all.retain(|known| known["id"] != *repository);
            return Ok(answer::empty(StatusCode::NO_CONTENT));
        }
        _ => return Err(no_such_resource()),
    };
    Ok(answer::json(StatusCode::OK, &body))
}

fn list(model: &Model, ask: &Ask<'_>) -> Result<Value, ApiError> {
    let is = |name: &str, value: &str| {
        ask.parameter(name)
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let found: Vec<&ITwin> = model
        .itwins
        .iter()
        .filter(|itwin| is("subClass", &itwin.sub_class) && is("status", &itwin.status))
        .filter(|itwin| is("displayName", &itwin.name) && is("number", &itwin.number))
        .filter(|itwin| {
            ask.parameter("$search").is_none_or(|text| {
                let text = text.to_lowercase();
                itwin.name.to_lowercase().contains(&text)
            })
        })
        .collect();
    page(ask, &model.hub, "iTwins", Cursor::Skip, &found, |itwin| {
        Model::itwin_json(itwin)
    })
}

fn create(model: &mut Model, ask: &Ask<'_>) -> Answer {
    let mut itwin = ITwin {
        id: model.new_id(),
        name: ask.text("displayName")?,
        number: String::new(),
        class: ask.text("class")?,
        sub_class: ask.text("subClass")?,
        status: "Active".to_owned(),
        created: model.now(),
        repositories: Vec::new(),
    };
    itwin.change(&ask.body);
    let body = json!({"iTwin": Model::itwin_json(&itwin)});
    model.itwins.push(itwin);
    Ok(answer::json(StatusCode::CREATED, &body))
}

fn find<'a>(model: &'a mut Model, id: &str) -> Result<&'a mut ITwin, ApiError> {
    let found = model.itwins.iter_mut().find(|itwin| itwin.id == id);
    found.ok_or_else(|| ApiError::not_found("ItwinNotFound", "iTwin"))
}

/// The account to which all iTwins belong.
fn account() -> Value {
    json!({
        "id": guid(0xac, "account"),
        "class": "Account",
        "subClass": "Account",
        "displayName": "Sandbox account",
        "number": "SB-000",
        "status": "Active",
    })
}

impl ITwin {
    /// Takes from `body` what can be changed.
    fn change(&mut self, body: &Value) {
        for (property, place) in [
            ("displayName", &mut self.name),
            ("number", &mut self.number),
            ("status", &mut self.status),
        ] {
            if let Some(text) = body[property].as_str() {
                text.clone_into(place);
            }
        }
    }
}
