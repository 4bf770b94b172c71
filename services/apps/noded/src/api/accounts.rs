//! Claiming the node, logging in and out, and local accounts.

use rand::RngCore;
use serde::Deserialize;
use skerry_ipc::{Answer, Refusal, RefusalClass};
use skerry_model::{
    Id, Name, NewResource, Node as NodeKind, Role, Session, SessionSpec, User, UserSpec,
};
use skerry_store::Transaction;
use skerry_trust::{Secret, check_password_rules, hash_password, hash_secret, verify_password};
use uuid::Uuid;

use super::caller::Caller;
use super::refuse::{internal, store, wrong_field};
use crate::clock::now;
use crate::node::Node;

/// Sessions of one account at once; the oldest makes room.
const MOST_SESSIONS: usize = 32;

/// A hash that no password has, checked when there is no account, so that both answers take equally long.
const NO_ACCOUNT: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$\
                          AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What a caller gives to make or change an account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountDraft {
    role: Role,
    password: Option<String>,
}

impl AccountDraft {
    /// Whether a new password was given.
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

/// Sets the first admin.
pub async fn claim(
    node: &Node,
    code: &str,
    username: &str,
    password: &str,
    origin: &str,
) -> Result<Answer, Refusal> {
    limited(node, origin).await?;
    let mut claim = node.claim.lock().await;
    let Some(right) = claim.code() else {
        return Err(Refusal::new(
            RefusalClass::Conflict,
            "this node has been claimed; log in instead",
        ));
    };
    if !right.matches(code) {
        node.limiter.lock().await.failed(origin, node.seconds());
        return Err(Refusal::new(
            RefusalClass::Forbidden,
            "the claim code is wrong; it is shown on the node's consoles",
        ));
    }
    let name = Name::new(username).map_err(|error| wrong_field("username", error.to_string()))?;
    let hash = hash_new_password(node, username, password).await?;
    let user = NewResource::new(
        Id::<User>::new(Uuid::new_v4()),
        name,
        UserSpec { role: Role::Admin, password_hash: hash },
    );
    let (user_id, user_name) = (user.id, user.name.clone());
    let mut tx = Transaction::new();
    tx.create(user);
    mark_claimed(node, &mut tx)?;
    let (session, secret) = new_session(node, user_id, &user_name, Role::Admin, "page");
    tx.create(session);
    node.store.commit(tx).await.map_err(store)?;
    // If power fails before this, the next start finds a claimed node in the store and closes the claim then.
    claim.close().map_err(internal)?;
    node.claimed.send_replace(true);
    node.limiter.lock().await.succeeded(origin);
    tracing::info!(username, origin, "node claimed");
    Ok(answer(node, &secret, username, Role::Admin))
}

fn mark_claimed(node: &Node, tx: &mut Transaction) -> Result<(), Refusal> {
    for mut found in node.store.list::<NodeKind>().map_err(store)? {
        found.status.claimed = true;
        found.status.claimed_at = Some(now());
        tx.put_status(found.id(), found.status);
    }
    Ok(())
}

/// Opens a session for a name and password.
pub async fn login(
    node: &Node,
    username: &str,
    password: &str,
    purpose: &str,
    origin: &str,
) -> Result<Answer, Refusal> {
    limited(node, origin).await?;
    let user = match Name::new(username) {
        Ok(name) => node.store.find::<User>(&name).map_err(store)?,
        Err(_) => None,
    };
    let hash = user.as_ref().map_or(NO_ACCOUNT, |user| user.spec.password_hash.as_str());
    let good = verify(node, password, hash).await?;
    let Some(mut user) = user.filter(|_| good) else {
        node.limiter.lock().await.failed(origin, node.seconds());
        return Err(Refusal::new(RefusalClass::Unauthenticated, "name or password is wrong"));
    };
    node.limiter.lock().await.succeeded(origin);
    let purpose = match purpose {
        "cli" | "console" => purpose,
        _ => "page",
    };
    let (session, secret) = new_session(node, user.id(), &user.meta.name, user.spec.role, purpose);
    let mut tx = Transaction::new();
    make_room(node, user.id(), &mut tx)?;
    user.status.last_login = Some(now());
    tx.create(session).put_status(user.id(), user.status.clone());
    node.store.commit(tx).await.map_err(store)?;
    tracing::info!(username, purpose, origin, "logged in");
    Ok(answer(node, &secret, username, user.spec.role))
}

/// Ends the caller's session.
pub async fn logout(node: &Node, caller: &Caller) -> Result<Answer, Refusal> {
    let Some(principal) = &caller.principal else {
        return Err(Refusal::new(RefusalClass::Unauthenticated, "there is no session to end"));
    };
    let mut tx = Transaction::new();
    tx.remove(principal.session);
    node.store.commit(tx).await.map_err(store)?;
    Ok(Answer::Done)
}

/// Who the caller is.
pub fn who_am_i(caller: &Caller) -> Result<Answer, Refusal> {
    caller.principal.as_ref().map_or_else(
        || Err(Refusal::new(RefusalClass::Unauthenticated, "log in first")),
        |p| Ok(Answer::Principal { username: p.username.clone(), role: p.role }),
    )
}

/// The spec of an account from what a caller gave; without a password the present hash stays.
pub async fn account_spec(
    node: &Node,
    name: &Name,
    draft: AccountDraft,
    present: Option<&UserSpec>,
) -> Result<UserSpec, Refusal> {
    let password_hash = match (&draft.password, present) {
        (Some(password), _) => hash_new_password(node, name.as_str(), password).await?,
        (None, Some(present)) => present.password_hash.clone(),
        (None, None) => return Err(wrong_field("spec.password", "is missing")),
    };
    Ok(UserSpec { role: draft.role, password_hash })
}

/// Removes every session of an account, because the account goes or its password has changed.
pub fn end_sessions(node: &Node, user: Id<User>, tx: &mut Transaction) -> Result<(), Refusal> {
    for session in node.store.list::<Session>().map_err(store)? {
        if session.spec.user == user {
            tx.remove(session.id());
        }
    }
    Ok(())
}

/// Refuses to take the last admin away. `role` is what the account is to become; `None` if it goes.
pub fn keep_an_admin(node: &Node, user: Id<User>, role: Option<Role>) -> Result<(), Refusal> {
    if role == Some(Role::Admin) {
        return Ok(());
    }
    let users = node.store.list::<User>().map_err(store)?;
    if users.iter().any(|other| other.id() != user && other.spec.role == Role::Admin) {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalClass::Conflict,
        "this is the last admin; make another account admin first",
    ))
}

async fn limited(node: &Node, origin: &str) -> Result<(), Refusal> {
    node.limiter.lock().await.check(origin, node.seconds()).map_err(|too_many| {
        let retry_after_s = u32::try_from(too_many.retry_after_s).unwrap_or(u32::MAX);
        Refusal::new(RefusalClass::TooMany { retry_after_s }, too_many.to_string())
    })
}

async fn hash_new_password(node: &Node, username: &str, password: &str) -> Result<String, Refusal> {
    check_password_rules(username, password)
        .map_err(|error| wrong_field("password", error.to_string()))?;
    let mut salt = [0; 16];
    rand::rng().fill_bytes(&mut salt);
    let password = password.to_owned();
    hashing(node, move || hash_password(&password, &salt)).await?.map_err(internal)
}

async fn verify(node: &Node, password: &str, hash: &str) -> Result<bool, Refusal> {
    let (password, hash) = (password.to_owned(), hash.to_owned());
    hashing(node, move || verify_password(&password, &hash)).await
}

async fn hashing<T: Send + 'static>(
    node: &Node,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let _turn = node.hashing.acquire().await.map_err(internal)?;
    tokio::task::spawn_blocking(work).await.map_err(internal)
}

fn new_session(
    node: &Node,
    user: Id<User>,
    username: &Name,
    role: Role,
    purpose: &str,
) -> (NewResource<Session>, Secret) {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    let secret = Secret::from_random(&bytes);
    let id = Id::new(Uuid::new_v4());
    let lifetime = i64::try_from(node.config.session_lifetime_s).unwrap_or(i64::MAX);
    let spec = SessionSpec {
        user,
        role,
        secret_hash: hash_secret(secret.reveal()),
        purpose: purpose.to_owned(),
        expires: now().checked_add(jiff::SignedDuration::from_secs(lifetime)).ok(),
    };
    // The account's name cut to leave room for the id; a name is only for people.
    let short: String = username.as_str().chars().take(40).collect();
    let text = format!("{}-{}", short.trim_end_matches('-'), id.short());
    let name = Name::new(text).unwrap_or_else(|_| username.clone());
    (NewResource::new(id, name, spec), secret)
}

fn make_room(node: &Node, user: Id<User>, tx: &mut Transaction) -> Result<(), Refusal> {
    let present = now();
    let all = node.store.list::<Session>().map_err(store)?;
    let (ended, mut open): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|s| s.spec.expires.is_some_and(|end| end <= present));
    for session in ended {
        tx.remove(session.id());
    }
    open.retain(|s| s.spec.user == user);
    open.sort_by_key(|s| s.meta.revision);
    for session in open.iter().take((open.len() + 1).saturating_sub(MOST_SESSIONS)) {
        tx.remove(session.id());
    }
    Ok(())
}

fn answer(node: &Node, secret: &Secret, username: &str, role: Role) -> Answer {
    Answer::Session {
        token: secret.reveal().to_owned(),
        username: username.to_owned(),
        role,
        expires_in_s: Some(node.config.session_lifetime_s),
    }
}
