//! Google Cloud Storage, with the settings of velero-plugin-for-gcp. The secret is the JSON that Google issues.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use opendal::services::Gcs;

use super::{Extras, Opened, Settings};
use crate::error::StoreError;
use crate::retry::Tuning;

const KEYS: [&str; 5] = [
    "kmsKeyName",
    "serviceAccount",
    "credentialsFile",
    "storeEndpoint",
    "universeDomain",
];

pub(super) async fn open(settings: &Settings<'_>, tuning: &Tuning) -> Result<Opened, StoreError> {
    settings.only(&KEYS)?;
    let mut builder = Gcs::default().bucket(&settings.config.bucket);
    if let Some(bytes) = settings
        .credential(Some("GOOGLE_APPLICATION_CREDENTIALS"))
        .await?
    {
        let json: serde_json::Value = serde_json::from_slice(&bytes).map_err(|e| {
            // Only the place: the parser's words could quote the secret.
            settings.bad_credentials(format!(
                "the credentials are not JSON (line {}, column {})",
                e.line(),
                e.column()
            ))
        })?;
        if json.get("type").and_then(serde_json::Value::as_str).is_none() {
            return Err(settings
                .bad_credentials("the credentials have no `type`; they are the JSON that Google issues"));
        }
        builder = builder
            .credential(&BASE64_STANDARD.encode(&bytes))
            .disable_vm_metadata();
    }
    if let Some(account) = settings.text("serviceAccount") {
        builder = builder.service_account(account);
    }
    let universe = settings
        .text("universeDomain")
        .filter(|domain| *domain != "googleapis.com");
    if let Some(endpoint) = settings.text("storeEndpoint") {
        let url = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("https://{endpoint}")
        };
        builder = builder.endpoint(url.trim_end_matches('/'));
    } else if let Some(domain) = universe {
        builder = builder.endpoint(&format!("https://storage.{domain}"));
    }
    let mut transport = settings.transport(tuning, false)?;
    if let Some(name) = settings.text("kmsKeyName") {
        transport = transport.with_extras(Extras::GcsKmsKey(name.to_owned()));
    }
    Ok(Opened::new(settings.http_operator(builder, &transport)?))
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::{location, refused};
    use crate::retry::Tuning;

    #[tokio::test]
    async fn wrong_credentials_are_explained_and_not_shown() {
        for (secret, words) in [("hush", "not JSON (line 1"), ("{\"hush\":1}", "no `type`")] {
            let text = refused("gcp", &[], secret).await;
            assert!(text.contains(words) && !text.contains("hush"), "{text}");
        }
    }

    #[tokio::test]
    async fn endpoint_key_and_credentials_are_taken() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .unwrap()
            .serialize_pem();
        let secret = serde_json::json!({
            "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": key,
        });
        let settings = [
            ("storeEndpoint", "storage-x.p.googleapis.com"),
            ("kmsKeyName", "projects/p/k"),
        ];
        let opened = open(
            &location("gcp", &settings, &secret.to_string()),
            &Tuning::default(),
        )
        .await
        .unwrap();
        assert!(opened.presigner.is_some());
    }
}
