//! Who asks, and whether they may.

use skerry_ipc::{Auth, PeerRole, Refusal, RefusalClass};
use skerry_model::{Id, Role, Session};
use skerry_store::Store;
use skerry_trust::{Permission, hash_secret, may};

use crate::clock::now;

/// Somebody known by a session.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Its name.
    pub username: String,
    /// What the session allows.
    pub role: Role,
    /// The session.
    pub session: Id<Session>,
}

/// The process that asks, and on whose behalf.
#[derive(Debug, Clone)]
pub struct Caller {
    /// What the process may do by itself.
    pub peer: PeerRole,
    /// On whose behalf.
    pub principal: Option<Principal>,
}

impl Caller {
    /// Finds out who asks. A token that is unknown, ended, or whose account is gone is refused.
    pub fn identify(store: &Store, peer: PeerRole, auth: &Auth) -> Result<Self, Refusal> {
        let token = match auth {
            Auth::Peer => return Ok(Self { peer, principal: None }),
            Auth::Token(token) => token,
        };
        let principal = principal(store, token).ok_or_else(|| {
            Refusal::new(
                RefusalClass::Unauthenticated,
                "the session is unknown or has ended; log in again",
            )
        })?;
        Ok(Self { peer, principal: Some(principal) })
    }

    /// Refuses unless the caller has the permission: by their session, or as a process.
    pub fn permit(&self, permission: Permission) -> Result<(), Refusal> {
        let Some(principal) = &self.principal else {
            return self.permit_process(permission);
        };
        if may(principal.role, permission) {
            return Ok(());
        }
        let name = &principal.username;
        Err(Refusal::new(
            RefusalClass::Forbidden,
            format!("the role of `{name}` does not allow this; ask an admin of the node"),
        ))
    }

    fn permit_process(&self, permission: Permission) -> Result<(), Refusal> {
        let allowed = match self.peer {
            PeerRole::Root => true,
            // Whoever stands at the machine may see how it is and turn it off.
            PeerRole::Console => {
                matches!(permission, Permission::Read | Permission::ReadLogs | Permission::Power)
            }
            PeerRole::North | PeerRole::Guests | PeerRole::Member => false,
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal::new(RefusalClass::Unauthenticated, "log in first"))
        }
    }

    /// Whether the caller stands at the machine, and so may see the claim code.
    pub const fn at_the_machine(&self) -> bool {
        matches!(self.peer, PeerRole::Root | PeerRole::Console)
    }

    /// Name for the log.
    pub fn name(&self) -> String {
        self.principal
            .as_ref()
            .map_or_else(|| format!("{:?}", self.peer).to_lowercase(), |p| p.username.clone())
    }
}

fn principal(store: &Store, token: &str) -> Option<Principal> {
    if token.len() > 256 {
        return None;
    }
    let hash = hash_secret(token);
    let sessions = store.list::<Session>().ok()?;
    let session = sessions.into_iter().find(|s| s.spec.secret_hash == hash)?;
    if session.spec.expires.is_some_and(|end| end <= now()) {
        return None;
    }
    let user = store.get(session.spec.user).ok()??;
    let role = lesser(session.spec.role, user.spec.role);
    let username = user.meta.name.to_string();
    Some(Principal { username, role, session: session.id() })
}

/// A session never allows more than its account does now.
fn lesser(session: Role, account: Role) -> Role {
    if session == account || account == Role::Admin {
        return session;
    }
    if session == Role::Admin { account } else { Role::Viewer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_never_outgrows_its_account() {
        assert_eq!(lesser(Role::Admin, Role::Viewer), Role::Viewer);
        assert_eq!(lesser(Role::Admin, Role::Admin), Role::Admin);
        assert_eq!(lesser(Role::Operator, Role::Admin), Role::Operator);
        assert_eq!(lesser(Role::Operator, Role::Auditor), Role::Viewer);
    }

    #[test]
    fn processes_without_a_session() {
        let caller = |peer| Caller { peer, principal: None };
        assert!(caller(PeerRole::Root).permit(Permission::Export).is_ok());
        assert!(caller(PeerRole::Console).permit(Permission::Power).is_ok());
        assert!(caller(PeerRole::Console).permit(Permission::ChangeWorkloads).is_err());
        assert!(caller(PeerRole::North).permit(Permission::Read).is_err());
        assert!(caller(PeerRole::Member).permit(Permission::Read).is_err());
        assert!(caller(PeerRole::Guests).permit(Permission::Read).is_err());
    }
}
