//! Snapshots of volumes: taken as copies that share blocks where the file system can, looked at before any of them is set
//! back, and set back one by one.

use super::*;

impl LinuxDisk {
    pub(super) async fn take(
        &self,
        places: &Places,
        note: &SnapshotNote,
    ) -> Result<(), StorageError> {
        let (places, note, this) = (places.clone(), note.clone(), self.clone());
        on_disk("taking a snapshot", move || {
            let taken = this.take_now(&places, &note);
            if taken.is_err() {
                // Half a copy would take room from guests until the next try.
                remove_all(&places.making("take", note.snapshot))?;
            }
            taken
        })
        .await
    }

    fn take_now(&self, places: &Places, note: &SnapshotNote) -> io::Result<()> {
        let target = places.snapshot(note.snapshot);
        if target.exists() {
            return Ok(());
        }
        let making = places.making("take", note.snapshot);
        remove_all(&making)?;
        let files: Vec<_> = note.volumes.iter().map(|(volume, _)| places.volume(*volume)).collect();
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        room_for(&files, &places.tmp(), self.kept_free)?;
        make_folder(&making)?;
        // First all copies, since guests are held for as long as they take; then the rest.
        for (volume, _) in &note.volumes {
            copy(&places.volume(*volume), &Places::kept(&making, *volume))?;
        }
        for (volume, _) in &note.volumes {
            if let Some(beside) = read_note::<VolumeNote>(&places.volume_note(*volume)) {
                let path = making.join(format!("{volume}.json"));
                write_note(&path, &making.join("making"), &beside)?;
            }
            fs::File::open(Places::kept(&making, *volume))?.sync_all()?;
        }
        write_note(&Places::snapshot_note(&making), &making.join("making"), note)?;
        sync_folder(&making)?;
        fs::rename(&making, &target)?;
        sync_folder(&places.snapshots())
    }

    /// Whether all copies are there and sound, and fit.
    pub(super) async fn examine(
        &self,
        places: &Places,
        snapshot: Id<Snapshot>,
        volumes: &[Id<Volume>],
    ) -> Result<(), StorageError> {
        let what = "setting volumes back";
        let folder = places.snapshot(snapshot);
        let copies: Vec<_> = volumes.iter().map(|volume| Places::kept(&folder, *volume)).collect();
        let (files, tmp, kept_free) = (copies.clone(), places.tmp(), self.kept_free);
        on_disk(what, move || {
            if let Some(gone) = files.iter().find(|file| !file.exists()) {
                let message = format!("the snapshot's copy {} is gone", gone.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
            room_for(&files, &tmp, kept_free)
        })
        .await?;
        for copy in &copies {
            self.qemu_img.examine(copy).await?;
        }
        Ok(())
    }

    pub(super) async fn revert(
        &self,
        places: &Places,
        snapshot: Id<Snapshot>,
        volume: Id<Volume>,
    ) -> Result<(), StorageError> {
        let what = "setting a volume back";
        let making = places.making("revert", volume);
        let (from, to) = (Places::kept(&places.snapshot(snapshot), volume), making.clone());
        let (tmp, kept_free) = (places.tmp(), self.kept_free);
        on_disk(what, move || {
            room_for(&[&from], &tmp, kept_free)?;
            copy(&from, &to)
        })
        .await?;
        // What is there is replaced only by what is sound.
        self.qemu_img.check(&making).await?;
        self.reserve.take_in(places, &making).await;
        let (this, target) = (self.clone(), places.volume(volume));
        on_disk(what, move || {
            this.give(&making)?;
            place(&making, &target)
        })
        .await
    }
}
