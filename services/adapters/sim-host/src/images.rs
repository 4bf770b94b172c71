//! Files that stand for the built-in images on the simulated machine.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

/// Content of every file, and its SHA-256 (the one-block example of FIPS 180-4).
const CONTENT: &str = "abc";
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// A file's role and its name.
type File = (&'static str, &'static str);

/// Name, format, and files.
const IMAGES: [(&str, &str, &[File]); 2] = [
    ("tiny", "oci_archive", &[("archive", "tiny-oci.tar")]),
    ("tiny-vm", "kernel_initrd", &[("kernel", "kernel"), ("initrd", "initrd")]),
];

/// Writes the files and their list into a folder, which is made if it is missing.
pub fn write_images(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut list = "schema = 1\n".to_owned();
    for (name, format, files) in IMAGES {
        // Writing into a String cannot fail.
        let _ = writeln!(list, "[[image]]\nname = \"{name}\"\nformat = \"{format}\"");
        let _ = writeln!(list, "architecture = \"x86_64\"\ndescription = \"simulated\"");
        for (role, path) in files {
            fs::write(folder.join(path), CONTENT)?;
            let _ = writeln!(list, "[[image.file]]\nrole = \"{role}\"\npath = \"{path}\"");
            let _ = writeln!(list, "sha256 = \"{SHA256}\"\nsize = {}", CONTENT.len());
        }
    }
    fs::write(folder.join("images.toml"), list)
}
