//! The command line as a whole: global flags, verbs and nouns.

use std::{any::TypeId, path::PathBuf};

use clap::{Arg, ArgAction, Args, CommandFactory, Parser, Subcommand, builder::ValueParser};

use crate::{
    backup::BackupVerb, backup_location::BackupLocationVerb, completion::CompletionFlags, exit::EXIT_CODES,
    flags, flags::Said, install::InstallFlags, node_agent::NodeAgentVerb, plugin::PluginVerb, repo::RepoVerb,
    restore::RestoreVerb, schedule::ScheduleVerb, server::ServerFlags, uninstall::UninstallFlags,
    version::VersionFlags,
};

/// Backup and disaster recovery for Kubernetes.
///
/// Drives a server in the cluster through Velero's custom resources, or, with --storage, does the
/// work itself with nothing but a kubeconfig and a bucket or folder. Both word orders are
/// understood: "backup create" and "create backup".
#[derive(Parser, Debug)]
#[command(disable_version_flag = true, max_term_width = 120, after_help = EXIT_CODES)]
pub struct CommandLine {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct GlobalFlags {
    /// The namespace of the server and its objects [default: velero]
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The kubeconfig file; else $KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(
        long = "kubecontext",
        visible_alias = "context",
        global = true,
        value_name = "CONTEXT"
    )]
    pub context: Option<String>,
    /// Feature flags, comma-separated
    #[arg(long, global = true, value_name = "FEATURE,…")]
    pub features: Option<String>,
    /// Whether to use colour on a terminal
    #[arg(long, global = true, value_name = "BOOL")]
    pub colorized: Option<Said>,
    /// How much to log to standard error: 1 tells what is done, 4 more, 6 everything
    #[arg(short = 'v', long = "v", global = true, value_name = "LEVEL")]
    pub verbosity: Option<i32>,
    #[command(flatten)]
    klog: KlogFlags,
}

/// Flags of Velero's logging library: understood so that scripts keep working, without effect.
#[derive(Args, Clone, Debug, Default)]
struct KlogFlags {
    #[arg(long = "add_dir_header", global = true, hide = true)]
    _add_dir_header: bool,
    #[arg(long = "alsologtostderr", global = true, hide = true)]
    _also_log_to_stderr: bool,
    #[arg(long = "alsologtostderrthreshold", global = true, hide = true)]
    _also_log_to_stderr_threshold: Option<String>,
    #[arg(long = "legacy_stderr_threshold_behavior", global = true, hide = true)]
    _legacy_stderr_threshold_behavior: bool,
    #[arg(long = "log_backtrace_at", global = true, hide = true)]
    _log_backtrace_at: Option<String>,
    #[arg(long = "log_dir", global = true, hide = true)]
    _log_dir: Option<String>,
    #[arg(long = "log_file", global = true, hide = true)]
    _log_file: Option<String>,
    #[arg(long = "log_file_max_size", global = true, hide = true)]
    _log_file_max_size: Option<u64>,
    #[arg(long = "logtostderr", global = true, hide = true)]
    _log_to_stderr: bool,
    #[arg(long = "one_output", global = true, hide = true)]
    _one_output: bool,
    #[arg(long = "skip_headers", global = true, hide = true)]
    _skip_headers: bool,
    #[arg(long = "skip_log_headers", global = true, hide = true)]
    _skip_log_headers: bool,
    #[arg(long = "stderrthreshold", global = true, hide = true)]
    _stderr_threshold: Option<String>,
    #[arg(long = "vmodule", global = true, hide = true)]
    _vmodule: Option<String>,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Work with backups
    #[command(subcommand, visible_alias = "backups")]
    Backup(Box<BackupVerb>),
    /// Work with restores
    #[command(subcommand, visible_alias = "restores")]
    Restore(Box<RestoreVerb>),
    /// Work with schedules
    #[command(subcommand, visible_alias = "schedules")]
    Schedule(Box<ScheduleVerb>),
    /// Work with backup storage locations
    #[command(subcommand, visible_aliases = ["backup-locations", "bsl"])]
    BackupLocation(Box<BackupLocationVerb>),
    /// Work with volume repositories
    #[command(subcommand, alias = "repos")]
    Repo(RepoVerb),
    /// Work with what the server can do
    #[command(subcommand, alias = "plugins")]
    Plugin(PluginVerb),
    /// Put the server into a cluster
    Install(Box<InstallFlags>),
    /// Take the server out of a cluster; backups in the bucket stay
    Uninstall(UninstallFlags),
    /// Print the versions of this program and of the server
    Version(VersionFlags),
    /// Print a script that completes commands in a shell
    Completion(CompletionFlags),
    /// Run the server
    Server(Box<ServerFlags>),
    /// Run the agent of a node
    #[command(subcommand, hide = true)]
    NodeAgent(NodeAgentVerb),
}

/// The parser. Booleans take an optional `=true` or `=false`, and a flag that is given again
/// replaces the earlier one, as Velero's do.
#[must_use]
pub fn parser() -> clap::Command {
    like_velero(CommandLine::command())
}

fn like_velero(command: clap::Command) -> clap::Command {
    command
        .args_override_self(true)
        .mut_args(optional_value)
        .mut_subcommands(like_velero)
}

fn optional_value(arg: Arg) -> Arg {
    let boolean = arg.get_value_parser().type_id() == TypeId::of::<bool>();
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    if !boolean || !(switch || matches!(arg.get_action(), ArgAction::Set)) {
        return arg;
    }
    let arg = arg
        .action(ArgAction::Set)
        .value_parser(ValueParser::new(flags::boolean))
        .num_args(0..=1)
        .require_equals(true)
        .value_name("BOOL")
        .hide_default_value(true)
        .default_missing_value("true");
    if switch { arg.default_value("false") } else { arg }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches;

    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::from_arg_matches(&parser().try_get_matches_from(line.split(' '))?)
    }

    #[test]
    fn the_definitions_are_sound() {
        parser().debug_assert();
    }

    #[test]
    fn booleans_take_a_value_and_the_last_one_counts() {
        let BackupVerb::Create(create) = backup("refloat backup create x -w=false --snapshot-volumes") else {
            panic!()
        };
        assert!(!create.wait);
        assert_eq!(create.scope.snapshot_volumes, Some(true));
        let BackupVerb::Create(create) = backup(
            "refloat backup create x --wait --snapshot-volumes=f --include-namespaces a --include-namespaces b,c",
        ) else {
            panic!()
        };
        assert!(create.wait);
        assert_eq!(create.scope.snapshot_volumes, Some(false));
        assert_eq!(
            create.scope.include_namespaces,
            flags::List(vec!["b".into(), "c".into()])
        );
    }

    fn backup(line: &str) -> BackupVerb {
        match parse(line).unwrap().command {
            Command::Backup(verb) => *verb,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn global_flags_may_stand_anywhere() {
        let line = parse("refloat backup get -n ns --kubecontext c --log_dir d --logtostderr -v 4").unwrap();
        assert_eq!(line.global.namespace.as_deref(), Some("ns"));
        assert_eq!(line.global.context.as_deref(), Some("c"));
        assert_eq!(line.global.verbosity, Some(4));
        assert_eq!(
            parse("refloat --context c backups get")
                .unwrap()
                .global
                .context
                .as_deref(),
            Some("c")
        );
    }

    #[test]
    fn deleting_wants_names_or_all() {
        assert!(parse("refloat backup delete").is_err());
        assert!(parse("refloat backup delete x --all").is_err());
        assert!(parse("refloat backup delete x y --confirm").is_ok());
        assert!(parse("refloat backup delete -l a=b").is_ok());
        assert!(parse("refloat backup delete --all").is_ok());
    }
}
