//! `vggkit generate`: shell completions and man pages, made of the same description of the command line as `--help`. Hidden from
//! it, since packagers and `make install` call it, and nobody else.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::output;
use crate::error::{Error, Result};
use crate::files;

/// The program's name, which is that of its completions and the beginning of those of its pages.
const NAME: &str = "vggkit";

/// Make shell completions and man pages
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vggkit generate completions bash > ~/.local/share/bash-completion/completions/vggkit
  vggkit generate completions zsh > ~/.zfunc/_vggkit      fish, powershell and elvish are there too
  vggkit generate man ~/.local/share/man/man1             vggkit.1, and a page a command: vggkit-train.1
  make install PREFIX=~/.local                            all of it in its place")]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print completions for a shell
    Completions {
        /// Which
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// The folder for them, which is made where it is missing
        folder: PathBuf,
    },
}

/// `all`: the whole command line.
pub fn run(arguments: Arguments, all: &clap::Command) -> Result<ExitCode> {
    match arguments.what {
        What::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut visible(all), NAME, &mut script);
            output::print(&String::from_utf8_lossy(&script));
        }
        What::Man { folder } => pages(&folder, all)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line without what is hidden, which completions would name.
fn visible(all: &clap::Command) -> clap::Command {
    let shown: Vec<clap::Command> = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    let about = all.get_about().cloned().unwrap_or_default();
    let after = all.get_after_help().cloned().unwrap_or_default();
    clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .after_help(after)
        .propagate_version(true)
        .subcommands(shown)
}

/// A page for the program and one for each command.
fn pages(folder: &Path, all: &clap::Command) -> Result<()> {
    let mut program = visible(all);
    program.build();
    let commands: Vec<clap::Command> =
        program.get_subcommands().filter(|command| command.get_name() != "help").cloned().collect();
    for command in std::iter::once(program).chain(commands) {
        let page =
            Man::new(command.clone()).source(format!("{NAME} {}", env!("CARGO_PKG_VERSION"))).manual("vggkit manual");
        let path = folder.join(page.get_filename());
        let text = render(&page, &command).map_err(|e| Error::io("cannot make", &path, e))?;
        files::write_atomic(&path, |file| std::io::Write::write_all(file, &text))?;
        output::line(&path.display().to_string());
    }
    Ok(())
}

/// A page whose examples keep their lines.
fn render(page: &Man, command: &clap::Command) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if let Some(after) = command.get_after_long_help().or(command.get_after_help()) {
        let after = after.to_string();
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        let lines = after.strip_prefix("Examples:\n").unwrap_or(&after).lines();
        for line in lines {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.to_writer(&mut text)?;
    }
    page.render_version_section(&mut text)?;
    Ok(text)
}
