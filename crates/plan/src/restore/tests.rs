//! Plans of restores.
