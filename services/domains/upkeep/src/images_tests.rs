//! The image controller against a machine whose files a test can spoil.

use skerry_model::{ImageFile, ImageFormat, ImageSource, ImageSpec, Name, NewResource};

use super::*;
use crate::{
    FileDigest, HostError, HostFacts, Inventory, JournalLines, JournalQuery, KvmUnusable,
    PowerAction,
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
    async fn journal(&self, _query: JournalQuery) -> Result<JournalLines, HostError> {
        Err(HostError::Refused { action: "read the journal", detail: "there is none".to_owned() })
    }
    async fn kvm_usable(&self) -> Result<(), KvmUnusable> {
        Ok(())
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

async fn setup() -> (Arc<Files>, ImageController, Id<Image>) {
    let files = Arc::new(Files::default());
    let store = Store::in_memory();
    let good = FileDigest { sha256: "a".repeat(64), size: 3 };
    let file = ImageFile {
        role: "archive".to_owned(),
        path: "/x.tar".to_owned(),
        sha256: good.sha256.clone(),
        size: good.size,
    };
    files.0.lock().unwrap().insert("/x.tar".to_owned(), good);
    let spec = ImageSpec {
        format: ImageFormat::OciArchive,
        source: ImageSource::BuiltIn,
        architecture: "x86_64".to_owned(),
        files: vec![file],
        kernel_arguments: String::new(),
        description: String::new(),
    };
    let id = Id::new(Uuid::from_u128(1));
    let mut tx = Transaction::new();
    tx.create(NewResource::<Image>::new(id, Name::new("x").unwrap(), spec));
    store.commit(tx).await.unwrap();
    let host = Arc::clone(&files) as Arc<dyn Host>;
    (files, ImageController::new(store, host, || Timestamp::UNIX_EPOCH), id)
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
    assert_eq!(found, ImageState::Damaged);
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
