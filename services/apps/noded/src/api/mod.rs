//! The daemon's answers on the local socket.
//!
//! Every face comes through here, so every rule about who may do what, and every check of a document, is
//! here or below. Nothing here touches the machine except through the ports.

mod accounts;
mod apply;
mod archives;
mod attach;
mod caller;
mod consoles;
mod copies;
mod discs;
mod draft;
mod exec;
mod exports;
mod families;
mod fetches;
mod guest_data;
mod guests;
mod images;
mod jobs;
mod logs;
mod metadata;
mod pci;
mod pod_order;
mod pod_volumes;
mod pools;
mod ports;
mod pulls;
mod read;
mod refuse;
mod registries;
mod rename;
mod roots;
mod snapshots;
mod storage;
mod summary;
mod unmanaged;
mod watch;
mod workloads;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use skerry_ipc::{
    Action, Answer, Auth, Handler, Json, PeerRole, PowerAction, Refusal, RefusalClass, Reply,
    Request,
};
use skerry_model::Kind;
use skerry_trust::Permission;

use crate::going_down::go_down;
use crate::node::Node;
use caller::Caller;
use refuse::internal;

/// Answers requests of one node.
pub struct Api {
    node: Arc<Node>,
}

impl Api {
    /// The API of this node.
    pub const fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    async fn open_to_all(
        &self,
        peer: PeerRole,
        request: &Request,
    ) -> Option<Result<Answer, Refusal>> {
        let node = &self.node;
        match request {
            Request::Claim { code, username, password, origin } => {
                Some(accounts::claim(node, code, username, password, origin).await)
            }
            Request::Login { username, password, purpose, origin } => {
                Some(accounts::login(node, username, password, purpose, origin).await)
            }
            Request::ServerIdentity => Some(match peer {
                PeerRole::North | PeerRole::Root => Ok(Answer::Identity {
                    certificates: node.identity.chain(),
                    private_key: node.identity.server_key.clone(),
                }),
                PeerRole::Console | PeerRole::Guests | PeerRole::Member => Err(Refusal::new(
                    RefusalClass::Forbidden,
                    "only the north side may have the server's key",
                )),
            }),
            _ => None,
        }
    }

    async fn read(&self, caller: &Caller, request: &Request) -> Option<Result<Answer, Refusal>> {
        let node = &self.node;
        Some(match request {
            Request::Summary => summary::summary(node, caller).await,
            Request::Inventory => read::inventory(node, caller).await,
            Request::Media => read::media(node, caller).await,
            Request::WhoAmI => accounts::who_am_i(caller),
            Request::List { kind, query } => read::list(node, caller, *kind, query),
            Request::Get { kind, key } => read::get(node, caller, *kind, key),
            Request::PodStats { key } => read::pod_stats(node, caller, key).await,
            Request::VmMetadata { key } => metadata::of_vm(node, caller, key),
            Request::GuestMetadata { address } => metadata::of_guest(node, caller, *address),
            Request::Explain { kind, key } => read::explain(node, caller, *kind, key),
            Request::Graph => {
                caller.permit(Permission::Read).map(|()| Answer::Text(node.engine.graph_dot()))
            }
            Request::Export => match caller.permit(Permission::Export) {
                Ok(()) => node.store.export().map(Answer::Bytes).map_err(refuse::store),
                Err(refusal) => Err(refusal),
            },
            _ => return None,
        })
    }

    async fn change(&self, caller: &Caller, request: Request) -> Result<Answer, Refusal> {
        let node = &self.node;
        match request {
            Request::Logout => accounts::logout(node, caller).await,
            Request::Create { kind, document, dry_run } => {
                write::create(node, caller, kind, &document, dry_run).await
            }
            Request::Apply { documents, dry_run } => {
                apply::apply(node, caller, &documents, dry_run).await
            }
            Request::Replace { kind, key, document, if_revision } => {
                write::replace(node, caller, kind, &key, &document, if_revision).await
            }
            Request::Patch { kind, key, patch, if_revision } => {
                write::patch(node, caller, kind, &key, &patch, if_revision).await
            }
            Request::Delete { kind, key, if_revision, with_volumes } => {
                write::delete(node, caller, kind, &key, if_revision, with_volumes).await
            }
            Request::Act { kind, key, action } => self.act(caller, kind, &key, action).await,
            Request::GuestReport { key } => guests::report(node, caller, &key).await,
            Request::SetGuestPassword { key, user, password } => {
                guests::set_password(node, caller, &key, user, password).await
            }
            Request::PruneImages { dry_run } => read::prune(node, caller, dry_run).await,
            Request::Power(action) => self.power(caller, action).await,
            Request::MayBringIn => {
                caller.permit(Permission::ChangeWorkloads).map(|()| Answer::Done)
            }
            Request::FetchReport { id, report } => fetches::report(node, caller, id, report),
            Request::Pulled { job, report } => pulls::report(node, caller, job, report),
            _ => Err(internal("a request that no part of the API answers")),
        }
    }

    async fn act(
        &self,
        caller: &Caller,
        kind: Kind,
        key: &str,
        action: Action,
    ) -> Result<Answer, Refusal> {
        caller.permit(Permission::ChangeWorkloads)?;
        let document = match kind {
            Kind::Job => jobs::act(&self.node, key, action).await?,
            Kind::Snapshot => snapshots::act(&self.node, key, action).await?,
            _ => workloads::act(&self.node, kind, key, action).await?,
        };
        tracing::info!(by = caller.name(), %kind, key, ?action, "action");
        Ok(Answer::Document(document))
    }

    async fn power(&self, caller: &Caller, action: PowerAction) -> Result<Answer, Refusal> {
        caller.permit(Permission::Power)?;
        tracing::warn!(by = caller.name(), ?action, "power action");
        let action = match action {
            PowerAction::Restart => skerry_upkeep::PowerAction::Restart,
            PowerAction::PowerOff => skerry_upkeep::PowerAction::PowerOff,
        };
        // Answered at once: guests may take their time, and the connection ends with the machine.
        tokio::spawn(go_down(Arc::clone(&self.node), action));
        Ok(Answer::Done)
    }
}

#[async_trait]
impl Handler for Api {
    async fn handle(&self, peer: PeerRole, auth: Auth, request: Request) -> Result<Reply, Refusal> {
        if let Some(answer) = self.open_to_all(peer, &request).await {
            return answer.map(Reply::Answer);
        }
        let caller = Caller::identify(&self.node.store, peer, &auth)?;
        match request {
            Request::Watch { kinds, after } => {
                watch::watch(&self.node, &caller, kinds, after).map(Reply::Stream)
            }
            Request::Fetches => fetches::watch(&self.node, &caller).map(Reply::Stream),
            Request::Pulls => pulls::watch(&self.node, &caller),
            Request::Serial { key } => consoles::serial(&self.node, &caller, &key).await,
            Request::Screen { key } => consoles::screen(&self.node, &caller, &key).await,
            Request::Exec(query) => exec::exec(&self.node, &caller, query).await,
            Request::Attach { key, container } => {
                attach::attach(&self.node, &caller, &key, container.as_deref()).await
            }
            Request::ExportImage { key, form } => {
                archives::export(&self.node, &caller, &key, form).await.map(Reply::Stream)
            }
            Request::Log(query) => logs::log(&self.node, &caller, query).await.map(Reply::Stream),
            request => match self.read(&caller, &request).await {
                Some(answer) => answer.map(Reply::Answer),
                None => self.change(&caller, request).await.map(Reply::Answer),
            },
        }
    }
}

/// JSON text of anything that can be written as JSON.
fn json<T: serde::Serialize>(value: &T) -> Result<Json, Refusal> {
    serde_json::to_string(value).map(Json).map_err(|error| internal(error.to_string()))
}
