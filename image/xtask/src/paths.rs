//! Where things are in the repository and below `target/`.

use std::path::{Path, PathBuf};

/// Folders of one checkout.
#[derive(Debug, Clone)]
pub struct Paths {
    /// The repository.
    pub repo: PathBuf,
    /// Everything that is made, `target/` unless `CARGO_TARGET_DIR` says otherwise.
    pub target: PathBuf,
}

impl Paths {
    /// The checkout that this program was built from.
    #[must_use]
    pub fn find() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repo = manifest.ancestors().nth(2).unwrap_or(manifest).to_owned();
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| repo.join("target"), |dir| repo.join(dir));
        Self { repo, target }
    }

    /// The builder root and what belongs to it.
    #[must_use]
    pub fn builder(&self) -> PathBuf {
        self.target.join("builder")
    }

    /// Finished images.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.target.join("image")
    }

    /// Intermediate steps of the image build.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.target.join("image-work")
    }

    /// State of machines started by `cargo xtask run`.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.target.join("run")
    }

    /// Programs that cargo built and others that were fetched for the build.
    #[must_use]
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The raw image of a board.
    #[must_use]
    pub fn raw_image(&self, board: &str) -> PathBuf {
        self.image().join(format!("skerry-{board}.raw"))
    }
}
