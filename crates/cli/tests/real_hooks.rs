//! Hooks in real pods on a real node: around backups, at restores, with a server and without one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

#[path = "hooks/against_velero.rs"]
mod against_velero;
#[path = "hooks/backups.rs"]
mod backups;
#[path = "hooks/crashes.rs"]
mod crashes;
#[path = "hooks/place.rs"]
mod place;
#[path = "hooks/restores.rs"]
mod restores;
#[path = "hooks/scenario.rs"]
mod scenario;
#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;
