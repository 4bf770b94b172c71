//! The small disk with the label `CIDATA` on which cloud-init finds its data: a FAT file system, made in memory.
//!
//! Nothing is read that a stranger wrote, and no program is run: the file system is written by a library, and
//! the same files always give the same bytes.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use skerry_compute::Seed;

/// Size of the disk. Data is at most 64 KiB and what the node adds to it.
const BYTES: usize = 1024 * 1024;

/// Label of the file system, which cloud-init looks for; padded as FAT wants it.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// Serial number of the file system: any, but always the same.
const VOLUME: u32 = 0x5eed_5eed;

/// The bytes of the disk.
pub fn disk(seed: &Seed) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; BYTES];
    let options =
        FormatVolumeOptions::new().fat_type(FatType::Fat12).volume_label(LABEL).volume_id(VOLUME);
    fatfs::format_volume(Cursor::new(&mut bytes), options)?;
    {
        let system = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new())?;
        let root = system.root_dir();
        for (name, text) in &seed.files {
            let mut file = root.create_file(name)?;
            file.write_all(text.reveal().as_bytes())?;
            file.flush()?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skerry_model::Hidden;
    use std::io::Read;

    fn seed(text: &str) -> Seed {
        let file = |name: &str, text: &str| (name.to_owned(), Hidden::new(text));
        Seed { files: vec![file("user-data", text), file("meta-data", "{}")] }
    }

    #[test]
    fn files_are_on_it_under_their_names_and_the_label_is_right() {
        let text = format!("#cloud-config\n{}", "# é\n".repeat(12_000));
        let mut bytes = disk(&seed(&text)).unwrap();
        assert_eq!(bytes.len() % 4096, 0);
        let system = FileSystem::new(Cursor::new(&mut bytes), FsOptions::new()).unwrap();
        assert_eq!(system.volume_label(), "CIDATA");
        assert_eq!(system.read_volume_label_from_root_dir().unwrap().as_deref(), Some("CIDATA"));
        let mut read = String::new();
        system.root_dir().open_file("user-data").unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, text);
        let names: Vec<String> =
            system.root_dir().iter().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["user-data", "meta-data"]);
    }

    #[test]
    fn the_same_files_are_the_same_bytes() {
        assert_eq!(disk(&seed("#!/bin/sh\n")).unwrap(), disk(&seed("#!/bin/sh\n")).unwrap());
        assert_ne!(disk(&seed("#!/bin/sh\n")).unwrap(), disk(&seed("#!/bin/ash\n")).unwrap());
    }

    #[test]
    fn more_than_fits_is_refused() {
        assert!(disk(&seed(&"#".repeat(2 * BYTES))).is_err());
    }
}
