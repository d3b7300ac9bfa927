//! Azure Blob storage, with the settings of velero-plugin-for-microsoft-azure.
//!
//! Unlike the plugin this never asks Azure's management API for the account's key: without a key it uses the
//! service principal or identity itself, which then needs the role Storage Blob Data Contributor.

use std::collections::HashMap;

use opendal::services::Azblob;
use reqsign_azure_storage::{ClientSecretCredentialProvider, DefaultCredentialProvider};
use reqsign_core::ProvideCredentialChain;

use super::{Opened, Settings};
use crate::credentials::parse_env_file;
use crate::error::StoreError;
use crate::retry::Tuning;

const KEYS: [&str; 9] = [
    "resourceGroup",
    "storageAccount",
    "storageAccountKeyEnvVar",
    "subscriptionId",
    "blockSizeInBytes",
    "storageAccountURI",
    "useAAD",
    "activeDirectoryAuthorityURI",
    "credentialsFile",
];

/// Blocks are at most 100 MB, as in the plugin.
const MAX_BLOCK: usize = 100 * 1024 * 1024;

pub(super) async fn open(settings: &Settings<'_>, tuning: &Tuning) -> Result<Opened, StoreError> {
    settings.only(&KEYS)?;
    let account = settings.text("storageAccount").ok_or_else(|| {
        settings.wrong(
            "storageAccount",
            "it is missing; it is the name of the account".to_owned(),
        )
    })?;
    let secret = match settings.credential(Some("AZURE_CREDENTIALS_FILE")).await? {
        Some(bytes) => parse_env_file(&bytes).map_err(|problem| {
            settings.bad_credentials(format!("the credentials file is wrong: {problem}"))
        })?,
        None => HashMap::new(),
    };
    let cloud = Cloud::of(settings, &secret)?;
    let transport = settings.transport(tuning, false)?;
    let endpoint = match settings.url("storageAccountURI")? {
        Some(uri) => uri.to_owned(),
        None => format!("https://{account}.{}", cloud.blobs),
    };
    let mut builder = Azblob::default()
        .container(&settings.config.bucket)
        .endpoint(&endpoint)
        .account_name(account);
    builder = match account_key(settings, &secret)? {
        Some(key) => builder.account_key(key),
        None => builder.credential_provider_chain(identity(settings, &secret, &cloud)?),
    };
    let mut opened = Opened::new(settings.http_operator(builder, &transport)?);
    opened.part_size = block_size(settings)?;
    Ok(opened)
}

/// The account's key, where the secret has it and nothing asks for Microsoft Entra.
fn account_key<'a>(
    settings: &Settings<'_>,
    secret: &'a HashMap<String, String>,
) -> Result<Option<&'a str>, StoreError> {
    let find = |name: &str| {
        secret
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    if let Some(name) = settings.text("storageAccountKeyEnvVar") {
        return find(name).map(Some).ok_or_else(|| {
            settings.bad_credentials(format!(
                "the credentials have no {name}, which storageAccountKeyEnvVar names"
            ))
        });
    }
    if settings.flag("useAAD")? {
        return Ok(None);
    }
    Ok(find("AZURE_STORAGE_KEY").or_else(|| find("AZURE_STORAGE_ACCOUNT_ACCESS_KEY")))
}

/// A service principal of the secret, or the identity of the pod or machine.
fn identity(
    settings: &Settings<'_>,
    secret: &HashMap<String, String>,
    cloud: &Cloud,
) -> Result<ProvideCredentialChain<reqsign_azure_storage::Credential>, StoreError> {
    let find = |name: &str| {
        secret
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    for name in [
        "AZURE_CLIENT_CERTIFICATE",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_USERNAME",
    ] {
        if find(name).is_some() {
            return Err(settings.bad_credentials(format!(
                "{name} is not supported; use AZURE_CLIENT_SECRET, a workload identity or an account key"
            )));
        }
    }
    let Some(client_secret) = find("AZURE_CLIENT_SECRET") else {
        return Ok(ProvideCredentialChain::new().push(DefaultCredentialProvider::new()));
    };
    let need = |name: &str| {
        find(name).ok_or_else(|| {
            settings.bad_credentials(format!("the credentials have a client secret but no {name}"))
        })
    };
    let authority = settings
        .url("activeDirectoryAuthorityURI")?
        .unwrap_or(cloud.authority);
    Ok(ProvideCredentialChain::new().push(
        ClientSecretCredentialProvider::new()
            .with_tenant_id(need("AZURE_TENANT_ID")?)
            .with_client_id(need("AZURE_CLIENT_ID")?)
            .with_client_secret(client_secret)
            .with_authority_host(authority),
    ))
}

/// The plugin repairs a wrong block size silently; so do we, but only where its intent is clear.
fn block_size(settings: &Settings<'_>) -> Result<Option<usize>, StoreError> {
    match settings.text("blockSizeInBytes").map(str::parse::<usize>) {
        None => Ok(None),
        Some(Ok(size)) if size > 0 => Ok(Some(size.min(MAX_BLOCK))),
        Some(_) => Err(settings.wrong(
            "blockSizeInBytes",
            "it is a number from 1 to 104857600".to_owned(),
        )),
    }
}

/// The host names of one of Azure's clouds.
struct Cloud {
    blobs: &'static str,
    authority: &'static str,
}

impl Cloud {
    fn of(settings: &Settings<'_>, secret: &HashMap<String, String>) -> Result<Self, StoreError> {
        let name = secret.get("AZURE_CLOUD_NAME").map_or("", String::as_str);
        let (blobs, authority) = match name.to_ascii_uppercase().as_str() {
            "" | "AZURECLOUD" | "AZUREPUBLICCLOUD" => {
                ("blob.core.windows.net", "https://login.microsoftonline.com")
            }
            "AZURECHINACLOUD" => ("blob.core.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => {
                ("blob.core.usgovcloudapi.net", "https://login.microsoftonline.us")
            }
            _ => {
                return Err(settings.wrong(
                    "AZURE_CLOUD_NAME",
                    format!(
                        "`{name}` is unknown; it is AzurePublicCloud, AzureChinaCloud or AzureUSGovernment"
                    ),
                ));
            }
        };
        Ok(Self { blobs, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::{location, refused};
    use crate::retry::Tuning;

    const KEY: &str = "AZURE_CLOUD_NAME=AzurePublicCloud\nMY_KEY=aHVzaA==\n";

    #[tokio::test]
    async fn wrong_settings_are_explained() {
        let account = ("storageAccount", "acc");
        for (settings, secret, words) in [
            (&[][..], KEY, "setting `storageAccount`"),
            (
                &[account, ("storageAccountKeyEnvVar", "OTHER")],
                KEY,
                "the credentials have no OTHER",
            ),
            (
                &[account, ("blockSizeInBytes", "many")],
                KEY,
                "a number from 1 to 104857600",
            ),
            (&[account, ("useAAD", "perhaps")], KEY, "neither true nor false"),
            (&[account], "AZURE_CLOUD_NAME=Moon", "`Moon` is unknown"),
            (&[account], "AZURE_CLIENT_SECRET=hush", "no AZURE_TENANT_ID"),
            (
                &[account],
                "AZURE_CLIENT_CERTIFICATE=hush",
                "AZURE_CLIENT_CERTIFICATE is not supported",
            ),
            (&[account], "hush", "line 1 is not of the form"),
        ] {
            let text = refused("azure", settings, secret).await;
            assert!(
                text.contains(words) && !text.contains("hush"),
                "{settings:?}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn a_url_is_signed_with_the_accounts_key() {
        let settings = [
            ("storageAccount", "acc"),
            ("storageAccountKeyEnvVar", "MY_KEY"),
            ("blockSizeInBytes", "2097152"),
        ];
        let opened = open(&location("velero.io/azure", &settings, KEY), &Tuning::default())
            .await
            .unwrap();
        assert_eq!(opened.part_size, Some(2 << 20));
        let signed = opened
            .presigner
            .unwrap()
            .presign_read("a/b", std::time::Duration::from_mins(10))
            .await
            .unwrap();
        let url = signed.uri().to_string();
        assert!(
            url.starts_with("https://acc.blob.core.windows.net/bucket/a/b?") && url.contains("sig="),
            "{url}"
        );
    }
}
