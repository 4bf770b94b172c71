//! The image controller against a machine whose files a test can spoil.

use std::path::PathBuf;

use skerry_model::{
    ImageFile, ImageFormat, ImageSource, ImageSpec, JobSpec, JobState, JobStatus, NewResource, Vm,
    VmSpec,
};

use super::*;
use crate::{
    Arrived, DiskBase, FileDigest, HostError, HostFacts, Incoming, Inventory, JournalLines,
    JournalQuery, LibraryError, LibraryKeep, MediaList, Meter, PowerAction, Promises, Room,
};

#[derive(Default)]
struct Files(Mutex<BTreeMap<String, FileDigest>>);

#[async_trait]
impl Host for Files {
    async fn facts(&self) -> HostFacts {
        HostFacts::default()
    }
    async fn inventory(&self) -> Inventory {
        Inventory::default()
    }
    async fn power(&self, _action: PowerAction) -> Result<(), HostError> {
        Ok(())
    }
    async fn going_down(&self) -> bool {
        false
    }
    async fn journal(&self, _query: JournalQuery) -> Result<JournalLines, HostError> {
        Err(HostError::Refused { action: "read the journal", detail: "there is none".to_owned() })
    }
    async fn hash_file(&self, path: &Path) -> Result<FileDigest, HostError> {
        let found = self.0.lock().unwrap().get(path.to_str().unwrap()).cloned();
        found.ok_or_else(|| HostError::Read {
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
    async fn set_hostname(&self, _name: &Name) -> Result<(), HostError> {
        Ok(())
    }
}

/// Only the removal of library files is asked for here.
#[async_trait]
impl ImageLibrary for Files {
    async fn room(&self) -> Result<Room, LibraryError> {
        Ok(Room::default())
    }
    async fn media(&self) -> Result<MediaList, LibraryError> {
        Ok(MediaList::default())
    }
    fn promises(&self) -> Promises {
        Promises::default()
    }
    async fn announced(&self) -> Result<u64, LibraryError> {
        Ok(0)
    }
    async fn fetched(&self, _id: Uuid) -> Result<u64, LibraryError> {
        Ok(0)
    }
    async fn incoming(&self, _what: &Incoming) -> Result<Option<Arrived>, LibraryError> {
        Ok(None)
    }
    async fn take(
        &self,
        _job: Uuid,
        _what: &Incoming,
        _meter: Arc<dyn Meter>,
    ) -> Result<u64, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn digest(&self, _job: Uuid, _meter: Arc<dyn Meter>) -> Result<FileDigest, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn inspect(
        &self,
        _job: Uuid,
        _format: ImageFormat,
        _limit: u64,
    ) -> Result<Option<u64>, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn convert(
        &self,
        _job: Uuid,
        _from: ImageFormat,
        _meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn lend(&self, _job: Uuid) -> Result<PathBuf, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn take_apart(
        &self,
        _job: Uuid,
        _meter: Arc<dyn Meter>,
    ) -> Result<crate::BootParts, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn adopt_part(
        &self,
        _job: Uuid,
        _role: &'static str,
        _sha256: &str,
    ) -> Result<PathBuf, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn flatten(
        &self,
        _job: Uuid,
        _base: Option<&DiskBase>,
        _meter: Arc<dyn Meter>,
    ) -> Result<(), LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn adopt(&self, _job: Uuid, _sha256: &str) -> Result<PathBuf, LibraryError> {
        Err(LibraryError::Stopped)
    }
    async fn discard(&self, _job: Uuid) -> Result<(), LibraryError> {
        Ok(())
    }
    async fn drop_spooled(&self, _id: Uuid) -> Result<(), LibraryError> {
        Ok(())
    }
    async fn remove(&self, path: &Path) -> Result<(), LibraryError> {
        self.0.lock().unwrap().remove(path.to_str().unwrap());
        Ok(())
    }
    async fn tidy(&self, _keep: &LibraryKeep) -> Result<usize, LibraryError> {
        Ok(0)
    }
}

fn controller(store: Store, files: Arc<Files>) -> ImageController {
    let library = Arc::clone(&files) as Arc<dyn ImageLibrary>;
    ImageController::new(store, files, library, || Timestamp::UNIX_EPOCH)
}

async fn setup() -> (Arc<Files>, ImageController, Id<Image>) {
    let files = Arc::new(Files::default());
    let store = Store::in_memory();
    let good = FileDigest { sha256: "a".repeat(64), size: 3 };
    let file = ImageFile::new("archive", "/x.tar", good.sha256.clone(), good.size);
    files.0.lock().unwrap().insert("/x.tar".to_owned(), good);
    let spec = ImageSpec {
        files: vec![file],
        ..ImageSpec::new(ImageFormat::OciArchive, ImageSource::BuiltIn, "x86_64")
    };
    let id = Id::new(Uuid::from_u128(1));
    let mut tx = Transaction::new();
    tx.create(NewResource::<Image>::new(id, Name::new("x").unwrap(), spec));
    store.commit(tx).await.unwrap();
    (Arc::clone(&files), controller(store, files), id)
}

async fn state(controller: &ImageController, id: Id<Image>) -> (ImageState, String) {
    let key = LocalRef { kind: Kind::Image, id: id.uuid() };
    controller.reconcile(key).await.unwrap();
    let image = controller.store.get(id).unwrap().unwrap();
    let message = image.status.conditions.get("Intact").unwrap().message.clone();
    (image.status.state, message)
}

#[tokio::test(start_paused = true)]
async fn an_image_is_read_daily_and_damage_is_named() {
    let (files, controller, id) = setup().await;
    assert_eq!(state(&controller, id).await.0, ImageState::Available);
    files.0.lock().unwrap().get_mut("/x.tar").unwrap().sha256 = "b".repeat(64);
    assert_eq!(state(&controller, id).await.0, ImageState::Available, "not read again so soon");
    tokio::time::advance(EVERY).await;
    let (found, message) = state(&controller, id).await;
    assert_eq!(found, ImageState::Quarantined);
    assert!(message.contains("/x.tar has other bytes"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_short_file_is_damage() {
    let (files, controller, id) = setup().await;
    files.0.lock().unwrap().get_mut("/x.tar").unwrap().size = 2;
    assert!(state(&controller, id).await.1.contains("2 bytes instead of 3"));
    tokio::time::advance(EVERY).await;
    files.0.lock().unwrap().clear();
    assert!(state(&controller, id).await.1.contains("/x.tar"));
}

#[tokio::test(start_paused = true)]
async fn a_damaged_image_is_read_again_soon_and_healing_is_seen() {
    let (files, controller, id) = setup().await;
    let good = files.0.lock().unwrap().remove("/x.tar").unwrap();
    let key = LocalRef { kind: Kind::Image, id: id.uuid() };
    assert_eq!(controller.reconcile(key).await.unwrap(), Outcome::Again(DAMAGED));
    files.0.lock().unwrap().insert("/x.tar".to_owned(), good);
    assert_eq!(state(&controller, id).await.0, ImageState::Available);
}

/// An image that a job brings in, not there yet.
async fn importing() -> (Arc<Files>, ImageController, Id<Image>, Id<Job>) {
    let (files, store) = (Arc::new(Files::default()), Store::in_memory());
    let (id, job) = (Id::<Image>::new(Uuid::from_u128(2)), Id::<Job>::new(Uuid::from_u128(3)));
    let spec =
        ImageSpec::new(ImageFormat::Qcow2, ImageSource::Upload(Uuid::from_u128(4)), "x86_64");
    let mut new = NewResource::<Image>::new(id, Name::new("debian").unwrap(), spec);
    new.finalizers = vec![IMAGE_FINALIZER.to_owned()];
    let subject = Some(LocalRef { kind: Kind::Image, id: id.uuid() });
    let spec = JobSpec { operation: "image.import".to_owned(), subject, ..JobSpec::default() };
    let mut tx = Transaction::new();
    tx.create(new).create(NewResource::<Job>::new(job, Name::new("import").unwrap(), spec));
    tx.put_status(id, ImageStatus { job: Some(job.uuid()), ..ImageStatus::default() });
    store.commit(tx).await.unwrap();
    (Arc::clone(&files), controller(store, files), id, job)
}

async fn look(controller: &ImageController, id: Id<Image>) -> ImageStatus {
    controller.reconcile(LocalRef { kind: Kind::Image, id: id.uuid() }).await.unwrap();
    controller.store.get(id).unwrap().unwrap().status
}

async fn end_job(controller: &ImageController, job: Id<Job>, state: JobState, message: &str) {
    let status = JobStatus {
        state,
        reason: "BackingFile".to_owned(),
        message: message.to_owned(),
        ..JobStatus::default()
    };
    let mut tx = Transaction::new();
    tx.put_status(job, status);
    controller.store.commit(tx).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_import_is_followed_to_its_end() {
    let (files, controller, id, job) = importing().await;
    assert_eq!(look(&controller, id).await.state, ImageState::Receiving);
    end_job(&controller, job, JobState::Failed, "it builds on another file").await;
    let failed = look(&controller, id).await;
    assert_eq!(failed.state, ImageState::Failed);
    let why = failed.conditions.get("Imported").unwrap();
    assert_eq!(
        (why.reason.as_str(), why.message.as_str()),
        ("BackingFile", "it builds on another file")
    );
    // Tried again, and there.
    end_job(&controller, job, JobState::Running, "").await;
    assert_eq!(look(&controller, id).await.state, ImageState::Receiving);
    let image = controller.store.get(id).unwrap().unwrap();
    let file = ImageFile::new("disk", "/images/a", "a".repeat(64), 3);
    let mut tx = Transaction::new();
    tx.put_spec(id, None, ImageSpec { files: vec![file], ..image.spec });
    controller.store.commit(tx).await.unwrap();
    controller.vouch(id.uuid(), 2);
    let status = look(&controller, id).await;
    assert_eq!(status.state, ImageState::Available, "its bytes were just read");
    assert!(status.conditions.get("Imported").is_none() && status.verified.is_some());
    tokio::time::advance(EVERY).await;
    assert_eq!(look(&controller, id).await.state, ImageState::Quarantined, "it is not there");
    drop(files);
}

#[tokio::test]
async fn users_are_named_and_files_go_with_the_last_image_that_has_them() {
    let (files, controller, id, _) = importing().await;
    let image = controller.store.get(id).unwrap().unwrap();
    let spec = ImageSpec {
        files: vec![ImageFile::new("disk", "/images/a", "a".repeat(64), 3)],
        ..image.spec
    };
    let twin = Id::<Image>::new(Uuid::from_u128(5));
    let vm: VmSpec = serde_json::from_str(r#"{"image": "debian"}"#).unwrap();
    let vm_id = Id::<Vm>::new(Uuid::from_u128(6));
    let mut new = NewResource::<Image>::new(twin, Name::new("twin").unwrap(), spec.clone());
    new.finalizers = vec![IMAGE_FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.put_spec(id, None, spec).create(new);
    tx.create(NewResource::new(vm_id, Name::new("guest").unwrap(), vm));
    controller.store.commit(tx).await.unwrap();
    let digest = FileDigest { sha256: "a".repeat(64), size: 3 };
    files.0.lock().unwrap().insert("/images/a".to_owned(), digest);
    let users = look(&controller, id).await.used_by;
    assert_eq!(users, [LocalRef { kind: Kind::Vm, id: vm_id.uuid() }]);
    assert!(look(&controller, twin).await.used_by.is_empty());
    for (image, left) in [(id, 1), (twin, 0)] {
        let mut tx = Transaction::new();
        tx.begin_removal(image, None);
        controller.store.commit(tx).await.unwrap();
        let key = LocalRef { kind: Kind::Image, id: image.uuid() };
        controller.reconcile(key).await.unwrap();
        assert!(controller.store.get(image).unwrap().is_none());
        assert_eq!(files.0.lock().unwrap().len(), left);
    }
}

/// Another image of the same bytes is just being brought in: its file is there, its record does not name it yet.
#[tokio::test(start_paused = true)]
async fn a_file_that_is_about_to_be_named_is_not_removed() {
    let (files, controller, second, _) = importing().await;
    let first = Id::<Image>::new(Uuid::from_u128(5));
    let empty = controller.store.get(second).unwrap().unwrap().spec;
    let file = ImageFile::new("disk", "/images/a", "a".repeat(64), 3);
    let spec = ImageSpec { files: vec![file], ..empty };
    let mut new = NewResource::<Image>::new(first, Name::new("first").unwrap(), spec.clone());
    new.finalizers = vec![IMAGE_FINALIZER.to_owned()];
    let mut tx = Transaction::new();
    tx.create(new);
    controller.store.commit(tx).await.unwrap();
    let digest = FileDigest { sha256: "a".repeat(64), size: 3 };
    files.0.lock().unwrap().insert("/images/a".to_owned(), digest);
    let mut tx = Transaction::new();
    tx.begin_removal(first, None);
    controller.store.commit(tx).await.unwrap();
    let turn = controller.turn().await;
    let remove = controller.reconcile(LocalRef { kind: Kind::Image, id: first.uuid() });
    let name = async {
        let mut tx = Transaction::new();
        tx.put_spec(second, None, spec);
        controller.store.commit(tx).await.unwrap();
        drop(turn);
    };
    let (removed, ()) = tokio::join!(remove, name);
    removed.unwrap();
    assert!(controller.store.get(first).unwrap().is_none());
    assert_eq!(files.0.lock().unwrap().len(), 1, "the second image has lost its file");
}
