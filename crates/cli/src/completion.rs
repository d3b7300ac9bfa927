//! `completion`: scripts that complete commands in a shell.

use anyhow::Result;
use clap::{Args, ValueEnum};
use clap_complete::{Generator as _, Shell};

use crate::{command, exit::Outcome, output, session::Session};

/// A shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShellName {
    /// For example in ~/.bashrc: source <(refloat completion bash)
    Bash,
    /// For example in ~/.zshrc: source <(refloat completion zsh)
    Zsh,
    /// For example: refloat completion fish > ~/.config/fish/completions/refloat.fish
    Fish,
    /// For example in $PROFILE: refloat completion powershell | Out-String | Invoke-Expression
    Powershell,
}

/// Flags of `completion`.
#[derive(Args, Clone, Debug)]
pub struct CompletionFlags {
    /// The shell
    #[arg(value_enum)]
    shell: ShellName,
}

impl CompletionFlags {
    /// Prints the script.
    ///
    /// # Errors
    /// Where standard output cannot be written.
    pub fn run(&self, session: &Session) -> Result<Outcome> {
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Zsh => Shell::Zsh,
            ShellName::Fish => Shell::Fish,
            ShellName::Powershell => Shell::PowerShell,
        };
        // A plugin of kubectl is completed under the name of its file.
        let name = session.program.replace(' ', "-");
        let mut command = command::parser();
        command.set_bin_name(name);
        command.build();
        let mut script = Vec::new();
        shell.try_generate(&command, &mut script)?;
        output::print(&String::from_utf8(script)?)?;
        Ok(Outcome::Done)
    }
}
