//! Certificates of listeners that follow their files.
//!
//! A task looks at the files now and then (Kubernetes swaps a symbolic link, certbot renames, an
//! NFS client sends no events: looking works for all of them) and builds a new configuration when
//! their content has changed. When that fails the old one stays.

use std::{path::PathBuf, sync::Arc};

use rustls::ServerConfig;
use tokio::sync::watch;

use super::{TlsError, server::server_config};
use crate::{
    config::{ClientCertificates, Identity, OwnCertificate},
    rotation::{Content, EVERY, Look, content},
};

/// The newest configuration of one listener.
pub type Current = watch::Receiver<Arc<ServerConfig>>;

/// Reads the files once and returns the configuration and the task that keeps it current.
///
/// # Errors
/// As [`server_config`].
pub fn follow(
    tls: OwnCertificate,
) -> Result<(Current, impl Future<Output = ()> + Send + 'static), TlsError> {
    let mut look = Look::new(held(&tls));
    let (sender, receiver) = watch::channel(server_config(&tls)?);
    let task = async move {
        loop {
            tokio::time::sleep(EVERY).await;
            if sender.is_closed() {
                return;
            }
            // whoever follows all files of the configuration tells what comes of it
            let _ = look.at(held(&tls), || {
                sender.send_replace(server_config(&tls)?);
                Ok::<_, TlsError>(())
            });
        }
    };
    Ok((receiver, task))
}

fn held(tls: &OwnCertificate) -> Content {
    let ca = match &tls.clients {
        ClientCertificates::None | ClientCertificates::Any => None,
        ClientCertificates::Optional { ca } | ClientCertificates::Required { ca } => Some(ca),
    };
    let Identity { certificate, key } = &tls.identity;
    content(
        [certificate, key]
            .into_iter()
            .chain(ca)
            .map(PathBuf::as_path),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::shutdown::Shutdown;

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_served_and_a_bad_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        let write = || {
            let made = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
            fs::write(&identity.certificate, made.cert.pem()).unwrap();
            fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
        };
        write();
        let tls = OwnCertificate {
            identity: identity.clone(),
            clients: ClientCertificates::None,
        };
        let (mut current, task) = follow(tls).unwrap();
        let stop = Shutdown::new();
        stop.spawn(task);
        let first = Arc::clone(&current.borrow_and_update());

        fs::write(&identity.key, "no key").unwrap();
        tokio::time::sleep(EVERY * 2).await;
        assert!(
            !current.has_changed().unwrap(),
            "a bad file replaces nothing"
        );

        write();
        tokio::time::sleep(EVERY * 2).await;
        assert!(current.has_changed().unwrap());
        assert!(!Arc::ptr_eq(&first, &current.borrow_and_update()));
        stop.advance(crate::shutdown::Stage::Hard);
    }

    /// Whether the server resumed; tickets are in `client` afterwards.
    fn resumes(client: &Arc<rustls::ClientConfig>, server: &Arc<rustls::ServerConfig>) -> bool {
        let name = "proxy.test".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = rustls::ServerConnection::new(Arc::clone(server)).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..4 {
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets().unwrap();
            bytes.clear();
        }
        server.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    #[test]
    fn a_thousand_callers_resume_their_sessions_until_the_certificate_changes() {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["proxy.test".to_owned()]).unwrap();
        let identity = Identity {
            certificate: directory.path().join("tls.crt"),
            key: directory.path().join("tls.key"),
        };
        fs::write(&identity.certificate, made.cert.pem()).unwrap();
        fs::write(&identity.key, made.signing_key.serialize_pem()).unwrap();
        let clients = ClientCertificates::None;
        let tls = OwnCertificate {
            identity: identity.clone(),
            clients,
        };
        let trusted = crate::config::ClientTls {
            extra_ca: vec![identity.certificate],
            ..Default::default()
        };
        let server = server_config(&tls).unwrap();
        let caller = crate::tls::client::client_config(&trusted, &[b"http/1.1"]).unwrap();
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let mut caller = rustls::ClientConfig::clone(&caller);
                caller.resumption = rustls::client::Resumption::in_memory_sessions(8);
                Arc::new(caller)
            })
            .collect();
        assert!(callers.iter().all(|caller| !resumes(caller, &server)));
        assert!(callers.iter().all(|caller| resumes(caller, &server)));
        let renewed = server_config(&tls).unwrap();
        assert!(!resumes(&callers[0], &renewed));
    }
}
