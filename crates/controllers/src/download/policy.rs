//! Whether the URL of a download comes from the store or from our own server.

use std::net::IpAddr;

use refloat_model::location::BackupStorageLocationSpec;

use crate::DownloadUrlPolicy;

/// Where the server is and what it was told.
pub(crate) struct Surroundings<'a> {
    pub(crate) policy: DownloadUrlPolicy,
    /// The server's namespace.
    pub(crate) namespace: &'a str,
    /// Whether the server runs in the cluster: its short names and loopback mean nothing outside.
    pub(crate) in_cluster: bool,
}

/// Settings that hold an endpoint, by provider.
const ENDPOINTS: [&str; 3] = ["s3Url", "storageAccountURI", "endpoint"];

/// Whether to ask the store for a signed URL. It may still turn out that it cannot sign.
pub(crate) fn prefers_signed(spec: &BackupStorageLocationSpec, surroundings: &Surroundings<'_>) -> bool {
    let provider = spec.provider.rsplit('/').next().unwrap_or_default();
    if provider == "filesystem" {
        return false;
    }
    match surroundings.policy {
        DownloadUrlPolicy::Server => return false,
        DownloadUrlPolicy::Signed => return true,
        DownloadUrlPolicy::Auto => {}
    }
    let setting = |key: &str| {
        spec.config
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    if setting("publicUrl").is_some() {
        return true;
    }
    if setting("network").is_some_and(|network| matches!(network, "internal" | "vpc")) {
        return false;
    }
    let endpoint = ENDPOINTS.iter().find_map(|key| setting(key));
    endpoint.is_none_or(|url| !is_internal(host_of(url), surroundings))
}

/// The host of a URL, or of `host[:port]`, without brackets.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(inner) = host.strip_prefix('[') {
        return inner.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

/// Whether a host means something only inside the cluster.
fn is_internal(host: &str, surroundings: &Surroundings<'_>) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if host.ends_with(".svc") || host.contains(".svc.") || host.ends_with(".cluster.local") {
        return true;
    }
    if !surroundings.in_cluster {
        return false;
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback() || address.is_unspecified();
    }
    match host.split_once('.') {
        None => true,
        Some((_, rest)) => rest == surroundings.namespace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(provider: &str, config: &[(&str, &str)]) -> BackupStorageLocationSpec {
        let config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        BackupStorageLocationSpec {
            provider: provider.into(),
            config,
            ..Default::default()
        }
    }

    const INSIDE: Surroundings<'_> = Surroundings {
        policy: DownloadUrlPolicy::Auto,
        namespace: "velero",
        in_cluster: true,
    };
    const OUTSIDE: Surroundings<'_> = Surroundings {
        in_cluster: false,
        ..INSIDE
    };

    #[test]
    fn the_store_signs_where_clients_can_reach_it() {
        for (url, inside, outside) in [
            ("https://s3.example.com", true, true),
            ("https://s3.example.com:9000/x", true, true),
            ("http://10.1.2.3:9000", true, true),
            ("http://minio.velero.svc:9000", false, false),
            ("http://minio.velero.svc.:9000", false, false),
            ("http://MinIO.velero.SVC.cluster.local:9000", false, false),
            ("http://minio.velero.svc.k8s.example.com", false, false),
            ("http://x.cluster.local", false, false),
            ("http://minio:9000", false, true),
            ("http://minio.velero:9000", false, true),
            ("http://minio.other:9000", true, true),
            ("http://127.0.0.1:9000", false, true),
            ("http://[::1]:9000", false, true),
            ("http://localhost:9000", false, true),
            ("http://user@minio:9000", false, true),
        ] {
            let spec = spec("velero.io/aws", &[("s3Url", url)]);
            assert_eq!(prefers_signed(&spec, &INSIDE), inside, "{url} inside");
            assert_eq!(prefers_signed(&spec, &OUTSIDE), outside, "{url} outside");
        }
        assert!(prefers_signed(&spec("aws", &[]), &INSIDE));
        assert!(prefers_signed(&spec("gcp", &[]), &INSIDE));
        assert!(!prefers_signed(
            &spec("alibabacloud", &[("network", "internal")]),
            &INSIDE
        ));
    }

    #[test]
    fn a_public_url_says_that_clients_can_reach_it() {
        let config = [
            ("s3Url", "http://minio.velero.svc:9000"),
            ("publicUrl", "https://s3.example.com"),
        ];
        assert!(prefers_signed(&spec("aws", &config), &INSIDE));
        assert!(!prefers_signed(
            &spec("aws", &[config[0], ("publicUrl", "")]),
            &INSIDE
        ));
    }

    #[test]
    fn the_flag_decides_except_for_what_cannot_sign() {
        let signed = Surroundings {
            policy: DownloadUrlPolicy::Signed,
            ..INSIDE
        };
        let server = Surroundings {
            policy: DownloadUrlPolicy::Server,
            ..INSIDE
        };
        let inside = spec("aws", &[("s3Url", "http://minio.velero.svc:9000")]);
        assert!(prefers_signed(&inside, &signed));
        assert!(!prefers_signed(
            &spec("aws", &[("publicUrl", "https://x.example.com")]),
            &server
        ));
        assert!(!prefers_signed(&spec("velero.io/filesystem", &[]), &signed));
    }
}
