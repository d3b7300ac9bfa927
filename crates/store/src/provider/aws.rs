//! S3 and whatever speaks its protocol, with the settings of velero-plugin-for-aws.

use std::{sync::Arc, time::Duration};

use http::HeaderValue;
use opendal::HttpTransporter;
use opendal::services::S3;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, AssumeRoleWithWebIdentityCredentialProvider, Credential,
    DefaultCredentialProvider, ProfileCredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign_core::{Context, OsEnv, ProvideCredentialChain, Signer};
use reqsign_file_read_tokio::TokioFileRead;

use super::{Extras, Opened, Settings};
use crate::credentials::{AwsProfile, AwsProfiles};
use crate::error::{At, Cause, StoreError};
use crate::retry::Tuning;
use crate::transport::{S3Extras, Transport};

const KEYS: [&str; 15] = [
    "region",
    "s3Url",
    "publicUrl",
    "kmsKeyId",
    "customerKeyEncryptionFile",
    "customerKeyEncryptionSecret",
    "s3ForcePathStyle",
    "signatureVersion",
    "credentialsFile",
    "profile",
    "serverSideEncryption",
    "insecureSkipTLSVerify",
    "enableSharedConfig",
    "tagging",
    "checksumAlgorithm",
];

pub(super) async fn open(settings: &Settings<'_>, tuning: &Tuning) -> Result<Opened, StoreError> {
    settings.only(&KEYS)?;
    settings.flag("enableSharedConfig")?;
    if let Some(version) = settings.text("signatureVersion").filter(|v| *v != "4") {
        return Err(settings.wrong(
            "signatureVersion",
            format!("`{version}` is no longer offered; use 4"),
        ));
    }
    let tagging = settings
        .text("tagging")
        .map(|tags| check_tags(settings, tags))
        .transpose()?;
    let transport = settings.transport(tuning, settings.flag("insecureSkipTLSVerify")?)?;
    let source = Source::of(settings).await?;
    let region = region(settings, &source, &transport).await?;
    let chain = || source.chain(settings, &region, &transport);

    let customer_key = customer_key(settings).await?;
    let builder = |url: Option<&str>| -> Result<S3, StoreError> {
        let mut s3 = S3::default().bucket(&settings.config.bucket).region(&region);
        s3 = s3
            .endpoint(url.unwrap_or("https://s3.amazonaws.com"))
            .credential_provider_chain(chain()?);
        if virtual_host(settings, url)? {
            s3 = s3.enable_virtual_host_style();
        }
        if let Some(algorithm) = checksum(settings)? {
            s3 = s3.checksum_algorithm(algorithm);
        }
        Ok(
            match (
                settings.text("kmsKeyId"),
                &customer_key,
                settings.text("serverSideEncryption"),
            ) {
                (Some(id), _, _) => s3.server_side_encryption_with_customer_managed_kms_key(id),
                (None, Some(key), _) => s3.server_side_encryption_with_customer_key("AES256", key),
                (None, None, Some(algorithm)) => s3.server_side_encryption(algorithm),
                (None, None, None) => s3,
            },
        )
    };
    let url = settings.url("s3Url")?;
    let context = context(&transport);
    let mut opened = Opened::new(settings.operator(builder(url)?)?);
    let extras = S3Extras {
        tagging,
        signer: Signer::new(context, chain()?, RequestSigner::new("s3", &region)),
        unconditional: Arc::clone(&opened.unconditional),
    };
    let transport = transport.clone().with_extras(Extras::S3(Arc::new(extras)));
    opened.operator = settings.http_operator(builder(url)?, &transport)?;
    opened.presigner = match (customer_key.is_some(), settings.url("publicUrl")?) {
        // A signed URL for such an object needs headers with the key as well.
        (true, _) => None,
        (false, None) => Some(opened.operator.clone()),
        (false, public) => Some(settings.http_operator(builder(public)?, &transport)?),
    };
    Ok(opened)
}

fn context(transport: &Transport) -> Context {
    Context::new()
        .with_file_read(TokioFileRead)
        .with_http_send(HttpTransporter::new(transport.clone()))
        .with_env(OsEnv)
}

/// Where credentials come from.
enum Source {
    /// A profile of a file.
    Profile(AwsProfiles, String),
    /// The AWS chain: environment, shared files, web identity, container, machine.
    Chain(Option<String>),
}

impl Source {
    async fn of(settings: &Settings<'_>) -> Result<Self, StoreError> {
        let profile = settings.text("profile").map(str::to_owned);
        // In the environment the keys come before the file, as in the AWS SDK.
        let keys = std::env::var("AWS_ACCESS_KEY_ID").is_ok_and(|v| !v.is_empty());
        let variable = (!keys || profile.is_some()).then_some("AWS_SHARED_CREDENTIALS_FILE");
        let Some(bytes) = settings.credential(variable).await? else {
            return Ok(Self::Chain(profile));
        };
        let profiles = AwsProfiles::parse(&bytes).map_err(|problem| {
            settings.bad_credentials(format!("the credentials file is wrong: {problem}"))
        })?;
        let name =
            profile.unwrap_or_else(|| std::env::var("AWS_PROFILE").unwrap_or_else(|_| "default".to_owned()));
        profiles.get(&name).map_err(|problem| {
            settings.bad_credentials(format!("the credentials file is wrong: {problem}"))
        })?;
        Ok(Self::Profile(profiles, name))
    }

    fn region(&self) -> Option<String> {
        let profile = match self {
            Self::Profile(profiles, name) => profiles.get(name).ok().and_then(|p| p.get("region")),
            Self::Chain(_) => None,
        };
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        profile
            .map(str::to_owned)
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"))
    }

    fn chain(
        &self,
        settings: &Settings<'_>,
        region: &str,
        transport: &Transport,
    ) -> Result<ProvideCredentialChain<Credential>, StoreError> {
        match self {
            Self::Profile(profiles, name) => profile_chain(settings, profiles, name, region, transport, 0),
            Self::Chain(profile) => {
                let mut chain = DefaultCredentialProvider::builder();
                if let Some(profile) = profile {
                    chain = chain
                        .profile(ProfileCredentialProvider::new().with_profile(profile))
                        .no_env();
                }
                Ok(ProvideCredentialChain::new().push(chain.build()))
            }
        }
    }
}

/// Follows a profile: keys, or a role assumed with those of another profile or with a token file.
fn profile_chain(
    settings: &Settings<'_>,
    profiles: &AwsProfiles,
    name: &str,
    region: &str,
    transport: &Transport,
    depth: u8,
) -> Result<ProvideCredentialChain<Credential>, StoreError> {
    let wrong = |problem: String| settings.bad_credentials(format!("profile [{name}] {problem}"));
    let profile = profiles
        .get(name)
        .map_err(|problem| settings.bad_credentials(problem))?;
    let chain = ProvideCredentialChain::new();
    let Some(role) = profile.get("role_arn") else {
        return match (
            profile.get("aws_access_key_id"),
            profile.get("aws_secret_access_key"),
        ) {
            (Some(id), Some(secret)) => {
                Ok(chain.push(with_token(profile, StaticCredentialProvider::new(id, secret))))
            }
            _ if profile.get("credential_process").is_some() => Err(wrong(
                "uses credential_process, which is not supported; put keys or a role_arn there".to_owned(),
            )),
            _ => Err(wrong(
                "has no aws_access_key_id and aws_secret_access_key, and no role_arn".to_owned(),
            )),
        };
    };
    let session = profile.get("role_session_name").unwrap_or("refloat").to_owned();
    if let Some(file) = profile.get("web_identity_token_file") {
        let provider = AssumeRoleWithWebIdentityCredentialProvider::with_config(role.to_owned(), file.into());
        return Ok(chain.push(
            provider
                .with_role_session_name(session)
                .with_region(region.to_owned())
                .with_regional_sts_endpoint(),
        ));
    }
    let base = match profile.get("source_profile") {
        Some(_) if depth > 4 => return Err(wrong("is part of a circle of source_profile".to_owned())),
        Some(source) if source != name => {
            profile_chain(settings, profiles, source, region, transport, depth + 1)?
        }
        _ => match (
            profile.get("aws_access_key_id"),
            profile.get("aws_secret_access_key"),
        ) {
            (Some(id), Some(secret)) => ProvideCredentialChain::new()
                .push(with_token(profile, StaticCredentialProvider::new(id, secret))),
            _ => ProvideCredentialChain::new().push(DefaultCredentialProvider::new()),
        },
    };
    let signer = Signer::new(context(transport), base, RequestSigner::new("sts", region));
    let mut provider = AssumeRoleCredentialProvider::new(role.to_owned(), signer)
        .with_role_session_name(session)
        .with_region(region.to_owned())
        .with_regional_sts_endpoint();
    if let Some(id) = profile.get("external_id") {
        provider = provider.with_external_id(id.to_owned());
    }
    Ok(chain.push(provider))
}

fn with_token(profile: &AwsProfile, provider: StaticCredentialProvider) -> StaticCredentialProvider {
    match profile.get("aws_session_token") {
        Some(token) => provider.with_session_token(token),
        None => provider,
    }
}

/// How long Amazon S3 may take to say where a bucket is.
const REGION_LIMIT: Duration = Duration::from_secs(20);

/// The region: as set, as the profile or the environment says, as AWS says of the bucket; elsewhere `us-east-1`,
/// which imitations of S3 take.
async fn region(
    settings: &Settings<'_>,
    source: &Source,
    transport: &Transport,
) -> Result<String, StoreError> {
    if let Some(region) = settings
        .text("region")
        .map(str::to_owned)
        .or_else(|| source.region())
    {
        return Ok(region);
    }
    if settings.text("s3Url").is_some() {
        return Ok("us-east-1".to_owned());
    }
    let at = || At::new("asking for the region of", "", &settings.location);
    let request = http::Request::head(format!("https://s3.amazonaws.com/{}", settings.config.bucket))
        .body(opendal::Buffer::new())
        .map_err(|e| StoreError::Other {
            at: at(),
            cause: Cause::new(e.to_string()),
        })?;
    let transporter = HttpTransporter::new(transport.clone());
    let answer = tokio::time::timeout(REGION_LIMIT, transporter.fetch(request))
        .await
        .map_err(|_| StoreError::Temporary {
            at: at(),
            cause: Cause::new("Amazon S3 does not answer; set the region, and it need not be asked"),
        })?
        .map_err(|e| StoreError::from_opendal(at(), &e, false))?;
    match answer
        .headers()
        .get("x-amz-bucket-region")
        .and_then(|value| value.to_str().ok())
    {
        Some(region) => Ok(region.to_owned()),
        None if answer.status() == http::StatusCode::NOT_FOUND => Err(StoreError::NoSuchBucket {
            at: at(),
            cause: Cause::new("Amazon S3 has no bucket of that name"),
        }),
        None => Err(settings.wrong(
            "region",
            "AWS does not say where the bucket is; set the region".to_owned(),
        )),
    }
}

/// The bucket goes into the host name as the AWS SDK decides it: not when forbidden, not with dots in its name,
/// not in front of an IP address.
fn virtual_host(settings: &Settings<'_>, url: Option<&str>) -> Result<bool, StoreError> {
    let address = url
        .and_then(|url| reqwest::Url::parse(url).ok())
        .is_some_and(|url| {
            url.host_str()
                .is_some_and(|host| host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok())
        });
    Ok(!settings.flag("s3ForcePathStyle")? && !settings.config.bucket.contains('.') && !address)
}

/// OpenDAL computes CRC32C where Velero's plugin would compute CRC32: a service that checks the one checks the
/// other, and object lock asks for any of them.
fn checksum(settings: &Settings<'_>) -> Result<Option<&'static str>, StoreError> {
    match settings
        .config
        .config
        .get("checksumAlgorithm")
        .map(String::as_str)
    {
        None | Some("CRC32" | "CRC32C") => Ok(Some("crc32c")),
        Some("") => Ok(None),
        Some(other) => Err(settings.wrong(
            "checksumAlgorithm",
            format!("`{other}` is not supported; use CRC32, CRC32C, or an empty value for none"),
        )),
    }
}

async fn customer_key(settings: &Settings<'_>) -> Result<Option<Vec<u8>>, StoreError> {
    let methods = [
        "kmsKeyId",
        "customerKeyEncryptionFile",
        "customerKeyEncryptionSecret",
    ];
    let set: Vec<_> = methods
        .iter()
        .filter(|key| settings.text(key).is_some())
        .copied()
        .collect();
    if set.len() > 1 {
        return Err(settings.wrong(set[1], format!("it excludes {}: use only one of them", set[0])));
    }
    let (name, key) = if let Some(path) = settings.text("customerKeyEncryptionFile") {
        let bytes = tokio::fs::read(path).await.map_err(|e| {
            settings.wrong(
                "customerKeyEncryptionFile",
                format!("the file {path} cannot be read: {e}"),
            )
        })?;
        ("customerKeyEncryptionFile", bytes)
    } else if let Some(reference) = settings.text("customerKeyEncryptionSecret") {
        let key = settings.config.customer_key.clone().ok_or_else(|| {
            settings.wrong(
                "customerKeyEncryptionSecret",
                format!("the secret `{reference}` (name/key) was not found in the server's namespace"),
            )
        })?;
        ("customerKeyEncryptionSecret", key)
    } else {
        return Ok(None);
    };
    if key.len() == 32 {
        Ok(Some(key))
    } else {
        Err(settings.wrong(
            name,
            format!("the key has {} bytes, and must have exactly 32", key.len()),
        ))
    }
}

/// The limits of S3 on tags; `key=value` joined by `&`.
fn check_tags(settings: &Settings<'_>, tags: &str) -> Result<HeaderValue, StoreError> {
    let wrong = |problem: &str| settings.wrong("tagging", problem.to_owned());
    let pairs: Vec<_> = tags.split('&').collect();
    if pairs.len() > 10 {
        return Err(wrong("S3 takes at most ten tags"));
    }
    for pair in pairs {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() && !value.contains('=') => {
                if key.chars().count() > 128 || value.chars().count() > 256 {
                    return Err(wrong("a key has at most 128 characters and a value 256"));
                }
            }
            _ => return Err(wrong("it is like key1=value1&key2=value2")),
        }
    }
    HeaderValue::from_str(tags).map_err(|_| wrong("characters outside ASCII must be percent-encoded"))
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::{location, refused};
    use crate::retry::Tuning;

    const SECRET: &str = "[default]\naws_access_key_id=AK\naws_secret_access_key=hush\n[role]\nrole_arn=arn:aws:iam::1:role/x\n\
        source_profile=default\n[loop]\nrole_arn=a\nsource_profile=loop2\n[loop2]\nrole_arn=a\nsource_profile=loop\n\
        [process]\ncredential_process=x\n[empty]\n";
    const URL: (&str, &str) = ("s3Url", "http://127.0.0.1:9");

    #[tokio::test]
    async fn wrong_settings_are_explained() {
        for (settings, words) in [
            (
                &[("s3Url", "minio:9000")][..],
                "`minio:9000` is no URL that begins with http",
            ),
            (&[("publicUrl", "ftp://x"), URL], "`ftp://x` is no URL"),
            (
                &[("s3ForcePathStyle", "yes"), URL],
                "`yes` is neither true nor false",
            ),
            (
                &[("insecureSkipTLSVerify", "2"), URL],
                "setting `insecureSkipTLSVerify`",
            ),
            (&[("signatureVersion", "1"), URL], "use 4"),
            (
                &[("checksumAlgorithm", "SHA256"), URL],
                "use CRC32, CRC32C, or an empty value",
            ),
            (&[("tagging", "a"), URL], "key1=value1&key2=value2"),
            (
                &[("tagging", "a=1&b=2&c=3&d=4&e=5&f=6&g=7&h=8&i=9&j=10&k=11"), URL],
                "at most ten",
            ),
            (
                &[("kmsKeyId", "k"), ("customerKeyEncryptionFile", "/f"), URL],
                "it excludes kmsKeyId",
            ),
            (
                &[("customerKeyEncryptionFile", "/does/not/exist"), URL],
                "cannot be read",
            ),
            (
                &[("customerKeyEncryptionSecret", "s/k"), URL],
                "secret `s/k` (name/key) was not found",
            ),
        ] {
            let text = refused("aws", settings, SECRET).await;
            assert!(text.contains(words), "{settings:?}: {text}");
        }
    }

    #[tokio::test]
    async fn wrong_credentials_are_explained_and_not_shown() {
        for (profile, secret, words) in [
            (
                "missing",
                SECRET,
                "it has no profile [missing]; it has: default, empty, loop, loop2, process, role",
            ),
            ("empty", SECRET, "profile [empty] has no aws_access_key_id"),
            ("loop", SECRET, "circle of source_profile"),
            ("process", SECRET, "credential_process, which is not supported"),
            ("default", "hush", "line 1 is neither"),
        ] {
            let text = refused("aws", &[("profile", profile), URL], secret).await;
            assert!(
                text.contains(words) && !text.contains("hush"),
                "{profile}: {text}"
            );
            assert!(
                text.contains("check the secret named in spec.credential"),
                "{text}"
            );
        }
        let text = refused("aws", &[("credentialsFile", "/does/not/exist"), URL], "").await;
        assert!(
            text.contains("`credentialsFile`") && text.contains("/does/not/exist cannot be read"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_url_is_signed_for_the_public_host_in_the_right_style() {
        for (settings, start) in [
            (
                &[("s3Url", "http://127.0.0.1:9000")][..],
                "http://127.0.0.1:9000/bucket/a/b%20c?",
            ),
            (
                &[("s3Url", "http://minio:9000")],
                "http://bucket.minio:9000/a/b%20c?",
            ),
            (
                &[("s3Url", "http://minio:9000"), ("s3ForcePathStyle", "true")],
                "http://minio:9000/bucket/a/b%20c?",
            ),
            (
                &[
                    ("s3Url", "http://127.0.0.1:9"),
                    ("publicUrl", "https://s3.example.com"),
                    ("s3ForcePathStyle", "1"),
                ],
                "https://s3.example.com/bucket/a/b%20c?",
            ),
            (
                &[("region", "eu-central-1")],
                "https://bucket.s3.eu-central-1.amazonaws.com/a/b%20c?",
            ),
        ] {
            let opened = open(&location("velero.io/aws", settings, SECRET), &Tuning::default())
                .await
                .unwrap();
            let presigner = opened.presigner.unwrap();
            let signed = presigner
                .presign_read("a/b c", std::time::Duration::from_mins(10))
                .await
                .unwrap();
            let url = signed.uri().to_string();
            assert!(
                url.starts_with(start) && url.contains("X-Amz-Signature="),
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn the_customers_key_is_taken_from_the_resolved_secret() {
        let mut config = location("aws", &[("customerKeyEncryptionSecret", "s/k"), URL], SECRET);
        config.customer_key = Some(vec![7; 31]);
        let error = open(&config, &Tuning::default()).await.err().unwrap().to_string();
        assert!(
            error.contains("has 31 bytes, and must have exactly 32"),
            "{error}"
        );
        config.customer_key = Some(vec![7; 32]);
        let opened = open(&config, &Tuning::default()).await.unwrap();
        assert!(
            opened.presigner.is_none(),
            "a URL alone cannot read such an object"
        );
    }
}
