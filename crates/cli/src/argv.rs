//! What is done to the argument vector before it is parsed: both word orders, and the names that
//! the program answers to.

use std::{ffi::OsString, path::Path};

/// Verbs that may stand in front of their noun, as in `create backup x`.
const VERBS: [&str; 12] = [
    "create", "get", "describe", "delete", "logs", "download", "set", "pause", "unpause", "pin", "unpin",
    "prune",
];

/// Nouns with all their spellings; the first is the one that the parser knows.
const NOUNS: [&[&str]; 7] = [
    &["backup", "backups"],
    &["restore", "restores"],
    &["schedule", "schedules"],
    &["backup-location", "backup-locations", "bsl"],
    &["snapshot-location", "snapshot-locations", "vsl"],
    &["plugin", "plugins"],
    &["repo", "repos"],
];

/// Flags of all commands that take the next word as their value.
const WITH_VALUE: [&str; 16] = [
    "-n",
    "--namespace",
    "--kubeconfig",
    "--kubecontext",
    "--context",
    "--features",
    "--colorized",
    "-v",
    "--v",
    "--log_backtrace_at",
    "--log_dir",
    "--log_file",
    "--log_file_max_size",
    "--stderrthreshold",
    "--alsologtostderrthreshold",
    "--vmodule",
];

/// The noun's canonical spelling.
#[must_use]
pub fn noun(word: &str) -> Option<&'static str> {
    NOUNS
        .iter()
        .find(|spellings| spellings.contains(&word))
        .map(|spellings| spellings[0])
}

/// `create backup x` as `backup create x`; anything else stays as it is. Flags may stand anywhere.
#[must_use]
pub fn in_noun_verb_order(mut args: Vec<OsString>) -> Vec<OsString> {
    let words = first_words(&args);
    if let [Some(first), Some(second)] = words
        && let Some(verb) = args[first]
            .to_str()
            .filter(|word| VERBS.contains(word))
            .map(str::to_owned)
        && let Some(noun) = args[second].to_str().and_then(noun)
    {
        args[first] = noun.into();
        args[second] = verb.into();
    }
    args
}

/// Where the first two words are that are neither flags nor their values.
fn first_words(args: &[OsString]) -> [Option<usize>; 2] {
    let mut found = [None, None];
    let mut next = 1;
    for slot in &mut found {
        while let Some(arg) = args.get(next) {
            let text = arg.to_string_lossy();
            if text == "--" {
                return found;
            }
            next += if WITH_VALUE.contains(&&*text) { 2 } else { 1 };
            if !text.starts_with('-') {
                *slot = Some(next - 1);
                break;
            }
        }
    }
    found
}

/// What the program calls itself, from the name that it was started by: `kubectl-x` is kubectl's
/// plugin `x`, and `velero` stays `velero`.
#[must_use]
pub fn program(argv0: Option<&OsString>) -> String {
    let name = argv0
        .and_then(|path| Path::new(path).file_stem())
        .and_then(|stem| stem.to_str())
        .unwrap_or("refloat");
    match name.strip_prefix("kubectl-") {
        Some(plugin) => format!("kubectl {}", plugin.replace('_', "-")),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let args = text.split(' ').map(OsString::from).collect();
        let words: Vec<_> = in_noun_verb_order(args)
            .into_iter()
            .map(|arg| arg.into_string().unwrap())
            .collect();
        words.join(" ")
    }

    #[test]
    fn verbs_may_come_first() {
        assert_eq!(
            rewritten("refloat create backup x --wait"),
            "refloat backup create x --wait"
        );
        assert_eq!(rewritten("refloat -n a get backups"), "refloat -n a backup get");
        assert_eq!(
            rewritten("refloat get -n create bsl x"),
            "refloat backup-location -n create get x"
        );
        assert_eq!(
            rewritten("refloat --kubeconfig=f describe restores x"),
            "refloat --kubeconfig=f restore describe x"
        );
    }

    #[test]
    fn the_rest_stays() {
        for text in [
            "refloat backup create get",
            "refloat get nothing",
            "refloat",
            "refloat get",
            "refloat -- get backup",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn names_of_the_program() {
        for (argv0, name) in [
            ("/usr/bin/kubectl-refloat", "kubectl refloat"),
            ("/velero", "velero"),
            ("./refloat", "refloat"),
        ] {
            assert_eq!(program(Some(&argv0.into())), name);
        }
        assert_eq!(program(None), "refloat");
    }
}
