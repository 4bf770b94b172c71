//! Identities of what O2 shows but the node does not store: made from the node's id and something that stays
//! with the part (UUID version 5, RFC 9562), so they are the same after every restart and never kept anywhere.
//!
//! Changing a prefix or the namespace gives every part a new identity at every SMO: do not.

use uuid::Uuid;

/// Drawn once for this purpose.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_1c57_2c0e_4a0f_9d6b_3e8a_51c4_7b92);

/// Identities of one node's parts.
#[derive(Debug, Clone, Copy)]
pub struct Identities {
    cloud: Uuid,
}

impl Identities {
    /// For the node with this id. An id that is no UUID is turned into one.
    pub fn new(node_id: &str) -> Self {
        let cloud = Uuid::try_parse(node_id)
            .unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, node_id.as_bytes()));
        Self { cloud }
    }

    fn of_node(&self, what: &str) -> String {
        Uuid::new_v5(&self.cloud, what.as_bytes()).to_string()
    }

    /// The O-Cloud: the node itself.
    pub fn cloud(&self) -> String {
        self.cloud.to_string()
    }

    /// The one resource pool.
    pub fn pool(&self) -> String {
        self.of_node("pool")
    }

    /// The one site.
    pub fn site(&self) -> String {
        self.of_node("site")
    }

    /// The one location, until the SMO gives it a name of its own.
    pub fn location(&self) -> String {
        self.of_node("location")
    }

    /// A deployment manager by its profile.
    pub fn manager(&self, profile: &str) -> String {
        self.of_node(&format!("manager\n{profile}"))
    }

    /// A part by its sort and something that stays with it.
    pub fn resource(&self, sort: &str, key: &str) -> String {
        self.of_node(&format!("resource\n{sort}\n{key}"))
    }

    /// A type. The same on every node, so that an SMO can tell that two nodes have the same model.
    pub fn resource_type(sort: &str, vendor: &str, model: &str, version: &str) -> String {
        let text = format!("type\n{sort}\n{vendor}\n{model}\n{version}");
        Uuid::new_v5(&NAMESPACE, text.as_bytes()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if identities would change under the SMOs that know this node.
    #[test]
    fn identities_never_change() {
        let id = Identities::new("0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c");
        assert_eq!(id.cloud(), "0b6d1a52-4a3c-4c1e-9b42-7f1f0c1a2b3c");
        assert_eq!(id.pool(), "f63306d6-6091-5e1a-8740-57bb931470dc");
        assert_eq!(id.resource("disk", "wwn-1"), "033a4545-7400-5c36-ab83-4f7df5dbe763");
        assert_eq!(
            Identities::resource_type("disk", "v", "m", "1"),
            "537e9513-11ab-5601-8f39-8e7dda665895"
        );
    }
}
