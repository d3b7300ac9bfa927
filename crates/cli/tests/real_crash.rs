//! Servers that are killed or paused in the middle of their work, at random instants: what was begun
//! ends right, and no half backup is ever taken for one.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(
    clippy::print_stdout,
    reason = "the seed and the summary are for whoever reads the test's output"
)]

#[path = "crash/field.rs"]
mod field;
#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use field::{Field, Server, Size};

/// How many kills there are of each that hit it in progress.
const KILLS: u32 = 20;
/// Kills that come too late (the work had ended) or too early (it had not begun) do not count; so many of
/// them there may be for each that counts.
const TRIES: u32 = 3;
/// Every so many rounds the kill waits for a certain file instead of a random time: the last before a
/// backup is published, and the publication itself.
const LAST_FILES: [&str; 2] = ["*-volumeinfo.json.gz", "velero-backup.json"];

/// Random numbers that a failed run can be repeated with: set `REFLOAT_TEST_SEED`.
struct Dice(u64);

impl Dice {
    fn new(test: &str) -> Self {
        let seed = std::env::var("REFLOAT_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(1, |time| u64::from(time.subsec_nanos()))
        });
        println!("{test}: REFLOAT_TEST_SEED={seed}");
        Self(seed)
    }

    /// From 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// An instant in the `round`th part of `whole`, so that all of it is covered.
    fn instant(&mut self, whole: Duration, round: u32, rounds: u32) -> Duration {
        whole.mul_f64((f64::from(round) + self.roll()) / f64::from(rounds))
    }
}

/// Waits for the instant of a round: a time after the request or after the work has begun, or a file in the
/// bucket. `whole` is how long the work takes.
fn wait_for_instant(
    field: &Field,
    dice: &mut Dice,
    what: &str,
    name: &str,
    whole: Duration,
    round: u32,
    rounds: u32,
) {
    if round == 0 {
        return std::thread::sleep(dice.instant(whole / 10, 0, 1));
    }
    field.wait_begun(what, name);
    let began = Instant::now();
    if what == "backups" && round % 5 == 4 {
        let file = LAST_FILES[(round as usize / 5) % 2].replace('*', name);
        let key = format!("backups/{name}/{file}");
        while field.stored(&key).is_none() && began.elapsed() < whole * 3 {
            std::thread::sleep(Duration::from_millis(1));
        }
    } else {
        std::thread::sleep(dice.instant(whole, round, rounds));
    }
}

/// How long the work takes, as far as can be told: a kill that came too late shows that the machine has
/// less else to do than it had.
fn sooner(whole: Duration, phase: &str) -> Duration {
    if phase == "Completed" {
        whole.mul_f64(0.85)
    } else {
        whole
    }
}

/// Kills the server in backups until `kills` of them were in progress then; each must end as `first` did.
fn kill_backups(field: &Field, mut server: Server, kills: u32) -> Server {
    let mut dice = Dice::new("backups");
    field.ask_backup("first");
    field.wait_begun("backups", "first");
    let began = Instant::now();
    field.wait_completed("backups", "first");
    let mut whole = began.elapsed();
    let first = field.contents("first").unwrap();
    for source in &field.sources {
        for name in field.objects(source).keys() {
            let (resource, name) = name.split_once('/').unwrap();
            let part = format!("/namespaces/{source}/{name}.json");
            let found = first
                .entries
                .keys()
                .any(|path| path.starts_with(&format!("resources/{resource}")) && path.ends_with(&part));
            assert!(found, "{resource} {name} is not in the tarball");
        }
    }
    let (mut hit, mut published) = (0, 0);
    for round in 0..kills * TRIES {
        if hit == kills {
            break;
        }
        let name = format!("b-{round}");
        field.ask_backup(&name);
        wait_for_instant(field, &mut dice, "backups", &name, whole, round % kills, kills);
        server.kill();
        let phase = field.phase("backups", &name);
        hit += u32::from(phase == "InProgress");
        whole = sooner(whole, &phase);
        // Either there is no such backup, or it is whole.
        if let Some(contents) = field.contents(&name) {
            contents.must_equal(&first);
            published += u32::from(phase == "InProgress");
        }
        server = field.serve("one");
        let backup = field.wait_completed("backups", &name);
        assert!(
            backup["status"]["errors"].is_null() && backup["status"]["warnings"].is_null(),
            "{backup}"
        );
        field
            .contents(&name)
            .expect("a backup that is Completed is in the bucket")
            .must_equal(&first);
    }
    println!(
        "backups: {hit} kills while InProgress, within {:.1} s each, {published} of them between publishing and saying so",
        whole.as_secs_f64()
    );
    assert_eq!(hit, kills, "too few kills hit a backup in progress");
    server
}

/// Kills the server in restores of the backup `first` until `kills` of them were in progress then.
fn kill_restores(field: &Field, mut server: Server, kills: u32) {
    let mut dice = Dice::new("restores");
    let originals = field.sources.each_ref().map(|source| field.objects(source));
    let check = |name: &str, targets: &[String; 3]| {
        let restore = field.wait_completed("restores", name);
        let status = &restore["status"];
        assert!(
            status["warnings"].is_null() && status["errors"].is_null(),
            "{restore}"
        );
        assert_eq!(
            status["progress"]["itemsRestored"],
            status["progress"]["totalItems"]
        );
        for (target, original) in targets.iter().zip(&originals) {
            assert!(field.objects(target) == *original, "{target} is not as it was");
        }
        (field.done(name), status["progress"]["totalItems"].clone())
    };
    let targets = field.ask_restore("first", "first");
    field.wait_begun("restores", "first");
    let began = Instant::now();
    field.wait_completed("restores", "first");
    let mut whole = began.elapsed();
    let first = check("first", &targets);
    let mut hit = 0;
    for round in 0..kills * TRIES {
        if hit == kills {
            break;
        }
        let name = format!("r-{round}");
        let targets = field.ask_restore(&name, "first");
        wait_for_instant(field, &mut dice, "restores", &name, whole, round % kills, kills);
        server.kill();
        let phase = field.phase("restores", &name);
        hit += u32::from(phase == "InProgress");
        whole = sooner(whole, &phase);
        server = field.serve("one");
        assert!(
            check(&name, &targets) == first,
            "{name} did not do what the first did"
        );
    }
    println!(
        "restores: {hit} kills while InProgress, within {:.1} s each",
        whole.as_secs_f64()
    );
    assert_eq!(hit, kills, "too few kills hit a restore in progress");
}

const SIZE: Size = Size {
    config_maps: 200,
    secrets: 150,
    widgets: 100,
};

#[test]
fn servers_killed_at_any_instant_end_what_they_began() {
    let field = Field::new("kill", &SIZE, false);
    let server = field.serve("one");
    field.wait_available();
    let server = kill_backups(&field, server, KILLS);
    kill_restores(&field, server, KILLS);
}

#[test]
fn so_do_those_that_write_to_a_folder() {
    let field = Field::new(
        "disk",
        &Size {
            config_maps: 200,
            secrets: 100,
            widgets: 100,
        },
        true,
    );
    let server = field.serve("one");
    field.wait_available();
    let server = kill_backups(&field, server, 5);
    kill_restores(&field, server, 2);
}

/// The program, with a folder as its storage.
struct Alone<'a> {
    field: &'a Field,
    storage: String,
}

impl Alone<'_> {
    fn run(&self, arguments: &[String]) -> std::process::Child {
        let mut command = self.field.scene.command(scene::program());
        command.args(arguments).args(["--storage", &self.storage]);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn work_without_a_server_can_be_killed_and_done_again_under_the_same_name() {
    let field = Field::new(
        "alone",
        &Size {
            config_maps: 200,
            secrets: 100,
            widgets: 100,
        },
        true,
    );
    let alone = Alone {
        field: &field,
        storage: field.scene.storage(),
    };
    let mut dice = Dice::new("without a server");
    kill_backups_alone(&alone, &mut dice);
    kill_restores_alone(&alone, &mut dice);
}

fn kill_backups_alone(alone: &Alone<'_>, dice: &mut Dice) {
    let Alone { field, storage } = alone;
    let backup = |name: &str| {
        words(&format!(
            "backup create {name} --include-namespaces {}",
            field.sources.join(",")
        ))
    };
    let began = Instant::now();
    assert!(alone.run(&backup("first")).wait().unwrap().success());
    let whole = began.elapsed();
    let first = field.contents("first").unwrap();
    let mut hit = 0;
    for round in 0..5 {
        let name = format!("b-{round}");
        let mut child = alone.run(&backup(&name));
        std::thread::sleep(dice.instant(whole, round, 5));
        child.kill().unwrap();
        child.wait().unwrap();
        match field.contents(&name) {
            Some(contents) => contents.must_equal(&first),
            None => {
                hit += 1;
                let said = field
                    .scene
                    .refloat(&["backup", "get", &name, "--storage", storage]);
                assert!(said.code != 0 && !said.out.contains(&name), "{}", said.out);
                assert!(
                    alone.run(&backup(&name)).wait().unwrap().success(),
                    "{name} cannot be made again"
                );
                field.contents(&name).unwrap().must_equal(&first);
            }
        }
    }
    assert!(hit > 0, "no kill came before the end of a backup");
}

fn kill_restores_alone(alone: &Alone<'_>, dice: &mut Dice) {
    let Alone { field, storage } = alone;
    let originals = field.sources.each_ref().map(|source| field.objects(source));
    let restore = |name: &str| {
        let pairs: Vec<_> = field
            .sources
            .iter()
            .zip(field.targets(name))
            .map(|(from, to)| format!("{from}:{to}"))
            .collect();
        words(&format!(
            "restore create {name} --from-backup first --namespace-mappings {}",
            pairs.join(",")
        ))
    };
    let began = Instant::now();
    assert!(alone.run(&restore("first")).wait().unwrap().success());
    let whole = began.elapsed();
    for round in 0..4 {
        let name = format!("r-{round}");
        let mut child = alone.run(&restore(&name));
        std::thread::sleep(dice.instant(whole, round, 5));
        child.kill().unwrap();
        child.wait().unwrap();
        let over = field
            .stored(&format!("restores/{name}/refloat-restore.json"))
            .is_some();
        let arguments = restore(&name);
        let mut arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        arguments.extend(["--storage", storage]);
        // What has come to its end is not done again under the same name.
        let said = field.scene.refloat(&arguments);
        assert!(!over || said.err.contains("already exists"), "{}", said.err);
        said.ended(if over { 2 } else { 0 });
        let description = field
            .scene
            .refloat(&["restore", "describe", &name, "--storage", storage])
            .ended(0);
        assert!(description.contains("Completed"), "{description}");
        assert!(
            !description.contains("Warnings:\n") && !description.contains("Errors:\n"),
            "{description}"
        );
        for (target, original) in field.targets(&name).iter().zip(&originals) {
            assert!(field.objects(target) == *original, "{target} is not as it was");
        }
        for (object, fate) in field.done(&name) {
            assert!(fate != "failed", "{object}");
        }
    }
}

/// A lease that is soon believed to be given up, but not by a machine that has much else to do.
const LEASE: [&str; 3] = [
    "--lease-duration=8s",
    "--lease-renew-deadline=6s",
    "--lease-retry-period=400ms",
];

#[test]
fn a_paused_leader_leaves_its_successors_backup_alone() {
    let field = Field::new("pause", &SIZE, false);
    let mut first = field.serve_with("first", &LEASE);
    field.wait_available();
    field.ask_backup("whole");
    field.wait_begun("backups", "whole");
    let began = Instant::now();
    field.wait_completed("backups", "whole");
    let whole = began.elapsed();
    let expected = field.contents("whole").unwrap();
    let mut dice = Dice::new("pauses");
    // Each pause kills one leader and makes the next one: somewhere in the middle, and at the last files.
    for (round, part) in [(0, 2), (4, 0), (9, 0)] {
        let second = field.serve_with(&format!("second-{round}"), &LEASE);
        std::thread::sleep(Duration::from_millis(500));
        let name = format!("p-{round}");
        field.ask_backup(&name);
        wait_for_instant(&field, &mut dice, "backups", &name, whole, round + part, 5);
        first.signal("STOP");
        let phase = field.phase("backups", &name);
        // A backup may have ended all the same, by a request that was on its way.
        let identity = format!("second-{round}");
        field
            .scene
            .until("the other one leads", || field.leader() == identity);
        field.wait_completed("backups", &name);
        let before = field
            .stored(&format!("backups/{name}/velero-backup.json"))
            .unwrap();
        field.contents(&name).unwrap().must_equal(&expected);
        first.signal("CONT");
        field.scene.until("the paused server ends", || first.has_ended());
        println!("paused while {phase}");
        field.contents(&name).unwrap().must_equal(&expected);
        let after = field
            .stored(&format!("backups/{name}/velero-backup.json"))
            .unwrap();
        assert!(before == after, "the paused server changed {name}");
        assert_eq!(field.phase("backups", &name), "Completed");
        first = second;
    }
}

/// A paused server may wake up in front of its last request, and send it before it learns that its turn is
/// over: what it says exists is then not what its successor is writing.
#[test]
fn what_a_server_publishes_after_its_turn_does_not_stay() {
    let field = Field::new("late", &SIZE, false);
    let _server = field.serve("one");
    field.wait_available();
    field.ask_backup("whole");
    field.wait_begun("backups", "whole");
    let began = Instant::now();
    field.wait_completed("backups", "whole");
    let whole = began.elapsed();
    let expected = field.contents("whole").unwrap();
    let mut dice = Dice::new("late");
    let mut late_ones = 0;
    for round in 0..20 {
        if late_ones == 3 {
            break;
        }
        let name = format!("l-{round}");
        field.ask_backup(&name);
        field.wait_begun("backups", &name);
        std::thread::sleep(dice.instant(whole / 3, 0, 1));
        let mut late = field.resource("backups", &name);
        late["status"]["phase"] = "Completed".into();
        late["metadata"]["annotations"]["refloat.io/contents-sha256"] = "0".repeat(64).into();
        let key = format!("backups/{name}/velero-backup.json");
        late_ones += u32::from(field.store_once(&key, late.to_string().as_bytes()));
        field.wait_completed("backups", &name);
        field.contents(&name).unwrap().must_equal(&expected);
    }
    assert_eq!(late_ones, 3, "the backups were faster");
    let log = std::fs::read_to_string(field.scene.file("server.log")).unwrap();
    assert!(
        log.contains("published the backup after its turn"),
        "it was never noticed:\n{log}"
    );
}
