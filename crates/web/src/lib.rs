//! What Refloat answers over HTTP: files of backups and restores behind signed links, and what
//! monitors ask.

pub mod downloads;
pub mod error;
pub mod health;
pub mod key;
pub mod listener;
pub mod token;

pub use downloads::Downloads;
pub use error::WebError;
pub use listener::{Listener, TlsFiles};
pub use token::{DownloadKey, Permission, TokenError};
