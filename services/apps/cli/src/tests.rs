//! Whole lines of words against a node made of answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::StreamExt;
use serde_json::{Value, json};
use skerry_ipc::{
    Action, Answer, Channel, ExecQuery, Input, Json, Refusal, RefusalClass, Request, StreamItem,
};
use skerry_model::{ImageArchiveForm, Kind, Role, Violation};

use super::*;

mod disks;
mod streams;
mod told;

/// Gives prepared answers and keeps the requests.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<Answer, Refusal>>>,
    streams: Mutex<VecDeque<Vec<StreamItem>>>,
    requests: Mutex<Vec<Request>>,
    token: Mutex<Option<String>>,
    inputs: Arc<Mutex<Vec<Input>>>,
}

/// Keeps what is sent.
struct Kept(Arc<Mutex<Vec<Input>>>);

#[async_trait]
impl InputSink for Kept {
    async fn send(&self, input: Input) -> Result<(), CallError> {
        self.0.lock().unwrap().push(input);
        Ok(())
    }
}

impl Scripted {
    fn answers(answers: impl IntoIterator<Item = Answer>) -> Self {
        let node = Self::default();
        *node.answers.lock().unwrap() = answers.into_iter().map(Ok).collect();
        node
    }

    fn refusing(refusal: Refusal) -> Self {
        let node = Self::default();
        node.answers.lock().unwrap().push_back(Err(refusal));
        node
    }

    fn request(&self) -> Request {
        self.requests.lock().unwrap().remove(0)
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn call(&self, request: Request) -> Result<Answer, CallError> {
        self.requests.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(answer) => Ok(answer?),
            // Nothing more to say: for tests of what runs out of time.
            None => std::future::pending().await,
        }
    }
    async fn open(&self, request: Request) -> Result<Items, CallError> {
        self.requests.lock().unwrap().push(request);
        let items = self.streams.lock().unwrap().pop_front().unwrap_or_default();
        Ok(futures::stream::iter(items.into_iter().map(Ok)).boxed())
    }
    async fn open_two_way(&self, request: Request) -> Result<TwoWay, CallError> {
        self.requests.lock().unwrap().push(request);
        let items = self.streams.lock().unwrap().pop_front().unwrap_or_default();
        let items = futures::stream::iter(items.into_iter().map(Ok)).boxed();
        Ok(TwoWay { input: Box::new(Kept(Arc::clone(&self.inputs))), items })
    }
    async fn health(&self) -> Result<Value, CallError> {
        Ok(
            json!({ "ready": true, "claimed": false, "hostname": "edge-1", "version": "0.1.0", "node_id": "x" }),
        )
    }
    fn remember(&self, session: &Session) -> Result<(), String> {
        *self.token.lock().unwrap() = Some(session.token.clone());
        Ok(())
    }
    fn forget(&self) -> Result<(), String> {
        *self.token.lock().unwrap() = None;
        Ok(())
    }
    fn node(&self) -> String {
        "https://node".to_owned()
    }
}

/// Answers every question with the next of these words.
struct Words(Mutex<VecDeque<&'static str>>);

impl Words {
    fn next(&self) -> std::io::Result<Option<String>> {
        Ok(self.0.lock().unwrap().pop_front().map(str::to_owned))
    }
}

impl Asker for Words {
    fn line(&self, _prompt: &str) -> std::io::Result<Option<String>> {
        self.next()
    }
    fn secret(&self, _prompt: &str) -> std::io::Result<Option<String>> {
        self.next()
    }
    fn input(&self) -> std::io::Result<Option<String>> {
        self.next()
    }
    fn keyboard(&self, raw: bool) -> std::io::Result<Option<Keyboard>> {
        if raw {
            return Ok(None);
        }
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        for word in std::mem::take(&mut *self.0.lock().unwrap()) {
            sender.try_send(word.as_bytes().to_vec()).unwrap();
        }
        Ok(Some(Keyboard::of(receiver)))
    }
}

async fn at(node: &Scripted, line: &str, replies: &[&'static str]) -> (u8, String, String) {
    with_files(node, line, replies, false).await
}

async fn with_files(
    node: &Scripted,
    line: &str,
    replies: &[&'static str],
    files: bool,
) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let asker = Words(Mutex::new(replies.iter().copied().collect()));
    let mut io = Io { out: &mut out, err: &mut err, asker: &asker, files };
    let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
    let code = run(&words, node, &mut io).await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn document(value: Value) -> Answer {
    Answer::Document(Json(value.to_string()))
}

fn pod(state: &str, seen: u64) -> Value {
    json!({
        "kind": "Pod",
        "metadata": { "id": "p1", "name": "web", "generation": 1, "phase": "present" },
        "spec": {},
        "status": { "state": state, "observed_generation": seen, "addresses": ["10.88.0.2"], "reason": "" },
    })
}

fn change(document: Value, removed: bool) -> StreamItem {
    StreamItem::Change {
        revision: 1,
        kind: Kind::Pod,
        document: Json(document.to_string()),
        removed,
    }
}

#[tokio::test]
async fn a_pod_is_created_with_only_what_was_said() {
    let node = Scripted::answers([document(pod("pending", 0))]);
    let line =
        "pod create web --image tiny --publish 8080:80 --env A=b=c --label site=a -- /bin/x -v";
    let (code, out, err) = at(&node, line, &[]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (exit::DONE, "Created pod web.\n", ""));
    let Request::Create { kind: Kind::Pod, document, dry_run: false } = node.request() else {
        panic!("no creation");
    };
    let sent: Value = serde_json::from_str(&document.0).unwrap();
    assert_eq!(
        sent,
        json!({
            "metadata": { "name": "web", "labels": { "site": "a" } },
            "spec": {
                "containers": [{ "name": "main", "image": "tiny", "command": ["/bin/x", "-v"],
                                 "env": [{ "name": "A", "value": "b=c" }] }],
                "restart": "always", "network": "default",
                "publish": [{ "protocol": "tcp", "host_port": 8080, "workload_port": 80 }],
            },
        })
    );
    let spec: skerry_model::PodSpec = serde_json::from_value(sent["spec"].clone()).unwrap();
    assert_eq!(spec.containers.len(), 1, "the node's own type takes it");
}

#[tokio::test]
async fn a_vm_is_created_as_the_node_wants_it() {
    let node = Scripted::answers([document(json!({}))]);
    let line = "vm create m --image tiny-vm --memory 128 --vcpus 2 --stopped --stop-timeout 5";
    assert_eq!(at(&node, line, &[]).await.0, exit::DONE);
    let Request::Create { document, .. } = node.request() else { panic!("no creation") };
    let sent: Value = serde_json::from_str(&document.0).unwrap();
    let spec: skerry_model::VmSpec = serde_json::from_value(sent["spec"].clone()).unwrap();
    assert_eq!((spec.memory_mib, spec.vcpus, spec.stop_timeout_s), (128, 2, 5));
    assert_eq!(spec.power, skerry_model::VmPower::Stopped);
}

#[tokio::test]
async fn waiting_shows_each_step_and_ends_when_it_runs() {
    let node = Scripted::answers([document(pod("pending", 0)), document(pod("pending", 0))]);
    *node.streams.lock().unwrap() = [vec![
        change(pod("starting", 1), false),
        change(pod("starting", 1), false),
        change(pod("running", 1), false),
    ]]
    .into();
    let (code, out, err) = at(&node, "pod create web --image tiny --wait", &[]).await;
    assert_eq!((code, out.as_str()), (exit::DONE, "web runs at 10.88.0.2.\n"));
    assert_eq!(err, "web: pending\nweb: starting\nweb: running\n");
}

#[tokio::test]
async fn a_failure_while_waiting_is_told() {
    let mut failed = pod("failed", 1);
    failed["status"]["reason"] = json!("no image `tiny`");
    let node = Scripted::answers([document(pod("pending", 0)), document(failed)]);
    let (code, _, err) = at(&node, "pod create web --image tiny --wait", &[]).await;
    assert_eq!(code, exit::REFUSED);
    assert!(err.ends_with("skerry: web failed: no image `tiny`\n"), "{err}");
}

#[tokio::test(start_paused = true)]
async fn waiting_has_an_end() {
    let node = Scripted::answers([document(pod("pending", 0))]);
    let (code, _, err) = at(&node, "pod start web --wait --timeout 5", &[]).await;
    assert_eq!(code, exit::TIMED_OUT);
    assert!(err.contains("after 5 s") && err.contains("skerry explain pod web"), "{err}");
}

#[tokio::test]
async fn deleting_waits_until_it_is_gone() {
    let not_found = Refusal::new(RefusalClass::NotFound, "no such pod");
    let node = Scripted::answers([document(pod("running", 1))]);
    node.answers.lock().unwrap().push_back(Err(not_found));
    let (code, out, _) = at(&node, "pod delete web --wait", &[]).await;
    assert_eq!((code, out.as_str()), (exit::DONE, "web is deleted.\n"));
}

#[tokio::test]
async fn actions_are_asked_for() {
    for (line, action) in [
        ("vm start m", Action::Start),
        ("vm stop m", Action::Stop),
        ("vm stop m --force", Action::ForceStop),
        ("vm restart m", Action::Restart),
        ("vm pause m", Action::Pause),
        ("vm resume m", Action::Resume),
        ("vm reset m", Action::Reset),
        ("vm reboot m", Action::Reboot),
        ("vm suspend m", Action::Suspend),
    ] {
        let node = Scripted::answers([document(json!({ "metadata": { "name": "m" } }))]);
        assert_eq!(at(&node, line, &[]).await.0, exit::DONE, "{line}");
        let wanted = Request::Act { kind: Kind::Vm, key: "m".to_owned(), action };
        assert_eq!(node.request(), wanted);
    }
}

#[tokio::test]
async fn a_guest_is_asked_given_a_password_and_its_machine_a_name() {
    let told = json!({ "agent_version": "10.0", "interfaces": [
        { "name": "eth0", "mac": "02:00:00:00:00:01", "addresses": ["10.88.0.2", "fe80::1"] }] });
    let node = Scripted::answers([document(told)]);
    let (code, out, _) = at(&node, "vm guest web", &[]).await;
    assert!(code == 0 && out.contains("10.88.0.2, fe80::1"), "{out}");
    assert_eq!(node.request(), Request::GuestReport { key: "web".into() });

    let node = Scripted::answers([Answer::Done]);
    let (code, out, errors) = at(&node, "vm password web --user ada", &["secret", "secret"]).await;
    assert_eq!((code, out.contains("secret"), errors.contains("secret")), (0, false, false));
    let password = skerry_model::Hidden::new("secret");
    let wanted = Request::SetGuestPassword { key: "web".into(), user: "ada".into(), password };
    assert_eq!(node.request(), wanted);
    let node = Scripted::answers([]);
    assert_ne!(at(&node, "vm password web", &["secret", "other"]).await.0, 0);

    let node = Scripted::answers([document(json!({ "metadata": { "name": "shop" } }))]);
    assert_eq!(at(&node, "vm rename web shop", &[]).await.0, 0);
    let Request::Patch { patch, .. } = node.request() else { panic!("no change") };
    assert_eq!(patch.0, r#"{"metadata":{"name":"shop"}}"#);

    for (line, spec) in [
        ("vm protect web", r#"{"spec":{"protected":true}}"#),
        ("vm protect web --off", r#"{"spec":{"protected":false}}"#),
    ] {
        let node = Scripted::answers([document(json!({ "metadata": { "name": "web" } }))]);
        assert_eq!(at(&node, line, &[]).await.0, 0);
        let Request::Patch { patch, .. } = node.request() else { panic!("no change") };
        assert_eq!(patch.0, spec);
    }
}

#[tokio::test]
async fn discs_come_and_go() {
    let vm = json!({ "metadata": { "name": "m", "revision": 3 }, "spec": { "media": [{ "image": "a" }] } });
    let node = Scripted::answers([document(vm.clone()), document(vm.clone())]);
    assert_eq!(at(&node, "vm eject m", &[]).await.0, exit::DONE);
    assert!(matches!(node.request(), Request::Get { kind: Kind::Vm, .. }));
    let Request::Patch { patch, if_revision, .. } = node.request() else { panic!("no change") };
    assert_eq!(
        (patch.0.as_str(), if_revision),
        (r#"{"spec":{"media":[{"image":null}]}}"#, Some(3))
    );
    let node = Scripted::answers([document(vm.clone()), document(vm)]);
    assert_eq!(at(&node, "vm insert m b --drive 2", &[]).await.0, exit::DONE);
    assert!(matches!(node.request(), Request::Get { kind: Kind::Vm, .. }));
    let Request::Patch { patch, .. } = node.request() else { panic!("no change") };
    assert_eq!(patch.0, r#"{"spec":{"media":[{"image":"a"},{"image":"b"}]}}"#);
    let node = Scripted::answers([]);
    assert_ne!(at(&node, "vm insert m b --drive 3", &[]).await.0, exit::DONE);

    let node = Scripted::answers([document(json!({}))]);
    let line = "vm create m --image debian-cd --disk-size 8G --cd drivers";
    assert_eq!(at(&node, line, &[]).await.0, exit::DONE);
    let Request::Create { document, .. } = node.request() else { panic!("no creation") };
    let sent: Value = serde_json::from_str(&document.0).unwrap();
    let spec: skerry_model::VmSpec = serde_json::from_value(sent["spec"].clone()).unwrap();
    assert_eq!((spec.disk_size_mib, spec.media.len()), (Some(8192), 1));
}

#[tokio::test]
async fn a_volume_is_exported_as_an_image() {
    let made = json!({ "metadata": { "name": "golden" }, "status": { "job": "7" } });
    let node = Scripted::answers([document(made)]);
    let line = "volume export data --image golden --snapshot before";
    let (code, out, _) = at(&node, line, &[]).await;
    assert!(code == 0 && out.contains("skerry job show 7"), "{out}");
    let Request::Create { kind: Kind::Image, document, .. } = node.request() else {
        panic!("no image")
    };
    let document: Value = serde_json::from_str(&document.0).unwrap();
    assert_eq!(document.pointer("/metadata/name"), Some(&json!("golden")));
    let spec: skerry_model::ImageSpec =
        serde_json::from_value(document.pointer("/spec").unwrap().clone()).unwrap();
    let name = |text: &str| skerry_model::Name::new(text).unwrap();
    let source =
        skerry_model::ImageSource::Volume { volume: name("data"), snapshot: Some(name("before")) };
    assert_eq!(spec.source, source);
}

#[tokio::test]
async fn every_fault_of_a_document_is_printed() {
    let mut refusal = Refusal::new(RefusalClass::Invalid, "the document has 1 fault");
    refusal
        .violations
        .push(Violation { field: "spec.vcpus".to_owned(), message: "must be 1 to 64".to_owned() });
    let node = Scripted::refusing(refusal.clone());
    let (code, out, err) = at(&node, "vm create m --image tiny-vm", &[]).await;
    assert_eq!((code, out.as_str()), (exit::REFUSED, ""));
    assert_eq!(err, "skerry: the document has 1 fault\n  spec.vcpus: must be 1 to 64\n");

    let (_, _, err) =
        at(&Scripted::refusing(refusal), "--json vm create m --image tiny-vm", &[]).await;
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!(error["error"]["violations"][0]["field"], "spec.vcpus");
}

#[tokio::test]
async fn a_session_is_kept_and_forgotten() {
    let session = Answer::Session {
        token: "secret".to_owned(),
        username: "admin".to_owned(),
        role: Role::Admin,
        expires_in_s: None,
    };
    let node = Scripted::answers([session, Answer::Done]);
    let (code, out, _) = at(&node, "claim --code ABCD-EFGH", &["pw", "pw"]).await;
    assert_eq!((code, out.contains("Logged in as admin")), (exit::DONE, true));
    assert_eq!(node.token.lock().unwrap().as_deref(), Some("secret"));
    assert_eq!(at(&node, "logout", &[]).await.0, exit::DONE);
    assert_eq!(*node.token.lock().unwrap(), None);
}

#[tokio::test]
async fn a_claim_code_is_asked_for() {
    let session = Answer::Session {
        token: "secret".to_owned(),
        username: "admin".to_owned(),
        role: Role::Admin,
        expires_in_s: None,
    };
    let node = Scripted::answers([session]);
    assert_eq!(at(&node, "claim", &[" ABCD-EFGH", "pw", "pw"]).await.0, exit::DONE);
    let Request::Claim { code, .. } = node.request() else { panic!("another request") };
    assert_eq!(code, "ABCD-EFGH");
    assert_eq!(at(&node, "claim", &[]).await.0, exit::USAGE, "nobody to ask");
}

#[tokio::test]
async fn passwords_that_differ_are_not_sent() {
    let node = Scripted::default();
    assert_eq!(at(&node, "claim --code A", &["one", "two"]).await.0, exit::USAGE);
    assert_eq!(at(&node, "login", &[]).await.0, exit::USAGE, "nobody to ask");
    assert!(node.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_machine_is_not_turned_off_by_mistake() {
    let node = Scripted::answers([Answer::Done]);
    assert_eq!(at(&node, "node power-off", &["yes"]).await.0, exit::USAGE);
    assert_eq!(at(&node, "node restart", &[]).await.0, exit::USAGE);
    assert!(node.requests.lock().unwrap().is_empty());
    assert_eq!(at(&node, "node power-off", &["power off"]).await.0, exit::DONE);
}

#[tokio::test]
async fn not_being_logged_in_has_its_own_code_and_a_hint() {
    let refusal = Refusal::new(RefusalClass::Unauthenticated, "log in first");
    let (code, _, err) = at(&Scripted::refusing(refusal), "pod list", &[]).await;
    assert_eq!(code, exit::NOT_ALLOWED);
    assert!(err.contains("skerry login"), "{err}");
}

#[tokio::test]
async fn wrong_words_and_help() {
    let node = Scripted::default();
    let (code, out, err) = at(&node, "pod frob", &[]).await;
    assert_eq!((code, out.as_str()), (exit::USAGE, ""));
    assert!(err.contains("frob"), "{err}");
    let (code, out, _) = at(&node, "--help", &[]).await;
    assert_eq!(code, exit::DONE);
    assert!(out.contains("Exit codes:") && out.lines().all(|line| line.len() <= 100), "{out}");
    assert_eq!(at(&node, "status --node https://x", &[]).await.0, exit::USAGE);
}

#[tokio::test]
async fn lists_go_over_all_pages() {
    let page = |name: &str, next: Option<&str>| Answer::List {
        items: vec![Json(json!({ "metadata": { "name": name } }).to_string())],
        revision: 7,
        next: next.map(str::to_owned),
    };
    let node = Scripted::answers([page("a", Some("a")), page("b", None)]);
    let (code, out, _) = at(&node, "--json image list", &[]).await;
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, list["items"].as_array().unwrap().len()), (exit::DONE, 2));
    assert_eq!(list["revision"], 7);
}

#[tokio::test]
async fn logs_cannot_drive_the_terminal() {
    let node = Scripted::default();
    *node.streams.lock().unwrap() = [vec![StreamItem::Line("a\x1b[2Jb\tc".to_owned())]].into();
    let (code, out, _) = at(&node, "pod logs web", &[]).await;
    assert_eq!((code, out.as_str()), (exit::DONE, "a?[2Jb c\n"));
}

#[tokio::test]
async fn every_shell_gets_a_completion_script() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = at(&Scripted::default(), &format!("completion {shell}"), &[]).await;
        assert!(code == exit::DONE && out.contains("power-off"), "{shell}");
    }
}

#[tokio::test]
async fn the_status_needs_no_login() {
    let (code, out, _) = at(&Scripted::default(), "status", &[]).await;
    assert_eq!(code, exit::DONE);
    assert!(out.starts_with("edge-1: ready, not claimed yet"), "{out}");
}
