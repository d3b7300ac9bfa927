//! What bad input gets, as far as backups and restores themselves go: a clear error that names the
//! thing, the right phase, nothing else harmed.

#[path = "real_bad_input/archives.rs"]
mod archives;
#[path = "real_bad_input/lists.rs"]
mod lists;
#[path = "real_bad_input/proxy.rs"]
mod proxy;
#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;
#[path = "real_bad_input/trouble.rs"]
mod trouble;
