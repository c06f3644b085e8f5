//! Endpoints that we answer ourselves on the listeners of the data plane.

use url::Url;

/// Where a resource's metadata are (RFC 9728 section 3.1).
pub(super) fn metadata_url(resource: &Url) -> Url {
    let mut url = resource.clone();
    let path = match resource.path() {
        "/" => "",
        path => path,
    };
    url.set_path(&format!("/.well-known/oauth-protected-resource{path}"));
    url
}
