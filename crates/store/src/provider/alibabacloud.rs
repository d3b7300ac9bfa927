//! Alibaba Cloud OSS, with the settings of Alibaba's Velero plugin. The secret has lines `NAME=value`.

use std::collections::HashMap;

use opendal::services::Oss;

use super::{Opened, Settings};
use crate::credentials::parse_env_file;
use crate::error::StoreError;
use crate::retry::Tuning;

const KEYS: [&str; 6] = [
    "region",
    "zone",
    "network",
    "endpoint",
    "notOnECS",
    "credentialsFile",
];

pub(super) async fn open(settings: &Settings<'_>, tuning: &Tuning) -> Result<Opened, StoreError> {
    settings.only(&KEYS)?;
    settings.flag("notOnECS")?;
    let secret = match settings
        .credential(Some("ALIBABA_CLOUD_CREDENTIALS_FILE"))
        .await?
    {
        Some(bytes) => parse_env_file(&bytes).map_err(|problem| {
            settings.bad_credentials(format!("the credentials file is wrong: {problem}"))
        })?,
        None => HashMap::new(),
    };
    // The plugin loads the file over its environment, so what the file lacks comes from there.
    let find = |name: &str| {
        secret
            .get(name)
            .cloned()
            .or_else(|| std::env::var(name).ok())
            .filter(|value| !value.is_empty())
    };
    let transport = settings.transport(tuning, false)?;
    let mut builder = Oss::default()
        .bucket(&settings.config.bucket)
        .endpoint(&endpoint(settings)?);
    match (
        find("ALIBABA_CLOUD_ACCESS_KEY_ID"),
        find("ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    ) {
        (Some(id), Some(key)) => {
            builder = builder.access_key_id(&id).access_key_secret(&key);
            if let Some(token) = find("ALIBABA_CLOUD_ACCESS_STS_TOKEN") {
                builder = builder.security_token(&token);
            }
        }
        (None, None) if find("ALIBABA_CLOUD_RAM_ROLE").is_some() => {
            return Err(settings.bad_credentials(
                "ALIBABA_CLOUD_RAM_ROLE is not supported; use an access key or RRSA (OIDC) in the environment",
            ));
        }
        // The chain of the SDK: RRSA and the like, from the environment.
        (None, None) if secret.is_empty() => {}
        _ => {
            return Err(settings.bad_credentials(
                "the credentials need both ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET",
            ));
        }
    }
    if let Some(id) = find("ALIBABA_CLOUD_ENCRYPTION_KEY_ID") {
        builder = builder
            .server_side_encryption("KMS")
            .server_side_encryption_key_id(&id);
    }
    Ok(Opened::new(settings.http_operator(builder, &transport)?))
}

fn endpoint(settings: &Settings<'_>) -> Result<String, StoreError> {
    if let Some(endpoint) = settings.text("endpoint") {
        return Ok(if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("https://{endpoint}")
        });
    }
    let region = settings.text("region").unwrap_or("cn-hangzhou");
    match settings.text("network") {
        None | Some("public") => Ok(format!("https://oss-{region}.aliyuncs.com")),
        Some("internal") => Ok(format!("https://oss-{region}-internal.aliyuncs.com")),
        Some("accelerate") => Ok("https://oss-accelerate.aliyuncs.com".to_owned()),
        Some(other) => Err(settings.wrong(
            "network",
            format!("`{other}` is unknown; it is public, internal or accelerate"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::{location, refused};
    use crate::retry::Tuning;

    const SECRET: &str = "ALIBABA_CLOUD_ACCESS_KEY_ID=id\nALIBABA_CLOUD_ACCESS_KEY_SECRET=hush\n";

    #[tokio::test]
    async fn wrong_settings_are_explained() {
        for (settings, secret, words) in [
            (&[("network", "moon")][..], SECRET, "`moon` is unknown"),
            (&[("notOnECS", "maybe")], SECRET, "neither true nor false"),
            (&[], "ALIBABA_CLOUD_ACCESS_KEY_SECRET=hush", "need both"),
            (&[], "ALIBABA_CLOUD_RAM_ROLE=hush", "RAM_ROLE is not supported"),
        ] {
            let text = refused("alibabacloud", settings, secret).await;
            assert!(
                text.contains(words) && !text.contains("hush"),
                "{settings:?}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn a_url_is_signed_for_the_regions_host() {
        for (settings, host) in [
            (
                &[("region", "cn-beijing")][..],
                "bucket.oss-cn-beijing.aliyuncs.com",
            ),
            (
                &[("region", "cn-beijing"), ("network", "internal")],
                "bucket.oss-cn-beijing-internal.aliyuncs.com",
            ),
            (&[("network", "accelerate")], "bucket.oss-accelerate.aliyuncs.com"),
            (&[("endpoint", "oss.example.com")], "bucket.oss.example.com"),
        ] {
            let opened = open(
                &location("velero.io/alibabacloud", settings, SECRET),
                &Tuning::default(),
            )
            .await
            .unwrap();
            let presigner = opened.presigner.unwrap();
            let signed = presigner
                .presign_read("a/b", std::time::Duration::from_mins(10))
                .await
                .unwrap();
            let url = signed.uri().to_string();
            assert!(
                url.starts_with(&format!("https://{host}/a/b?")) && url.contains("ignature="),
                "{url}"
            );
        }
    }
}
