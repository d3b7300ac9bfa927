//! The patterns of `groupResource`: `*` and `?` do not cross a dot, `**` does; `[a-c]`, `[!x]` and
//! `{a,b}` as in shells. So `*` means the kinds of the core group, and `**` all.

use regex::Regex;

/// Compiles a pattern, to match a whole text.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    let mut regex = String::from("^(?s:");
    let mut letters = pattern.chars().peekable();
    let mut open = 0_usize;
    while let Some(letter) = letters.next() {
        match letter {
            '*' if letters.peek() == Some(&'*') => {
                while letters.next_if_eq(&'*').is_some() {}
                regex.push_str(".*");
            }
            '*' => regex.push_str("[^.]*"),
            '?' => regex.push_str("[^.]"),
            '[' => class(&mut letters, &mut regex)?,
            '{' => {
                open += 1;
                regex.push_str("(?:");
            }
            '}' if open > 0 => {
                open -= 1;
                regex.push(')');
            }
            ',' if open > 0 => regex.push('|'),
            '\\' => literal(letters.next().ok_or("it ends in a lone \\")?, &mut regex),
            other => literal(other, &mut regex),
        }
    }
    if open > 0 {
        return Err("a { is not closed".to_owned());
    }
    regex.push_str(")$");
    Regex::new(&regex).map_err(|_| "it cannot be read".to_owned())
}

fn literal(letter: char, regex: &mut String) {
    regex.push_str(&regex::escape(letter.encode_utf8(&mut [0; 4])));
}

fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, regex: &mut String) -> Result<(), String> {
    regex.push('[');
    if letters.next_if_eq(&'!').is_some() {
        regex.push('^');
    }
    let mut empty = true;
    for letter in letters.by_ref() {
        match letter {
            ']' if empty => return Err("[] is empty".to_owned()),
            ']' => {
                regex.push(']');
                return Ok(());
            }
            '-' if !empty => regex.push('-'),
            other => literal(other, regex),
        }
        empty = false;
    }
    Err("a [ is not closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_dots() {
        for (pattern, matching, other) in [
            ("*", &["pods", "configmaps"][..], &["deployments.apps"][..]),
            (
                "**",
                &["pods", "deployments.apps", "ingresses.networking.k8s.io"],
                &[],
            ),
            ("*.apps", &["deployments.apps"], &["apps", "pods", "x.apps.y"]),
            ("pod?", &["pods"], &["pod", "pod.x"]),
            ("{pods,secrets}", &["pods", "secrets"], &["configmaps"]),
            ("[!p]*", &["secrets"], &["pods"]),
            ("[a-d]*s.apps", &["deployments.apps"], &["statefulsets.apps"]),
            ("a\\*", &["a*"], &["ab"]),
            (
                "persistentvolumeclaims",
                &["persistentvolumeclaims"],
                &["persistentvolumes"],
            ),
        ] {
            let compiled = compile(pattern).unwrap();
            for text in matching {
                assert!(compiled.is_match(text), "{pattern} {text}");
            }
            for text in other {
                assert!(!compiled.is_match(text), "{pattern} {text}");
            }
        }
        for bad in ["[a", "{a,b", "[]", "a\\", "[c-a]"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
