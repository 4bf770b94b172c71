//! What each role may do. One table, read by every face.

use skerry_model::Role;

/// Something that somebody may or may not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// See workloads, networks, images, alarms, jobs, the node and its inventory.
    Read,
    /// Read logs of workloads and of the node.
    ReadLogs,
    /// Make, change, start, stop and delete workloads and networks.
    ChangeWorkloads,
    /// Give a workload powers that loosen the hold on it, such as a capability more.
    LoosenWorkloads,
    /// Run programs inside containers, type into consoles, move files in and out.
    Enter,
    /// Change the node's own settings.
    ChangeNode,
    /// Restart or power off the machine.
    Power,
    /// See accounts and sessions.
    ReadAccounts,
    /// Make, change and delete accounts and sessions.
    ChangeAccounts,
    /// Export the whole state, with password hashes.
    Export,
}

/// Whether a role carries a permission.
pub const fn may(role: Role, permission: Permission) -> bool {
    match permission {
        Permission::Read | Permission::ReadLogs => true,
        Permission::ChangeWorkloads | Permission::Enter => {
            matches!(role, Role::Operator | Role::Admin)
        }
        Permission::ReadAccounts => matches!(role, Role::Auditor | Role::Admin),
        Permission::LoosenWorkloads
        | Permission::ChangeNode
        | Permission::Power
        | Permission::ChangeAccounts
        | Permission::Export => matches!(role, Role::Admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_admins_touch_the_machine_and_accounts() {
        for role in [Role::Viewer, Role::Operator, Role::Auditor] {
            for permission in [
                Permission::Power,
                Permission::LoosenWorkloads,
                Permission::ChangeAccounts,
                Permission::Export,
                Permission::ChangeNode,
            ] {
                assert!(!may(role, permission), "{role:?} {permission:?}");
                assert!(may(Role::Admin, permission));
            }
        }
        assert!(may(Role::Operator, Permission::ChangeWorkloads));
        assert!(!may(Role::Viewer, Permission::ChangeWorkloads));
        assert!(may(Role::Operator, Permission::Enter));
        assert!(!may(Role::Viewer, Permission::Enter) && !may(Role::Auditor, Permission::Enter));
        assert!(!may(Role::Auditor, Permission::ChangeWorkloads));
        assert!(may(Role::Auditor, Permission::ReadAccounts));
        assert!(!may(Role::Operator, Permission::ReadAccounts));
    }
}
