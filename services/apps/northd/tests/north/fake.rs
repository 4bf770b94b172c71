//! A node daemon for tests: resources in a map, two sessions, no rules but those the tests look at.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, StreamExt};
use serde_json::{Value, json};
use skerry_ipc::{
    Answer, Auth, Channel, Handler, Input, Json, PeerRole, Refusal, RefusalClass, Reply, Request,
    StreamItem,
};
use skerry_model::{Kind, Role, Violation};
use skerry_upkeep::{Disk, Inventory, Nic, Summary};
use tokio::sync::{broadcast, mpsc};

pub const ADMIN: &str = "token-of-the-admin";
pub const VIEWER: &str = "token-of-a-viewer";

pub struct Fake {
    pub state: Mutex<State>,
    changes: broadcast::Sender<StreamItem>,
    pub identity: (String, String),
    /// Programs that run in containers.
    pub programs: Arc<AtomicUsize>,
}

/// Counts a program for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default)]
pub struct State {
    pub revision: u64,
    pub claimed: bool,
    pub documents: BTreeMap<(Kind, String), Value>,
    /// Requests as they came, for tests that look at what was asked.
    pub asked: Vec<Request>,
    pub ended_sessions: Vec<String>,
}

type Done<T> = Result<T, Refusal>;

fn no<T>(class: RefusalClass, detail: &str) -> Done<T> {
    Err(Refusal::new(class, detail))
}

impl Fake {
    pub fn new(identity: (String, String)) -> Self {
        let (changes, _) = broadcast::channel(64);
        let fake = Self { state: Mutex::default(), changes, identity, programs: Arc::default() };
        fake.put(Kind::Node, "north", json!({"hostname": "north"}));
        fake
    }

    /// Puts a resource in place and tells the watchers.
    pub fn put(&self, kind: Kind, name: &str, spec: Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let revision = state.revision;
        let old = state.documents.get(&(kind, name.to_owned()));
        let id = old.map_or_else(
            || uuid::Uuid::new_v4().to_string().into(),
            |d| d["metadata"]["id"].clone(),
        );
        let document = json!({
            "kind": kind.name(),
            "metadata": {
                "id": id, "name": name, "labels": {}, "generation": 1, "revision": revision,
                "owner": "local", "phase": "present", "finalizers": ["x"],
                "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z",
            },
            "spec": spec,
            "status": {},
        });
        state.documents.insert((kind, name.to_owned()), document.clone());
        let _ = self.changes.send(StreamItem::Change {
            revision,
            kind,
            document: Json(document.to_string()),
            removed: false,
        });
        document
    }

    pub fn asked(&self) -> Vec<Request> {
        self.state.lock().unwrap().asked.clone()
    }

    fn role(&self, auth: &Auth) -> Done<Role> {
        let Auth::Token(token) = auth else {
            return no(RefusalClass::Unauthenticated, "log in first");
        };
        if self.state.lock().unwrap().ended_sessions.contains(token) {
            return no(RefusalClass::Unauthenticated, "the session has ended");
        }
        match token.as_str() {
            ADMIN => Ok(Role::Admin),
            VIEWER => Ok(Role::Viewer),
            _ => no(RefusalClass::Unauthenticated, "the session is unknown"),
        }
    }

    fn find(&self, kind: Kind, key: &str) -> Done<Value> {
        let state = self.state.lock().unwrap();
        let mut all = state.documents.iter();
        let found =
            all.find(|((k, name), d)| *k == kind && (name == key || d["metadata"]["id"] == key));
        found
            .map(|(_, d)| d.clone())
            .ok_or(Refusal::new(RefusalClass::NotFound, "there is no such resource"))
    }

    fn write(&self, kind: Kind, key: &str, text: &Json, if_revision: Option<u64>) -> Done<Answer> {
        let present = self.find(kind, key)?;
        if if_revision.is_some_and(|wanted| present["metadata"]["revision"] != wanted) {
            return no(RefusalClass::Stale, "it was changed since");
        }
        let given: Value = serde_json::from_str(&text.0).unwrap();
        let name = present["metadata"]["name"].as_str().unwrap();
        Ok(document(&self.put(kind, name, given["spec"].clone())))
    }

    fn create(&self, kind: Kind, text: &Json, dry_run: bool) -> Done<Answer> {
        let given: Value = serde_json::from_str(&text.0).unwrap();
        let Some(name) = given.pointer("/metadata/name").and_then(Value::as_str) else {
            let violation =
                Violation { field: "metadata.name".into(), message: "is missing".into() };
            let refusal = Refusal::new(RefusalClass::Invalid, "the document is wrong");
            return Err(Refusal { violations: vec![violation], ..refusal });
        };
        if self.find(kind, name).is_ok() {
            return no(RefusalClass::Conflict, "the name is in use");
        }
        if dry_run {
            return Ok(document(&given));
        }
        Ok(document(&self.put(kind, name, given["spec"].clone())))
    }

    /// A program that gives back what it gets, tells sizes on its error output, and ends with its input.
    fn echo(&self) -> Reply {
        let (input, inputs) = mpsc::channel(4);
        self.programs.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&self.programs));
        let items = stream::unfold(Some((inputs, counted)), |state| async move {
            let (mut inputs, counted) = state?;
            let output = |channel, bytes| StreamItem::Output { channel, bytes };
            let item = match inputs.recv().await? {
                Input::Bytes(bytes) => output(Channel::Out, bytes),
                Input::Resize(size) => {
                    output(Channel::Err, format!("{}x{}", size.cols, size.rows).into_bytes())
                }
                Input::End => return Some((Ok(StreamItem::Exit(7)), None)),
            };
            Some((Ok(item), Some((inputs, counted))))
        });
        Reply::TwoWay { items: items.boxed(), input }
    }

    fn open_session(&self, username: &str) -> Answer {
        Answer::Session {
            token: ADMIN.to_owned(),
            username: username.to_owned(),
            role: Role::Admin,
            expires_in_s: Some(3600),
        }
    }

    fn without_session(
        &self,
        peer: PeerRole,
        auth: &Auth,
        request: &Request,
    ) -> Option<Done<Answer>> {
        Some(match request {
            Request::ServerIdentity if peer == PeerRole::North => Ok(Answer::Identity {
                certificates: self.identity.0.clone(),
                private_key: self.identity.1.clone(),
            }),
            Request::Summary if *auth == Auth::Peer => Ok(document(&self.summary())),
            Request::Claim { code, .. } if code == "TOO-MANY" => {
                no(RefusalClass::TooMany { retry_after_s: 17 }, "wait")
            }
            Request::Claim { code, username, .. } if code == "RIGHT" => {
                self.state.lock().unwrap().claimed = true;
                Ok(self.open_session(username))
            }
            Request::Claim { .. } => no(RefusalClass::Forbidden, "the code is wrong"),
            Request::Login { password, username, .. } if password == "right" => {
                Ok(self.open_session(username))
            }
            Request::Login { .. } => no(RefusalClass::Unauthenticated, "name or password is wrong"),
            _ => return None,
        })
    }

    fn summary(&self) -> Summary {
        Summary {
            node_id: "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c".into(),
            hostname: "north".into(),
            version: "0.1.0".into(),
            claimed: self.state.lock().unwrap().claimed,
            // Must not come out on the other side.
            claim_code: Some("VERY-SECRET".into()),
            ready: true,
            ..Summary::default()
        }
    }

    fn answer(&self, role: Role, auth: &Auth, request: Request) -> Done<Answer> {
        let changes = !matches!(
            request,
            Request::Get { .. }
                | Request::List { .. }
                | Request::Summary
                | Request::Inventory
                | Request::WhoAmI
                | Request::Explain { .. }
                | Request::Logout
        );
        if changes && role == Role::Viewer {
            return no(RefusalClass::Forbidden, "the role does not allow this");
        }
        match request {
            Request::MayBringIn => Ok(Answer::Done),
            Request::Summary => Ok(document(&self.summary())),
            Request::Inventory => Ok(document(&inventory())),
            Request::WhoAmI => Ok(Answer::Principal { username: "ada".into(), role }),
            Request::Logout => {
                let Auth::Token(token) = auth else { return Ok(Answer::Done) };
                self.state.lock().unwrap().ended_sessions.push(token.clone());
                Ok(Answer::Done)
            }
            Request::List { kind, query } => {
                let state = self.state.lock().unwrap();
                let limit = query.limit.unwrap_or(100) as usize;
                let names = state.documents.iter().filter(|((k, name), _)| {
                    *k == kind && query.after.as_ref().is_none_or(|after| name > after)
                });
                let mut items: Vec<_> = names.map(|(_, d)| Json(d.to_string())).collect();
                let more = items.len() > limit;
                items.truncate(limit);
                let next = more.then(|| "the \"next\" one".to_owned());
                Ok(Answer::List { items, revision: state.revision, next })
            }
            Request::Get { kind, key } => self.find(kind, &key).map(|d| document(&d)),
            Request::Explain { kind, key } => {
                self.find(kind, &key).map(|d| document(&json!({"of": d})))
            }
            Request::Create { kind, document, dry_run } => self.create(kind, &document, dry_run),
            Request::Replace { kind, key, document, if_revision } => {
                self.write(kind, &key, &document, if_revision)
            }
            Request::Patch { kind, key, patch, if_revision } => {
                self.write(kind, &key, &patch, if_revision)
            }
            Request::Delete { kind, key, .. } | Request::Act { kind, key, .. } => {
                self.find(kind, &key).map(|d| document(&d))
            }
            Request::Power(_) => Ok(Answer::Done),
            other => no(RefusalClass::Internal, &format!("not expected here: {other:?}")),
        }
    }
}

fn document(value: &impl serde::Serialize) -> Answer {
    Answer::Document(Json(serde_json::to_string(value).unwrap()))
}

fn inventory() -> Inventory {
    let nic = |n: u32| Nic {
        name: format!("eth{n}"),
        mac: format!("02:00:00:00:00:{n:02x}"),
        ..Nic::default()
    };
    Inventory {
        nics: (0..3).map(nic).collect(),
        disks: vec![Disk { name: "vda".into(), ..Disk::default() }],
        ..Inventory::default()
    }
}

#[async_trait]
impl Handler for Fake {
    async fn handle(&self, peer: PeerRole, auth: Auth, request: Request) -> Result<Reply, Refusal> {
        self.state.lock().unwrap().asked.push(request.clone());
        if let Some(answer) = self.without_session(peer, &auth, &request) {
            return answer.map(Reply::Answer);
        }
        let role = self.role(&auth)?;
        match request {
            Request::Watch { after: Some(u64::MAX), .. } => no(RefusalClass::Gone, "too far back"),
            Request::Watch { kinds, .. } => {
                let changes = stream::unfold(self.changes.subscribe(), move |mut changes| {
                    let kinds = kinds.clone();
                    async move {
                        loop {
                            match changes.recv().await {
                                Ok(StreamItem::Change { kind, .. })
                                    if !kinds.is_empty() && !kinds.contains(&kind) => {}
                                Ok(item) => return Some((Ok(item), changes)),
                                Err(_) => return None,
                            }
                        }
                    }
                });
                Ok(Reply::Stream(changes.boxed()))
            }
            Request::Exec(query) => {
                self.find(Kind::Pod, &query.key)?;
                Ok(self.echo())
            }
            Request::Attach { key, .. } => {
                self.find(Kind::Pod, &key)?;
                Ok(self.echo())
            }
            Request::Screen { key } => {
                self.find(Kind::Vm, &key)?;
                Ok(self.echo())
            }
            Request::ExportImage { key, form } => {
                self.find(Kind::Image, &key)?;
                let name = format!("{key}.{form}.tar");
                let pieces = (0..4_u8).map(|n| Ok(StreamItem::Piece(vec![n; 40_000])));
                let file = [Ok(StreamItem::File { name, size: 160_000 })];
                let end = match key.as_str() {
                    "damaged" => vec![no(RefusalClass::Conflict, "a part is damaged")],
                    _ => Vec::new(),
                };
                // Both end before their time, one of them without a word.
                let count = if key == "web" { 4 } else { 2 };
                let items: Vec<_> = file.into_iter().chain(pieces.take(count)).chain(end).collect();
                Ok(Reply::Stream(stream::iter(items).boxed()))
            }
            Request::Log(query) => {
                if query.kind != Kind::Node {
                    self.find(query.kind, &query.key)?;
                }
                let lines = (1..=query.tail).map(|n| Ok(StreamItem::Line(format!("line {n}"))));
                let lines = stream::iter(lines.collect::<Vec<_>>());
                Ok(Reply::Stream(if query.follow {
                    lines.chain(stream::pending()).boxed()
                } else {
                    lines.boxed()
                }))
            }
            request => self.answer(role, &auth, request).map(Reply::Answer),
        }
    }
}
