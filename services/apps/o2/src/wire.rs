//! O2ims inventory 2.0.0 as it goes over the wire: camelCase, absent instead of null.
//!
//! Each type has a table of its attributes beside it, which filters and selectors work with. A test sends a
//! full value of each type through its table, so that neither can gain or lose an attribute alone. These types
//! are never used inside the node.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::sol013::{Attribute, ObjectType, Shape};

/// Free key-value pairs.
pub type Pairs = Map<String, Value>;

/// The O-Cloud itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudInfo {
    /// Identity of this O-Cloud.
    pub o_cloud_id: String,
    /// Identity given by the SMO.
    pub global_cloud_id: String,
    /// Name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Root of the API.
    pub service_uri: String,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Pairs>,
}

/// The attributes of [`CloudInfo`].
pub static CLOUD_INFO: ObjectType = ObjectType {
    name: "CloudInfo",
    attributes: &[
        Attribute::required("oCloudId", Shape::Identifier),
        Attribute::required("globalCloudId", Shape::Identifier),
        Attribute::required("name", Shape::Text),
        Attribute::required("description", Shape::Text),
        Attribute::required("serviceUri", Shape::Text),
        Attribute::on_request("extensions", Shape::Map),
    ],
};

/// Whether something can be touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResourceKind {
    /// Not said.
    Undefined,
    /// Hardware.
    Physical,
    /// Made by software.
    Logical,
}

/// What something is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ResourceClass {
    /// Not said.
    Undefined,
    /// Computing.
    Compute,
    /// Networks.
    Networking,
    /// Storage.
    Storage,
}

/// A sort of resource: one model of one vendor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceTypeInfo {
    /// Identity.
    pub resource_type_id: String,
    /// Name, unique on this node.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Maker.
    pub vendor: String,
    /// Model.
    pub model: String,
    /// Version of the model.
    pub version: String,
    /// Hardware or software.
    pub resource_kind: ResourceKind,
    /// What it is for.
    pub resource_class: ResourceClass,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Pairs>,
}

/// The attributes of [`ResourceTypeInfo`].
pub static RESOURCE_TYPE_INFO: ObjectType = ObjectType {
    name: "ResourceTypeInfo",
    attributes: &[
        Attribute::required("resourceTypeId", Shape::Identifier),
        Attribute::required("name", Shape::Text),
        Attribute::required("description", Shape::Text),
        Attribute::required("vendor", Shape::Text),
        Attribute::required("model", Shape::Text),
        Attribute::required("version", Shape::Text),
        Attribute::required("resourceKind", Shape::Text),
        Attribute::required("resourceClass", Shape::Text),
        Attribute::on_request("extensions", Shape::Map),
    ],
};

/// A group of resources at one place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourcePoolInfo {
    /// Identity.
    pub resource_pool_id: String,
    /// Name.
    pub name: String,
    /// The site it is at.
    pub o_cloud_site_id: String,
    /// One line for people.
    pub description: String,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Pairs>,
}

/// The attributes of [`ResourcePoolInfo`].
pub static RESOURCE_POOL_INFO: ObjectType = ObjectType {
    name: "ResourcePoolInfo",
    attributes: &[
        Attribute::required("resourcePoolId", Shape::Identifier),
        Attribute::required("name", Shape::Text),
        Attribute::required("oCloudSiteId", Shape::Identifier),
        Attribute::required("description", Shape::Text),
        Attribute::on_request("extensions", Shape::Map),
    ],
};

/// A resource, with its parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// Identity.
    pub resource_id: String,
    /// The pool it is in.
    pub resource_pool_id: String,
    /// Its type.
    pub resource_type_id: String,
    /// One line for people.
    pub description: String,
    /// Serial number or asset tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub global_asset_id: Option<String>,
    /// Its parts.
    pub elements: Vec<ResourceInfo>,
    /// Marks.
    pub tags: Vec<String>,
    /// Groups it belongs to.
    pub groups: Vec<String>,
    /// More.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Pairs>,
}

static TEXT: Shape = Shape::Text;
static IDENTIFIER: Shape = Shape::Identifier;
static RESOURCE: Shape = Shape::Object(&RESOURCE_INFO);

/// The attributes of [`ResourceInfo`].
pub static RESOURCE_INFO: ObjectType = ObjectType {
    name: "ResourceInfo",
    attributes: &[
        Attribute::required("resourceId", Shape::Identifier),
        Attribute::required("resourcePoolId", Shape::Identifier),
        Attribute::required("resourceTypeId", Shape::Identifier),
        Attribute::required("description", Shape::Text),
        Attribute::optional("globalAssetId", Shape::Text),
        Attribute::optional("elements", Shape::List(&RESOURCE)),
        Attribute::optional("tags", Shape::List(&TEXT)),
        Attribute::optional("groups", Shape::List(&TEXT)),
        Attribute::on_request("extensions", Shape::Map),
    ],
};

/// A service that runs deployments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentManagerInfo {
    /// Identity.
    pub deployment_manager_id: String,
    /// Name.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// The O-Cloud it belongs to.
    pub o_cloud_id: String,
    /// Root of its API.
    pub service_uri: String,
    /// Places it can deploy to.
    pub supported_locations: Vec<String>,
    /// What the machine can do.
    pub capabilities: Pairs,
    /// How much of it there is.
    pub capacity: Pairs,
    /// More; never secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Pairs>,
}

/// The attributes of [`DeploymentManagerInfo`].
pub static DEPLOYMENT_MANAGER_INFO: ObjectType = ObjectType {
    name: "DeploymentManagerInfo",
    attributes: &[
        Attribute::required("deploymentManagerId", Shape::Identifier),
        Attribute::required("name", Shape::Text),
        Attribute::required("description", Shape::Text),
        Attribute::required("oCloudId", Shape::Identifier),
        Attribute::required("serviceUri", Shape::Text),
        Attribute::required("supportedLocations", Shape::List(&IDENTIFIER)),
        Attribute::required("capabilities", Shape::Map),
        Attribute::required("capacity", Shape::Map),
        Attribute::on_request("extensions", Shape::Map),
    ],
};

/// Which versions of an API are served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersionInformation {
    /// Where.
    pub uri_prefix: String,
    /// Which.
    pub api_versions: Vec<ApiVersion>,
}

/// One version of an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiVersion {
    /// `MAJOR.MINOR.PATCH`.
    pub version: String,
    /// Whether it will go.
    pub is_deprecated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(value: impl Serialize, of: &'static ObjectType) {
        let value = serde_json::to_value(value).unwrap();
        let mut written: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut described: Vec<_> = of.attributes.iter().map(|a| a.name).collect();
        written.sort_unstable();
        described.sort_unstable();
        assert_eq!(written, described, "{}", of.name);
    }

    /// A full value and its table name the same attributes.
    #[test]
    fn types_and_tables_agree() {
        let pairs = || Some(Pairs::new());
        let text = || "x".to_owned();
        fits(
            CloudInfo {
                o_cloud_id: text(),
                global_cloud_id: text(),
                name: text(),
                description: text(),
                service_uri: text(),
                extensions: pairs(),
            },
            &CLOUD_INFO,
        );
        fits(
            ResourcePoolInfo {
                resource_pool_id: text(),
                name: text(),
                o_cloud_site_id: text(),
                description: text(),
                extensions: pairs(),
            },
            &RESOURCE_POOL_INFO,
        );
        fits(
            ResourceTypeInfo {
                resource_type_id: text(),
                name: text(),
                description: text(),
                vendor: text(),
                model: text(),
                version: text(),
                resource_kind: ResourceKind::Physical,
                resource_class: ResourceClass::Compute,
                extensions: pairs(),
            },
            &RESOURCE_TYPE_INFO,
        );
        fits(
            ResourceInfo {
                resource_id: text(),
                resource_pool_id: text(),
                resource_type_id: text(),
                description: text(),
                global_asset_id: Some(text()),
                elements: vec![],
                tags: vec![],
                groups: vec![],
                extensions: pairs(),
            },
            &RESOURCE_INFO,
        );
        fits(
            DeploymentManagerInfo {
                deployment_manager_id: text(),
                name: text(),
                description: text(),
                o_cloud_id: text(),
                service_uri: text(),
                supported_locations: vec![],
                capabilities: Pairs::new(),
                capacity: Pairs::new(),
                extensions: pairs(),
            },
            &DEPLOYMENT_MANAGER_INFO,
        );
        assert_eq!(json!(ResourceKind::Physical), json!("PHYSICAL"));
    }
}
