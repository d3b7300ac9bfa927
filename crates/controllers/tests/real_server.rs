//! The server against a real API server and a real S3 server, driven by the unmodified `velero` CLI.

#[path = "real_server/backups.rs"]
mod backups;
#[path = "real_server/deletion.rs"]
mod deletion;
#[path = "real_server/leadership.rs"]
mod leadership;
#[path = "real_server/locations.rs"]
mod locations;
#[path = "real_server/requests.rs"]
mod requests;
#[path = "real_server/retention.rs"]
mod retention;
#[path = "real_server/scene.rs"]
mod scene;
#[path = "real_server/schedules.rs"]
mod schedules;
#[path = "real_server/transforms.rs"]
mod transforms;

/// A server as a process of its own, for tests that kill it: the test program starts itself again
/// with this as its only test and the scene in the environment. In the suite itself there is nothing
/// to serve, and the test only says so.
#[test]
fn serves_as_a_process_when_told() {
    scene::serve_if_told().expect("the server ends well");
}
