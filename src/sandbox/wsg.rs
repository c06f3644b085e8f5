//! iModelHub as clients of iModel.js 1.x and 2.x know it: repositories of a Web Services Gateway.
//!
//! iModels of a context, changesets of an iModel; queries in the URL or, with `$query`, in the body.
//! Errors are `{errorId, errorMessage, errorDescription}`; a call without a good token is sent to the
//! sign-in page, which these clients do not follow.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    answer,
    model::{Changeset, IModel, Model, Upload, file, user_id},
    server::Body,
    storage::Access,
};

const SKIP_TOKEN: HeaderName = HeaderName::from_static("skiptoken");

/// An error in the gateway's shape.
#[derive(Debug)]
pub(super) struct WsgError {
    status: StatusCode,
    id: &'static str,
    message: String,
}

impl WsgError {
    fn new(status: StatusCode, id: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            id,
            message: message.into(),
        }
    }

    pub(super) fn response(&self) -> Response<Body> {
        let body = json!({
            "errorId": self.id,
            "errorMessage": self.message,
            "errorDescription": "As the sandbox of itwin-auth-proxy has it.",
        });
        answer::json(self.status, &body)
    }
}

/// What is asked for, below the version.
struct Asked<'a> {
    method: &'a Method,
    /// Decoded, without empty ones.
    segments: Vec<String>,
    query: Vec<(String, String)>,
    body: &'a [u8],
    skip: usize,
}

/// Whether a path is one of the gateway's: `sv1.1/Repositories/…`, below whatever prefix.
pub(super) fn is_ours(path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut before = "";
    segments.any(|segment| {
        let found = segment == "Repositories" && is_version(before);
        before = segment;
        found
    })
}

fn is_version(segment: &str) -> bool {
    let number = segment.strip_prefix("sv").or(segment.strip_prefix('v'));
    number.is_some_and(|number| {
        number.contains('.') && number.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

/// A redirect to the sign-in page, as the gateway answers who shows no good token.
pub(super) fn sign_in(issuer: &str) -> Response<Body> {
    let text = HeaderValue::from_static("text/html; charset=utf-8");
    let page = "<html><head><title>Object moved</title></head><body>\
                <h2>Object moved to <a href=\"https://ims.bentley.com/IMS/Account/Login\">here</a>.</h2>\
                </body></html>";
    let mut response = answer::bytes(StatusCode::FOUND, text, page);
    if let Ok(to) = HeaderValue::try_from(format!("{issuer}/connect/authorize?client_id=hub")) {
        response.headers_mut().insert(http::header::LOCATION, to);
    }
    response
}

/// Answers a request with a good token.
pub(super) fn serve(model: &mut Model, request: &Request<Bytes>) -> Response<Body> {
    let asked = Asked::read(request);
    answered(model, &asked).unwrap_or_else(|error| error.response())
}

fn answered(model: &mut Model, asked: &Asked<'_>) -> Result<Response<Body>, WsgError> {
    let segments: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
    let (repository, rest) = segments.split_first().ok_or_else(unknown)?;
    match (asked.method, repository.split_once("--"), rest) {
        (&Method::GET, Some(("Context", itwin)), ["ContextScope", "iModel"]) => {
            imodels(model, asked, itwin)
        }
        (&Method::POST, Some(("Context", itwin)), ["ContextScope", "iModel"]) => {
            create(model, asked, itwin)
        }
        (&Method::GET, Some(("Context", itwin)), ["ContextScope", "iModel", id]) => {
            let found = found(model, itwin, id)?;
            Ok(instances(&[imodel_instance(found)], None))
        }
        (&Method::DELETE, Some(("Context", itwin)), ["ContextScope", "iModel", id]) => {
            found(model, itwin, id)?;
            model.imodels.retain(|imodel| imodel.id != *id);
            Ok(answer::json(StatusCode::OK, &json!({})))
        }
        (&Method::GET, Some(("iModel", id)), ["iModelScope", "ChangeSet"])
        | (&Method::POST, Some(("iModel", id)), ["iModelScope", "ChangeSet", "$query"]) => {
            changesets(model, asked, id)
        }
        _ => Err(unknown()),
    }
}

impl<'a> Asked<'a> {
    fn read(request: &'a Request<Bytes>) -> Self {
        let decode = |text: &str| {
            let text = percent_encoding::percent_decode_str(text);
            text.decode_utf8_lossy().into_owned()
        };
        let path = request.uri().path();
        let below = path
            .split_once("/Repositories/")
            .map_or("", |split| split.1);
        let segments: Vec<String> = below
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(decode)
            .collect();
        let in_body = segments.last().is_some_and(|last| last == "$query");
        let query = if in_body {
            String::from_utf8_lossy(request.body()).into_owned()
        } else {
            request.uri().query().unwrap_or_default().to_owned()
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let skip = request.headers().get(SKIP_TOKEN);
        Self {
            method: request.method(),
            segments,
            query: pairs
                .map(|(name, value)| (decode(name), decode(&value.replace('+', " "))))
                .collect(),
            body: request.body(),
            skip: skip
                .and_then(|value| value.to_str().ok()?.parse().ok())
                .unwrap_or(0),
        }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name)?;
        Some(&found.1)
    }

    /// The page of `all` that is asked for, and where the next one begins.
    fn page(&self, all: Vec<Value>) -> Response<Body> {
        let top = self.parameter("$top").and_then(|top| top.parse().ok());
        let (count, top) = (all.len(), top.unwrap_or(usize::MAX));
        let page: Vec<Value> = all.into_iter().skip(self.skip).take(top).collect();
        let next = self.skip.saturating_add(top);
        instances(&page, (next < count).then_some(next))
    }
}

fn imodels(model: &Model, asked: &Asked<'_>, itwin: &str) -> Result<Response<Body>, WsgError> {
    context(model, itwin)?;
    let name = asked
        .parameter("$filter")
        .map(|filter| {
            let name = filter.strip_prefix("Name eq '");
            name.and_then(|rest| rest.strip_suffix('\''))
                .ok_or_else(unknown)
        })
        .transpose()?;
    let all = model.imodels.iter().filter(|imodel| imodel.itwin == itwin);
    let all = all.filter(|imodel| name.is_none_or(|name| imodel.name == name));
    Ok(asked.page(all.map(imodel_instance).collect()))
}

fn create(model: &mut Model, asked: &Asked<'_>, itwin: &str) -> Result<Response<Body>, WsgError> {
    context(model, itwin)?;
    let body: Value = serde_json::from_slice(asked.body).map_err(|_| unknown())?;
    let properties = &body["instance"]["properties"];
    let name = properties["Name"].as_str().ok_or_else(unknown)?.to_owned();
    let taken = model.imodels.iter();
    let mut taken = taken.filter(|imodel| imodel.itwin == itwin && imodel.name == name);
    if taken.next().is_some() {
        // with the data that clients look for
        let body = json!({
            "errorId": "iModelHub.iModelAlreadyExists",
            "errorMessage": "iModel already exists.",
            "errorDescription": null,
            "iModelInitialized": true,
        });
        return Ok(answer::json(StatusCode::CONFLICT, &body));
    }
    let (id, now) = (model.new_id(), model.now());
    let mut imodel = IModel::empty(id, itwin.to_owned(), name, now);
    imodel.description = properties["Description"].clone();
    let instance = imodel_instance(&imodel);
    model.imodels.push(imodel);
    let body = json!({"changedInstance": {"change": "Created", "instanceAfterChange": instance}});
    Ok(answer::json(StatusCode::CREATED, &body))
}

fn changesets(model: &Model, asked: &Asked<'_>, id: &str) -> Result<Response<Body>, WsgError> {
    let all = &model.imodels;
    let imodel = all.iter().find(|imodel| imodel.id == id);
    let imodel = imodel.ok_or_else(|| {
        let id = "iModelHub.iModelDoesNotExist";
        WsgError::new(StatusCode::NOT_FOUND, id, "iModel does not exist.")
    })?;
    let select = asked.parameter("$select").unwrap_or_default();
    let links = select.contains("FileAccessKey");
    let sets = imodel.changesets.iter();
    let mut all: Vec<Value> = sets
        .map(|set| {
            let mut instance = changeset_instance(set);
            if links {
                let name = file(&set.id);
                let link = model.storage.link(&imodel.container(), &name, Access::Read);
                instance["relationshipInstances"] = json!([{
                    "schemaName": "iModelScope",
                    "className": "FileAccessKey",
                    "direction": "forward",
                    "relatedInstance": {
                        "schemaName": "iModelScope",
                        "className": "AccessKey",
                        "properties": {"DownloadUrl": link},
                    },
                }]);
            }
            instance
        })
        .collect();
    if asked
        .parameter("$orderby")
        .is_some_and(|order| order.ends_with("desc"))
    {
        all.reverse();
    }
    Ok(asked.page(all))
}

fn imodel_instance(imodel: &IModel) -> Value {
    json!({
        "instanceId": imodel.id,
        "schemaName": "ContextScope",
        "className": "iModel",
        "properties": {
            "Name": imodel.name,
            "Description": imodel.description,
            "UserCreated": user_id(),
            "CreatedDate": imodel.created,
            "Initialized": true,
        },
        "eTag": format!("\"{}\"", imodel.id),
    })
}

fn changeset_instance(set: &Changeset) -> Value {
    json!({
        "instanceId": set.id,
        "schemaName": "iModelScope",
        "className": "ChangeSet",
        "properties": {
            "Id": set.id,
            "FileName": file(&set.id),
            "Description": set.description,
            "FileSize": set.size.to_string(),
            "Index": set.index.to_string(),
            "ParentId": set.parent,
            "BriefcaseId": set.briefcase,
            "UserCreated": user_id(),
            "PushDate": set.pushed,
            "ContainingChanges": set.containing,
            "IsUploaded": set.uploaded == Upload::Done,
        },
    })
}

fn instances(all: &[Value], next: Option<usize>) -> Response<Body> {
    let mut response = answer::json(StatusCode::OK, &json!({"instances": all}));
    if let Some(next) = next {
        let next = HeaderValue::from(next);
        response.headers_mut().insert(SKIP_TOKEN, next);
    }
    response
}

fn context(model: &Model, itwin: &str) -> Result<(), WsgError> {
    if model.itwins.iter().any(|known| known.id == itwin) {
        return Ok(());
    }
    let id = "iModelHub.ProjectIdIsNotSpecified";
    let message = "The context is not known.";
    Err(WsgError::new(StatusCode::NOT_FOUND, id, message))
}

fn found<'m>(model: &'m Model, itwin: &str, id: &str) -> Result<&'m IModel, WsgError> {
    let mut all = model.imodels.iter();
    all.find(|imodel| imodel.itwin == itwin && imodel.id == id)
        .ok_or_else(|| {
            let message = "The instance does not exist.";
            WsgError::new(StatusCode::NOT_FOUND, "InstanceNotFound", message)
        })
}

fn unknown() -> WsgError {
    let message = "The sandbox does not play this part of the gateway.";
    WsgError::new(StatusCode::BAD_REQUEST, "NotSupported", message)
}
