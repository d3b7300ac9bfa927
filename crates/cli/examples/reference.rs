//! Prints the reference of the command line as Markdown, for `cargo xtask generate`.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Arg, Command};

fn main() -> std::io::Result<()> {
    let mut parser = refloat_cli::command::parser().name("refloat").term_width(0);
    parser.build();
    let mut text = String::from(
        "# The command line\n\nMade by `cargo xtask generate` from the program itself. Each command also works as \
         `velero …` and `kubectl refloat …`, and with the verb in front (`refloat get backups`).\n",
    );
    section(&mut text, &parser, "refloat", &[]);
    std::io::stdout().write_all(text.as_bytes())
}

/// A command and, below it, its commands. Options that a command above has are not repeated.
fn section(text: &mut String, command: &Command, path: &str, above: &[&str]) {
    let _ = writeln!(text, "\n## {path}\n");
    if let Some(about) = command.get_long_about().or(command.get_about()) {
        let _ = writeln!(text, "{}\n", about.to_string().trim());
    }
    let usage = command.clone().render_usage().to_string();
    let _ = writeln!(
        text,
        "```text\n{}\n```",
        usage.trim_start_matches("Usage:").trim()
    );
    let shown: Vec<&Arg> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set() && !above.contains(&arg.get_id().as_str()))
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    if !shown.is_empty() {
        let _ = writeln!(text, "\n| option | meaning |\n|---|---|");
        for arg in &shown {
            let _ = writeln!(text, "| {} | {} |", spelling(arg), meaning(arg));
        }
    }
    let global = command
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .map(|arg| arg.get_id().as_str());
    let above: Vec<&str> = above.iter().copied().chain(global).collect();
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set() && below.get_name() != "help")
    {
        section(text, below, &format!("{path} {}", below.get_name()), &above);
    }
}

/// `-n, --namespace NAMESPACE`, or `NAME` where it has no dashes.
fn spelling(arg: &Arg) -> String {
    let dashes = [
        arg.get_short().map(|c| format!("-{c}")),
        arg.get_long().map(|name| format!("--{name}")),
    ];
    let mut text = dashes.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let takes =
        arg.get_num_args().is_none_or(|count| count.min_values() > 0) && arg.get_action().takes_values();
    if takes || text.is_empty() {
        let names = arg
            .get_value_names()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string);
        let names = names.collect::<Vec<_>>().join(" ");
        text = format!("{text} {names}");
    }
    format!("`{}`", text.trim())
}

fn meaning(arg: &Arg) -> String {
    let help = arg
        .get_long_help()
        .or(arg.get_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut text = help
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|");
    let possible: Vec<_> = arg
        .get_possible_values()
        .iter()
        .map(|value| value.get_name().to_owned())
        .collect();
    if !possible.is_empty() && arg.get_action().takes_values() && !arg.is_hide_possible_values_set() {
        let _ = write!(text, " (one of: `{}`)", possible.join("`, `"));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if !defaults.is_empty() && arg.get_action().takes_values() && !arg.is_hide_default_value_set() {
        let _ = write!(text, " (default: `{}`)", defaults.join(","));
    }
    if let Some(variable) = arg.get_env() {
        let _ = write!(text, " (environment: `{}`)", variable.to_string_lossy());
    }
    text
}
