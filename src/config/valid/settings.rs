//! Limits, log, token store.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{
        Bind, Limits, Listener, Log, LogFormat, TokenStore, path::Path, problem::did_you_mean, raw,
    },
    Check,
    files::Forms,
    scalar::{DAY, HOUR, MILLISECOND, MINUTE, SECOND},
};
use crate::{
    handbook::Help,
    telemetry::{self, LevelError},
};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Check<'_> {
    pub(super) fn limits(&mut self, raw: Option<&raw::Limits>, listeners: &[Listener]) -> Limits {
        let default = raw::Limits::default();
        let raw = raw.unwrap_or(&default);
        let path = Path::root().key("limits");
        let only_here = listeners.iter().all(|listener| listener.bind.is_local());
        let delay = if only_here {
            Duration::ZERO
        } else {
            5 * SECOND
        };
        // hyper reads at least 8 KiB at once
        let header = self.size(
            &path.key("header_size"),
            raw.header_size.as_deref(),
            32 << 10,
            8 << 10..=16 << 20,
        );
        let body_path = path.key("body_size");
        Limits {
            header_bytes: usize::try_from(header).unwrap_or(usize::MAX),
            header_count: count(raw.header_count, 80),
            body_bytes: match raw.body_size.as_deref() {
                None | Some("unlimited") => None,
                written => Some(self.size(&body_path, written, 0, 0..=u64::MAX)),
            },
            connections: count(raw.connections, 10_000),
            requests: count(raw.requests, 10_000),
            header_timeout: self.duration(
                &path.key("header_timeout"),
                raw.header_timeout.as_deref(),
                10 * SECOND,
                100 * MILLISECOND..=10 * MINUTE,
            ),
            idle_timeout: self.duration(
                &path.key("idle_timeout"),
                raw.idle_timeout.as_deref(),
                2 * MINUTE,
                100 * MILLISECOND..=DAY,
            ),
            http2_streams: raw.http2_streams.unwrap_or(250),
            drain_delay: self.duration(
                &path.key("drain_delay"),
                raw.drain_delay.as_deref(),
                delay,
                Duration::ZERO..=HOUR,
            ),
            drain_timeout: self.duration(
                &path.key("drain_timeout"),
                raw.drain_timeout.as_deref(),
                25 * SECOND,
                Duration::ZERO..=DAY,
            ),
        }
    }

    pub(super) fn log(&mut self, raw: Option<&raw::Log>) -> Log {
        let level = raw.and_then(|raw| raw.level.as_deref()).unwrap_or("info");
        self.log_level(&Path::root().key("log").key("level"), level);
        Log {
            level: level.to_owned(),
            format: match raw.and_then(|raw| raw.format) {
                None | Some(raw::LogFormat::Auto) => LogFormat::Auto,
                Some(raw::LogFormat::Human) => LogFormat::Human,
                Some(raw::LogFormat::Json) => LogFormat::Json,
            },
            requests: raw.and_then(|raw| raw.requests).unwrap_or(true),
        }
    }

    fn log_level(&mut self, path: &Path, written: &str) {
        let Err(error) = telemetry::levels(written) else {
            return;
        };
        let hint = match &error {
            LevelError::NotALevel(text) => did_you_mean(text, LEVELS),
            LevelError::NotAModule(_) => None,
        };
        self.error(path, error.to_string(), hint.unwrap_or_default());
    }

    /// Where errors point.
    pub(super) fn help(&mut self, raw: Option<&raw::Errors>) -> Help {
        let path = Path::root().key("errors").key("help");
        let written = raw.and_then(|errors| errors.help.as_deref());
        match written.and_then(|written| self.url(&path, written)) {
            Some(url) => Help::At(url.as_str().into()),
            None => Help::Program,
        }
    }

    /// Where a successor takes the sockets.
    pub(super) fn handover_socket(
        &mut self,
        written: Option<&str>,
        listeners: &[Listener],
    ) -> Option<PathBuf> {
        let written = written?;
        let path = Path::root().key("handover_socket");
        let socket =
            self.socket_path(&path, written, "write /run/itwin-auth-proxy/handover.sock")?;
        let taken = |listener: &Listener| matches!(&listener.bind, Bind::Unix { path, .. } if *path == socket);
        if listeners.iter().any(taken) {
            let hint = "give it a name of its own: it is no listener";
            self.error(&path, format!("{written} is a listener's"), hint);
        }
        self.writable_directory(&path, written).then_some(socket)
    }

    /// The networks of proxies in front.
    pub(super) fn trusted_proxies(&mut self, written: Option<&raw::Words>) -> Vec<ipnet::IpNet> {
        let path = Path::root().key("trusted_proxies");
        let trusted_proxies = self.networks(&path, written);
        if trusted_proxies
            .iter()
            .any(|network| network.prefix_len() == 0)
        {
            self.warn(
                &path,
                "forwarded headers are believed from every peer, so that any caller can forge its address",
                "name the networks of the proxies in front",
            );
        }
        trusted_proxies
    }

    pub(super) fn token_store(&mut self, raw: Option<&raw::TokenStore>) -> Option<TokenStore> {
        let raw = raw?;
        let path = Path::root().key("token_store");
        let forms = Forms {
            key: "key",
            value: raw.key.as_ref(),
            file: raw.key_file.as_ref(),
            env: raw.key_env.as_ref(),
        };
        if !forms.given() {
            self.missing(
                &path,
                "has no key: the file is always encrypted",
                "give key_file, key_env or key",
            );
        }
        let key = self.secret(&path, forms);
        self.long_enough(&path, "key", key.as_ref());
        let file = raw.path.as_ref()?;
        self.writable_directory(&path.key("path"), file);
        if PathBuf::from(file).is_dir() {
            self.error(
                &path.key("path"),
                format!("{file} is a directory"),
                "name a file in it",
            );
        }
        Some(TokenStore {
            path: file.into(),
            key: key?,
        })
    }
}

fn count(written: Option<u32>, default: u32) -> usize {
    usize::try_from(written.unwrap_or(default)).unwrap_or(usize::MAX)
}
