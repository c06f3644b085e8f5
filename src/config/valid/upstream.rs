//! Where a route's requests go, and how long everything about them may take.

use super::{
    super::{
        Forwarded, Inject, LinkRewriting, Replay, RouteTimeouts, Upstream, UpstreamProtocol,
        path::Path,
        raw::{self, Protocol},
    },
    Check,
    provider::preset_of,
    scalar::{DAY, HOUR, MILLISECOND, MINUTE, SECOND},
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl Check<'_> {
    pub(super) fn upstream(
        &mut self,
        route: &Path,
        raw: Option<&raw::Upstream>,
        inject: Option<&Inject>,
        injects: bool,
    ) -> Option<Upstream> {
        let path = route.key("upstream");
        let default = raw::Upstream::default();
        let written = raw.and_then(|raw| raw.url.clone());
        let preset = inject.and_then(|inject| preset_of(&inject.credential.provider));
        let Some(url) = written.or_else(|| preset.map(|preset| preset.upstream.to_owned())) else {
            // a credential that is wrong may have had a default
            if inject.is_some() || !injects {
                self.missing(&path, "is missing: where do requests go?", "write it as scheme and host, such as https://api.bentley.com; in the environment ITWIN_UPSTREAM");
            }
            return None;
        };
        let raw = raw.unwrap_or(&default);
        let origin = self.origin(
            &path.key("url"),
            &url,
            "the caller's path is sent as it came; to match some paths only, give the route a path",
        );
        let tls_path = path.key("tls");
        let port = origin.as_ref().map_or(443, |origin| origin.port);
        let tls = self.client_tls(&tls_path, raw.tls.as_ref(), port);
        let connect_timeout = self.duration(
            &path.key("connect_timeout"),
            raw.connect_timeout.as_deref(),
            5 * SECOND,
            10 * MILLISECOND..=2 * MINUTE,
        );
        let idle_timeout = self.duration(
            &path.key("idle_timeout"),
            raw.idle_timeout.as_deref(),
            45 * SECOND,
            SECOND..=HOUR,
        );
        let origin = origin?;
        if !origin.https
            && (!tls.extra_ca.is_empty() || tls.identity.is_some() || tls.server_name.is_some())
        {
            self.error(
                &tls_path,
                "has no effect: the upstream is not https",
                "write https://, or leave it out",
            );
        }
        Some(Upstream {
            origin,
            protocol: match raw.protocol {
                None | Some(Protocol::Auto) => UpstreamProtocol::Auto,
                Some(Protocol::Http1) => UpstreamProtocol::Http1,
                Some(Protocol::Http2) => UpstreamProtocol::Http2,
            },
            tls,
            connect_timeout,
            idle_timeout,
            idle_connections: raw.idle_connections.unwrap_or(128) as usize,
            preserve_host: raw.preserve_host.unwrap_or(false),
            forwarded: match raw.forwarded {
                Some(true) => Forwarded::Told,
                Some(false) | None => Forwarded::Silent,
            },
        })
    }

    pub(super) fn links(&mut self, path: &Path, raw: Option<&raw::Links>) -> Option<LinkRewriting> {
        let Some(raw) = raw else {
            return Some(LinkRewriting::On { public: None });
        };
        if raw.rewrite == Some(false) {
            if raw.public.is_some() {
                self.error(
                    &path.key("public"),
                    "has no effect: rewrite is false",
                    "leave one of them out",
                );
            }
            return Some(LinkRewriting::Off);
        }
        let why = "the paths of links stay as they are";
        match &raw.public {
            Some(public) => Some(LinkRewriting::On {
                public: Some(self.origin(&path.key("public"), public, why)?),
            }),
            None => Some(LinkRewriting::On { public: None }),
        }
    }

    pub(super) fn route_timeouts(
        &mut self,
        path: &Path,
        raw: Option<&raw::Timeouts>,
    ) -> RouteTimeouts {
        let default = raw::Timeouts::default();
        let raw = raw.unwrap_or(&default);
        let range = 10 * MILLISECOND..=DAY;
        let response = self.duration(
            &path.key("response"),
            raw.response.as_deref(),
            2 * MINUTE,
            range.clone(),
        );
        let idle = self.duration(
            &path.key("idle"),
            raw.idle.as_deref(),
            2 * MINUTE,
            range.clone(),
        );
        let total_path = path.key("total");
        let total = match raw.total.as_deref() {
            None | Some("none") => None,
            written => Some(self.duration(&total_path, written, DAY, range)),
        };
        if total.is_some_and(|total| total < response) && raw.response.is_some() {
            self.error(
                &total_path,
                "is shorter than the time for the answer's header",
                "make timeouts.response shorter, or total longer",
            );
        }
        RouteTimeouts {
            response: total.map_or(response, |total| response.min(total)),
            idle,
            total,
        }
    }

    pub(super) fn replay(&mut self, path: &Path, raw: Option<&raw::Replay>) -> Replay {
        let default = raw::Replay::default();
        let raw = raw.unwrap_or(&default);
        let memory = self.size(
            &path.key("memory"),
            raw.memory.as_deref(),
            256 * KIB,
            0..=GIB,
        );
        let total = self.size(
            &path.key("total"),
            raw.total.as_deref(),
            16 * MIB,
            0..=64 * GIB,
        );
        if memory > total && raw.memory.is_some() && raw.total.is_some() {
            self.error(
                &path.key("memory"),
                "is more than what is kept in all",
                "make it smaller than replay.total",
            );
        }
        Replay {
            memory_bytes: memory.min(total),
            total_bytes: if raw.total.is_none() {
                total.max(memory)
            } else {
                total
            },
        }
    }
}
