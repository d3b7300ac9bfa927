//! Plans of backups.
