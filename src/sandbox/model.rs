//! What the mock iModelHub holds, and how each thing is written as JSON.
//!
//! Names and identifiers follow from their numbers, so that every start shows the same iModels.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    guid,
    storage::{Access, Storage},
};
use crate::clock::Clock;

/// Everything.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) hub: String,
    pub(super) clock: Clock,
    pub(super) storage: Arc<Storage>,
    pub(super) itwins: Vec<ITwin>,
    pub(super) imodels: Vec<IModel>,
    /// Numbers given out to what is created while it runs.
    created: u64,
}

#[derive(Debug)]
pub(super) struct ITwin {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) number: String,
    pub(super) class: String,
    pub(super) sub_class: String,
    pub(super) status: String,
    pub(super) created: String,
    pub(super) repositories: Vec<Value>,
}

#[derive(Debug)]
pub(super) struct IModel {
    pub(super) id: String,
    pub(super) itwin: String,
    pub(super) name: String,
    pub(super) description: Value,
    pub(super) extent: Value,
    pub(super) containers: Value,
    pub(super) created: String,
    pub(super) state: IModelState,
    pub(super) source: Source,
    pub(super) changesets: Vec<Changeset>,
    pub(super) versions: Vec<NamedVersion>,
    pub(super) briefcases: Vec<Value>,
    pub(super) thumbnail: Bytes,
}

/// Whether an iModel can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IModelState {
    /// Created with a baseline file that has not been uploaded and confirmed.
    WaitingForFile,
    Initialized,
}

/// Where an iModel came from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Nothing,
    Clone { of: String, changeset: String },
    Fork { of: String, changeset: String },
}

#[derive(Debug, Clone)]
pub(super) struct Changeset {
    pub(super) id: String,
    pub(super) index: usize,
    pub(super) parent: String,
    pub(super) description: String,
    pub(super) briefcase: u64,
    pub(super) containing: u64,
    pub(super) size: u64,
    pub(super) pushed: String,
    pub(super) synchronization: Value,
    pub(super) group: Value,
    pub(super) uploaded: Upload,
}

/// Whether a changeset's file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upload {
    Waiting,
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct NamedVersion {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: Value,
    pub(super) state: String,
    pub(super) changeset: Option<(String, usize)>,
    pub(super) created: String,
}

/// One pixel.
const THUMBNAIL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

const BEGINNING: &str = "2025-01-15T08:00:00Z";
const CHANGESET_BYTES: usize = 1500;
const WORKS: [&str; 6] = ["Bridge", "Tunnel", "Station", "Dam", "Harbour", "Plant"];

impl Model {
    /// `imodels` of them in the first of two iTwins, each with `changesets`.
    pub(super) fn new(
        hub: String,
        clock: Clock,
        storage: Arc<Storage>,
        imodels: usize,
        changesets: usize,
    ) -> Self {
        let mut model = Self {
            hub,
            clock,
            storage,
            itwins: Vec::new(),
            imodels: Vec::new(),
            created: 0,
        };
        for (number, name) in [(1, "Northern Line"), (2, "Empty Site")] {
            model.itwins.push(ITwin {
                id: guid(0x17, &number.to_string()),
                name: name.to_owned(),
                number: format!("SB-{number:03}"),
                class: "Endeavor".to_owned(),
                sub_class: "Project".to_owned(),
                status: "Active".to_owned(),
                created: BEGINNING.to_owned(),
                repositories: Vec::new(),
            });
        }
        for number in 1..=imodels {
            let work = WORKS[(number - 1) % WORKS.len()];
            let mut imodel = IModel::empty(
                guid(0x1a, &number.to_string()),
                model.itwins[0].id.clone(),
                format!("{work} {number:03}"),
                BEGINNING.to_owned(),
            );
            imodel.description = format!("{work} of the sandbox").into();
            for index in 1..=changesets {
                model.seed_changeset(&mut imodel, index);
            }
            model.imodels.push(imodel);
        }
        model
    }

    fn seed_changeset(&self, imodel: &mut IModel, index: usize) {
        let id = changeset_id(&format!("{}/{index}", imodel.id));
        let content: Vec<u8> = id.bytes().cycle().take(CHANGESET_BYTES).collect();
        self.storage.put(&imodel.container(), &file(&id), content);
        if index == 1 {
            imodel.versions.push(NamedVersion {
                id: guid(0x5e, &imodel.id),
                name: "First issue".to_owned(),
                description: Value::Null,
                state: "visible".to_owned(),
                changeset: Some((id.clone(), index)),
                created: BEGINNING.to_owned(),
            });
        }
        imodel.changesets.push(Changeset {
            parent: imodel.last_changeset(),
            id,
            index,
            description: format!("Change {index}"),
            briefcase: 2,
            containing: 0,
            size: CHANGESET_BYTES as u64,
            pushed: BEGINNING.to_owned(),
            synchronization: Value::Null,
            group: Value::Null,
            uploaded: Upload::Done,
        });
    }

    /// The identifier of something new.
    pub(super) fn new_id(&mut self) -> String {
        self.created += 1;
        guid(0x2e, &self.created.to_string())
    }

    /// As iTwin writes times.
    pub(super) fn now(&self) -> String {
        let whole = Duration::from_secs(self.clock.now().unix_seconds());
        humantime::format_rfc3339_seconds(UNIX_EPOCH + whole).to_string()
    }

    fn href(&self, path: &str) -> Value {
        json!({"href": format!("{}{path}", self.hub)})
    }

    fn blob(&self, container: &str, name: &str, access: Access) -> Value {
        let href = self.storage.link(container, name, access);
        json!({"href": href, "storageType": "azure"})
    }

    pub(super) fn itwin_json(itwin: &ITwin) -> Value {
        json!({
            "id": itwin.id,
            "class": itwin.class,
            "subClass": itwin.sub_class,
            "type": null,
            "number": itwin.number,
            "displayName": itwin.name,
            "geographicLocation": null,
            "ianaTimeZone": "UTC",
            "dataCenterLocation": "Sandbox",
            "status": itwin.status,
            "parentId": null,
            "iTwinAccountId": guid(0xac, "account"),
            "imageName": null,
            "image": null,
            "createdDateTime": itwin.created,
            "createdBy": user_id(),
        })
    }

    pub(super) fn imodel_minimal(imodel: &IModel) -> Value {
        json!({
            "id": imodel.id,
            "displayName": imodel.name,
            "dataCenterLocation": "Sandbox",
        })
    }

    pub(super) fn imodel_json(&self, imodel: &IModel) -> Value {
        let id = &imodel.id;
        let initialized = imodel.state == IModelState::Initialized;
        let mut links = json!({
            "creator": self.href(&format!("/imodels/{id}/users/{}", user_id())),
            "namedVersions": self.href(&format!("/imodels/{id}/namedversions")),
            "changesets": self.href(&format!("/imodels/{id}/changesets")),
        });
        if !initialized {
            links["upload"] = self.blob(&imodel.container(), BASELINE, Access::Write);
            links["complete"] = self.href(&format!("/imodels/{id}/complete"));
        }
        let pushed = imodel.changesets.last().map(|last| last.pushed.clone());
        json!({
            "id": id,
            "displayName": imodel.name,
            "dataCenterLocation": "Sandbox",
            "name": imodel.name,
            "description": imodel.description,
            "state": if initialized { "initialized" } else { "notInitialized" },
            "createdDateTime": imodel.created,
            "lastChangesetPushDateTime": pushed,
            "iTwinId": imodel.itwin,
            "isSecured": false,
            "extent": imodel.extent,
            "containersEnabled": imodel.containers,
            "_links": links,
        })
    }

    pub(super) fn changeset_json(&self, imodel: &IModel, set: &Changeset, full: Full) -> Value {
        let (id, path) = (&set.id, format!("/imodels/{}", imodel.id));
        let done = set.uploaded == Upload::Done;
        let mut value = json!({
            "id": id,
            "displayName": set.index.to_string(),
            "description": set.description,
            "index": set.index,
            "parentId": set.parent,
            "creatorId": user_id(),
            "pushDateTime": done.then_some(&set.pushed),
            "state": if done { "fileUploaded" } else { "waitingForFile" },
            "containingChanges": set.containing,
            "fileSize": set.size,
            "briefcaseId": set.briefcase,
            "groupId": set.group,
            "_links": {
                "self": self.href(&format!("{path}/changesets/{id}")),
                "creator": self.href(&format!("{path}/users/{}", user_id())),
            },
        });
        if full == Full::No {
            return value;
        }
        let version = imodel
            .versions
            .iter()
            .find(|version| version.changeset.as_ref().is_some_and(|(of, _)| of == id))
            .map(|version| self.href(&format!("{path}/namedversions/{}", version.id)));
        let checkpoint = self.href(&format!("{path}/changesets/{id}/checkpoint"));
        value["application"] = json!({"id": "sandbox", "name": "Sandbox"});
        value["synchronizationInfo"] = set.synchronization.clone();
        let links = &mut value["_links"];
        links["namedVersion"] = version.into();
        links["currentOrPrecedingCheckpoint"] = checkpoint;
        if done {
            links["download"] = self.blob(&imodel.container(), &file(id), Access::Read);
        } else {
            links["upload"] = self.blob(&imodel.container(), &file(id), Access::Write);
            links["complete"] = self.href(&format!("{path}/changesets/{id}"));
        }
        value
    }

    pub(super) fn version_json(&self, imodel: &IModel, version: &NamedVersion) -> Value {
        let path = format!("/imodels/{}", imodel.id);
        let (changeset, index) = version.changeset.clone().unzip();
        let link = changeset
            .as_ref()
            .map(|id| self.href(&format!("{path}/changesets/{id}")));
        json!({
            "id": version.id,
            "displayName": version.name,
            "name": version.name,
            "description": version.description,
            "changesetId": changeset,
            "changesetIndex": index.unwrap_or(0),
            "createdDateTime": version.created,
            "state": version.state,
            "application": null,
            "_links": {
                "creator": self.href(&format!("{path}/users/{}", user_id())),
                "changeset": link,
            },
        })
    }

    /// The checkpoint of a changeset; `None` is the baseline's.
    pub(super) fn checkpoint_json(&self, imodel: &IModel, set: Option<&Changeset>) -> Value {
        let container = imodel.container();
        let (id, index) = set.map_or(("", 0), |set| (set.id.as_str(), set.index));
        let name = format!("checkpoint-{index}.bim");
        if self.storage.size(&container, &name).is_none() {
            self.storage.put(&container, &name, vec![b'#'; 4096]);
        }
        json!({
            "changesetId": id,
            "changesetIndex": index,
            "size": self.storage.size(&container, &name).unwrap_or_default(),
            "state": "successful",
            "dbName": name,
            "directoryAccessInfo": {
                "baseUrl": self.storage.container_url(&container),
                "storage": Storage::account(),
                "baseDirectory": container,
                "storageType": "azure",
                "azure": {"sasToken": self.storage.container_token(&container)},
            },
            "_links": {"download": self.blob(&container, &name, Access::Read)},
        })
    }

    pub(super) fn user_json(&self, imodel: &IModel) -> Value {
        json!({
            "id": user_id(),
            "displayName": "agent@sandbox.example",
            "givenName": "Sandbox",
            "surname": "Agent",
            "email": "agent@sandbox.example",
            "statistics": {
                "pushedChangesetsCount": imodel.changesets.len(),
                "lastChangesetPushDate": imodel.changesets.last().map(|last| &last.pushed),
                "createdVersionsCount": imodel.versions.len(),
                "briefcasesCount": imodel.briefcases.len(),
                "applications": [],
            },
            "_links": {"self": self.href(&format!("/imodels/{}/users/{}", imodel.id, user_id()))},
        })
    }
}

/// Whether a changeset is written with all it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Yes,
    No,
}

impl IModel {
    pub(super) fn empty(id: String, itwin: String, name: String, created: String) -> Self {
        Self {
            id,
            itwin,
            name,
            description: Value::Null,
            extent: Value::Null,
            containers: 0.into(),
            created,
            state: IModelState::Initialized,
            source: Source::Nothing,
            changesets: Vec::new(),
            versions: Vec::new(),
            briefcases: Vec::new(),
            thumbnail: Bytes::from_static(THUMBNAIL),
        }
    }

    /// Its blobs.
    pub(super) fn container(&self) -> String {
        format!("imodel-{}", self.id)
    }

    /// The newest that is complete; empty if there is none.
    pub(super) fn last_changeset(&self) -> String {
        self.changesets
            .iter()
            .rfind(|set| set.uploaded == Upload::Done)
            .map(|set| set.id.clone())
            .unwrap_or_default()
    }

    /// By identifier or index.
    pub(super) fn changeset(&self, key: &str) -> Option<&Changeset> {
        self.changesets.iter().find(|set| set.is(key))
    }
}

impl Changeset {
    pub(super) fn is(&self, key: &str) -> bool {
        self.id == key || key.parse() == Ok(self.index)
    }
}

/// The name of a baseline's blob.
pub(super) const BASELINE: &str = "baseline.bim";

/// The name of a changeset's blob.
pub(super) fn file(changeset: &str) -> String {
    format!("{changeset}.cs")
}

/// The only user there is.
pub(super) fn user_id() -> String {
    guid(0x05, "agent")
}

/// 40 hexadecimal digits, as changesets are named.
pub(super) fn changeset_id(seed: &str) -> String {
    let (one, two) = (guid(0xc5, seed), guid(0xc6, seed));
    let digits = format!("{one}{two}").replace('-', "");
    digits[..40].to_owned()
}
