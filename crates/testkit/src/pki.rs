//! The certificates of one test cluster: one authority, one short-lived leaf for each part.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority whose files lie in one folder as `NAME.crt` and `NAME.key` (PEM, keys readable by the owner only).
pub struct Pki {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    authority_pem: String,
}

impl Pki {
    /// Makes a new authority, `ca.crt` and `ca.key`, in `folder`, and a service-account key pair, `sa.pub` and
    /// `sa.key`.
    pub fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let params = authority()?;
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write_private(&folder.join("ca.key"), key.serialize_pem().as_bytes())?;
        fs::write(folder.join("ca.crt"), certificate.pem())?;

        let account = KeyPair::generate()?;
        write_private(&folder.join("sa.key"), account.serialize_pem().as_bytes())?;
        fs::write(folder.join("sa.pub"), account.public_key_pem())?;
        let authority_pem = certificate.pem();
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
            authority_pem,
        })
    }

    /// The authority that [`Pki::create`] made in `folder` before.
    pub fn open(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let authority_pem = read("ca.crt")?;
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        // The same parameters and key make the same issuer; the certificate need not be parsed.
        let issuer = Issuer::new(authority()?, key);
        Ok(Self {
            folder: folder.to_owned(),
            issuer,
            authority_pem,
        })
    }

    /// Issues `NAME.crt` and `NAME.key` for both server and client use. `names` are host names and addresses.
    pub fn issue(&self, name: &str, common_name: &str, organization: &str, names: &[&str]) -> Result<()> {
        self.write_leaf(name, leaf(common_name, organization, names)?)
    }

    /// Like [`Pki::issue`], for a certificate whose time is over.
    pub fn issue_expired(
        &self,
        name: &str,
        common_name: &str,
        organization: &str,
        names: &[&str],
    ) -> Result<()> {
        let mut params = leaf(common_name, organization, names)?;
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.write_leaf(name, params)
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "the parameters are made for this one call"
    )]
    fn write_leaf(&self, name: &str, params: CertificateParams) -> Result<()> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(self.folder.join(format!("{name}.crt")), certificate.pem())?;
        write_private(
            &self.folder.join(format!("{name}.key")),
            key.serialize_pem().as_bytes(),
        )
    }

    /// Issues a client certificate and writes a self-contained kubeconfig for it to `path`.
    pub fn kubeconfig(
        &self,
        path: &Path,
        server: &str,
        name: &str,
        common_name: &str,
        organization: &str,
    ) -> Result<()> {
        self.issue(name, common_name, organization, &[])?;
        let data = |file: String| -> Result<String> {
            Ok(BASE64_STANDARD.encode(fs::read(self.folder.join(file))?))
        };
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "refloat",
            "clusters": [{"name": "refloat", "cluster": {
                "server": server, "certificate-authority-data": BASE64_STANDARD.encode(&self.authority_pem)}}],
            "users": [{"name": common_name, "user": {
                "client-certificate-data": data(format!("{name}.crt"))?,
                "client-key-data": data(format!("{name}.key"))?}}],
            "contexts": [{"name": "refloat", "context": {"cluster": "refloat", "user": common_name}}],
        });
        write_private(path, serde_json::to_string_pretty(&config)?.as_bytes())
    }
}

fn leaf(common_name: &str, organization: &str, names: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params
        .distinguished_name
        .push(DnType::CommonName, "refloat-testkit");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))?;
    file.write_all(bytes)
        .with_context(|| format!("writing {}", path.display()))
}
