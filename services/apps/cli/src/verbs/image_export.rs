//! Container images to files of the caller's machine.
//!
//! A file appears under its name when all of it has come; a part is removed.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use futures::StreamExt;
use skerry_ipc::{Request, StreamItem};
use skerry_model::ImageArchiveForm;

use crate::shell::{Done, Failure, Shell};
use crate::transport::Items;

/// Writes the archive of an image to a file, or to the output if that is `-`.
pub(super) async fn export(
    shell: &mut Shell<'_, '_>,
    name: String,
    form: ImageArchiveForm,
    output: &Path,
) -> Done {
    // A console's screen is no place for it either.
    if !shell.io.files {
        let detail = "there are no files here: use the skerry program on your own machine";
        return Err(Failure::Usage(detail.to_owned()));
    }
    let mut items = shell.items(Request::ExportImage { key: name.clone(), form }).await?;
    let size = match items.next().await {
        Some(Ok(StreamItem::File { size, .. })) => size,
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(_)) | None => return Err(Failure::Outcome("the node sent no file".to_owned())),
    };
    if output == Path::new("-") {
        return take(shell, items, &name, size, None).await;
    }
    let mut part = Part::create(output)?;
    // Ctrl-C too leaves nothing behind.
    let taken = tokio::select! {
        taken = take(shell, items, &name, size, Some(&mut part)) => taken,
        _ = tokio::signal::ctrl_c() => Err(Failure::Outcome("broken off".to_owned())),
    };
    taken?;
    part.keep(output)?;
    shell.progress(&format!("{name} is in {}, {size} bytes.", output.display()))
}

async fn take(
    shell: &mut Shell<'_, '_>,
    mut items: Items,
    name: &str,
    size: u64,
    mut part: Option<&mut Part>,
) -> Done {
    let (mut done, mut shown) = (0_u64, None);
    while let Some(item) = items.next().await {
        let StreamItem::Piece(bytes) = item? else { continue };
        match &mut part {
            Some(part) => part.write(&bytes)?,
            None => shell.io.out.write_all(&bytes)?,
        }
        done = done.saturating_add(bytes.len() as u64);
        let tenth = u128::from(done) * 10 / u128::from(size.max(1));
        if part.is_some() && shown != Some(tenth) {
            shell.progress(&format!("{name}: {} % ({done} of {size} bytes)", tenth * 10))?;
            shown = Some(tenth);
        }
    }
    shell.io.out.flush()?;
    if done == size {
        return Ok(());
    }
    let why = format!("the export broke off after {done} of {size} bytes; see the node's log");
    Err(Failure::Outcome(why))
}

/// A file that is not whole yet. Dropping it removes it.
struct Part {
    path: PathBuf,
    file: Option<File>,
}

impl Part {
    fn create(target: &Path) -> Result<Self, Failure> {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { path, file: Some(file) })
    }

    fn write(&mut self, bytes: &[u8]) -> Done {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    fn keep(mut self, target: &Path) -> Done {
        fs::rename(&self.path, target).map_err(|error| cannot_write(target, &error))?;
        self.file = None;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nobody could do more about it here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Outcome(format!("cannot write {}: {error}", path.display()))
}
