//! Differences between objects as text: a head that names the object, and for each field what was
//! (`-`) and what is (`+`), like a unified diff.

use refloat_plan::diff::{Change, Difference, FieldChange};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::encode;

/// Lines around a change inside a text of several lines.
const CONTEXT: usize = 3;

/// How a line is coloured.
#[derive(Clone, Copy)]
enum Paint {
    Head,
    Place,
    Old,
    New,
    Plain,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Head => "\u{1b}[1m",
            Self::Place => "\u{1b}[36m",
            Self::Old => "\u{1b}[31m",
            Self::New => "\u{1b}[32m",
            Self::Plain => "",
        }
    }
}

/// Text that is being put together.
struct Lines {
    text: String,
    colour: bool,
}

impl Lines {
    fn add(&mut self, paint: Paint, line: &str) {
        let line = printable(line);
        if self.colour && !paint.code().is_empty() {
            self.text.push_str(paint.code());
            self.text.push_str(&line);
            self.text.push_str("\u{1b}[0m");
        } else {
            self.text.push_str(&line);
        }
        self.text.push('\n');
    }

    fn value(&mut self, paint: Paint, sign: char, value: &Value) {
        for line in lines(value) {
            self.add(paint, &format!("{sign}{line}"));
        }
    }
}

/// Control characters of foreign texts must not reach the terminal.
fn printable(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// One difference, with a line break at its end. `from` and `to` are what the sides are called.
#[must_use]
pub fn render(difference: &Difference, from: &str, to: &str, colour: bool) -> String {
    let mut lines = Lines {
        text: String::new(),
        colour,
    };
    let object = format!("{} {}", difference.resource, difference.name);
    let (old, new) = match &difference.change {
        Change::Added => ("/dev/null".to_owned(), format!("{to}: {object}")),
        Change::Removed => (format!("{from}: {object}"), "/dev/null".to_owned()),
        Change::Changed { .. } => (format!("{from}: {object}"), format!("{to}: {object}")),
    };
    lines.add(Paint::Head, &format!("--- {old}"));
    lines.add(Paint::Head, &format!("+++ {new}"));
    match &difference.change {
        Change::Added => lines.add(Paint::New, "+(the whole object)"),
        Change::Removed => lines.add(Paint::Old, "-(the whole object)"),
        Change::Changed { fields } => fields.iter().for_each(|one| field(&mut lines, one)),
    }
    lines.text
}

/// The fields of one difference, without a head.
#[must_use]
pub fn render_fields(fields: &[FieldChange], colour: bool) -> String {
    let mut lines = Lines {
        text: String::new(),
        colour,
    };
    fields.iter().for_each(|one| field(&mut lines, one));
    lines.text
}

fn field(lines: &mut Lines, change: &FieldChange) {
    let path = if change.path.is_empty() {
        "(the whole object)"
    } else {
        &change.path
    };
    lines.add(Paint::Place, &format!("@@ {path} @@"));
    if let (Some(Value::String(old)), Some(Value::String(new))) = (&change.from, &change.to)
        && (old.contains('\n') || new.contains('\n'))
    {
        return text(lines, old, new);
    }
    if let Some(old) = &change.from {
        lines.value(Paint::Old, '-', old);
    }
    if let Some(new) = &change.to {
        lines.value(Paint::New, '+', new);
    }
}

/// Two texts of several lines, such as files in a ConfigMap.
fn text(lines: &mut Lines, old: &str, new: &str) {
    let diff = TextDiff::from_lines(old, new);
    for (place, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if place > 0 {
            lines.add(Paint::Place, "@@ … @@");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let (paint, sign) = match change.tag() {
                ChangeTag::Delete => (Paint::Old, '-'),
                ChangeTag::Insert => (Paint::New, '+'),
                ChangeTag::Equal => (Paint::Plain, ' '),
            };
            lines.add(paint, &format!("{sign}{}", change.value().trim_end_matches('\n')));
        }
    }
}

fn lines(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text.lines().map(str::to_owned).collect::<Vec<_>>(),
        Value::Object(_) | Value::Array(_) => {
            let text = encode::yaml(value).unwrap_or_else(|_| value.to_string());
            text.lines().map(str::to_owned).collect()
        }
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use refloat_model::{GroupResource, ObjectName};
    use serde_json::json;

    use super::*;

    fn difference(change: Change) -> Difference {
        Difference {
            resource: GroupResource::parse("deployments.apps"),
            name: ObjectName::new("shop", "web"),
            change,
        }
    }

    #[test]
    fn reads_like_a_unified_diff() {
        let one = |path: &str, from: Option<Value>, to: Option<Value>| FieldChange {
            path: path.into(),
            from,
            to,
        };
        let long = (1..20).map(|n| format!("line {n}\n")).collect::<String>();
        let fields = vec![
            one("spec.replicas", Some(json!(2)), Some(json!(3))),
            one("spec.strategy", None, Some(json!({"type": "Recreate"}))),
            one(
                "data[\"a.conf\"]",
                Some(json!(long)),
                Some(json!(long.replace("line 9", "nine"))),
            ),
            one("x", Some(json!("esc\u{1b}[31m")), None),
        ];
        insta::assert_snapshot!(render(&difference(Change::Changed { fields }), "a", "b", false));
        let added = render(&difference(Change::Added), "a", "b", true);
        assert_eq!(
            added,
            "\u{1b}[1m--- /dev/null\u{1b}[0m\n\u{1b}[1m+++ b: deployments.apps shop/web\u{1b}[0m\n\
             \u{1b}[32m+(the whole object)\u{1b}[0m\n"
        );
    }
}
