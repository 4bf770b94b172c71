//! Puts the built page (`services/apps/web/dist`) into the build's own folder, where it is taken into the binary.
//!
//! Text files are stored compressed only, which keeps the binary small; browsers take them as they are. Without a
//! built page the folder stays empty, so that the service can be worked on without Node, and says so when asked.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

const COMPRESSED: [&str; 7] = ["css", "html", "js", "json", "svg", "txt", "webmanifest"];

fn main() -> io::Result<()> {
    let source = Path::new("../web/dist");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let target = PathBuf::from(out).join("page");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "cargo::rerun-if-changed=build.rs")?;
    writeln!(stdout, "cargo::rerun-if-changed={}", source.display())?;
    if source.is_dir() { copy(source, &target) } else { Ok(()) }
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    for entry in fs::read_dir(source)? {
        let from = entry?.path();
        let Some(name) = from.file_name() else { continue };
        let to = target.join(name);
        if from.is_dir() {
            fs::create_dir_all(&to)?;
            copy(&from, &to)?;
            continue;
        }
        let extension = from.extension().and_then(|e| e.to_str()).unwrap_or("");
        if COMPRESSED.contains(&extension) {
            let mut name = to.into_os_string();
            name.push(".gz");
            let mut encoder = GzEncoder::new(fs::File::create(name)?, Compression::best());
            encoder.write_all(&fs::read(&from)?)?;
            encoder.finish()?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
