//! Log lines on standard error as Velero's server writes them: `time="…" level=info msg="…" key=value`,
//! or the same as JSON.

use std::{fmt, io::Write as _};

use clap::ValueEnum;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// From which level on lines are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// All.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What is done.
    #[default]
    Info,
    /// What deserves a look.
    #[value(alias = "warn")]
    Warning,
    /// What went wrong.
    Error,
    /// As `error`.
    Fatal,
    /// As `error`.
    Panic,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            LogLevel::Error | LogLevel::Fatal | LogLevel::Panic => Self::ERROR,
        }
    }
}

/// Starts logging for the rest of the process. Libraries below are heard from `warning` on, or from
/// `trace` on if that is asked for. Called again it changes nothing.
pub fn start(level: LogLevel, format: LogFormat) {
    let libraries = if level == LogLevel::Trace {
        LevelFilter::TRACE
    } else {
        LevelFilter::WARN
    };
    let level = LevelFilter::from(level);
    begin(libraries.min(level), level, format);
}

/// Starts logging for a command that ends: quiet unless `-v` asks for more. What goes wrong is in the
/// command's error, so that nothing needs to be logged.
pub fn start_for_command(verbosity: Option<i32>) {
    let (libraries, own) = match verbosity.unwrap_or(0) {
        i32::MIN..=0 => (LevelFilter::OFF, LevelFilter::ERROR),
        1..=3 => (LevelFilter::OFF, LevelFilter::INFO),
        4 | 5 => (LevelFilter::WARN, LevelFilter::DEBUG),
        6.. => (LevelFilter::TRACE, LevelFilter::TRACE),
    };
    begin(libraries, own, LogFormat::Text);
}

fn begin(libraries: LevelFilter, own: LevelFilter, format: LogFormat) {
    let filter = Targets::new().with_default(libraries).with_target("refloat", own);
    let _ = tracing_subscriber::registry()
        .with(Lines { format }.with_filter(filter))
        .try_init();
}

struct Lines {
    format: LogFormat,
}

/// Names and values in the order in which they were recorded.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn set(&mut self, field: &Field, value: String) {
        let name = if field.name() == "message" {
            "msg"
        } else {
            field.name()
        };
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text = format!("{text}: {cause_text}");
            }
            source = cause.source();
        }
        self.set(field, text);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(known) = span.extensions().get::<Fields>() {
                fields.0.extend(known.0.iter().cloned());
            }
        }
        event.record(&mut fields);
        let metadata = event.metadata();
        if let (Some(file), Some(line)) = (metadata.file(), metadata.line()) {
            fields.0.push(("logSource", format!("{file}:{line}")));
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let line = match self.format {
            LogFormat::Text => text_line(&now, *metadata.level(), fields),
            LogFormat::Json => json_line(&now, *metadata.level(), fields),
        };
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn take_message(fields: &mut Fields) -> String {
    match fields.0.iter().position(|(name, _)| *name == "msg") {
        Some(at) => fields.0.remove(at).1,
        None => String::new(),
    }
}

fn text_line(now: &str, level: Level, mut fields: Fields) -> String {
    let message = take_message(&mut fields);
    fields.0.sort();
    let mut line = format!(
        "time=\"{now}\" level={} msg={}",
        level_name(level),
        quoted(&message)
    );
    for (name, value) in fields.0 {
        line.push_str(&format!(" {name}={}", quoted(&value)));
    }
    line.push('\n');
    line
}

fn json_line(now: &str, level: Level, mut fields: Fields) -> String {
    let message = take_message(&mut fields);
    fields.0.sort();
    let mut map: serde_json::Map<String, serde_json::Value> = fields
        .0
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    map.insert("level".into(), level_name(level).into());
    map.insert("msg".into(), message.into());
    map.insert("time".into(), now.into());
    format!("{}\n", serde_json::Value::Object(map))
}

/// In quotes unless it is one plain word; never more than one line.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields(vec![
            ("msg", "two words\nand lines".into()),
            ("b", "velero/x".into()),
            ("a", String::new()),
        ])
    }

    #[test]
    fn a_line_of_text() {
        assert_eq!(
            text_line("T", Level::WARN, fields()),
            "time=\"T\" level=warning msg=\"two words\\nand lines\" a=\"\" b=velero/x\n"
        );
    }

    #[test]
    fn a_line_of_json() {
        let line: serde_json::Value = serde_json::from_str(&json_line("T", Level::INFO, fields())).unwrap();
        assert_eq!(
            line,
            serde_json::json!({ "level": "info", "msg": "two words\nand lines", "time": "T", "a": "", "b": "velero/x" })
        );
    }
}
