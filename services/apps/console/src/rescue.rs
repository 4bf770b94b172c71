//! What the console can still do when the node's service does not answer.
//!
//! The console has no privileges. It reads the journal if its user may, and it asks for a restart by making a
//! file in a folder that systemd watches (`skerry-rescue-*.path`); nothing else is needed for that.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::menu::Power;
use crate::output::Output;

/// Where rescue finds what it needs.
#[derive(Debug, Clone)]
pub struct Rescue {
    /// The folder that systemd watches.
    pub folder: PathBuf,
    /// The program that reads the journal.
    pub journalctl: PathBuf,
}

impl Default for Rescue {
    fn default() -> Self {
        Self {
            folder: PathBuf::from("/run/skerry-rescue"),
            journalctl: PathBuf::from("/usr/bin/journalctl"),
        }
    }
}

/// Lines shown before those that come.
const TAIL: &str = "--lines=15";

impl Rescue {
    /// Asks systemd for a restart or power off. Gives what to tell.
    pub fn power(&self, power: Power) -> String {
        let (name, doing) = match power {
            Power::Restart => ("restart", "The machine restarts."),
            Power::Off => ("power-off", "The machine powers off."),
        };
        match File::create(self.folder.join(name)) {
            Ok(_) => doing.to_owned(),
            Err(error) => format!(
                "This cannot be done from here ({}: {error}). Use the machine's power button: a short\n\
                 press shuts it down in order.",
                self.folder.display()
            ),
        }
    }

    /// Forgets requests of an earlier life of this console.
    pub fn tidy(&self) {
        for name in ["restart", "power-off"] {
            // What is not there needs no tidying.
            let _ = std::fs::remove_file(self.folder.join(name));
        }
    }

    /// Shows the log of the node's service as it comes. Ends with what went wrong, if anything did.
    pub async fn log(&self, output: &mut Output) -> Option<String> {
        match self.read_log(output).await {
            Ok(None) => None,
            Ok(Some(complaint)) => Some(format!("The log cannot be shown: {complaint}")),
            Err(error) => Some(format!("The log cannot be shown: {error}")),
        }
    }

    async fn read_log(&self, output: &mut Output) -> std::io::Result<Option<String>> {
        let mut child = journalctl(&self.journalctl).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
        let mut lines = BufReader::new(stdout).split(b'\n');
        while let Some(line) = lines.next_segment().await? {
            output.text(&format!("{}\n", skerry_cli::clean(&String::from_utf8_lossy(&line))));
        }
        let mut complaint = String::new();
        if let Some(stderr) = child.stderr.take() {
            stderr.take(1024).read_to_string(&mut complaint).await?;
        }
        let status = child.wait().await?;
        let first = complaint.lines().next().unwrap_or("journalctl failed");
        Ok((!status.success()).then(|| skerry_cli::clean(first)))
    }
}

fn journalctl(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--no-pager", "--quiet", "--no-hostname", "--output=short", TAIL, "--follow"])
        .arg("--unit=skerry-noded.service")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_file_and_an_old_one_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let rescue = Rescue { folder: folder.path().to_owned(), ..Rescue::default() };
        assert_eq!(rescue.power(Power::Off), "The machine powers off.");
        assert!(folder.path().join("power-off").exists());
        rescue.tidy();
        assert!(!folder.path().join("power-off").exists());
    }

    #[test]
    fn without_the_folder_it_says_what_is_possible() {
        let rescue = Rescue { folder: PathBuf::from("/nowhere"), ..Rescue::default() };
        assert!(rescue.power(Power::Restart).contains("power button"));
    }
}
