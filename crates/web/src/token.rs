//! Links that carry their own permission: which file of which location, until when, and an
//! HMAC-SHA256 over that. Nothing is kept, so a link survives a restart and works on any replica.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use refloat_model::{DownloadTargetKind, download::DownloadTarget, layout};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Separates these signatures from any other use of the key.
const PURPOSE: &[u8] = b"refloat download link 1\n";
/// A link longer than this was not made by us.
const LONGEST: usize = 4096;

/// The installation's secret that signs links. Never printed.
#[derive(Clone)]
pub struct DownloadKey([u8; Self::LENGTH]);

/// What a link permits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// The storage location's name.
    #[serde(rename = "l")]
    pub location: String,
    /// Which file.
    #[serde(rename = "k")]
    pub kind: DownloadTargetKind,
    /// The backup's or restore's name.
    #[serde(rename = "n")]
    pub name: String,
    /// Seconds since 1970 at which it ends.
    #[serde(rename = "e")]
    pub expires: i64,
}

/// Why a link permits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not signed by this installation, or changed.
    #[error("the link is not valid: ask for a new one")]
    Invalid,
    /// Its time is over.
    #[error("the link has expired: ask for a new one")]
    Expired,
}

impl DownloadKey {
    /// Its length in bytes.
    pub const LENGTH: usize = 32;

    /// A new random key.
    #[must_use]
    pub fn generate() -> Self {
        Self(rand::random())
    }

    /// The key of these bytes; `None` where they are not [`Self::LENGTH`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key itself, to be kept in a Secret.
    #[must_use]
    pub const fn secret_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The token that goes into a link. Whoever has it has the permission.
    #[must_use]
    pub fn sign(&self, permission: &Permission) -> String {
        let payload = serde_json::to_vec(permission).expect("strings and numbers always encode");
        let tag = self.mac(&payload).finalize().into_bytes();
        format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(&payload),
            URL_SAFE_NO_PAD.encode(tag)
        )
    }

    /// What the token permits at the time `now`.
    ///
    /// # Errors
    /// [`TokenError`]; in constant time where the signature is wrong.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Permission, TokenError> {
        if token.len() > LONGEST {
            return Err(TokenError::Invalid);
        }
        let (payload, tag) = token.split_once('.').ok_or(TokenError::Invalid)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Invalid)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| TokenError::Invalid)?;
        self.mac(&payload)
            .verify_slice(&tag)
            .map_err(|_| TokenError::Invalid)?;
        let permission: Permission = serde_json::from_slice(&payload).map_err(|_| TokenError::Invalid)?;
        if now.as_second() >= permission.expires {
            return Err(TokenError::Expired);
        }
        if !is_safe_name(&permission.name) {
            return Err(TokenError::Invalid);
        }
        Ok(permission)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(PURPOSE);
        mac.update(payload);
        mac
    }
}

impl fmt::Debug for DownloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DownloadKey(secret)")
    }
}

impl Permission {
    /// The key of the file below the location's prefix.
    #[must_use]
    pub fn key(&self) -> String {
        layout::download_key(self.kind, &self.name)
    }

    /// The permission to read `target` in `location` until `expires`; `None` where the target's
    /// name is not one that a backup or restore can have.
    #[must_use]
    pub fn new(location: &str, target: &DownloadTarget, expires: Timestamp) -> Option<Self> {
        is_safe_name(&target.name).then(|| Self {
            location: location.to_owned(),
            kind: target.kind,
            name: target.name.clone(),
            expires: expires.as_second(),
        })
    }
}

/// Whether a name can be that of a Kubernetes object (a DNS subdomain), and so cannot lead out of
/// its folder.
#[must_use]
pub fn is_safe_name(name: &str) -> bool {
    let ends = |end: Option<char>| end.is_some_and(|end| end.is_ascii_lowercase() || end.is_ascii_digit());
    name.len() <= 253
        && ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap()
    }

    fn permission() -> Permission {
        let target = DownloadTarget {
            kind: DownloadTargetKind::BackupContents,
            name: "daily-1".into(),
        };
        Permission::new("default", &target, Timestamp::from_second(1_700_000_600).unwrap()).unwrap()
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let key = DownloadKey::generate();
        let token = key.sign(&permission());
        let read = key.verify(&token, now()).unwrap();
        assert_eq!(read, permission());
        assert_eq!(read.key(), "backups/daily-1/daily-1.tar.gz");
        let later = Timestamp::from_second(1_700_000_600).unwrap();
        assert_eq!(key.verify(&token, later), Err(TokenError::Expired));
    }

    #[test]
    fn every_changed_character_makes_it_invalid() {
        let key = DownloadKey::generate();
        let token = key.sign(&permission());
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(key.verify(&changed, now()), Err(TokenError::Invalid), "at {at}");
        }
    }

    #[test]
    fn another_key_a_cut_token_and_rubbish_are_invalid() {
        let key = DownloadKey::generate();
        let token = key.sign(&permission());
        assert_eq!(
            DownloadKey::generate().verify(&token, now()),
            Err(TokenError::Invalid)
        );
        let dot = token.find('.').unwrap();
        for bad in [
            "",
            ".",
            "a.b",
            &token[..dot],
            &token[..=dot],
            &token[dot..],
            &"x".repeat(10_000),
        ] {
            assert_eq!(key.verify(bad, now()), Err(TokenError::Invalid), "{bad}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_get_no_permission() {
        let target = |name: &str| DownloadTarget {
            kind: DownloadTargetKind::RestoreLog,
            name: name.to_owned(),
        };
        for name in [
            "", "..", "../x", "a/b", "a/../b", "a..b", "-a", "a-", "A", "a b", "a\0", "a%2fb", "ä",
        ] {
            assert_eq!(Permission::new("default", &target(name), now()), None, "{name:?}");
        }
        assert!(Permission::new("default", &target("r.1-a"), now()).is_some());
        let key = DownloadKey::generate();
        let forged = Permission {
            name: "../../x".into(),
            ..permission()
        };
        assert_eq!(key.verify(&key.sign(&forged), now()), Err(TokenError::Invalid));
    }

    #[test]
    fn the_key_is_never_printed() {
        assert_eq!(format!("{:?}", DownloadKey::generate()), "DownloadKey(secret)");
    }
}
