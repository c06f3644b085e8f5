//! Endpoints for people who sign in with a browser, and for the provider that tells of them.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request, Response};
use hyper::body::Incoming;

use super::{
    Endpoint, Located, Visitor,
    form::{NoForm, Room, is_form},
    refusal,
};
use crate::{
    handbook::Code,
    proxy::person::visit,
    session::{self, Realm, Sessions},
};

/// One endpoint of one session.
#[derive(Debug)]
struct Desk {
    realm: Realm,
    endpoint: session::Endpoint,
    room: Room,
}

/// All of them.
pub(super) fn endpoints(sessions: &Sessions) -> Vec<Located> {
    let room = Room::new();
    let mut all = Vec::new();
    for realm in sessions.realms() {
        let config = realm.config();
        for endpoint in session::Endpoint::ALL {
            all.push(Located {
                host: config.public.host_str().unwrap_or_default().into(),
                path: endpoint.path(config).into(),
                endpoint: std::sync::Arc::new(Desk {
                    realm: realm.clone(),
                    endpoint,
                    room: room.clone(),
                }),
            });
        }
    }
    all
}

impl Endpoint for Desk {
    fn answer(
        &self,
        request: Request<Incoming>,
        visitor: Visitor,
    ) -> BoxFuture<'static, Response<Bytes>> {
        let (realm, endpoint, room) = (self.realm.clone(), self.endpoint, self.room.clone());
        Box::pin(async move {
            let Visitor { reference, peer } = visitor;
            let mut visit = visit(&request, Bytes::new(), peer, reference);
            let form =
                visit.method == Method::POST && endpoint.takes_form() && is_form(&visit.headers);
            if form {
                visit.body = match room.body(request.into_body()).await {
                    Ok(body) => body,
                    Err(NoForm::Bad) => {
                        let text = "The form is too large, or did not come.";
                        return refusal(Code::InvalidRequest, text, &visit.reference);
                    }
                    Err(NoForm::NoRoom) => {
                        let text = "Too many forms are read at once.";
                        return refusal(Code::Overloaded, text, &visit.reference);
                    }
                };
            }
            realm.visited(endpoint, visit).await
        })
    }
}
